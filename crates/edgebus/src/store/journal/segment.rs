//! A segment's first block and its name.
//!
//! ```text
//!  0  8    "EDGEBUSJ"
//!  8  u32  CRC32C of bytes 12 to 48
//! 12  u32  format: 1
//! 16  u64  number, the same as in the name
//! 24  16   salt
//! 40  u64  first lsn
//! 48  u64  length of the file: a shorter one was cut off, which no crash does
//! 56  u32  CRC32C of bytes 48 to 56
//! 60       zeros up to 4 KiB
//! ```

use edgebus_core::Lsn;

use super::group::BLOCK_BYTES;

const MAGIC: [u8; 8] = *b"EDGEBUSJ";
const FORMAT: u32 = 1;
const END: usize = 48;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct SegmentHeader {
    pub(in crate::store) number: u64,
    pub(in crate::store) salt: [u8; 16],
    pub(in crate::store) first_lsn: Lsn,
    /// Length of the file, in bytes; 0 when the header does not tell.
    pub(in crate::store) file_bytes: u64,
}

impl SegmentHeader {
    /// The first block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        block[16..24].copy_from_slice(&self.number.to_le_bytes());
        block[24..40].copy_from_slice(&self.salt);
        block[40..48].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        block[48..56].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&block[48..56]);
        block[56..60].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&block[12..END]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// The format that a first block with a right checksum names, if it is a later one.
    fn newer_format(block: &[u8]) -> Option<u32> {
        let block = block.get(..END)?;
        let intact =
            block[..8] == MAGIC && block[8..12] == crc32c::crc32c(&block[12..END]).to_le_bytes();
        let format = u32::from_le_bytes([block[12], block[13], block[14], block[15]]);
        (intact && format > FORMAT).then_some(format)
    }

    /// Why a first block is no header, for people.
    pub(in crate::store) fn why_not(block: &[u8]) -> String {
        match Self::newer_format(block) {
            Some(format) => format!(
                "the segment has format {format}, this edgebus knows {FORMAT}: update edgebus"
            ),
            None => "the segment's header (byte 0) is damaged".to_owned(),
        }
    }

    /// The header in a first block, unless its checksum, format or name is wrong, or it begins with
    /// lsn 0, which no change ever has.
    pub(in crate::store) fn parse(block: &[u8]) -> Option<Self> {
        let length = block
            .get(48..60)
            .filter(|l| l[8..] == crc32c::crc32c(&l[..8]).to_le_bytes());
        let block = block.get(..END)?;
        let u64_at = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&block[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let valid = block[..8] == MAGIC
            && block[8..12] == crc32c::crc32c(&block[12..END]).to_le_bytes()
            && block[12..16] == FORMAT.to_le_bytes()
            && u64_at(40) > 0;
        let mut salt = [0; 16];
        salt.copy_from_slice(&block[24..40]);
        valid.then(|| Self {
            number: u64_at(16),
            salt,
            first_lsn: Lsn(u64_at(40)),
            file_bytes: length.map_or(0, file_bytes),
        })
    }
}

fn file_bytes(length: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&length[..8]);
    u64::from_le_bytes(number)
}

/// The name of a segment's file.
pub(in crate::store) fn file_name(number: u64) -> String {
    format!("{number:010}.wal")
}

/// The number in a segment's file name.
pub(in crate::store) fn parse_name(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back_and_any_flipped_bit_is_found_out() {
        let header = SegmentHeader {
            number: 3,
            salt: [9; 16],
            first_lsn: Lsn(77),
            file_bytes: 4096,
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::parse(&block), Some(header));
        for bit in 0..END * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&flipped), None, "bit {bit}");
        }
    }

    /// Recovery counts back from the first lsn.
    #[test]
    fn header_that_begins_with_lsn_0_is_none() {
        let header = SegmentHeader {
            number: 3,
            salt: [9; 16],
            first_lsn: Lsn(0),
            file_bytes: 4096,
        };
        assert_eq!(SegmentHeader::parse(&header.encode()), None);
    }

    #[test]
    fn names_sort_like_numbers() {
        assert_eq!(parse_name(&file_name(42)), Some(42));
        assert!(file_name(9) < file_name(10));
        assert_eq!(parse_name("spare-1"), None);
    }
}
