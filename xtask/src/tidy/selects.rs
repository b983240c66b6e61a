//! `select!` without `biased;`: which branch is taken then depends on chance, and a simulated run
//! cannot be repeated from its seed.

use super::Violation;
use super::source_file::SourceFile;

/// Reports every `select!` in the product code of the library that leaves the order to chance.
pub(super) fn check(file: &SourceFile, violations: &mut Vec<Violation>) {
    if file.is_test || !file.path.starts_with("crates/edgebus/src/") {
        return;
    }
    for (at, four) in file.tokens.windows(4).enumerate() {
        let is_select = four[0].is_ident("select") && four[1].is_punct("!");
        if is_select && !four[3].is_ident("biased") && !file.in_test[at] {
            violations.push(Violation::new(
                &file.path,
                four[0].line,
                "`select!` leaves the order of its branches to chance",
                "begin it with `biased;`, and see to it that no branch starves those behind it",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut violations = Vec::new();
        check(&SourceFile::new(path, text), &mut violations);
        violations.iter().map(|v| v.line).collect()
    }

    #[test]
    fn select_without_an_order_is_reported() {
        let text = "fn f() {\n    tokio::select! { () = a => {} }\n    tokio::select! { biased; () = a => {} }\n}\n";
        assert_eq!(lines("crates/edgebus/src/x.rs", text), [2]);
        assert_eq!(lines("crates/edgebus-cli/src/x.rs", text), []);
        let test = "#[cfg(test)]\nmod tests {\n    fn f() { tokio::select! { () = a => {} } }\n}\n";
        assert_eq!(lines("crates/edgebus/src/x.rs", test), []);
    }
}
