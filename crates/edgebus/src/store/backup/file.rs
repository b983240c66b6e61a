//! Reading a backup: all of it is verified before any of it is used.
//!
//! Invariants: a file that was cut, or in which a bit flipped, is refused with the place; nothing is
//! allocated that the file does not hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Lsn, Refusal, Seq};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::format::{
    BEGIN, BODY_BYTES_MAX, Begin, END, End, FORMAT, HEADER_BYTES, Header, STATE, State, WORD,
    chunk_crc,
};
use crate::files::{File, Files, OpenMode};
use crate::store::StoreError;

/// A backup that was read through and is whole.
#[derive(Debug)]
pub struct BackupFile {
    file: Arc<dyn File>,
    pub(super) path: PathBuf,
    len: u64,
    /// Behind the line of text.
    first_chunk: u64,
    begin: Begin,
    pub(super) state: State,
    rows: Vec<u64>,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupContents {
    /// The store it is of.
    pub store_id: [u8; 16],
    /// When it was begun: wall clock, unix milliseconds.
    pub begun_ms: u64,
    /// The version that wrote it.
    pub made_by: String,
    /// The last change that is in it.
    pub lsn: Lsn,
    /// The first request that is in it: above the last one when none is.
    pub first_seq: Seq,
    /// The last request that was stored by then.
    pub last_seq: Seq,
    /// Dead letters in it.
    pub dead_letters: u64,
    /// Consumers in it.
    pub consumers: u64,
    /// Size of the file.
    pub bytes: u64,
}

impl BackupFile {
    /// Reads a file through. `progress` is told how many bytes of how many were read.
    ///
    /// # Errors
    /// [`Code::Corrupt`] naming the place, [`Code::NewerFormat`], or what the operating system says.
    pub fn open(
        files: &dyn Files,
        path: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, StoreError> {
        let io = |action| move |error| StoreError::io(action, path, error);
        let file = files.open(path, OpenMode::Read).map_err(io("open"))?;
        let len = file.len().map_err(io("measure"))?;
        let first_chunk = first_line(&*file, path, len)?;
        let mut backup = Self {
            file,
            path: path.to_owned(),
            len,
            first_chunk,
            begin: Begin::default(),
            state: State::default(),
            rows: Vec::new(),
        };
        backup.verify(&mut progress)?;
        Ok(backup)
    }

    /// What it holds.
    pub fn contents(&self) -> BackupContents {
        BackupContents {
            store_id: self.store_id(),
            begun_ms: self.begin.wall_ms,
            made_by: self.begin.made_by.clone(),
            lsn: self.state.lsn(),
            first_seq: Seq(self.state.first_seq),
            last_seq: Seq(self.state.last_seq),
            dead_letters: self.state.dead_letters,
            consumers: self.state.consumers,
            bytes: self.len,
        }
    }

    /// The store it is of.
    pub(super) fn store_id(&self) -> [u8; 16] {
        self.begin.store_id.as_slice().try_into().unwrap_or([0; 16])
    }

    fn verify(&mut self, progress: &mut impl FnMut(u64, u64)) -> Result<(), StoreError> {
        let mut sha = Sha256::new();
        let mut line = vec![0; self.first_chunk as usize];
        self.read(&mut line, 0)?;
        sha.update(&line);
        let mut walk = self.chunks();
        let mut rows = [0u64; END as usize];
        let (mut begin, mut state, mut end) = (None, None, None);
        while let Some(chunk) = walk.next()? {
            let place = chunk.place;
            let damaged = || self.damaged(place, "the chunk cannot be read");
            match chunk.header.kind {
                // Nothing may stand before the beginning, nor behind what comes last.
                BEGIN if place == self.first_chunk => {
                    begin = Some(Begin::decode(chunk.body).map_err(|_| damaged())?);
                }
                END if state.is_some() => {
                    end = Some(End::decode(chunk.body).map_err(|_| damaged())?);
                }
                STATE if state.is_none() && begin.is_some() => {
                    state = Some(State::decode(chunk.body).map_err(|_| damaged())?);
                }
                BEGIN | END | STATE => return Err(damaged()),
                1..END if begin.is_some() && state.is_none() => {}
                1..END => return Err(damaged()),
                kind => {
                    let what = format!(
                        "{}: byte {place}: a chunk of type {kind} is not known to this version: update edgebus",
                        self.path.display()
                    );
                    return Err(Refusal::new(Code::NewerFormat, what).into());
                }
            }
            if end.is_some() {
                let left = self.len - walk.at;
                if left > 0 {
                    let what = format!("{left} bytes follow its end");
                    return Err(self.damaged(walk.at, &what));
                }
                if let Some(end) = &end
                    && (end.sha256 != sha.clone().finalize().as_slice() || end.bytes != place)
                {
                    let what = "what stands before is not what was written (SHA-256)";
                    return Err(self.damaged(place, what));
                }
                break;
            }
            rows[usize::from(chunk.header.kind) - 1] += u64::from(chunk.header.rows);
            sha.update(chunk.head);
            sha.update(chunk.body);
            progress(walk.at, self.len);
        }
        let (Some(begin), Some(state), Some(end)) = (begin, state, end) else {
            let what = "it ends before its end: it was cut, or never finished";
            return Err(self.damaged(self.len, what));
        };
        if end.rows != rows || begin.store_id.len() != 16 {
            return Err(self.damaged(self.len, "its counts do not fit what it holds"));
        }
        state.check()?;
        drop(walk);
        (self.begin, self.state, self.rows) = (begin, state, end.rows);
        progress(self.len, self.len);
        Ok(())
    }

    /// Its chunks, from the first one on.
    pub(super) fn chunks(&self) -> Walk<'_> {
        Walk {
            backup: self,
            at: self.first_chunk,
            number: 0,
            head: [0; HEADER_BYTES],
            body: Vec::new(),
        }
    }

