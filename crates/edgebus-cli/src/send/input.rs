//! Lines out of a file or a pipe, on a thread of its own, so that a slow pipe holds up neither the
//! connection nor the receipts.
//!
//! Invariants: memory is bounded, whatever the file holds (a few blocks, and one line up to
//! [`LINE_BYTES_MAX`]). A line that came is handed on at once, without waiting for the next block.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use edgebus::{Code, Message, Refusal};
use tokio::sync::mpsc;

use super::Template;
use super::line::IdRule;
use crate::error::CliError;

/// Bytes asked of the file at a time.
const BLOCK_BYTES: usize = 64 * 1024;
/// Longest line that is held in memory; far above what a server takes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Blocks that may wait to be sent.
const BLOCKS: usize = 4;

/// A line that is not blank.
#[derive(Debug)]
pub(super) struct Line {
    /// Counted from 1, blank lines included.
    pub(super) number: u64,
    /// The request it is, or why it is none.
    pub(super) message: Result<Message, Refusal>,
}

/// The lines that one block brought.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    /// How much of the input was read up to its end.
    pub(super) bytes_read: u64,
}

/// The file, or standard input for `-`; and its length if it has one.
pub(super) fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path).map_err(|e| CliError::io("open", path, e))?;
    let meta = file.metadata().map_err(|e| CliError::io("open", path, e))?;
    if meta.is_dir() {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(CliError::io("read", path, error));
    }
    let length = meta.is_file().then_some(meta.len());
    Ok((Box::new(file), length))
}

/// Reads on a thread until the end, an error, or until nobody takes what comes.
pub(super) fn start(
    input: Box<dyn Read + Send>,
    template: Template,
    ids: IdRule,
) -> io::Result<mpsc::Receiver<io::Result<Batch>>> {
    let (batches, receiver) = mpsc::channel(BLOCKS);
    let name = std::thread::Builder::new().name("edgebus-input".to_owned());
    name.spawn(move || {
        let mut lines = Lines::new(input);
        let make = |line: Bytes| ids.request(&template, line);
        loop {
            let batch = lines.next_batch(&make).transpose();
            let Some(batch) = batch else { return };
            let failed = batch.is_err();
            if batches.blocking_send(batch).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Cuts an input into lines.
struct Lines<R> {
    input: R,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    /// Whether the line is too long and its rest is thrown away.
    skipping: bool,
    number: u64,
    bytes_read: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
            number: 0,
            bytes_read: 0,
            ended: false,
        }
    }

    /// The lines that end in the next block; `None` at the end of the input.
    fn next_batch(
        &mut self,
        make: &impl Fn(Bytes) -> Result<Message, Refusal>,
    ) -> io::Result<Option<Batch>> {
        if self.ended {
            return Ok(None);
        }
        let mut batch = Batch::default();
        if self.read_block()? == 0 {
            self.ended = true;
            // The last line may have no end.
            if !self.buffer.is_empty() || self.skipping {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                self.take_line(rest, make, &mut batch);
            }
        }
        while let Some(at) = self.buffer[self.searched..]
            .iter()
            .position(|b| *b == b'\n')
        {
            let mut line = self.buffer.split_to(self.searched + at + 1).freeze();
            line.truncate(line.len() - 1);
            self.searched = 0;
            self.take_line(line, make, &mut batch);
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > LINE_BYTES_MAX {
            self.skipping = true;
        }
        if self.skipping {
            self.buffer.clear();
            self.searched = 0;
        }
        batch.bytes_read = self.bytes_read;
        Ok(Some(batch))
    }

    fn read_block(&mut self) -> io::Result<usize> {
        let held = self.buffer.len();
        self.buffer.resize(held + BLOCK_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        self.bytes_read += *read.as_ref().unwrap_or(&0) as u64;
        read
    }

    fn take_line(
        &mut self,
        mut line: Bytes,
        make: &impl Fn(Bytes) -> Result<Message, Refusal>,
        batch: &mut Batch,
    ) {
        self.number += 1;
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        let message = if std::mem::take(&mut self.skipping) {
            Err(Refusal::new(
                Code::PayloadTooLarge,
                format!("the line is over {LINE_BYTES_MAX} bytes: send a reference instead"),
            ))
        } else if line.trim_ascii().is_empty() {
            return;
        } else {
            make(line)
        };
        batch.lines.push(Line {
            number: self.number,
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use edgebus::RequestId;

    use super::*;

    /// Gives what it has a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines_of(text: &[u8], at_a_time: usize) -> Vec<(u64, Vec<u8>)> {
        let mut lines = Lines::new(Trickle(text, at_a_time));
        let make = |line| {
            Ok(Message::new(
                RequestId::from_bytes([0; 16]),
                "t".try_into()?,
                line,
            ))
        };
        let mut all = Vec::new();
        while let Some(batch) = lines.next_batch(&make).expect("reads") {
            all.extend(batch.lines.into_iter().map(|line| {
                let message = line.message.expect("is taken");
                (line.number, message.payload.to_vec())
            }));
        }
        all
    }

    #[test]
    fn lines_keep_their_bytes_and_numbers_however_they_come() {
        let text = b"a\r\n\n  \nb \r\r\n c\nlast";
        let expected = [(1, "a"), (4, "b \r"), (5, " c"), (6, "last")];
        let expected: Vec<_> = expected
            .iter()
            .map(|(number, line)| (*number, line.as_bytes().to_vec()))
            .collect();
        for at_a_time in [1, 2, 3, 5, 100] {
            assert_eq!(lines_of(text, at_a_time), expected, "{at_a_time}");
        }
    }

    #[test]
    fn an_empty_input_has_no_lines() {
        assert_eq!(lines_of(b"", 1), []);
    }

    #[test]
    fn a_line_that_would_not_fit_into_memory_is_refused_and_the_next_is_taken() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 3 * BLOCK_BYTES];
        text.extend_from_slice(b"\nnext\n");
        let mut lines = Lines::new(&text[..]);
        let make = |line| {
            Ok(Message::new(
                RequestId::from_bytes([0; 16]),
                "t".try_into()?,
                line,
            ))
        };
        let mut all = Vec::new();
        while let Some(batch) = lines.next_batch(&make).expect("reads") {
            assert!(lines.buffer.len() <= LINE_BYTES_MAX);
            all.extend(batch.lines);
        }
        let refusal = all[0].message.as_ref().expect_err("too long");
        assert_eq!((all[0].number, refusal.code), (1, Code::PayloadTooLarge));
        let next = all[1].message.as_ref().expect("is taken");
        assert_eq!((all[1].number, &next.payload[..]), (2, &b"next"[..]));
    }
}
