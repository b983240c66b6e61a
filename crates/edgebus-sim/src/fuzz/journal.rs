//! Target `journal`: segment files through recovery.
//!
//! The bytes are: how many segments (1 to 3), the lsn up to which tables hold everything (0: there
//! are no tables), two unused; then the segments, of equal length. Promises: no panic; what is
//! reported as a group is one, as a second reader of the format says: salt, checksum, lsns that
//! follow on each other; none that was written before the segment was used again is reported;
//! nothing in the folder is changed but that a tear is copied.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgebus::files::{Files, OpenMode};
use edgebus::store::fuzzing::{Group, groups};
use sha2::{Digest as _, Sha256};

use super::{mend, rows};
use crate::SimDisk;

/// Bytes before the segments.
pub(super) const HEADER_BYTES: usize = 4;
const BLOCK_BYTES: usize = 4096;
const BYTES_MAX: usize = 512 * 1024;

/// Target `journal`.
pub(super) fn journal(data: &[u8]) {
    if data.len() <= HEADER_BYTES || data.len() > BYTES_MAX {
        return;
    }
    let (head, body) = data.split_at(HEADER_BYTES);
    let sealed = u64::from(head[1]).checked_sub(1);
    let count = usize::from(head[0] % 3) + 1;
    let each = (body.len() / count).max(1);
    let mut segments: Vec<Vec<u8>> = body.chunks(each).take(count).map(<[u8]>::to_vec).collect();
    recover(&segments, sealed);
    for (number, segment) in (1..).zip(&mut segments) {
        mend::segment(segment, number);
    }
    for group in recover(&segments, sealed) {
        rows::group_ops(group.ops);
    }
    used_again(segments, data);
}

/// With a salt that nobody knew when the groups were written, none of them is there.
fn used_again(mut segments: Vec<Vec<u8>>, data: &[u8]) {
    let salt = Sha256::digest(data);
    for (number, segment) in (1..).zip(&mut segments) {
        if segment.len() >= BLOCK_BYTES {
            segment[24..40].copy_from_slice(&salt[..16]);
            // Only the header, so that the groups keep the old one.
            mend::segment(&mut segment[..BLOCK_BYTES], number);
        }
    }
    let found = recover(&segments, None);
    assert!(found.is_empty(), "groups of an earlier use: {found:?}");
}

/// The groups, looked at by a second reader; none when recovery refuses.
fn recover(segments: &[Vec<u8>], sealed: Option<u64>) -> Vec<Group> {
    let disk = SimDisk::new(0);
    let dir = Path::new("/journal");
    disk.create_dir(dir).expect("there is room");
    let paths: Vec<PathBuf> = (1..=segments.len())
        .map(|number| dir.join(format!("{number:010}.wal")))
        .collect();
    for (path, bytes) in paths.iter().zip(segments) {
        let file = disk.open(path, OpenMode::Truncate).expect("there is room");
        file.write_at(bytes, 0).expect("there is room");
    }
    disk.sync_all();
    let found = groups(&disk, dir, sealed);
    for (path, bytes) in paths.iter().zip(segments) {
        let file = disk.open(path, OpenMode::Read).expect("nothing is removed");
        let mut now = vec![0; file.len().expect("there") as usize];
        file.read_at(&mut now, 0).expect("there");
        assert_eq!(&now, bytes, "recovery changed a segment");
    }
    let Ok((found, _)) = found else {
        return Vec::new();
    };
    let mut next = None;
    for group in &found {
        let segment = &segments[group.segment as usize - 1];
        is_written(group, segment);
        assert_eq!(*next.get_or_insert(group.first_lsn), group.first_lsn);
        next = Some(group.first_lsn + u64::from(group.op_count));
    }
    if let (Some(sealed), Some(first)) = (sealed, found.first()) {
        assert!(first.first_lsn <= sealed + 1, "a gap behind the tables");
    }
    found
}

/// What docs/storage-format.md says a group is.
fn is_written(group: &Group, segment: &[u8]) {
    assert_eq!(&segment[..8], b"EDGEBUSJ");
    let salt = &segment[24..40];
    let bytes = &segment[group.offset as usize..];
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
    assert_eq!(&bytes[..4], b"EBG1");
    assert_eq!(&bytes[8..24], salt);
    assert_eq!(bytes[24..32], group.first_lsn.to_le_bytes());
    assert_eq!(u32_at(56), group.op_count);
    let end = 64 + u32_at(60) as usize;
    assert_eq!(group.ops, Bytes::copy_from_slice(&bytes[64..end]));
    assert_eq!(u32_at(4), mend::salted_crc(salt, &bytes[8..end]));
}
