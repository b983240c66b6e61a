//! The bytes of one file, sparse, so that a preallocated gigabyte costs nothing.
//!
//! Used by the inode for both what survives and what reads see. Pages are shared between copies
//! until one of them writes: after a power cut both are the same. Invariant: bytes behind the
//! length are 0 in the pages too, so that growing again never shows old ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A file's content; a page that is missing reads as 0.
#[derive(Clone, Default)]
pub(super) struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills the buffer, or fails with `UnexpectedEof` and leaves it alone.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if !buffer.is_empty() && end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (page, start) = place(at);
            let count = rest.len().min(PAGE_BYTES - start);
            let (now, later) = rest.split_at_mut(count);
            match self.pages.get(&page) {
                Some(bytes) => now.copy_from_slice(&bytes[start..start + count]),
                None => now.fill(0),
            }
            at += count as u64;
            rest = later;
        }
        Ok(())
    }

    /// Writes the bytes; the file grows if they end behind it.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (page, start) = place(at);
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - start));
            // A zero-filled journal segment stays a hole.
            if self.pages.contains_key(&page) || now != &ZEROS[..now.len()] {
                self.page_mut(page)[start..start + now.len()].copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
        if !bytes.is_empty() {
            self.extend(at);
        }
    }

    /// Makes the file at least this long.
    pub(super) fn extend(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Makes the file exactly this long.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, start) = place(len);
            drop(self.pages.split_off(&(page + 1)));
            if start == 0 {
                self.pages.remove(&page);
            } else if self.pages.contains_key(&page) {
                self.page_mut(page)[start..].fill(0);
            }
        }
        self.len = len;
    }

    /// Turns one bit over; it must lie inside the file.
    pub(super) fn flip_bit(&mut self, offset_bits: u64) {
        let (page, byte) = place(offset_bits / 8);
        self.page_mut(page)[byte] ^= 1 << (offset_bits % 8);
    }

    fn page_mut(&mut self, page: u64) -> &mut [u8; PAGE_BYTES] {
        Arc::make_mut(self.pages.entry(page).or_insert_with(|| Arc::new(ZEROS)))
    }
}

/// The page of a byte and where it is in it.
fn place(offset: u64) -> (u64, usize) {
    let page_bytes = PAGE_BYTES as u64;
    (offset / page_bytes, (offset % page_bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(image: &Image) -> Vec<u8> {
        let mut bytes = vec![9; image.len() as usize];
        image.read(&mut bytes, 0).expect("inside");
        bytes
    }

    #[test]
    fn writes_cross_pages_and_leave_holes() {
        let mut image = Image::default();
        image.write(&[7; 5000], 4000);
        assert_eq!(image.len(), 9000);
        let all = bytes(&image);
        assert!(all[..4000].iter().all(|byte| *byte == 0));
        assert!(all[4000..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn bytes_cut_off_do_not_come_back() {
        for len in [0, 1, 4095, 4096, 4097, 8192] {
            let mut image = Image::default();
            image.write(&[7; 9000], 0);
            image.set_len(len);
            image.extend(9000);
            let all = bytes(&image);
            assert!(all[..len as usize].iter().all(|byte| *byte == 7), "{len}");
            assert!(all[len as usize..].iter().all(|byte| *byte == 0), "{len}");
        }
    }

    #[test]
    fn zeros_overwrite_what_was_there() {
        let mut image = Image::default();
        image.write(&[7; 4096], 0);
        image.write(&[0; 8192], 0);
        assert_eq!(bytes(&image), vec![0; 8192]);
    }

    #[test]
    fn reading_past_the_end_says_so() {
        let mut image = Image::default();
        image.write(b"abc", 0);
        for (len, offset) in [(4, 0), (1, 3), (1, u64::MAX)] {
            let error = image.read(&mut vec![0; len], offset).expect_err("outside");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        image.read(&mut [], 99).expect("nothing was asked for");
    }

    #[test]
    fn copies_part_when_one_is_written() {
        let mut image = Image::default();
        image.write(b"old", 0);
        let copy = image.clone();
        image.write(b"new", 0);
        image.flip_bit(0);
        assert_eq!(bytes(&copy), b"old");
        assert_eq!(bytes(&image), b"oew");
    }
}
