//! Folders of one machine have no place in the tree: they say nothing to anybody else, and a script
//! or test that uses one works nowhere else.
//!
//! Judges raw text, since such a path does the same harm in a comment, a string or a document.

use super::Violation;

/// Top folders that exist on the machine of whoever wrote the line. Kept without slashes, so that
/// this file passes its own rule.
const TOP_FOLDERS: &[&str] = &["work", "root", "home"];

/// Reports each line of `text` that names such a folder.
pub(super) fn check(path: &str, text: &str, violations: &mut Vec<Violation>) {
    for (index, line) in text.lines().enumerate() {
        let folder = TOP_FOLDERS
            .iter()
            .map(|folder| format!("/{folder}/"))
            .find(|folder| names_absolute(line, folder));
        if let Some(folder) = folder {
            violations.push(Violation::new(
                path,
                index + 1,
                format!("names `{folder}`, a folder of one machine"),
                "use a path relative to the tree, a temporary folder or an environment variable",
            ));
        }
    }
}

/// Whether `folder` begins a path in `line`, and not `docs/…` or `example.org/…` goes before it.
fn names_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}~".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let mut violations = Vec::new();
        check("README.md", text, &mut violations);
        violations.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        for folder in TOP_FOLDERS {
            for line in [
                format!("cd /{folder}/x"),
                format!("/{folder}/"),
                format!("\"/{folder}/x\""),
                format!("file:///{folder}/x"),
                format!("--data=/{folder}/x"),
            ] {
                assert_eq!(lines(&format!("fine\n{line}\n")), [2], "{line}");
            }
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for folder in TOP_FOLDERS {
            for line in [
                format!("docs/{folder}/x"),
                format!("https://example.org/{folder}/x"),
                format!("./{folder}/x"),
                format!("${{DIR}}/{folder}/x"),
                format!("/{folder}s/x"),
                "/run/edgebus.sock".to_owned(),
            ] {
                assert_eq!(lines(&line), [0; 0], "{line}");
            }
        }
    }
}
