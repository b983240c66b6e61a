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
//! [`mod@encode`] are the two directions, [`mod@delivery`] the bodies of streams and settlements.
//! The parts that evolve (prost) are in [`control`], [`stream`], [`settle`], [`admin`] and
//! [`managed`].

pub mod admin;
pub mod control;
mod decode;
mod delivery;
mod encode;
pub mod managed;
pub mod settle;
pub mod stream;

pub use decode::Decoder;
pub(crate) use delivery::delivery_bytes;
pub use encode::encode;

use crate::code::Refusal;
use crate::consumer::{Delivery, LeaseToken};
use crate::entry::Entry;
use crate::query::{LogPage, Stats};
use crate::record::Record;
use admin::WireAdmin;
use control::{Hello, Welcome, WireQuery};
use managed::WireManaged;
use settle::SettleItem;
use stream::{WireAnswer, WireOpen};

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
    /// Requests to store whose sender waits for replies; otherwise as [`Frame::Send`].
    Request {
        /// Tag of the first record.
        first_tag: u64,
        /// What to store.
        records: Vec<Record>,
    },
    /// How a request ended. Comes after its receipt.
    Answer {
        /// The request's tag.
        tag: u64,
        /// How, with a reply as it is stored.
        answer: WireAnswer,
    },
    /// Asks for what comes from now on: a consumer's messages, or notifications.
    Open {
        /// The client's number for it: 1 or more, higher than any before.
        stream: u64,
        /// What is asked for, unchecked.
        open: Box<WireOpen>,
    },
    /// The stream is open.
    Opened {
        /// Which.
        stream: u64,
        /// Leases that the worker brought back and keeps.
        kept: Vec<LeaseToken>,
    },
    /// So many more messages may be sent.
    Credit {
        /// On which stream.
        stream: u64,
        /// How many.
        credit: u32,
    },
    /// Messages for a worker.
    Deliver {
        /// On which stream.
        stream: u64,
        /// What it is given.
        deliveries: Vec<Delivery>,
    },
    /// What became of messages.
    Settle {
        /// The stream they came on.
        stream: u64,
        /// Names this in its answer; 0: no answer is wanted.
        tag: u64,
        /// Each lease, and what is said about it.
        items: Vec<SettleItem>,
    },
    /// All that was said about leases is on disk, but for this.
    Settled {
        /// Of which [`Frame::Settle`].
        tag: u64,
        /// Which items were refused, by their place in the frame.
        errors: Vec<(u32, Refusal)>,
    },
    /// Notifications for whoever listens now; the n-th has the tag `first_tag + n`.
    Publish {
        /// Tag of the first record.
        first_tag: u64,
        /// What to tell.
        records: Vec<Record>,
    },
    /// A notification was handed on.
    Published {
        /// Which.
        tag: u64,
        /// To how many subscribers.
        reached: u64,
    },
    /// Notifications for a subscriber; those that are not stored have the sequence number 0.
    Notify {
        /// On which stream.
        stream: u64,
        /// What was told.
        entries: Vec<Entry>,
    },
    /// A subscriber was too slow.
    Lagged {
        /// On which stream.
        stream: u64,
        /// How many notifications it missed at this place.
        missed: u64,
    },
    /// The end of a stream: from a client that wants it, from a server the last frame of it.
    Close {
        /// Which.
        stream: u64,
        /// Why the server ended it; `None`: as the client wanted.
        refusal: Option<Refusal>,
    },
    /// A question of an operator.
    Admin {
        /// Names the question in its answer.
        tag: u64,
        /// What is asked, unchecked.
        admin: Box<WireAdmin>,
    },
    /// The answer to an operator.
    Managed {
        /// The question's tag.
        tag: u64,
        /// What is answered, unchecked.
        managed: Box<WireManaged>,
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
    pub(super) const REQUEST: u8 = 11;
    pub(super) const ANSWER: u8 = 12;
    pub(super) const OPEN: u8 = 13;
    pub(super) const OPENED: u8 = 14;
    pub(super) const CREDIT: u8 = 15;
    pub(super) const DELIVER: u8 = 16;
    pub(super) const SETTLE: u8 = 17;
    pub(super) const SETTLED: u8 = 18;
    pub(super) const PUBLISH: u8 = 19;
    pub(super) const PUBLISHED: u8 = 20;
    pub(super) const NOTIFY: u8 = 21;
    pub(super) const LAGGED: u8 = 22;
    pub(super) const CLOSE: u8 = 23;
    pub(super) const ADMIN: u8 = 24;
    pub(super) const MANAGED: u8 = 25;
}

/// Stands for a choice that says all there is to say.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Empty {}

#[cfg(test)]
mod tests;
