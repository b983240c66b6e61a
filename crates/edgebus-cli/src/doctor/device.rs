//! What a folder is on: the file system, how it is mounted, the device below, and what that says of
//! its cache.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, stat, statfs};

use crate::error::CliError;

/// What kind of file system it is, as far as keeping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// On a device of this machine.
    Local,
    /// In memory: it is gone with the power.
    Memory,
    /// On another machine, which decides what a sync means.
    Network,
    /// On top of another one, which is not seen from here.
    Layered,
    Unknown,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) file_system: &'static str,
    pub(super) kind: Kind,
    /// Mount options that make a sync no sync.
    pub(super) without_sync: Option<String>,
    /// As the kernel calls it, like `sda` or `nvme0n1`.
    pub(super) name: Option<String>,
    /// `write back` or `write through`.
    pub(super) write_cache: Option<String>,
    pub(super) rotational: Option<bool>,
    /// Behind it is something of a host, or a file.
    pub(super) is_virtual: bool,
}

/// Numbers of file systems, from `statfs(2)`.
const KNOWN: [(u64, &str, Kind); 21] = [
    (0xEF53, "ext4", Kind::Local),
    (0x5846_5342, "xfs", Kind::Local),
    (0x9123_683E, "btrfs", Kind::Local),
    (0xF2F5_2010, "f2fs", Kind::Local),
    (0x2FC1_2FC1, "zfs", Kind::Local),
    (0xCA45_1A4E, "bcachefs", Kind::Local),
    (0x4D44, "vfat", Kind::Local),
    (0x2011_BAB0, "exfat", Kind::Local),
    (0x7366_746E, "ntfs", Kind::Local),
    (0x0102_1994, "tmpfs", Kind::Memory),
    (0x8584_58F6, "ramfs", Kind::Memory),
    (0x794C_7630, "overlay", Kind::Layered),
    (0x6573_5546, "fuse", Kind::Layered),
    (0xF15F, "ecryptfs", Kind::Layered),
    (0x6969, "nfs", Kind::Network),
    (0xFE53_4D42, "smb2", Kind::Network),
    (0xFF53_4D42, "cifs", Kind::Network),
    (0x0102_1997, "9p", Kind::Network),
    (0x00C3_6400, "ceph", Kind::Network),
    (0x5346_414F, "afs", Kind::Network),
    (0x0BD0_0BD0, "lustre", Kind::Network),
];

impl Device {
    /// That of a folder.
    pub(super) fn of(dir: &Path) -> Result<Self, CliError> {
        let io = |error: rustix::io::Errno| CliError::io("look at", dir, error.into());
        let number = statfs(dir).map_err(io)?.f_type as u64 & 0xFFFF_FFFF;
        let known = KNOWN.iter().find(|(known, ..)| *known == number);
        let (file_system, kind) =
            known.map_or(("unknown", Kind::Unknown), |(_, name, kind)| (*name, *kind));
        let device = stat(dir).map_err(io)?.st_dev;
        let numbers = format!("{}:{}", major(device), minor(device));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mount_of(&mounts, &numbers);
        let block = mount
            .as_ref()
            .and_then(|mount| block_device(&numbers, &mount.source))
            .or_else(|| block_device(&numbers, ""));
        let read = |name: &str| {
            let path = block.as_ref()?.join("queue").join(name);
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let name = block.as_ref().and_then(|path| path.file_name());
        let name = name.map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            file_system,
            kind,
            without_sync: mount.and_then(|mount| without_sync(file_system, &mount.options)),
            write_cache: read("write_cache"),
            rotational: read("rotational").map(|text| text == "1"),
            is_virtual: name.as_deref().is_some_and(is_virtual),
            name,
        })
    }
}

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    options: Vec<String>,
    source: String,
}

/// The last mount of a device: the options of the mount and those of the file system.
fn mount_of(mounts: &str, numbers: &str) -> Option<Mount> {
    let mut lines = mounts.lines().rev();
    let line = lines.find(|line| line.split(' ').nth(2) == Some(numbers))?;
    let (mount, file_system) = line.split_once(" - ")?;
    let mut words = file_system.split(' ').skip(1);
    let source = words.next()?.to_owned();
    let options = [mount.split(' ').nth(5)?, words.next().unwrap_or_default()];
    let options = options.iter().flat_map(|options| options.split(','));
    Some(Mount {
        options: options.map(str::to_owned).collect(),
        source,
    })
}

/// The option with which the file system does not ask the device to keep anything.
fn without_sync(file_system: &str, options: &[String]) -> Option<String> {
    let is_bad = |option: &&String| match file_system {
        "overlay" => *option == "volatile",
        _ => matches!(option.as_str(), "nobarrier" | "barrier=0" | "nobh"),
    };
    options.iter().find(is_bad).cloned()
}

/// The whole device below a folder, in `/sys`. One with numbers of its own (btrfs) is found by its
/// name.
fn block_device(numbers: &str, source: &str) -> Option<PathBuf> {
    let by_number = PathBuf::from(format!("/sys/dev/block/{numbers}"));
    let found = fs::canonicalize(by_number).or_else(|error| {
        let name = source.strip_prefix("/dev/").ok_or(error)?;
        let name = fs::canonicalize(source)
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| name.to_owned());
        fs::canonicalize(format!("/sys/class/block/{name}"))
    });
    let found = found.ok()?;
    match found.join("partition").exists() {
        true => found.parent().map(Path::to_owned),
        false => Some(found),
    }
}

/// By its name: virtio, Xen, a file, memory, or one made of others.
fn is_virtual(name: &str) -> bool {
    ["vd", "xvd", "loop", "zram", "ram", "dm-", "md", "nbd"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
30 1 8:2 / / rw,noatime shared:1 - ext4 /dev/sda2 rw,nobarrier,data=ordered
40 30 0:44 / /data rw,relatime - btrfs /dev/sdb rw,space_cache=v2
50 30 0:50 / /box rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c,volatile";

    #[test]
    fn mount_that_does_not_sync_is_told() {
        let of = |numbers, name| {
            let mount = mount_of(MOUNTS, numbers).expect("mounted");
            without_sync(name, &mount.options)
        };
        assert_eq!(of("8:2", "ext4").as_deref(), Some("nobarrier"));
        assert_eq!(of("0:44", "btrfs"), None);
        assert_eq!(of("0:50", "overlay").as_deref(), Some("volatile"));
        assert_eq!(mount_of(MOUNTS, "9:9"), None);
        let btrfs = mount_of(MOUNTS, "0:44").expect("mounted");
        assert_eq!(btrfs.source, "/dev/sdb");
    }
}
