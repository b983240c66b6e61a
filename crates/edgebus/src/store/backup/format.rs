//! A backup as bytes: a line of text, chunks, and an end that says what should be there.
//!
//! ```text
//!  edgebus-backup 1\n
//!  chunk:  0  u32  CRC32C of everything behind it
//!          4  u32  length of the body
//!          8  u8   type
//!          9  [u8; 3]  0
//!         12  u32  rows in it
//!         16  u64  number of the chunk, from 0 up
//!         24       body
//! ```
//! The first chunk is of type [`BEGIN`], the last but one of type [`STATE`], the last one of type
//! [`END`]; it holds a SHA-256 of all that comes before it.

use edgebus_core::{Code, Lsn, Refusal, RequestId, Scope, Seq};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::store::overlay::StoredId;

/// The first word of a backup, before its format.
pub(super) const WORD: &str = "edgebus-backup";
/// The format that is written, and the only one there is so far.
pub(super) const FORMAT: u32 = 1;
/// Bytes in front of a chunk's body.
pub(super) const HEADER_BYTES: usize = 24;
/// Longest body that is read.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// [`Begin`].
pub(super) const BEGIN: u8 = 1;
/// Rows of `request_log`: key, length (u32), block.
pub(super) const BLOCKS: u8 = 2;
/// Entries that were in no block yet, one behind the other.
pub(super) const ENTRIES: u8 = 3;
/// Ids of requests that are in the file no more: [`put_id`].
pub(super) const IDS: u8 = 4;
/// Replies: seq, length (u32), prost `Reply`.
pub(super) const REPLIES: u8 = 5;
/// Dead letters: number, what (u8), length (u32), prost `DeadLetter`.
pub(super) const LETTERS: u8 = 6;
/// Consumers: length of the name (u8), name, length (u32), prost `Ledger`.
pub(super) const CONSUMERS: u8 = 7;
/// [`State`].
pub(super) const STATE: u8 = 8;
/// [`End`].
pub(super) const END: u8 = 9;

/// What a row of a dead letter says.
pub(super) mod letter {
    /// This is it.
    pub(crate) const PUT: u8 = 0;
    /// It is dead.
    pub(crate) const DEAD: u8 = 1;
    /// It was requeued.
    pub(crate) const REQUEUED: u8 = 2;
    /// It is not there any more.
    pub(crate) const GONE: u8 = 3;
}

/// What a backup is of.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Begin {
    /// Drawn for this backup.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) backup_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) store_id: Vec<u8>,
    /// When it was begun: wall clock, unix milliseconds.
    #[prost(uint64, tag = "3")]
    pub(super) wall_ms: u64,
    /// The version that wrote it.
    #[prost(string, tag = "4")]
    pub(super) made_by: String,
}

/// The figures of the store at the moment that is kept.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct State {
    #[prost(uint64, tag = "1")]
    pub(super) lsn: u64,
    #[prost(uint64, tag = "2")]
    pub(super) first_seq: u64,
    #[prost(uint64, tag = "3")]
    pub(super) last_seq: u64,
    #[prost(uint64, tag = "4")]
    pub(super) store_time_ms: u64,
    #[prost(uint64, tag = "5")]
    pub(super) wall_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(super) last_dead_letter: u64,
    #[prost(uint32, tag = "7")]
    pub(super) removed_epoch: u32,
    #[prost(uint64, tag = "8")]
    pub(super) untimed_ms: u64,
    #[prost(fixed64, tag = "9")]
    pub(super) key_0: u64,
    #[prost(fixed64, tag = "10")]
    pub(super) key_1: u64,
    /// Of each closed table of ids, oldest first: last seq, and store time when it was closed.
    #[prost(uint64, repeated, tag = "11")]
    pub(super) closed_last_seq: Vec<u64>,
    #[prost(uint64, repeated, tag = "12")]
    pub(super) closed_store_ms: Vec<u64>,
    #[prost(uint64, tag = "13")]
    pub(super) dead_letters: u64,
    #[prost(uint64, tag = "14")]
    pub(super) consumers: u64,
    /// All requests from here on are in the file, and the ids of those before it in rows of ids.
    #[prost(uint64, tag = "15")]
    pub(super) copied_from: u64,
}

/// What should be there.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct End {
    /// SHA-256 of every byte before this chunk.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) sha256: Vec<u8>,
    /// How many bytes those are.
    #[prost(uint64, tag = "2")]
    pub(super) bytes: u64,
    /// Rows by type of chunk, from type 1 on.
    #[prost(uint64, repeated, tag = "3")]
    pub(super) rows: Vec<u64>,
}

/// A chunk's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) crc: u32,
    pub(super) body_bytes: usize,
    pub(super) kind: u8,
    pub(super) rows: u32,
    pub(super) number: u64,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = &bytes[..];
        let crc = take_u32(&mut rest).unwrap_or(0);
        let body_bytes = take_u32(&mut rest).unwrap_or(0) as usize;
        let kind = bytes[8];
        rest = &bytes[12..];
        let rows = take_u32(&mut rest).unwrap_or(0);
        let number = take_u64(&mut rest).unwrap_or(0);
        Self {
            crc,
            body_bytes,
            kind,
            rows,
            number,
        }
    }
}