    /// Rows of a type of chunk.
    pub(super) fn rows(&self, kind: u8) -> u64 {
        let rows = self.rows.get(usize::from(kind) - 1);
        rows.copied().unwrap_or(0)
    }

    /// Size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.len
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), StoreError> {
        let read = self.file.read_at(buffer, at);
        read.map_err(|e| StoreError::io("read", &self.path, e))
    }

    #[cold]
    pub(super) fn damaged(&self, at: u64, what: &str) -> StoreError {
        damaged(&self.path, at, what)
    }
}

/// Reads chunk after chunk; each one is whole when it is given out.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    backup: &'a BackupFile,
    pub(super) at: u64,
    number: u64,
    head: [u8; HEADER_BYTES],
    body: Vec<u8>,
}

/// A chunk that matches its checksum.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) place: u64,
    pub(super) header: Header,
    pub(super) head: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Walk<'_> {
    /// The next chunk; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Chunk<'_>>, StoreError> {
        let (backup, place) = (self.backup, self.at);
        let left = backup.len - place;
        if left == 0 {
            return Ok(None);
        }
        let cut = || backup.damaged(place, "the file ends within a chunk: it was cut");
        if left < HEADER_BYTES as u64 {
            return Err(cut());
        }
        backup.read(&mut self.head, place)?;
        let header = Header::parse(&self.head);
        if header.body_bytes > BODY_BYTES_MAX {
            return Err(backup.damaged(place, "the chunk names a length that none has"));
        }
        if header.body_bytes as u64 > left - HEADER_BYTES as u64 {
            return Err(cut());
        }
        self.body.resize(header.body_bytes, 0);
        backup.read(&mut self.body, place + HEADER_BYTES as u64)?;
        if chunk_crc(&self.head, &self.body) != header.crc {
            return Err(backup.damaged(place, "the chunk does not match its checksum"));
        }
        if header.number != self.number {
            let what = format!(
                "chunk {} stands where {} belongs",
                header.number, self.number
            );
            return Err(backup.damaged(place, &what));
        }
        self.number += 1;
        self.at = place + (HEADER_BYTES + header.body_bytes) as u64;
        Ok(Some(Chunk {
            place,
            header,
            head: &self.head,
            body: &self.body,
        }))
    }
}

/// Looks at the line of text; where the chunks begin.
fn first_line(file: &dyn File, path: &Path, len: u64) -> Result<u64, StoreError> {
    let mut start = vec![0; len.min(32) as usize];
    file.read_at(&mut start, 0)
        .map_err(|e| StoreError::io("read", path, e))?;
    let end = start.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| std::str::from_utf8(&start[..end]).ok());
    let format = line.and_then(|line| line.strip_prefix(WORD)?.strip_prefix(' ')?.parse().ok());
    match (format, end) {
        (Some(FORMAT), Some(end)) => Ok(end as u64 + 1),
        (Some(format), _) if format > FORMAT => {
            let what = format!(
                "{} is a backup of format {format}, this version knows up to {FORMAT}: update edgebus",
                path.display()
            );
            Err(Refusal::new(Code::NewerFormat, what).into())
        }
        _ => Err(damaged(path, 0, "this is no backup, or it is damaged")),
    }
}

#[cold]
fn damaged(path: &Path, at: u64, what: &str) -> StoreError {
    let what = format!(
        "{}: byte {at}: {what}; nothing was restored: use another backup",
        path.display()
    );
    Refusal::new(Code::Corrupt, what).into()
}
