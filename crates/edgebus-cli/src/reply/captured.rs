//! What a command writes, within bounds.

use std::collections::VecDeque;
use std::io::Write;

use bytes::Bytes;

/// What it writes to stdout, up to a limit.
pub(super) struct Output {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_too_long: bool,
}

impl Output {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
            is_too_long: false,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.is_too_long |= self.bytes.len() + bytes.len() > self.bytes_max;
        if self.is_too_long {
            // It will not be used: only the pipe has to be kept empty.
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// All of it; the limit if it was more.
    pub(super) fn into_bytes(self) -> Result<Bytes, usize> {
        match self.is_too_long {
            false => Ok(self.bytes.into()),
            true => Err(self.bytes_max),
        }
    }
}

/// The end of what it writes to stderr.
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    show: bool,
}

impl Tail {
    const BYTES_MAX: usize = 4096;

    pub(super) fn new(show: bool) -> Self {
        Self {
            bytes: VecDeque::new(),
            show,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.show {
            // Nobody is left to tell when this fails.
            let _ = std::io::stderr().write_all(bytes);
        }
        self.bytes.extend(bytes);
        let too_many = self.bytes.len().saturating_sub(Self::BYTES_MAX);
        drop(self.bytes.drain(..too_many));
    }

    /// As a reason. A character that was cut at its start is left out.
    pub(super) fn into_text(self) -> String {
        let bytes: Vec<u8> = self.bytes.into();
        let cut = match bytes.len() {
            Self::BYTES_MAX => bytes
                .iter()
                .take(3)
                .take_while(|byte| **byte & 0xc0 == 0x80)
                .count(),
            _ => 0,
        };
        String::from_utf8_lossy(&bytes[cut..]).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_last_4_kib_without_half_a_character() {
        let mut tail = Tail::new(false);
        tail.add("é".repeat(3000).as_bytes());
        tail.add(b"x\n");
        let text = tail.into_text();
        assert!(text.len() <= 4096 && text.starts_with('é') && text.ends_with("éx"));
        assert!(!text.contains('\u{fffd}'));
    }

    #[test]
    fn output_up_to_the_limit_is_a_reply_and_more_is_none() {
        let mut output = Output::new(4);
        output.add(b"ab");
        output.add(b"cd");
        assert_eq!(output.into_bytes(), Ok(Bytes::from_static(b"abcd")));
        let mut output = Output::new(4);
        output.add(b"abcd");
        output.add(b"e");
        output.add(b"");
        assert_eq!(output.into_bytes(), Err(4));
    }
}