/// The checksum that a chunk with this header and body should have.
pub(super) fn chunk_crc(header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[4..]), body)
}

/// Makes a backup's bytes, in the order of its chunks.
pub(super) struct Chunks {
    sha: Sha256,
    bytes: u64,
    number: u64,
    rows: [u64; END as usize],
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Chunks {
    /// With the line of text before all chunks.
    pub(super) fn begin(out: &mut Vec<u8>, begin: &Begin) -> Self {
        let mut chunks = Self {
            sha: Sha256::new(),
            bytes: 0,
            number: 0,
            rows: [0; END as usize],
        };
        let line = format!("{WORD} {FORMAT}\n");
        chunks.add(out, line.as_bytes());
        chunks.chunk(out, BEGIN, 1, &begin.encode_to_vec());
        chunks
    }

    /// A chunk with so many rows; nothing when there are none.
    pub(super) fn chunk(&mut self, out: &mut Vec<u8>, kind: u8, rows: u32, body: &[u8]) {
        if rows == 0 {
            return;
        }
        self.rows[usize::from(kind) - 1] += u64::from(rows);
        let mut header = [0; HEADER_BYTES];
        header[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[8] = kind;
        header[12..16].copy_from_slice(&rows.to_le_bytes());
        header[16..24].copy_from_slice(&self.number.to_le_bytes());
        let crc = chunk_crc(&header, body);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        self.number += 1;
        self.add(out, &header);
        self.add(out, body);
    }

    /// The last chunk.
    pub(super) fn end(mut self, out: &mut Vec<u8>) {
        let end = End {
            sha256: self.sha.clone().finalize().to_vec(),
            bytes: self.bytes,
            rows: self.rows.to_vec(),
        };
        self.chunk(out, END, 1, &end.encode_to_vec());
    }

    fn add(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        out.extend_from_slice(bytes);
    }
}

/// Rows on their way into a chunk.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) count: u32,
    pub(super) body: Vec<u8>,
}

impl Rows {
    pub(super) fn block(&mut self, key: u64, block: &[u8]) {
        self.body.extend_from_slice(&key.to_le_bytes());
        self.bytes(block);
    }

    pub(super) fn entry(&mut self, entry: &[u8]) {
        self.body.extend_from_slice(entry);
        self.count += 1;
    }

    pub(super) fn id(&mut self, id: &[u8; 16], scope: u32, stored: &StoredId) {
        self.body.extend_from_slice(id);
        self.body.extend_from_slice(&scope.to_le_bytes());
        self.body.extend_from_slice(&stored.seq.0.to_le_bytes());
        self.body
            .extend_from_slice(&stored.fingerprint.to_le_bytes());
        self.count += 1;
    }

    pub(super) fn reply(&mut self, seq: u64, reply: &[u8]) {
        self.body.extend_from_slice(&seq.to_le_bytes());
        self.bytes(reply);
    }

    pub(super) fn letter(&mut self, number: u64, what: u8, letter: &[u8]) {
        self.body.extend_from_slice(&number.to_le_bytes());
        self.body.push(what);
        self.bytes(letter);
    }

    pub(super) fn consumer(&mut self, name: &str, ledger: &[u8]) {
        self.body.push(name.len() as u8);
        self.body.extend_from_slice(name.as_bytes());
        self.bytes(ledger);
    }

    /// A length, and so many bytes: the end of a row.
    fn bytes(&mut self, bytes: &[u8]) {
        self.body
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.body.extend_from_slice(bytes);
        self.count += 1;
    }
}

/// An id and where it is stored; `None` when the bytes end before.
pub(super) fn take_id(rest: &mut &[u8]) -> Option<(RequestId, Scope, StoredId)> {
    let id = RequestId::from_bytes(take_array(rest)?);
    let scope = Scope(take_u32(rest)?);
    let seq = Seq(take_u64(rest)?);
    let fingerprint = u128::from_le_bytes(take_array(rest)?);
    Some((id, scope, StoredId { seq, fingerprint }))
}

/// A length and so many bytes.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_u32(rest)? as usize;
    take(rest, len)
}

pub(super) fn take_u8(rest: &mut &[u8]) -> Option<u8> {
    take_array::<1>(rest).map(|[byte]| byte)
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take_array(rest).map(u32::from_le_bytes)
}

pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take_array(rest).map(u64::from_le_bytes)
}

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

impl State {
    /// Fails when its figures make no sense.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let ascending = self.closed_last_seq.is_sorted();
        let fits = self.first_seq >= 1
            && self.copied_from >= 1
            && self.first_seq <= self.last_seq.saturating_add(1)
            && self.last_seq < u64::MAX / 2
            && self.lsn < u64::MAX / 2
            && self.closed_last_seq.len() == self.closed_store_ms.len();
        if fits && ascending {
            return Ok(());
        }
        let what = "the figures of the store in it make no sense";
        Err(Refusal::new(Code::Corrupt, what))
    }

    pub(super) fn lsn(&self) -> Lsn {
        Lsn(self.lsn)
    }
}
