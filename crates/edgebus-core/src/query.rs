//! What may be asked of a server's log, and what it answers: pages of entries, and figures.
//!
//! Used by the store (which answers), the wire (which carries it) and the client (which asks).

use crate::entry::Entry;
use crate::id::{RequestId, Seq};
use crate::message::Kind;
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
    /// Only topics that match one of these; none for all. At most [`LogQuery::TOPICS_MAX`].
    pub topics: Vec<TopicPattern>,
    /// Only requests, or only notifications; `None` for both.
    pub kind: Option<Kind>,
    /// Most requests in one page; the store may give fewer.
    pub limit: usize,
    /// Payload bytes after which a page is closed; it holds at least one request if one is found.
    pub page_bytes: usize,
}

impl LogQuery {
    /// Most topic patterns of one query.
    pub const TOPICS_MAX: usize = 64;

    /// Everything from a sequence number on, in pages of at most 1,024 requests or 256 KiB.
    pub fn from(seq: Seq) -> Self {
        Self {
            from: seq,
            to: None,
            from_time_ms: None,
            to_time_ms: None,
            topics: Vec::new(),
            kind: None,
            limit: 1024,
            page_bytes: 256 * 1024,
        }
    }

    /// Whether an entry is asked for. The range of sequence numbers is not looked at.
    pub fn selects(&self, entry: &Entry) -> bool {
        self.from_time_ms
            .is_none_or(|from| entry.received_ms() >= from)
            && self.to_time_ms.is_none_or(|to| entry.received_ms() <= to)
            && self.kind.is_none_or(|kind| kind == entry.record().kind())
            && self.selects_topic(entry.record().topic_str())
    }

    /// Whether a topic is asked for.
    pub fn selects_topic(&self, topic: &str) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|pattern| pattern.matches(topic))
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
    /// Durable consumers.
    #[prost(uint64, tag = "25")]
    pub consumers: u64,
    /// Messages that workers hold.
    #[prost(uint64, tag = "26")]
    pub in_flight: u64,
    /// Messages that wait to be tried again.
    #[prost(uint64, tag = "27")]
    pub retrying: u64,
    /// Replies stored since start.
    #[prost(uint64, tag = "28")]
    pub replies: u64,
    /// Messages that consumers were done with since start.
    #[prost(uint64, tag = "29")]
    pub completed: u64,
    /// Attempts that failed since start.
    #[prost(uint64, tag = "30")]
    pub failed: u64,
    /// Whether there are nearly as many dead letters as there may be.
    #[prost(bool, tag = "31")]
    pub dead_letters_alarm: bool,
    /// Live subscribers.
    #[prost(uint64, tag = "32")]
    pub subscribers: u64,
    /// Notifications dropped for slow live subscribers since start.
    #[prost(uint64, tag = "33")]
    pub lagged: u64,
    /// Sequence number of the oldest message that is kept.
    #[prost(uint64, tag = "34")]
    pub first_seq: u64,
    /// Messages removed from the log since start, by retention or by hand.
    #[prost(uint64, tag = "35")]
    pub trimmed: u64,
    /// Requests that became dead letters unrun since start, as they had expired.
    #[prost(uint64, tag = "36")]
    pub expired: u64,
    /// Requests whose sender waits for a reply.
    #[prost(uint64, tag = "37")]
    pub requests_waiting: u64,
    /// Notifications published since start.
    #[prost(uint64, tag = "38")]
    pub notifications: u64,
    /// Bytes of the log.
    #[prost(uint64, tag = "39")]
    pub log_bytes: u64,
    /// How often retention overtook a consumer.
    #[prost(uint64, tag = "40")]
    pub gaps: u64,
    /// Open connections of which it is not known yet who they are.
    #[prost(uint64, tag = "41")]
    pub connections_new: u64,
    /// Connections refused since start, as the server had as many as it takes.
    #[prost(uint64, tag = "42")]
    pub connections_refused_total: u64,
    /// Connections refused since start, as their address had as many as it may have.
    #[prost(uint64, tag = "43")]
    pub connections_refused_address: u64,
    /// Connections refused since start, as their identity had as many as it may have.
    #[prost(uint64, tag = "44")]
    pub connections_refused_identity: u64,
    /// Connections cut since start before their client had introduced itself.
    #[prost(uint64, tag = "45")]
    pub handshakes_failed: u64,
    /// Connections refused or cut since start, as it was not known who they are.
    #[prost(uint64, tag = "46")]
    pub unauthenticated: u64,
    /// What was refused since start to those who have no right to it.
    #[prost(uint64, tag = "47")]
    pub forbidden: u64,
    /// Connections cut since start, as their frames came too slowly.
    #[prost(uint64, tag = "48")]
    pub too_slow: u64,
    /// What was refused since start for want of room: requests, questions and streams.
    #[prost(uint64, tag = "49")]
    pub busy: u64,
    /// Bytes of requests that are not decided, of all connections, beyond what each has of its own.
    #[prost(uint64, tag = "50")]
    pub undecided_bytes: u64,
    /// Bytes of messages and answers that wait for connections to take them.
    #[prost(uint64, tag = "51")]
    pub outgoing_bytes: u64,
    /// Bytes of memory for frames that have not come whole, beyond what each connection has.
    #[prost(uint64, tag = "52")]
    pub receiving_bytes: u64,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::Envelope;
    use crate::id::Scope;
    use crate::message::Message;
    use crate::record::{Record, RecordLimits};

    fn entry(topic: &str, kind: Kind) -> Entry {
        let topic = topic.parse().expect("topic");
        let message = Message::new(RequestId::from_bytes([1; 16]), topic, "x").kind(kind);
        let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
        let envelope = Envelope {
            seq: Seq(1),
            received_ms: 1,
            store_time_ms: 0,
            scope: Scope(0),
            identity: "",
        };
        let mut bytes = Vec::new();
        Entry::encode(&mut bytes, &envelope, &record);
        Entry::from_bytes(Bytes::from(bytes)).expect("whole")
    }

    #[test]
    fn query_selects_what_matches_any_pattern_and_is_of_the_kind() {
        let mut query = LogQuery::from(Seq(1));
        assert!(query.selects(&entry("doors", Kind::Notification)));
        query.topics = vec![
            "orders.*".parse().expect("pattern"),
            "doors".parse().expect("pattern"),
        ];
        assert!(query.selects(&entry("doors", Kind::Request)));
        assert!(query.selects(&entry("orders.paid", Kind::Notification)));
        assert!(!query.selects(&entry("windows", Kind::Request)));
        query.kind = Some(Kind::Notification);
        assert!(!query.selects(&entry("doors", Kind::Request)));
        assert!(query.selects(&entry("doors", Kind::Notification)));
    }
}
