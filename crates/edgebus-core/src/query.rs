//! What may be asked of a server's log, and what it answers: pages of entries, and figures.
//!
//! Used by the store (which answers), the wire (which carries it) and the client (which asks).

use crate::entry::Entry;
use crate::id::{RequestId, Seq};
use crate::topic::TopicPattern;

/// Which stored requests to read, in order of their sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogQuery {
    /// The first sequence number to look at.
    pub from: Seq,
    /// The last sequence number to look at, included; `None` for the end of the log.
    pub to: Option<Seq>,
    /// Only requests received at or after this wall-clock time, unix milliseconds.
    pub from_time_ms: Option<u64>,
    /// Only requests received before or at this wall-clock time, unix milliseconds.
    pub to_time_ms: Option<u64>,
    /// Only topics that match; `None` for all.
    pub topic: Option<TopicPattern>,
    /// Most requests in one page; the store may give fewer.
    pub limit: usize,
    /// Payload bytes after which a page is closed; it holds at least one request if one is found.
    pub page_bytes: usize,
}

impl LogQuery {
    /// Everything from a sequence number on, in pages of at most 1,024 requests or 256 KiB.
    pub fn from(seq: Seq) -> Self {
        Self {
            from: seq,
            to: None,
            from_time_ms: None,
            to_time_ms: None,
            topic: None,
            limit: 1024,
            page_bytes: 256 * 1024,
        }
    }

    /// Whether an entry is asked for. The range of sequence numbers is not looked at.
    pub fn selects(&self, entry: &Entry) -> bool {
        self.from_time_ms
            .is_none_or(|from| entry.received_ms() >= from)
            && self.to_time_ms.is_none_or(|to| entry.received_ms() <= to)
            && self
                .topic
                .as_ref()
                .is_none_or(|topic| topic.matches(entry.record().topic_str()))
    }
}

/// Part of the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogPage {
    /// What was found, in order.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` when the end of the asked range, or of the log, was reached.
    pub next: Option<Seq>,
}

/// A question to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// A page of the log.
    Log(LogQuery),
    /// The request with this id, in the asker's scope.
    ById(RequestId),
    /// The server's figures.
    Stats,
}

/// Figures of a running server. Nothing in here is ahead of the disk.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stats {
    /// Milliseconds since the server started.
    #[prost(uint64, tag = "1")]
    pub uptime_ms: u64,
    /// Sequence number of the last stored request.
    #[prost(uint64, tag = "2")]
    pub last_seq: u64,
    /// Requests in the log.
    #[prost(uint64, tag = "3")]
    pub stored: u64,
    /// Last change that is on disk.
    #[prost(uint64, tag = "4")]
    pub synced_lsn: u64,
    /// Last change that is in the tables.
    #[prost(uint64, tag = "5")]
    pub sealed_lsn: u64,
    /// Bytes held in memory above the tables.
    #[prost(uint64, tag = "6")]
    pub tail_bytes: u64,
    /// Journal segments in use.
    #[prost(uint64, tag = "7")]
    pub journal_segments: u64,
    /// Groups written since start; each is one write and one sync.
    #[prost(uint64, tag = "8")]
    pub groups: u64,
    /// Requests stored since start.
    #[prost(uint64, tag = "9")]
    pub appended: u64,
    /// Requests answered as duplicates since start.
    #[prost(uint64, tag = "10")]
    pub duplicates: u64,
    /// Requests refused since start.
    #[prost(uint64, tag = "11")]
    pub refused: u64,
    /// Payload, topic and envelope bytes stored since start.
    #[prost(uint64, tag = "12")]
    pub appended_bytes: u64,
    /// Bytes written to the journal since start, padding included.
    #[prost(uint64, tag = "13")]
    pub journal_bytes: u64,
    /// Transactions that moved journal content to the tables since start.
    #[prost(uint64, tag = "14")]
    pub seals: u64,
    /// Dead letters.
    #[prost(uint64, tag = "15")]
    pub dead_letters: u64,
    /// Open connections.
    #[prost(uint64, tag = "16")]
    pub connections: u64,
    /// Connections accepted since start.
    #[prost(uint64, tag = "17")]
    pub connections_accepted: u64,
    /// Connections refused or cut since start, for breaking a rule or a limit.
    #[prost(uint64, tag = "18")]
    pub connections_cut: u64,
    /// Free bytes on the disk of the data folder.
    #[prost(uint64, tag = "19")]
    pub disk_free_bytes: u64,
    /// Whether an I/O error stopped the store.
    #[prost(bool, tag = "20")]
    pub poisoned: bool,
    /// Whether new requests are refused for want of space.
    #[prost(bool, tag = "21")]
    pub storage_full: bool,
    /// The server's version.
    #[prost(string, tag = "22")]
    pub version: String,
    /// Size of the file with the tables, in bytes.
    #[prost(uint64, tag = "23")]
    pub store_file_bytes: u64,
    /// Messages waiting in lanes.
    #[prost(uint64, tag = "24")]
    pub queued: u64,
}
