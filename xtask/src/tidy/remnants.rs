//! What is left over from writing: placeholders, debug output, notes without an owner, and code
//! that was switched off by a comment.
//!
//! Placeholder macros are judged in product code only. Comments are judged everywhere: a test that
//! is commented out is a promise nobody checks. Doc comments may show code, so only notes are
//! looked for in them.

use super::Violation;
use super::scan::Comment;
use super::source_file::SourceFile;

/// Macros that must not ship.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Words that mark a note about work to be done.
const NOTES: &[&str] = &["TODO", "FIXME"];

/// Reports all leftovers in `file`.
pub(super) fn check(file: &SourceFile, violations: &mut Vec<Violation>) {
    for (at, pair) in file.tokens.windows(2).enumerate() {
        let name = MACROS.iter().find(|name| pair[0].is_ident(name));
        if let Some(name) = name
            && pair[1].is_punct("!")
            && !file.in_test[at]
        {
            violations.push(Violation::new(
                &file.path,
                pair[0].line,
                format!("`{name}!` in product code"),
                "finish the code, or return an error that says what is not supported",
            ));
        }
    }
    for comment in &file.comments {
        if let Some(note) = note_without_owner(&comment.text) {
            violations.push(Violation::new(
                &file.path,
                comment.line,
                format!("`{note}` without an owner"),
                format!("write `{note}(name): what and when`, or do it now"),
            ));
        }
        if is_code(comment) {
            violations.push(Violation::new(
                &file.path,
                comment.line,
                format!("commented-out code: `{}`", comment.text),
                "delete it (git remembers), or say in words what it is about",
            ));
        }
    }
}

/// The first note that is not followed by a name in parentheses.
fn note_without_owner(text: &str) -> Option<&'static str> {
    NOTES.iter().copied().find(|note| {
        text.match_indices(note).any(|(start, _)| {
            let before = text[..start].chars().next_back();
            let after = &text[start + note.len()..];
            let is_word = !before.is_some_and(is_word_char) && !after.starts_with(is_word_char);
            is_word && !starts_with_owner(after)
        })
    })
}

fn starts_with_owner(text: &str) -> bool {
    text.strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(name, _)| !name.trim().is_empty())
}

fn is_word_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Whether a comment line reads like Rust.
///
/// A heuristic: sentences begin with "use", "let" and "for" too, so the first word alone does not
/// decide; the line must also end or go on as only code does.
fn is_code(comment: &Comment) -> bool {
    if comment.is_doc {
        return false;
    }
    let text = comment.text.as_str();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first {
        "let" => rest.contains(" = ") || rest.ends_with(';'),
        "use" => rest.ends_with([';', '{']),
        "fn" | "async" | "unsafe" => {
            text.contains('(') && text.ends_with(['{', '}', ';', ',', '(', ')'])
        }
        "if" | "for" | "while" | "match" | "loop" | "impl" | "mod" | "struct" | "enum" => {
            text.ends_with('{')
        }
        "}" => rest.starts_with("else") && text.ends_with('{'),
        "return" => text.ends_with(';'),
        _ if text.starts_with("pub ") || text.starts_with("pub(") => {
            rest.split(' ')
                .next()
                .is_some_and(|word| AFTER_PUB.contains(&word))
                || text.ends_with(['{', ';', ','])
        }
        _ => text.starts_with("#[") && text.ends_with(']'),
    }
}

/// Words that follow `pub` in code.
const AFTER_PUB: &[&str] = &[
    "fn", "async", "struct", "enum", "trait", "type", "mod", "use", "const", "static", "unsafe",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut violations = Vec::new();
        check(&SourceFile::new(path, text), &mut violations);
        violations
            .into_iter()
            .map(|violation| violation.what)
            .collect()
    }

    #[test]
    fn placeholders_do_not_ship() {
        assert_eq!(
            found("src/a.rs", "fn f() { todo!() }"),
            ["`todo!` in product code"]
        );
        assert_eq!(
            found("src/a.rs", "fn f() { std::unimplemented!(\"x\") }"),
            ["`unimplemented!` in product code"]
        );
        assert_eq!(
            found("src/a.rs", "fn f() { dbg!(x); }"),
            ["`dbg!` in product code"]
        );
    }

    #[test]
    fn placeholders_in_tests_strings_and_comments_are_left_alone() {
        for text in [
            "#[cfg(test)]\nmod tests { fn f() { todo!() } }",
            "const X: &str = \"todo!()\";",
            "/// As in `todo!()`.\nfn f() {}",
            "fn todo() { todo() }",
        ] {
            assert_eq!(found("src/a.rs", text), [""; 0], "{text}");
        }
        assert_eq!(found("tests/it/a.rs", "fn f() { todo!() }"), [""; 0]);
    }

    #[test]
    fn notes_need_an_owner() {
        for text in [
            "// TODO: x",
            "// see TODO",
            "/// TODO() x",
            "fn f() {} // TODO x",
        ] {
            assert_eq!(
                found("src/a.rs", text),
                ["`TODO` without an owner"],
                "{text}"
            );
        }
        assert_eq!(
            found("src/a.rs", "/* FIXME x */"),
            ["`FIXME` without an owner"]
        );
        for text in [
            "// TODO(ann): x",
            "// TODOS",
            "// X_TODO",
            "const X: &str = \"TODO\";",
        ] {
            assert_eq!(found("src/a.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn commented_out_code_is_found() {
        for text in [
            "let x = 1;",
            "let x = foo(",
            "fn f() {",
            "fn f(x: u8) -> u8 { x }",
            "async fn f(",
            "use std::fs;",
            "use crate::{",
            "pub fn f() {",
            "pub(crate) struct S;",
            "pub name: String,",
            "if x {",
            "} else {",
            "for x in y {",
            "match x {",
            "return x;",
            "#[test]",
        ] {
            let expected = [format!("commented-out code: `{text}`")];
            assert_eq!(found("src/a.rs", &format!("// {text}")), expected);
            assert_eq!(found("src/a.rs", &format!("//{text}")), expected);
            assert_eq!(found("src/a.rs", &format!("/* {text} */")), expected);
            assert_eq!(
                found("tests/it/a.rs", &format!("fn f() {{}} // {text}")),
                expected
            );
        }
    }

    #[test]
    fn sentences_are_not_code() {
        for text in [
            "use the first one that fits, since the rest is older.",
            "let the caller decide, as x == y",
            "for each record: its length",
            "if this fails, the tail is torn",
            "pub items come first",
            "fn pointers are cheap",
            "return early when empty",
            "match on the code, not the text",
            "Where `let x = 1;` stands",
        ] {
            assert_eq!(found("src/a.rs", &format!("// {text}")), [""; 0]);
        }
    }

    #[test]
    fn docs_may_show_code() {
        for text in [
            "/// let x = 1;\nfn f() {}",
            "//! use edgebus::Client;",
            "/** fn f() { */",
        ] {
            assert_eq!(found("src/a.rs", text), [""; 0], "{text}");
        }
    }
}
