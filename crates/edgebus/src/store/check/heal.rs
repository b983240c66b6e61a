//! Finding the one bit that turned over.
//!
//! A checksum that does not match says more than that: for each bit of what it covers it says what it
//! would be if that bit alone were wrong. redb's pages have 128 bits of XXH3, so that a page in which
//! turning one bit back makes it match is what was written. A group of the journal has a CRC32C, which
//! finds the bit at once; that each record in it matches its own checksum again is the proof.
//!
//! Invariant: nothing is proposed that does not make everything match that covers it.

use bytes::Bytes;

use crate::store::journal::{
    BLOCK_BYTES, GROUP_FOOTER_BYTES, GROUP_HEADER_BYTES, GroupHeader, group_footer, parse_group_at,
};
use crate::store::op::Op;
use edgebus_core::Lsn;

/// A byte that is to be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turned {
    /// Where in what was looked at.
    pub(super) at: usize,
    pub(super) bit: u8,
}

impl Turned {
    fn turn(self, bytes: &mut [u8]) {
        bytes[self.at] ^= 1 << self.bit;
    }
}

/// The bit of some bytes that makes them right, by trying each.
pub(super) fn by_trying(
    bytes: &mut [u8],
    mut is_right: impl FnMut(&[u8]) -> bool,
) -> Option<Turned> {
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let turned = Turned { at, bit };
            turned.turn(bytes);
            let found = is_right(bytes);
            turned.turn(bytes);
            if found {
                return Some(turned);
            }
        }
    }
    None
}

/// The bit of a message whose turning changes a CRC32C by `difference`.
fn by_crc(difference: u32, bytes: usize) -> Option<Turned> {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    // What the last bit changes; each one before it, what is left of that a step later.
    let mut changes = POLYNOMIAL;
    for back in 0..bytes * 8 {
        if changes == difference {
            let bit = bytes * 8 - 1 - back;
            return Some(Turned {
                at: bit / 8,
                bit: (bit % 8) as u8,
            });
        }
        changes = (changes >> 1) ^ (POLYNOMIAL * (changes & 1));
    }
    None
}

/// The bit of a group, which begins these bytes, that makes it whole and have this first lsn.
pub(super) fn group(bytes: &Bytes, salt: &[u8; 16], first_lsn: Lsn) -> Option<Turned> {
    let is_whole = |bytes: &[u8]| {
        parse_group_at(bytes, salt)
            .is_some_and(|group| group.first_lsn == first_lsn && holds_what_it_says(bytes, &group))
    };
    // In the header: it says how much there is to look at, so each bit is another group.
    let header = bytes.get(..GROUP_HEADER_BYTES)?;
    let mut copy = bytes.to_vec();
    for at in 0..header.len() {
        for bit in 0..8 {
            let turned = Turned { at, bit };
            turned.turn(&mut copy);
            if is_whole(&copy) {
                return Some(turned);
            }
            turned.turn(&mut copy);
        }
    }
    let field = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let ops_bytes = field(60) as usize;
    let end = GROUP_HEADER_BYTES + ops_bytes;
    let all = (end + GROUP_FOOTER_BYTES).next_multiple_of(BLOCK_BYTES);
    if all > bytes.len() {
        return None;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(salt), &bytes[8..end]);
    let turned = match crc ^ field(4) {
        0 => {
            let mut right = vec![0; all - end - GROUP_FOOTER_BYTES];
            right.extend_from_slice(&group_footer(salt, first_lsn));
            let mut different = (end..all).filter(|at| bytes[*at] != right[at - end]);
            let at = different.next()?;
            let bits = bytes[at] ^ right[at - end];
            Turned {
                at,
                bit: bits.trailing_zeros() as u8,
            }
        }
        difference => {
            let turned = by_crc(difference, end - 8)?;
            Turned {
                at: turned.at + 8,
                ..turned
            }
        }
    };
    turned.turn(&mut copy);
    is_whole(&copy).then_some(turned)
}

/// Whether operations and records of a group are what they should be.
fn holds_what_it_says(bytes: &[u8], group: &GroupHeader) -> bool {
    let end = GROUP_HEADER_BYTES + group.ops_bytes as usize;
    let mut rest = Bytes::copy_from_slice(&bytes[GROUP_HEADER_BYTES..end]);
    let mut count = 0;
    while !rest.is_empty() {
        match Op::split_from(&mut rest) {
            Ok(Op::Append(entry)) if !entry.record().is_intact() => return false,
            Ok(_) => count += 1,
            Err(_) => return false,
        }
    }
    count == group.op_count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_that_turned_over_is_found_by_its_crc() {
        let message: Vec<u8> = (0..300u32).map(|n| (n * 7) as u8).collect();
        let crc = crc32c::crc32c(&message);
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            let turned = Turned {
                at: bit / 8,
                bit: (bit % 8) as u8,
            };
            turned.turn(&mut flipped);
            let found = by_crc(crc ^ crc32c::crc32c(&flipped), message.len());
            assert_eq!(found, Some(turned));
        }
        assert_eq!(by_crc(0, message.len()), None);
    }

    #[test]
    fn two_bits_are_not_taken_for_one() {
        let mut bytes = vec![1, 2, 3, 4];
        let right = bytes.clone();
        bytes[0] ^= 1;
        bytes[2] ^= 1;
        assert_eq!(by_trying(&mut bytes.clone(), |bytes| *bytes == right), None);
        bytes[0] ^= 1;
        let found = by_trying(&mut bytes, |bytes| *bytes == right);
        assert_eq!(found, Some(Turned { at: 2, bit: 0 }));
    }
}
