//! What is code, what is a comment, what is a literal.

use super::*;

fn words(source: &str) -> Vec<String> {
    scan(source).tokens.into_iter().map(|t| t.text).collect()
}

fn kinds(source: &str) -> Vec<Kind> {
    scan(source).tokens.into_iter().map(|t| t.kind).collect()
}

#[test]
fn paths_and_punctuation() {
    assert_eq!(
        words("crate::bus::Engine;"),
        ["crate", "::", "bus", "::", "Engine", ";"]
    );
}

#[test]
fn code_in_strings_is_one_token() {
    for source in [
        r#""crate::bus // \" x""#,
        r#"b"crate::bus""#,
        r##"r"crate::bus""##,
        r###"r#"crate::"bus"#"###,
        r###"br#"crate::bus"#"###,
        "c\"crate::bus\"",
    ] {
        assert_eq!(kinds(source), [Kind::Text], "{source}");
    }
}

#[test]
fn comments_are_not_code() {
    let scan = scan("a // crate::bus\n/* b /* c */ d */ e /// f\n//! g\n//// h");
    let idents: Vec<_> = scan.tokens.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(idents, ["a", "e"]);
    let comments: Vec<_> = scan
        .comments
        .iter()
        .map(|c| (c.text.as_str(), c.line, c.is_doc))
        .collect();
    assert_eq!(
        comments,
        [
            ("crate::bus", 1, false),
            ("b /* c */ d", 2, false),
            ("f", 2, true),
            ("g", 3, true),
            ("h", 4, false),
        ]
    );
}

#[test]
fn lifetimes_are_not_characters() {
    assert_eq!(
        kinds(r"'a 'x' '\'' '\u{1F600}' b'y' 'static"),
        [
            Kind::Lifetime,
            Kind::Char,
            Kind::Char,
            Kind::Char,
            Kind::Char,
            Kind::Lifetime
        ]
    );
}

#[test]
fn quote_in_a_character_opens_no_string() {
    assert_eq!(words(r#"'"' x '"'"#), ["\"", "x", "\""]);
}

#[test]
fn ranges_are_not_fractions() {
    assert_eq!(
        words("1..2 1.5f32 7_411u16"),
        ["1", ".", ".", "2", "1.5f32", "7_411u16"]
    );
}

#[test]
fn raw_identifier_loses_its_mark() {
    assert_eq!(words("r#type r"), ["type", "r"]);
}

#[test]
fn lines_are_counted_through_literals_and_comments() {
    let scan = scan("\"a\nb\"\n/* c\nd */\nr\"e\n\" f");
    let lines: Vec<_> = scan.tokens.iter().map(|t| t.line).collect();
    assert_eq!(lines, [1, 5, 6]);
}

#[test]
fn unfinished_input_ends() {
    for source in ["\"a", "/* a", "r#\"a", "'", "b'", "\\", "'\\"] {
        let _ = scan(source);
    }
}
