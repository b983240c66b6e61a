//! A group as bytes.
//!
//! ```text
//!  0  u32  "EBG1"
//!  4  u32  CRC32C, seeded with the segment's salt, of everything behind it up to the padding
//!  8  16   the segment's salt
//! 24  u64  first lsn
//! 32  u64  synced lsn: what was durable when this was written
//! 40  u64  store time, milliseconds
//! 48  u64  wall clock, unix milliseconds
//! 56  u32  operations
//! 60  u32  bytes of operations
//! 64       operations, then zeros up to 16 bytes before a multiple of 4 KiB
//!     8    the first half of the salt
//!     u64  first lsn
//! ```
//! Salt and lsn stand at both ends so that a group of which some sectors are missing can be told
//! from what an earlier use of the segment left there.

use edgebus_core::Lsn;
use edgebus_core::planted;

/// What a group starts on and is padded to, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// Bytes before the operations.
pub(in crate::store) const HEADER_BYTES: usize = 64;
/// Bytes behind the padding.
pub(in crate::store) const FOOTER_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"EBG1";
/// As much as a padding is at most, to be compared at once.
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// The header of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) first_lsn: Lsn,
    pub(crate) synced_lsn: Lsn,
    pub(crate) store_time_ms: u64,
    pub(crate) wall_ms: u64,
    pub(crate) op_count: u32,
    pub(crate) ops_bytes: u32,
}

/// Bytes on disk of a group with that many bytes of operations.
pub(super) fn padded_bytes(ops_bytes: usize) -> u64 {
    let bytes = HEADER_BYTES + ops_bytes + FOOTER_BYTES;
    if planted!("unpadded-groups") {
        return bytes as u64;
    }
    bytes.next_multiple_of(BLOCK_BYTES) as u64
}

impl GroupHeader {
    /// Writes header, operations and padding into the buffer, replacing what it holds.
    pub(super) fn encode(&self, salt: &[u8; 16], ops: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(salt);
        out.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.synced_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.store_time_ms.to_le_bytes());
        out.extend_from_slice(&self.wall_ms.to_le_bytes());
        out.extend_from_slice(&self.op_count.to_le_bytes());
        out.extend_from_slice(&self.ops_bytes.to_le_bytes());
        out.extend_from_slice(ops);
        let crc = salted_crc(salt, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out.resize(padded_bytes(ops.len()) as usize - FOOTER_BYTES, 0);
        out.extend_from_slice(&footer(salt, self.first_lsn));
    }

    /// The last lsn in the group.
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.op_count) - 1)
    }

    /// Bytes of the group on disk.
    pub(crate) fn disk_bytes(&self) -> usize {
        padded_bytes(self.ops_bytes as usize) as usize
    }
}

/// What stands at a place where a group may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Found {
    /// A whole group.
    Group(GroupHeader),
    /// What is left of a group of this segment that was to hold `expected`.
    Torn,
    /// Nothing of this use of the segment: zeros, or what an earlier use left.
    Nothing,
}

/// Looks at a place in a segment. `expected` is the lsn that a group here would start with.
pub(in crate::store) fn look_at(bytes: &[u8], salt: &[u8; 16], expected: Lsn) -> Found {
    if let Some(group) = parse(bytes, salt) {
        return Found::Group(group);
    }
    let ours = bytes.get(8..24) == Some(salt);
    let awaited = bytes.get(24..32) == Some(&expected.0.to_le_bytes());
    let footer = footer(salt, expected);
    let ends = bytes
        .chunks(BLOCK_BYTES)
        .any(|block| block.ends_with(&footer));
    if ours || awaited || ends {
        Found::Torn
    } else {
        Found::Nothing
    }
}

pub(in crate::store) fn footer(salt: &[u8; 16], first_lsn: Lsn) -> [u8; FOOTER_BYTES] {
    let mut footer = [0; FOOTER_BYTES];
    footer[..8].copy_from_slice(&salt[..8]);
    footer[8..].copy_from_slice(&first_lsn.0.to_le_bytes());
    footer
}

