//! Frames on a byte stream: how the two ends of a connection talk.
//!
//! ```text
//!  0  u32  length of everything behind this field
//!  4  u32  CRC32C of everything behind this field
//!  8  u8   frame type
//!  9  u8   flags, 0
//! 10  u16  reserved, 0
//! 12       body
//! ```
//! Numbers are little-endian. docs/protocol.md describes every body; [`mod@decode`] and
//! [`mod@encode`] are the two directions, [`control`] holds the parts that evolve (prost).

pub mod control;
mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::encode;

use crate::code::Refusal;
use crate::query::{LogPage, Stats};
use crate::record::Record;
use control::{Hello, Welcome, WireQuery};

/// Bytes before the body.
pub const HEADER_BYTES: usize = 12;
/// The only protocol version there is so far.
pub const PROTOCOL_VERSION: u32 = 1;
/// Largest frame unless configured otherwise, in bytes, length field not counted.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// The tag of an error that concerns the whole connection, which ends with it.
pub const TAG_CONNECTION: u64 = u64::MAX;

/// A frame.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Frame {
    /// First frame of a client: versions it speaks, its name.
    Hello(Hello),
    /// First frame of a server: the version to speak, its limits.
    Welcome(Welcome),
    /// Requests to store; the n-th has the tag `first_tag + n`.
    Send {
        /// Tag of the first record.
        first_tag: u64,
        /// What to store.
        records: Vec<Record>,
    },
    /// Requests that are on disk.
    Receipts(Vec<ReceiptRange>),
    /// One send or query that was refused, or the end of the connection.
    Error {
        /// Which one; [`TAG_CONNECTION`] for the connection.
        tag: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A question about the log or the server.
    Query {
        /// Names the question in its answer.
        tag: u64,
        /// What is asked, unchecked.
        query: WireQuery,
    },
    /// Answer to a question about the log.
    Page {
        /// The question's tag.
        tag: u64,
        /// What was found.
        page: LogPage,
    },
    /// Answer to the question about figures.
    Stats {
        /// The question's tag.
        tag: u64,
        /// The figures.
        stats: Box<Stats>,
    },
    /// Asks the other end for a sign of life.
    Ping {
        /// Comes back in the answer.
        token: u64,
    },
    /// The sign of life.
    Pong {
        /// The asker's token.
        token: u64,
    },
}

/// `count` sends with consecutive tags, stored under consecutive sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptRange {
    /// Tag of the first.
    pub first_tag: u64,
    /// Sequence number of the first.
    pub first_seq: u64,
    /// How many.
    pub count: u32,
    /// Whether all of them had been stored before.
    pub duplicate: bool,
}

impl ReceiptRange {
    /// Makes the range one longer if a receipt continues it; says whether it did.
    pub fn extend(&mut self, tag: u64, seq: u64, duplicate: bool) -> bool {
        let next = u64::from(self.count);
        let continues = self.first_tag.checked_add(next) == Some(tag)
            && self.first_seq.checked_add(next) == Some(seq)
            && self.duplicate == duplicate
            && self.count < u32::MAX;
        self.count += u32::from(continues);
        continues
    }
}

/// Frame types as numbers.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const SEND: u8 = 3;
    pub(super) const RECEIPTS: u8 = 4;
    pub(super) const ERROR: u8 = 5;
    pub(super) const QUERY: u8 = 6;
    pub(super) const PAGE: u8 = 7;
    pub(super) const STATS: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

#[cfg(test)]
mod tests;
