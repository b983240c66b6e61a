//! How a file looks from outside: its header and its size.
//!
//! A header tells a newcomer what a module owns before the first line of code; a bound on size
//! forces the split while it is still cheap.

use super::Violation;
use super::source_file::SourceFile;

/// Lines of a product file, its inline tests included.
const PRODUCT_LINES_MAX: usize = 500;

/// Lines of a test file, which is longer because cases repeat their setup.
const TEST_LINES_MAX: usize = 900;

/// Reports a missing header and too many lines.
pub(super) fn check(file: &SourceFile, violations: &mut Vec<Violation>) {
    if !file.is_test && !has_header(&file.first_line) {
        violations.push(Violation::new(
            &file.path,
            1,
            "the module has no header",
            "open it with `//!`: what it owns, who calls it, what it must never do",
        ));
    }
    let (lines_max, remedy) = if file.is_test {
        (TEST_LINES_MAX, "split it by the promise that is tested")
    } else {
        (
            PRODUCT_LINES_MAX,
            "split it at its seam, and move a large test module to NAME/tests.rs",
        )
    };
    if file.line_count > lines_max {
        violations.push(Violation::new(
            &file.path,
            lines_max + 1,
            format!(
                "the file has {} lines of at most {lines_max}",
                file.line_count
            ),
            remedy,
        ));
    }
}

fn has_header(first_line: &str) -> bool {
    first_line
        .strip_prefix("//!")
        .is_some_and(|text| !text.trim().is_empty())
}

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
    fn product_module_needs_a_header() {
        for text in [
            "",
            "//!\nfn f() {}",
            "/// Doc.\nfn f() {}",
            "\n//! Late.",
            "// Plain.",
        ] {
            assert_eq!(
                found("src/a.rs", text),
                ["the module has no header"],
                "{text}"
            );
        }
        assert_eq!(found("src/a.rs", "//! Owns a.\n"), [""; 0]);
        assert_eq!(found("tests/it/a.rs", "fn f() {}"), [""; 0]);
    }

    #[test]
    fn product_file_ends_at_500_lines() {
        assert_eq!(found("src/a.rs", &"//! Owns a.\n".repeat(500)), [""; 0]);
        assert_eq!(
            found("src/a.rs", &"//! Owns a.\n".repeat(501)),
            ["the file has 501 lines of at most 500"]
        );
    }

    #[test]
    fn test_file_ends_at_900_lines() {
        assert_eq!(found("src/a/tests.rs", &"\n".repeat(900)), [""; 0]);
        assert_eq!(
            found("src/a/tests.rs", &"\n".repeat(901)),
            ["the file has 901 lines of at most 900"]
        );
    }
}
