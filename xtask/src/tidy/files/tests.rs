//! Listing with and without git. The folders are real ones below the system's temporary folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own for one test, removed on drop.
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("edgebus-xtask-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read_paths(folder: &TempFolder) -> Vec<String> {
    let texts = read_all(folder.path()).unwrap();
    texts.into_iter().map(|(path, _)| path).collect()
}

fn sample_tree(name: &str) -> TempFolder {
    let folder = TempFolder::new(name);
    for path in [
        "Cargo.toml",
        "README.md",
        "picture.png",
        ".ci/run",
        ".hidden/x.rs",
        "src/a/b.rs",
        "src/target/ignored.rs",
        "target/out.rs",
    ] {
        folder.write(path, "x");
    }
    folder.write(".gitignore", "target/\n.hidden/\n");
    folder
}

const EXPECTED: [&str; 4] = [".ci/run", "Cargo.toml", "README.md", "src/a/b.rs"];

#[test]
fn tarball_without_git_is_walked() {
    assert_eq!(read_paths(&sample_tree("walk")), EXPECTED);
}

#[test]
fn git_lists_new_files_and_not_ignored_ones() {
    let folder = sample_tree("git");
    let run = |arguments: &[&str]| git(folder.path()).args(arguments).output();
    // A machine without git takes the other way, which the test above covers.
    let Ok(output) = run(&["init", "--quiet"]) else {
        return;
    };
    assert!(output.status.success());
    assert_eq!(read_paths(&folder), EXPECTED);

    assert!(run(&["add", "README.md"]).unwrap().status.success());
    fs::remove_file(folder.path().join("README.md")).unwrap();
    assert_eq!(read_paths(&folder), [".ci/run", "Cargo.toml", "src/a/b.rs"]);
}

#[test]
fn file_that_is_not_text_is_named() {
    let folder = TempFolder::new("binary");
    fs::write(folder.path().join("a.rs"), [0xff, 0xfe]).unwrap();
    let message = read_all(folder.path()).unwrap_err();
    assert!(message.contains("a.rs"), "{message}");
}
