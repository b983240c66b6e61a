//! One Rust file, split once and shared by all rules.
//!
//! Decides whether a file is product or test code by its name, since a file cannot see the
//! `#[cfg(test)]` on the `mod` line that includes it.

use super::paths::{self, PathUse};
use super::regions;
use super::scan::{self, Comment, Token};

/// A file with its tokens, and which of them are test code.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the workspace root, with `/`.
    pub(super) path: String,
    pub(super) first_line: String,
    pub(super) line_count: usize,
    /// Whether the whole file is test code: below a `tests/` folder, `tests.rs` or `*_tests.rs`.
    pub(super) is_test: bool,
    pub(super) tokens: Vec<Token>,
    /// Parallel to `tokens`: whether that token is compiled for tests only.
    pub(super) in_test: Vec<bool>,
    pub(super) comments: Vec<Comment>,
    /// Every path the file names, resolved as far as this file alone allows.
    pub(super) paths: Vec<PathUse>,
}

impl SourceFile {
    /// Splits `text`, the content of the file at `path`.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let scan = scan::scan(text);
        let is_test = is_test_file(path);
        let in_test = if is_test {
            vec![true; scan.tokens.len()]
        } else {
            regions::test_tokens(&scan.tokens)
        };
        let paths = paths::collect(path, &scan.tokens, &in_test);
        Self {
            path: path.to_owned(),
            first_line: text.lines().next().unwrap_or_default().to_owned(),
            line_count: text.lines().count(),
            is_test,
            tokens: scan.tokens,
            in_test,
            comments: scan.comments,
            paths,
        }
    }
}

fn is_test_file(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    parts.contains(&"tests") || name == "tests.rs" || name.ends_with("_tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_known_by_name() {
        for path in [
            "crates/edgebus/tests/it/main.rs",
            "crates/edgebus/src/store/tests.rs",
            "crates/edgebus/src/store/tests/replay.rs",
            "crates/edgebus/src/store/journal_tests.rs",
        ] {
            assert!(is_test_file(path), "{path}");
        }
        for path in [
            "crates/edgebus/src/store.rs",
            "crates/edgebus/src/contests.rs",
            "xtask/src/tidy/test_code.rs",
        ] {
            assert!(!is_test_file(path), "{path}");
        }
    }
}
