//! `cargo xtask tidy`: the rules of this tree that the compiler and clippy do not check.
//!
//! Owns the order of work: list the files, split each Rust file once, hand it to every rule, print
//! what they found. A rule is a function from a file to violations; it reads nothing else, so each
//! is tested with a few lines of source. Rules judge tokens, never raw text, so that a word in a
//! comment or a string is not mistaken for code.
//!
//! Reading order: [`files`] (which), [`scan`] (tokens), [`regions`] (test or product), [`paths`]
//! (what a file names), then the rules: [`layers`], [`source`], [`remnants`], [`selects`],
//! [`test_code`], [`machine_paths`].

mod files;
mod layers;
mod machine_paths;
mod paths;
mod regions;
mod remnants;
mod scan;
mod selects;
mod source;
mod source_file;
mod test_code;

use std::fmt;
use std::path::Path;

use layers::Reexports;
use source_file::SourceFile;

/// One broken rule: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation {
    /// Relative to the workspace root, with `/` on every platform.
    path: String,
    /// Counted from 1.
    line: usize,
    what: String,
    remedy: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.path, self.line, self.what, self.remedy
        )
    }
}

/// Checks every file below `root` and prints each violation on a line of its own.
///
/// Fails when a rule is broken, a file cannot be read, or no Rust file was found at all: a check
/// that looked at nothing must not pass.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let texts = files::read_all(root)?;
    let sources: Vec<SourceFile> = texts
        .iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| SourceFile::new(path, text))
        .collect();
    if sources.is_empty() {
        return Err(format!(
            "tidy: found no Rust file below {}; run this inside the edgebus tree",
            root.display()
        ));
    }

    let mut violations = check_sources(&sources);
    for (path, text) in &texts {
        machine_paths::check(path, text, &mut violations);
    }
    violations.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy: {} files, nothing to complain about", texts.len());
        Ok(())
    } else {
        Err(format!(
            "tidy: {} violations in {} files",
            violations.len(),
            texts.len()
        ))
    }
}

/// Applies every rule for Rust code.
fn check_sources(sources: &[SourceFile]) -> Vec<Violation> {
    let reexports = Reexports::collect(sources);
    let mut violations = Vec::new();
    for file in sources {
        source::check(file, &mut violations);
        layers::check(file, &reexports, &mut violations);
        remnants::check(file, &mut violations);
        selects::check(file, &mut violations);
        test_code::check(file, &mut violations);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violation_is_one_line_that_an_editor_can_open() {
        let violation = Violation::new("crates/x/src/lib.rs", 7, "has no header", "add one");
        assert_eq!(
            violation.to_string(),
            "crates/x/src/lib.rs:7: has no header; add one"
        );
    }

    #[test]
    fn every_rule_is_applied() {
        let bad = SourceFile::new(
            "crates/edgebus/src/store/mod.rs",
            "use crate::transport::Tcp;\n\
             fn f() { todo!() }\n\
             #[cfg(test)]\n\
             mod tests { #[ignore] #[test] fn t() {} }\n",
        );
        let lines: Vec<usize> = check_sources(&[bad]).iter().map(|v| v.line).collect();
        assert_eq!(lines, [1, 1, 2, 4]);
    }

    #[test]
    fn clean_file_passes_every_rule() {
        let good = SourceFile::new(
            "crates/edgebus/src/store/mod.rs",
            "//! Keeps requests.\n\nuse crate::error::Error;\n\nfn f() -> Result<(), Error> { Ok(()) }\n",
        );
        assert_eq!(check_sources(&[good]), []);
    }

    #[test]
    fn tree_without_rust_is_refused() {
        let folder = files::tests::TempFolder::new("no-rust");
        folder.write("Cargo.toml", "");
        let message = run(folder.path()).unwrap_err();
        assert!(message.contains("found no Rust file"), "{message}");
    }
}
