//! Splits Rust source into code tokens and comments.
//!
//! Knows just enough of the language to tell code from comments and literals: raw and byte strings,
//! nested block comments, lifetimes beside characters. Called by [`super::source_file`]. Never
//! fails: whether a file is valid Rust is the compiler's business, and an odd character becomes a
//! token of its own. Source: the lexical structure chapters of the Rust reference.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword; `r#` is dropped.
    Ident,
    /// A number with its suffix.
    Number,
    /// A string of any sort; the token's text is what stands between the quotes.
    Text,
    /// A character or byte.
    Char,
    /// A lifetime or label, with its `'`.
    Lifetime,
    /// `::`, or any other single character.
    Punct,
}

/// One piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
}

impl Token {
    /// Whether this is the identifier or keyword `name`.
    pub(super) fn is_ident(&self, name: &str) -> bool {
        self.kind == Kind::Ident && self.text == name
    }

    /// Whether this is the punctuation `text`.
    pub(super) fn is_punct(&self, text: &str) -> bool {
        self.kind == Kind::Punct && self.text == text
    }
}

/// One line of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// Without the comment marks and the space around.
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// Whether rustdoc reads it (`///`, `//!`, `/**`, `/*!`).
    pub(super) is_doc: bool,
}

/// A file split in two.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) tokens: Vec<Token>,
    pub(super) comments: Vec<Comment>,
}

/// Splits `source`.
pub(super) fn scan(source: &str) -> Scan {
    let mut scanner = Scanner {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        scan: Scan::default(),
    };
    while scanner.at < scanner.chars.len() {
        scanner.step();
    }
    scanner.scan
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    scan: Scan,
}

impl Scanner {
    fn step(&mut self) {
        let line = self.line;
        match self.peek(0) {
            c if c.is_whitespace() => {
                self.advance(1);
            }
            '/' if self.peek(1) == '/' => self.line_comment(),
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => {
                self.advance(1);
                let text = self.escaped_until('"');
                self.push(Kind::Text, text, line);
            }
            '\'' => self.char_or_lifetime(),
            c if c.is_ascii_digit() => self.number(),
            c if is_ident_start(c) => self.ident_or_prefixed_literal(),
            ':' if self.peek(1) == ':' => {
                self.advance(2);
                self.push(Kind::Punct, "::".to_owned(), line);
            }
            c => {
                self.advance(1);
                self.push(Kind::Punct, c.to_string(), line);
            }
        }
    }

    /// The character `ahead` of here; NUL behind the end.
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Moves on, counts lines, and returns what was passed.
    fn advance(&mut self, count: usize) -> String {
        let end = (self.at + count).min(self.chars.len());
        let passed: String = self.chars[self.at..end].iter().collect();
        self.line += passed.matches('\n').count();
        self.at = end;
        passed
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.scan.tokens.push(Token { kind, text, line });
    }

    /// How many characters from `ahead` on satisfy `accept`.
    fn run_length(&self, ahead: usize, accept: impl Fn(char) -> bool) -> usize {
        self.chars[(self.at + ahead).min(self.chars.len())..]
            .iter()
            .take_while(|c| accept(**c))
            .count()
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let text = self.advance(self.run_length(0, |c| c != '\n'));
        let is_doc =
            text.starts_with("//!") || (text.starts_with("///") && !text.starts_with("////"));
        self.scan.comments.push(Comment {
            text: text.trim_start_matches(['/', '!']).trim().to_owned(),
            line,
            is_doc,
        });
    }

    fn block_comment(&mut self) {
        let first_line = self.line;
        let mut text = self.advance(2);
        let mut depth = 1;
        while depth > 0 && self.at < self.chars.len() {
            let mark = (self.peek(0), self.peek(1));
            depth = match mark {
                ('/', '*') => depth + 1,
                ('*', '/') => depth - 1,
                _ => depth,
            };
            let is_mark = matches!(mark, ('/', '*') | ('*', '/'));
            text.push_str(&self.advance(if is_mark { 2 } else { 1 }));
        }
        let is_doc = text.starts_with("/*!") || (text.starts_with("/**") && text.len() > 4);
        for (index, line) in text.lines().enumerate() {
            self.scan.comments.push(Comment {
                text: line.trim().trim_matches(['/', '*', '!']).trim().to_owned(),
                line: first_line + index,
                is_doc,
            });
        }
    }

    /// Reads past the closing `quote` and returns what came before it, escapes as written.
    fn escaped_until(&mut self, quote: char) -> String {
        let mut text = String::new();
        while self.at < self.chars.len() && self.peek(0) != quote {
            let width = if self.peek(0) == '\\' { 2 } else { 1 };
            text.push_str(&self.advance(width));
        }
        self.advance(1);
        text
    }

    fn char_or_lifetime(&mut self) {
        let line = self.line;
        if self.peek(1) == '\\' || self.peek(2) == '\'' {
            self.advance(1);
            let text = self.escaped_until('\'');
            self.push(Kind::Char, text, line);
        } else {
            let text = self.advance(1 + self.run_length(1, is_ident_continue));
            self.push(Kind::Lifetime, text, line);
        }
    }

    fn number(&mut self) {
        let line = self.line;
        let mut text = self.advance(self.run_length(0, is_ident_continue));
        // Not in `1..2` and `1.max(2)`.
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            text.push_str(&self.advance(1 + self.run_length(1, is_ident_continue)));
        }
        self.push(Kind::Number, text, line);
    }

    fn ident_or_prefixed_literal(&mut self) {
        let line = self.line;
        let width = self.run_length(0, is_ident_continue);
        let ident: String = self.chars[self.at..self.at + width].iter().collect();
        let hashes = self.run_length(width, |c| c == '#');
        let next = self.peek(width);
        let quoted = self.peek(width + hashes) == '"';
        match ident.as_str() {
            "r" | "br" | "cr" if quoted => {
                self.advance(width + hashes + 1);
                let text = self.raw_until(hashes);
                self.push(Kind::Text, text, line);
            }
            "b" | "c" if next == '"' => {
                self.advance(width + 1);
                let text = self.escaped_until('"');
                self.push(Kind::Text, text, line);
            }
            "b" if next == '\'' => {
                self.advance(width + 1);
                let text = self.escaped_until('\'');
                self.push(Kind::Char, text, line);
            }
            "r" if hashes == 1 && is_ident_start(self.peek(width + 1)) => {
                self.advance(width + 1);
                let text = self.advance(self.run_length(0, is_ident_continue));
                self.push(Kind::Ident, text, line);
            }
            _ => {
                self.advance(width);
                self.push(Kind::Ident, ident, line);
            }
        }
    }

    /// Reads past the quote that is followed by `hashes` hashes.
    fn raw_until(&mut self, hashes: usize) -> String {
        let mut text = String::new();
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && self.run_length(1, |c| c == '#') >= hashes {
                self.advance(1 + hashes);
                break;
            }
            text.push_str(&self.advance(1));
        }
        text
    }
}

fn is_ident_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_ident_continue(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests;
