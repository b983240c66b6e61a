//! What makes a test flaky, slow or silent: sleeping, being ignored, a port of its own choice.
//!
//! Looks at test code only, wherever it stands. A port is judged where it is bound or connected:
//! parsing `tcp://127.0.0.1:7411` is a fine test.

use std::collections::BTreeSet;

use super::Violation;
use super::scan::{Kind, Token};
use super::source_file::SourceFile;

/// Functions that wait for the clock.
const SLEEPS: &[&str] = &[
    "thread::sleep",
    "thread::sleep_until",
    "time::sleep",
    "time::sleep_until",
];

/// Calls whose address is opened, or handed to a started process.
const SOCKET_CALLS: &[&str] = &[
    "bind",
    "connect",
    "connect_timeout",
    "connect_with",
    "listen",
    "arg",
    "args",
];

/// Hosts that mean this machine.
const LOCAL_HOSTS: &[&str] = &["127.0.0.1:", "0.0.0.0:", "localhost:", "[::1]:", "[::]:"];

/// Ports a test may name: 0 asks the system for a free one, and nobody listens on 1, which is how
/// a refused connection is tested.
const HARMLESS_PORTS: &[&str] = &["0", "1"];

/// Reports all of it in the test code of `file`.
pub(super) fn check(file: &SourceFile, violations: &mut Vec<Violation>) {
    for path in file.paths.iter().filter(|path| path.in_test) {
        if SLEEPS.iter().any(|sleep| path.ends_with(sleep)) {
            violations.push(Violation::new(
                &file.path,
                path.line,
                format!("a test sleeps (`{}`)", path.text()),
                "pass `now` in and advance it, or wait for the event itself with a timeout",
            ));
        }
    }
    for line in ignored_tests(file) {
        violations.push(Violation::new(
            &file.path,
            line,
            "an ignored test",
            "make it pass everywhere, or move slow work to bench/ or the simulator",
        ));
    }
    for (line, address) in fixed_ports(file) {
        violations.push(Violation::new(
            &file.path,
            line,
            format!("a test opens the fixed port in `{address}`"),
            "bind port 0 and ask for the address that was given",
        ));
    }
}

/// Lines with `#[ignore…]` or `#[cfg_attr(…, ignore…)]`.
fn ignored_tests(file: &SourceFile) -> Vec<usize> {
    let mut lines = Vec::new();
    for (at, window) in file.tokens.windows(3).enumerate() {
        let [hash, open, name] = window else { continue };
        if !(file.in_test[at] && hash.is_punct("#") && open.is_punct("[")) {
            continue;
        }
        let is_conditional = name.is_ident("cfg_attr")
            && file.tokens[at..]
                .iter()
                .take_while(|token| !token.is_punct("]"))
                .any(|token| token.is_ident("ignore"));
        if name.is_ident("ignore") || is_conditional {
            lines.push(name.line);
        }
    }
    lines
}

/// Line and text of each address with a fixed port that a statement opens, directly or by the name
/// it was given earlier in the file.
fn fixed_ports(file: &SourceFile) -> Vec<(usize, String)> {
    let tokens: Vec<&Token> = file
        .tokens
        .iter()
        .zip(&file.in_test)
        .filter_map(|(token, in_test)| in_test.then_some(token))
        .collect();
    let statements: Vec<&[&Token]> = tokens
        .split(|token| [";", "{", "}"].iter().any(|end| token.is_punct(end)))
        .collect();
    let opened: BTreeSet<&str> = statements
        .iter()
        .filter(|statement| opens_socket(statement))
        .flat_map(|statement| statement.iter())
        .filter(|token| token.kind == Kind::Ident)
        .map(|token| token.text.as_str())
        .collect();

    let mut found = Vec::new();
    for statement in statements {
        let is_opened_later = bound_name(statement).is_some_and(|name| opened.contains(name));
        if opens_socket(statement) || is_opened_later {
            found.extend(fixed_address(statement));
        }
    }
    found
}

fn opens_socket(statement: &[&Token]) -> bool {
    statement
        .windows(2)
        .any(|pair| pair[1].is_punct("(") && SOCKET_CALLS.iter().any(|call| pair[0].is_ident(call)))
}

/// `x` of `let x = …`, `let mut x = …`, `const x: … = …`.
fn bound_name<'a>(statement: &[&'a Token]) -> Option<&'a str> {
    let start = statement.iter().position(|token| {
        ["let", "const", "static"]
            .iter()
            .any(|word| token.is_ident(word))
    })?;
    let mut rest = statement[start + 1..]
        .iter()
        .filter(|token| !token.is_ident("mut"));
    rest.next()
        .filter(|token| token.kind == Kind::Ident)
        .map(|token| token.text.as_str())
}

