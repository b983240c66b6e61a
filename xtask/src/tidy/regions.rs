//! Which tokens of a product file are compiled for tests only.
//!
//! An item below `#[cfg(test)]` or `#[test]` (also `#[tokio::test]`) is test code up to its end. A
//! predicate counts when it cannot hold outside tests: `all(test, …)` does, `any(test, …)` and
//! `not(test)` do not, since that code ships. Called by [`super::source_file`].

use super::scan::{Kind, Token};

/// For each token, whether it is test code.
pub(super) fn test_tokens(tokens: &[Token]) -> Vec<bool> {
    let mut in_test = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute) = Attribute::parse(tokens, at) else {
            at += 1;
            continue;
        };
        if attribute.marks_test(tokens) {
            let end = if attribute.is_inner {
                end_of_block(tokens, attribute.end)
            } else {
                end_of_item(tokens, attribute.end)
            };
            in_test[at..end].fill(true);
            at = end;
        } else {
            at = attribute.end;
        }
    }
    in_test
}

/// `#[…]` or `#![…]`; the content is `tokens[start..end - 1]`.
struct Attribute {
    is_inner: bool,
    start: usize,
    end: usize,
}

impl Attribute {
    fn parse(tokens: &[Token], at: usize) -> Option<Self> {
        if !tokens.get(at)?.is_punct("#") {
            return None;
        }
        let is_inner = tokens.get(at + 1)?.is_punct("!");
        let open = at + 1 + usize::from(is_inner);
        if !tokens.get(open)?.is_punct("[") {
            return None;
        }
        let end = end_of_group(tokens, open);
        Some(Self {
            is_inner,
            start: open + 1,
            end,
        })
    }

    fn marks_test(&self, tokens: &[Token]) -> bool {
        let content = &tokens[self.start..self.end.saturating_sub(1).max(self.start)];
        let path_len = content
            .iter()
            .take_while(|t| t.kind == Kind::Ident || t.is_punct("::"))
            .count();
        match content[..path_len].last() {
            Some(last) if path_len == 1 && last.text == "cfg" => {
                arguments(&content[1..]).iter().any(|p| requires_test(p))
            }
            Some(last) => last.text == "test",
            None => false,
        }
    }
}

/// Whether a `cfg` predicate holds in test builds only.
fn requires_test(predicate: &[Token]) -> bool {
    match predicate {
        [only] => only.is_ident("test"),
        [all, rest @ ..] if all.is_ident("all") => arguments(rest).iter().any(|p| requires_test(p)),
        [any, rest @ ..] if any.is_ident("any") => {
            let alternatives = arguments(rest);
            !alternatives.is_empty() && alternatives.iter().all(|p| requires_test(p))
        }
        _ => false,
    }
}

/// The comma-separated arguments of a group that starts with `(`.
fn arguments(group: &[Token]) -> Vec<&[Token]> {
    if !group.first().is_some_and(|t| t.is_punct("(")) {
        return Vec::new();
    }
    let inside = &group[1..end_of_group(group, 0).saturating_sub(1).max(1)];
    let mut depth = 0_usize;
    inside
        .split(|token| {
            depth = (depth + usize::from(opens(token))).saturating_sub(usize::from(closes(token)));
            depth == 0 && token.is_punct(",")
        })
        .filter(|argument| !argument.is_empty())
        .collect()
}

/// The index behind the item, field, arm or statement that begins at `at`, attributes included.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while let Some(attribute) = Attribute::parse(tokens, at) {
        at = attribute.end;
    }
    // A comma ends a field or a match arm, but stands inside `fn f<A, B>()` and where clauses.
    let comma_ends = !tokens[at..]
        .iter()
        .take(6)
        .any(|t| t.kind == Kind::Ident && ITEM_KEYWORDS.contains(&t.text.as_str()));
    while let Some(token) = tokens.get(at) {
        if closes(token) {
            return at;
        }
        if token.is_punct(";") || (comma_ends && token.is_punct(",")) {
            return at + 1;
        }
        if opens(token) {
            let end = end_of_group(tokens, at);
            if token.is_punct("{") {
                return end;
            }
            at = end;
        } else {
            at += 1;
        }
    }
    at
}