/// The group that starts the bytes, if a whole one with a right checksum does.
pub(in crate::store) fn parse(bytes: &[u8], salt: &[u8; 16]) -> Option<GroupHeader> {
    let header = bytes.get(..HEADER_BYTES)?;
    if header[..4] != MAGIC || header[8..24] != *salt {
        return None;
    }
    let u64_at = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let group = GroupHeader {
        first_lsn: Lsn(u64_at(24)),
        synced_lsn: Lsn(u64_at(32)),
        store_time_ms: u64_at(40),
        wall_ms: u64_at(48),
        op_count: u32_at(56),
        ops_bytes: u32_at(60),
    };
    let end = HEADER_BYTES + group.ops_bytes as usize;
    let body = bytes.get(8..end)?;
    let (padding, last) = bytes
        .get(end..group.disk_bytes())?
        .split_at(group.disk_bytes() - end - FOOTER_BYTES);
    // Lsns that run over the end of all numbers were never written.
    let ends = group.first_lsn.0.checked_add(u64::from(group.op_count));
    let whole = group.op_count > 0
        && ends.is_some()
        && salted_crc(salt, body).to_le_bytes() == header[4..8]
        && *padding == ZEROS[..padding.len()]
        && *last == footer(salt, group.first_lsn);
    whole.then_some(group)
}

fn salted_crc(salt: &[u8; 16], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [7; 16];

    fn group(ops: &[u8]) -> (GroupHeader, Vec<u8>) {
        let header = GroupHeader {
            first_lsn: Lsn(5),
            synced_lsn: Lsn(4),
            store_time_ms: 1,
            wall_ms: 2,
            op_count: 3,
            ops_bytes: ops.len() as u32,
        };
        let mut bytes = Vec::new();
        header.encode(&SALT, ops, &mut bytes);
        (header, bytes)
    }

    #[test]
    fn group_is_padded_to_blocks_and_comes_back() {
        for len in [1, 4016, 4017, 9000] {
            let (header, bytes) = group(&vec![1; len]);
            assert_eq!(bytes.len() % BLOCK_BYTES, 0);
            assert_eq!(bytes.len(), header.disk_bytes());
            assert_eq!(look_at(&bytes, &SALT, Lsn(5)), Found::Group(header));
        }
    }

    #[test]
    fn any_flipped_bit_reads_as_torn() {
        let (_, bytes) = group(b"some operations");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(look_at(&flipped, &SALT, Lsn(5)), Found::Torn, "bit {bit}");
        }
    }

    #[test]
    fn group_without_any_one_of_its_sectors_reads_as_torn() {
        let (_, bytes) = group(&vec![1; 9000]);
        for sector in bytes.chunks(512).enumerate().map(|(at, _)| at * 512) {
            let mut torn = bytes.clone();
            torn[sector..sector + 512].fill(0xa5);
            assert_eq!(look_at(&torn, &SALT, Lsn(5)), Found::Torn, "byte {sector}");
        }
    }

    /// Its checksum is right, so only damage before it was written could make one.
    #[test]
    fn group_whose_lsns_run_over_the_end_is_none() {
        for (first, whole) in [
            (u64::MAX - 3, true),
            (u64::MAX - 2, false),
            (u64::MAX, false),
        ] {
            let header = GroupHeader {
                first_lsn: Lsn(first),
                ..group(b"ops").0
            };
            let mut bytes = Vec::new();
            header.encode(&SALT, b"ops", &mut bytes);
            assert_eq!(parse(&bytes, &SALT).is_some(), whole, "{first}");
        }
    }

    #[test]
    fn group_of_an_earlier_use_of_the_segment_is_nothing() {
        let (_, bytes) = group(b"old");
        assert_eq!(look_at(&bytes, &[8; 16], Lsn(100)), Found::Nothing);
        assert_eq!(look_at(&[0; 4096], &SALT, Lsn(5)), Found::Nothing);
    }
}
