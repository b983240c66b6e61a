//! File systems of a run's own: an image behind a loop device, or memory; gone with their owner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, tools};
use crate::say::err;

/// How often something that is still in use is tried to be let go of.
const TRIES: u32 = 100;
/// How long between two tries.
const BETWEEN: Duration = Duration::from_millis(20);

/// Programs that are needed for it.
#[derive(Clone, Debug)]
pub struct Programs {
    losetup: PathBuf,
    mount: PathBuf,
    umount: PathBuf,
}

impl Programs {
    /// Finds them.
    ///
    /// # Errors
    /// [`Failure::CannotRun`] for whoever is not root, or has none of them.
    pub fn find(what_for: &str) -> Result<Self, Failure> {
        tools::need_root(what_for)?;
        Ok(Self {
            losetup: tools::need_tool("losetup", "mount")?,
            mount: tools::need_tool("mount", "mount")?,
            umount: tools::need_tool("umount", "mount")?,
        })
    }

    /// A file as a block device.
    ///
    /// # Errors
    /// [`Failure::CannotRun`] where that may not be.
    pub fn attach(&self, image: &Path) -> Result<Loop, Failure> {
        let file = image.to_string_lossy();
        let device = tools::run(&self.losetup, &["--find", "--show", &file])
            .map_err(|e| Failure::CannotRun(format!("loop devices may not be used: {e}")))?;
        Ok(Loop {
            device: device.trim().to_owned(),
            losetup: self.losetup.clone(),
        })
    }

    /// Mounts what is on a device.
    ///
    /// # Errors
    /// [`Failure::CannotRun`] where that may not be, or its file system cannot be mounted.
    pub fn mount(&self, device: &Loop, dir: &Path) -> Result<Mounted, Failure> {
        self.mount_with(&["-t", "ext4", "-o", "noatime", &device.device], dir)
    }

    /// Mounts memory of so many bytes.
    ///
    /// # Errors
    /// [`Failure::CannotRun`] where that may not be.
    pub fn mount_memory(&self, bytes: u64, dir: &Path) -> Result<Mounted, Failure> {
        let size = format!("size={bytes},mode=0755");
        self.mount_with(&["-t", "tmpfs", "-o", &size, "edgebus-sim"], dir)
    }

    fn mount_with(&self, args: &[&str], dir: &Path) -> Result<Mounted, Failure> {
        let at = dir.to_string_lossy();
        std::fs::create_dir_all(dir).map_err(|e| Failure::broken(&at, e))?;
        tools::run(&self.mount, &[args, &[&at]].concat())
            .map_err(|e| Failure::CannotRun(format!("nothing may be mounted: {e}")))?;
        Ok(Mounted {
            dir: dir.to_owned(),
            umount: self.umount.clone(),
        })
    }
}

/// A file as a block device, until this is dropped.
#[derive(Debug)]
pub struct Loop {
    device: String,
    losetup: PathBuf,
}

impl Loop {
    /// What was written to the device so far, and what is on its way; changes whenever that does.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the system does not tell.
    pub fn activity(&self) -> Result<String, Failure> {
        let name = self.device.trim_start_matches("/dev/");
        let file = format!("/sys/block/{name}/stat");
        std::fs::read_to_string(&file).map_err(|e| Failure::broken(file, e))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        until_done(&self.losetup, &["--detach", &self.device]);
    }
}

/// A mounted file system, until this is dropped. Whoever uses it must have ended.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    umount: PathBuf,
}

impl Mounted {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        until_done(&self.umount, &[&self.dir.to_string_lossy()]);
    }
}

/// Someone else may still look at it for a moment.
fn until_done(program: &Path, args: &[&str]) {
    let mut said = None;
    for _ in 0..TRIES {
        match tools::run(program, args) {
            Ok(_) => return,
            Err(failure) => said = Some(failure),
        }
        std::thread::sleep(BETWEEN);
    }
    if let Some(failure) = said {
        err!("edgebus-sim: left behind: {failure}");
    }
}