/// Enough to tell an item from a field; `pub(in crate::x) unsafe fn` still shows one in time.
const ITEM_KEYWORDS: &[&str] = &[
    "fn",
    "mod",
    "impl",
    "struct",
    "enum",
    "union",
    "trait",
    "use",
    "const",
    "static",
    "type",
    "async",
    "unsafe",
    "extern",
    "let",
    "macro_rules",
];

/// The index of the bracket that closes the block around `at`, or the end of the file.
fn end_of_block(tokens: &[Token], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        if closes(token) {
            return at;
        }
        at = if opens(token) {
            end_of_group(tokens, at)
        } else {
            at + 1
        };
    }
    at
}

/// The index behind the bracket that closes the one at `open`.
fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if opens(token) {
            depth += 1;
        } else if closes(token) {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

fn opens(token: &Token) -> bool {
    ["(", "[", "{"]
        .iter()
        .any(|bracket| token.is_punct(bracket))
}

fn closes(token: &Token) -> bool {
    [")", "]", "}"]
        .iter()
        .any(|bracket| token.is_punct(bracket))
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    /// The single-letter identifiers that count as product code.
    fn product(source: &str) -> String {
        let tokens = scan(source).tokens;
        let in_test = test_tokens(&tokens);
        tokens
            .iter()
            .zip(in_test)
            .filter(|(token, in_test)| !in_test && token.text.len() == 1)
            .filter(|(token, _)| token.kind == Kind::Ident)
            .map(|(token, _)| token.text.as_str())
            .collect()
    }

    #[test]
    fn test_module_ends_at_its_brace() {
        assert_eq!(product("a; #[cfg(test)] mod tests { b; { c } } d"), "ad");
        assert_eq!(product("a; #[cfg(test)] mod tests; d"), "ad");
    }

    #[test]
    fn test_function_ends_at_its_brace() {
        assert_eq!(product("#[test] fn t() -> [u8; 4] { b } d"), "d");
        assert_eq!(
            product("#[tokio::test(flavor = \"x\")] async fn t() { b } d"),
            "d"
        );
        assert_eq!(
            product("#[cfg(test)] #[rustfmt::skip] fn t<A, B>() { b } d"),
            "d"
        );
    }

    #[test]
    fn test_field_and_statement_end_where_they_should() {
        assert_eq!(product("struct S { #[cfg(test)] b: Foo, d: Foo }"), "Sd");
        assert_eq!(product("struct S { #[cfg(test)] b: Foo } d"), "Sd");
        assert_eq!(product("#[cfg(test)] use b::{c, e}; d"), "d");
    }

    #[test]
    fn only_predicates_that_need_test_count() {
        assert_eq!(product("#[cfg(all(unix, test))] fn f() { b } d"), "d");
        assert_eq!(
            product("#[cfg(any(test, all(test, unix)))] fn f() { b } d"),
            "d"
        );
        assert_eq!(product("#[cfg(any(test, unix))] mod f { b } d"), "fbd");
        assert_eq!(product("#[cfg(not(test))] mod f { b } d"), "fbd");
        assert_eq!(product("#[cfg(feature = \"test\")] mod f { b } d"), "fbd");
        assert_eq!(product("#[derive(Debug)] struct f { b } d"), "fbd");
    }

    #[test]
    fn inner_attribute_covers_its_block() {
        assert_eq!(product("#![cfg(test)] b; { c } e"), "");
        assert_eq!(product("mod x { #![cfg(test)] b; } d"), "xd");
    }

    #[test]
    fn unfinished_input_ends() {
        for source in [
            "#",
            "#[",
            "#[cfg(",
            "#[cfg(test)]",
            "#[cfg(test)] fn f(",
            "#[]",
            "#![cfg(test",
        ] {
            let _ = product(source);
        }
    }
}
