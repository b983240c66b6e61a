//! Which files the rules look at, and their text.
//!
//! Git knows best (tracked files, and new ones that are not ignored), but a source tarball has no
//! git and is checked as well: then the folders are walked, without build output and hidden
//! folders. Called by the parent only. Invariant: paths are relative to the root, use `/`, and come
//! sorted, so that output is the same everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Endings of the text files that are read; everything else is skipped.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".sh", ".yml", ".yaml"];

/// Text files without such an ending.
const NAMED: &[&str] = &[".ci/run"];

/// Hidden folders that hold files of the project.
const HIDDEN_FOLDERS: &[&str] = &[".ci", ".cargo", ".github"];

/// Folders that no source tarball contains but a used one may.
const OUTPUT_FOLDERS: &[&str] = &["target", "edgebus-data"];

/// The relative path and text of every file to check.
pub(super) fn read_all(root: &Path) -> Result<Vec<(String, String)>, String> {
    let paths = match list_by_git(root) {
        Some(paths) => paths,
        None => {
            let mut paths = BTreeSet::new();
            walk(root, "", &mut paths)
                .map_err(|error| format!("tidy: cannot list {}: {error}", root.display()))?;
            paths
        }
    };
    let mut texts = Vec::new();
    for path in paths.into_iter().filter(|path| is_text(path)) {
        match fs::read_to_string(root.join(&path)) {
            Ok(text) => texts.push((path, text)),
            // In the index but deleted in the working tree.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!(
                    "tidy: cannot read {path}: {error}; make it readable UTF-8 or delete it"
                ));
            }
        }
    }
    Ok(texts)
}

fn is_text(path: &str) -> bool {
    NAMED.contains(&path) || ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Tracked and new files, or `None` when git is missing or this is not its tree.
///
/// A tarball unpacked inside an ignored folder of another repository gives an empty list, which
/// must not pass for an empty tree; the workspace manifest tells the two apart.
fn list_by_git(root: &Path) -> Option<BTreeSet<String>> {
    let output = git(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    let paths: BTreeSet<String> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    paths.contains("Cargo.toml").then_some(paths)
}

/// Git in `root`, whatever repository a hook that started this is about.
fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(root);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
}

/// Adds the files below `folder` (relative, empty for the root). Symbolic links are not followed.
fn walk(root: &Path, folder: &str, paths: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_file() {
            paths.insert(path);
        } else if kind.is_dir() && is_source_folder(&name) {
            walk(root, &path, paths)?;
        }
    }
    Ok(())
}

fn is_source_folder(name: &str) -> bool {
    HIDDEN_FOLDERS.contains(&name) || !(name.starts_with('.') || OUTPUT_FOLDERS.contains(&name))
}

#[cfg(test)]
pub(super) mod tests;
