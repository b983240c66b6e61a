//! Checksums put right. A changed byte behind a checksum is refused before anything looks at it, so
//! each target looks at its bytes twice: as they are, and mended.
//!
//! Invariant: only lengths, checksums, salts and padding change; what they guard does not.

use sha2::{Digest as _, Sha256};

/// Most bytes of one frame in a target, length field not counted.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;

const FRAME_HEADER_BYTES: usize = 12;
const RECORD_HEADER_BYTES: usize = 40;
const SEND: u8 = 3;
const REQUEST: u8 = 11;
const PUBLISH: u8 = 19;
const BLOCK_BYTES: usize = 4096;
const GROUP_HEADER_BYTES: usize = 64;
const GROUP_FOOTER_BYTES: usize = 16;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |four| {
        u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize
    })
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Frames one after the other: lengths that run over the end are cut to it, and every checksum is
/// right, also those of records.
pub(super) fn frames(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.len() - at >= FRAME_HEADER_BYTES {
        let left = bytes.len() - at - 4;
        let length = u32_at(bytes, at).clamp(FRAME_HEADER_BYTES - 4, left);
        let frame = &mut bytes[at..at + 4 + length];
        put_u32(frame, 0, length as u32);
        if matches!(frame[8], SEND | REQUEST | PUBLISH) && length > 24 {
            let mut records = &mut frame[28..];
            while let Some(bytes) = record_bytes(records) {
                let (one, rest) = records.split_at_mut(bytes);
                record(one);
                records = rest;
            }
        }
        let crc = crc32c::crc32c(&frame[8..]);
        put_u32(frame, 4, crc);
        at += 4 + length;
    }
}

/// Length of the record that starts the bytes, if they hold it.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..RECORD_HEADER_BYTES)?;
    let of = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let total = RECORD_HEADER_BYTES + u32_at(header, 4) + of(8) + of(10);
    (total <= bytes.len()).then_some(total)
}

/// The checksum of a record.
pub(super) fn record(bytes: &mut [u8]) {
    if bytes.len() >= RECORD_HEADER_BYTES {
        let crc = crc32c::crc32c(&bytes[4..]);
        put_u32(bytes, 0, crc);
    }
}

/// The checksum that begins a row, over the rest of it.
pub(super) fn row(bytes: &mut [u8]) {
    if bytes.len() >= 4 {
        let crc = crc32c::crc32c(&bytes[4..]);
        put_u32(bytes, 0, crc);
    }
}

/// A segment: its header's checksums, and each block that begins like a group made to be one.
pub(super) fn segment(bytes: &mut [u8], number: u64) {
    if bytes.len() < BLOCK_BYTES {
        return;
    }
    bytes[..8].copy_from_slice(b"EDGEBUSJ");
    put_u32(bytes, 12, 1);
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[48..56]);
    put_u32(bytes, 56, crc);
    let crc = crc32c::crc32c(&bytes[12..48]);
    put_u32(bytes, 8, crc);
    let (header, mut rest) = bytes.split_at_mut(BLOCK_BYTES);
    let salt = &header[24..40];
    while rest.len() >= BLOCK_BYTES {
        let blocks = match rest.starts_with(b"EBG1") {
            true => group(rest, salt),
            false => 1,
        };
        rest = &mut rest[blocks * BLOCK_BYTES..];
    }
}

/// Makes the group at the front a whole one; how many blocks it takes.
fn group(bytes: &mut [u8], salt: &[u8]) -> usize {
    let fits = bytes.len() / BLOCK_BYTES * BLOCK_BYTES - GROUP_HEADER_BYTES - GROUP_FOOTER_BYTES;
    let ops_bytes = u32_at(bytes, 60).min(fits);
    put_u32(bytes, 60, ops_bytes as u32);
    let end = GROUP_HEADER_BYTES + ops_bytes;
    let whole = (end + GROUP_FOOTER_BYTES).next_multiple_of(BLOCK_BYTES);
    bytes[8..24].copy_from_slice(salt);
    bytes[end..whole - GROUP_FOOTER_BYTES].fill(0);
    let (before, footer) = bytes[..whole].split_at_mut(whole - GROUP_FOOTER_BYTES);
    footer[..8].copy_from_slice(&salt[..8]);
    footer[8..].copy_from_slice(&before[24..32]);
    let crc = salted_crc(salt, &bytes[8..end]);
    put_u32(bytes, 4, crc);
    whole / BLOCK_BYTES
}

/// A backup: numbers and checksums of its chunks, lengths that run over the end, and the digest in
/// the last one.
pub(super) fn backup(bytes: &mut [u8]) {
    const HEADER_BYTES: usize = 24;
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (mut at, mut number) = (line + 1, 0u64);
    while bytes.len() - at >= HEADER_BYTES {
        let left = bytes.len() - at - HEADER_BYTES;
        let length = u32_at(bytes, at + 4).min(left);
        let end = at + HEADER_BYTES + length;
        let (before, rest) = bytes.split_at_mut(at);
        let chunk = &mut rest[..end - at];
        put_u32(chunk, 4, length as u32);
        chunk[16..24].copy_from_slice(&number.to_le_bytes());
        // The digest is the first field of the last chunk.
        if end == before.len() + rest.len() && length >= 34 {
            let digest = Sha256::digest(&*before);
            rest[HEADER_BYTES + 2..HEADER_BYTES + 34].copy_from_slice(&digest);
        }
        row(&mut rest[..end - at]);
        (at, number) = (end, number + 1);
    }
}

/// The checksum of what is in a group, from its salt to its last operation.
pub(super) fn salted_crc(salt: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::seeds;

    #[test]
    fn what_is_right_is_left_as_it_is() {
        for (name, bytes) in seeds::frames().into_iter().chain(seeds::client_says()) {
            let mut mended = bytes.clone();
            frames(&mut mended);
            assert!(mended == bytes, "{name}");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_group_is_behind_a_right_checksum_again() {
        let (_, mut bytes) = seeds::journal().remove(0);
        let segment_bytes = bytes.split_off(crate::fuzz::journal::HEADER_BYTES);
        let mut flipped = segment_bytes.clone();
        flipped[BLOCK_BYTES + GROUP_HEADER_BYTES + 30] ^= 1;
        let mut mended = flipped.clone();
        segment(&mut mended, 1);
        assert_ne!(mended, flipped);
        segment(&mut flipped, 1);
        assert_eq!(mended, flipped);
    }
}
