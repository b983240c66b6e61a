//! How keys, certificates and revocation lists come to a folder: whole or not at all.
//!
//! Invariants: a secret is readable for nobody but its owner at any moment. New files never take
//! the place of others. A set of new files is there as a whole, synced, or a failure leaves none of
//! it. A file that is replaced is the old or the new one at any moment, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use edgebus::files::Privacy;
use edgebus::{Code, Refusal};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::CliError;

/// A file to be written. Not `Debug`, as it may hold a secret.
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) content: String,
    pub(super) privacy: Privacy,
}

impl NewFile {
    pub(super) fn new(name: impl Into<String>, content: String, privacy: Privacy) -> Self {
        Self {
            name: name.into(),
            content,
            privacy,
        }
    }
}

/// Refuses names that are taken, in the folder or by two of the files.
pub(super) fn expect_free<'a>(
    dir: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), CliError> {
    let mut seen = Vec::new();
    for name in names {
        let path = dir.join(name);
        if seen.contains(&name) {
            let message = format!("two of the files would be {}", path.display());
            return Err(Refusal::new(Code::BadConfig, message).into());
        }
        seen.push(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CliError::io("look at", &path, error)),
            Ok(_) => return Err(taken(&path)),
        }
    }
    Ok(())
}

fn taken(path: &Path) -> CliError {
    let message = format!(
        "{} is there already, and nothing is overwritten: name another folder or file, or move it \
         away",
        path.display()
    );
    Refusal::new(Code::BadConfig, message).into()
}

/// Writes new files to a folder, which is made if it is missing.
///
/// # Errors
/// A name is taken, or the operating system fails; then none of the files is there.
pub(super) fn write_new(dir: &Path, files: &[NewFile]) -> Result<(), CliError> {
    expect_free(dir, files.iter().map(|file| file.name.as_str()))?;
    let made = !dir.exists();
    let mut undo = Undo::default();
    if made {
        fs::create_dir_all(dir).map_err(|e| CliError::io("make", dir, e))?;
        undo.dir = Some(dir.to_owned());
    }
    let mut aside = Vec::new();
    for file in files {
        let path = dir.join(format!(".{}.{}", file.name, uuid::Uuid::new_v4().simple()));
        let mode = match file.privacy {
            Privacy::Secret => 0o600,
            Privacy::Public => 0o644,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let opened = options
            .open(&path)
            .map_err(|e| CliError::io("write in", dir, e))?;
        undo.files.push(path.clone());
        fill(opened, file).map_err(|e| CliError::io("write", &dir.join(&file.name), e))?;
        aside.push(path);
    }
    for (from, file) in aside.iter().zip(files) {
        let to = dir.join(&file.name);
        rename_new(from, &to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(&to),
            _ => CliError::io("write", &to, error),
        })?;
        undo.files.push(to);
    }
    sync_dir(dir).map_err(|e| CliError::io("sync", dir, e))?;
    if made && let Ok(path) = dir.canonicalize() {
        let parent = path.parent().unwrap_or(&path);
        sync_dir(parent).map_err(|e| CliError::io("sync", parent, e))?;
    }
    undo.keep();
    Ok(())
}

fn fill(mut opened: File, file: &NewFile) -> io::Result<()> {
    // Before the secret is in it: some file systems have no modes, and show everything to all.
    if file.privacy == Privacy::Secret && opened.metadata()?.mode() & 0o077 != 0 {
        let what = "on this file system others could read it: name a folder on another one";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    opened.write_all(file.content.as_bytes())?;
    opened.sync_all()
}

/// Renames a file unless the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows it; all of those have links, which replace nothing either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

/// Replaces a file's content; of a link, that of the file it leads to, which others read.
///
/// # Errors
/// What the operating system says; the file is then the old one.
pub(super) fn replace(path: &Path, content: &str) -> io::Result<()> {
    let path = &path.canonicalize()?;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let aside = dir.join(format!(".crl.{}", uuid::Uuid::new_v4().simple()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(&aside)?;
    let mut undo = Undo::default();
    undo.files.push(aside.clone());
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    undo.keep();
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes what was made, unless it is to be kept.
#[derive(Default)]
struct Undo {
    files: Vec<PathBuf>,
    dir: Option<PathBuf>,
}

impl Undo {
    fn keep(mut self) {
        self.files.clear();
        self.dir = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // Those that were renamed are gone under their first name; there is nobody to tell.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> [NewFile; 2] {
        [
            NewFile::new(format!("{name}.key"), "secret".to_owned(), Privacy::Secret),
            NewFile::new(format!("{name}.pem"), "public".to_owned(), Privacy::Public),
        ]
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("made/for/it");
        write_new(&dir, &pair("till")).expect("written");
        let mode = |name: &str| fs::metadata(dir.join(name)).expect(name).mode() & 0o777;
        assert_eq!(mode("till.key"), 0o600);
        assert_eq!(mode("till.pem") & !0o044, 0o600);
        assert_eq!(names(&dir), ["till.key", "till.pem"]);
    }

    #[test]
    fn nothing_is_overwritten_and_no_half_set_is_left() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path();
        fs::write(dir.join("till.pem"), "mine").expect("written");
        let error = write_new(dir, &pair("till")).expect_err("taken");
        assert!(error.is(Code::BadConfig), "{error:?}");
        assert_eq!(names(dir), ["till.pem"]);
        assert_eq!(fs::read(dir.join("till.pem")).expect("read"), b"mine");
        // Also one that leads nowhere.
        std::os::unix::fs::symlink("nowhere", dir.join("other.key")).expect("linked");
        write_new(dir, &pair("other")).expect_err("taken");
        assert_eq!(names(dir), ["other.key", "till.pem"]);
        let twice = [pair("a"), pair("a")];
        write_new(dir, twice.as_flattened()).expect_err("twice");
        assert_eq!(names(dir), ["other.key", "till.pem"]);
    }

    #[test]
    fn a_file_that_comes_in_between_stays_and_the_set_goes() {
        let folder = tempfile::tempdir().expect("folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "new").expect("written");
        fs::write(&to, "old").expect("written");
        let error = rename_new(&from, &to).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).expect("read"), b"old");
        let undo = Undo {
            files: vec![from, folder.path().join("gone")],
            dir: None,
        };
        drop(undo);
        assert_eq!(names(folder.path()), ["to"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_and_one_made_for_nothing_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        write_new(&file.join("dir"), &pair("till")).expect_err("below a file");
        let dir = folder.path().join("dir");
        let long = "x".repeat(300);
        write_new(&dir, &pair(&long)).expect_err("the name is too long");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_link_leads_to_the_new_content() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("elsewhere");
        fs::create_dir(&dir).expect("made");
        fs::write(dir.join("crl.pem"), "old").expect("written");
        let link = folder.path().join("crl.pem");
        std::os::unix::fs::symlink("elsewhere/crl.pem", &link).expect("linked");
        replace(&link, "new").expect("replaced");
        assert_eq!(fs::read(dir.join("crl.pem")).expect("read"), b"new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(names(&dir), ["crl.pem"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("crl.pem");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("set");
        replace(&path, "new").expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o664);
        assert_eq!(names(folder.path()), ["crl.pem"]);
        replace(&folder.path().join("missing"), "new").expect_err("nothing to replace");
        assert_eq!(names(folder.path()), ["crl.pem"]);
    }
}
