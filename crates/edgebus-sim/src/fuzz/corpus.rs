//! The inputs that are kept: what real encoders write, and whatever once broke something.
//!
//! They are files, one an input, in a folder a target: `fuzz/corpus/<target>/`, where libFuzzer
//! looks too. An input that was found by its damage is called `found-<what>`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Target;

/// Where this tree keeps them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// A target's inputs: the files in its folder, in the order of their names. Where there are none, as
/// for a binary that was moved, they are what real encoders write today; some of that is drawn anew
/// each time, so only a run over files can be done again.
///
/// # Errors
/// What the operating system says about the files.
pub fn read(folder: &Path, target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let files = files(folder, target)?;
    if files.is_empty() {
        let seeds = (target.seeds)().into_iter();
        return Ok(seeds.map(|(_, bytes)| bytes).collect());
    }
    files.into_iter().map(fs::read).collect()
}

/// Whether there are files for a target.
///
/// # Errors
/// What the operating system says about the files.
pub fn has_any(folder: &Path, target: &Target) -> io::Result<bool> {
    Ok(!files(folder, target)?.is_empty())
}

/// A target's files, in the order of their names; none when it has no folder.
fn files(folder: &Path, target: &Target) -> io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    match fs::read_dir(folder.join(target.name)) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if path.is_file() {
                    files.insert(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(files)
}

/// Writes what real encoders write today; how many files.
///
/// # Errors
/// What the operating system says.
pub fn write(folder: &Path, target: &Target) -> io::Result<usize> {
    let folder = folder.join(target.name);
    fs::create_dir_all(&folder)?;
    let seeds = (target.seeds)();
    for (name, bytes) in &seeds {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(seeds.len())
}

/// Keeps an input that broke something, under a name that follows from its bytes.
///
/// # Errors
/// What the operating system says.
pub fn keep(folder: &Path, target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let folder = folder.join(target.name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!(
        "crash-{:08x}-{}",
        crc32c::crc32c(input),
        input.len()
    ));
    fs::write(&path, input)?;
    Ok(path)
}