/// The first address of this machine with a port that is neither harmless nor filled in later.
fn fixed_address(statement: &[&Token]) -> Option<(usize, String)> {
    statement.iter().enumerate().find_map(|(at, token)| {
        if token.kind == Kind::Text && has_fixed_port(&token.text) {
            return Some((token.line, token.text.clone()));
        }
        // `(Ipv4Addr::LOCALHOST, 7411)`
        let is_local = token.is_ident("LOCALHOST") || token.is_ident("UNSPECIFIED");
        let port = statement
            .get(at + 1)
            .filter(|next| is_local && next.is_punct(","))
            .and_then(|_| statement.get(at + 2))
            .filter(|port| port.kind == Kind::Number)?;
        let digits = port.text.trim_end_matches("u16").replace('_', "");
        (!HARMLESS_PORTS.contains(&digits.as_str()))
            .then(|| (port.line, format!("{}, {}", token.text, port.text)))
    })
}

fn has_fixed_port(text: &str) -> bool {
    LOCAL_HOSTS.iter().any(|host| {
        text.split(host).skip(1).any(|after| {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            !digits.is_empty() && !HARMLESS_PORTS.contains(&digits.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut violations = Vec::new();
        check(&SourceFile::new(path, text), &mut violations);
        violations
            .into_iter()
            .map(|violation| (violation.line, violation.what))
            .collect()
    }

    fn assert_found(text: &str, what: &str) {
        let all = found("tests/it/a.rs", text);
        assert!(all.len() == 1 && all[0].1.contains(what), "{text}: {all:?}");
    }

    fn assert_fine(text: &str) {
        assert_eq!(found("tests/it/a.rs", text), [], "{text}");
    }

    #[test]
    fn sleeping_tests_are_found() {
        for text in [
            "fn t() { std::thread::sleep(d); }",
            "fn t() { thread::sleep(d); }",
            "async fn t() { tokio::time::sleep(d).await; }",
            "use std::thread::{sleep, spawn};",
            "use tokio::time::sleep as nap;",
        ] {
            assert_found(text, "a test sleeps");
        }
        assert_fine("fn t() { tokio::time::timeout(d, f); clock.sleep(d); } // thread::sleep(d)");
    }

    #[test]
    fn sleep_is_judged_in_the_test_module_only() {
        let text = "//! A.\nfn f() { std::thread::sleep(d); }\n\
                    #[cfg(test)]\nmod tests {\nfn t() { std::thread::sleep(d); }\n}\n";
        let lines: Vec<_> = found("src/a.rs", text)
            .iter()
            .map(|(line, _)| *line)
            .collect();
        assert_eq!(lines, [5]);
    }

    #[test]
    fn ignored_tests_are_found() {
        for text in [
            "#[test]\n#[ignore]\nfn t() {}",
            "#[test]\n#[ignore = \"slow\"]\nfn t() {}",
            "#[test]\n#[cfg_attr(not(unix), ignore)]\nfn t() {}",
        ] {
            assert_found(text, "an ignored test");
        }
        assert_fine("#[test]\nfn ignore() { ignore(\"#[ignore]\") }");
    }

    #[test]
    fn fixed_ports_are_found() {
        for text in [
            "fn t() { TcpListener::bind(\"127.0.0.1:7411\").await; }",
            "fn t() { Client::connect(\"tcp://localhost:7411/\"); }",
            "fn t() { server.listen(\"[::1]:7411\"); }",
            "fn t() { cmd.args([\"serve\", \"--listen\", \"tcp://127.0.0.1:7411\"]); }",
            "fn t() { let addr = \"0.0.0.0:80\"; TcpListener::bind(addr); }",
            "const ADDR: &str = \"127.0.0.1:7411\"; fn t() { TcpStream::connect(ADDR); }",
            "fn t() { TcpListener::bind((Ipv4Addr::LOCALHOST, 7_411)); }",
        ] {
            assert_found(text, "fixed port");
        }
    }

    #[test]
    fn free_ports_and_parsed_addresses_are_fine() {
        for text in [
            "fn t() { TcpListener::bind(\"127.0.0.1:0\").await; }",
            "fn t() { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)); }",
            "fn t() { Client::connect(\"tcp://127.0.0.1:1\").unwrap_err(); }",
            "fn t() { Client::connect(&format!(\"tcp://127.0.0.1:{port}\")); }",
            "fn t() { assert_eq!(Url::parse(\"tcp://127.0.0.1:7411\"), x); Client::connect(y); }",
            "fn t() { let text = \"127.0.0.1:7411\"; parse(text); }",
        ] {
            assert_fine(text);
        }
    }
}
