//! The parts of frames that will grow: prost messages with numbered fields. Unknown fields are
//! skipped, so that either end may be newer.

use std::fmt;

use crate::code::{Code, Refusal};
use crate::id::{RequestId, Seq};
use crate::message::Kind;
use crate::query::{LogQuery, Query};

/// A client's first frame.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Hello {
    /// Lowest protocol version it speaks.
    #[prost(uint32, tag = "1")]
    pub version_min: u32,
    /// Highest protocol version it speaks.
    #[prost(uint32, tag = "2")]
    pub version_max: u32,
    /// The name it gives itself; at most 255 bytes.
    #[prost(string, tag = "3")]
    pub client: String,
    /// Its software, for the server's listing.
    #[prost(string, tag = "4")]
    pub software: String,
    /// What proves who it is, if nothing else does.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub token: Option<bytes::Bytes>,
}

impl fmt::Debug for Hello {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("version_min", &self.version_min)
            .field("version_max", &self.version_max)
            .field("client", &self.client)
            .field("software", &self.software)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .finish()
    }
}

/// A server's first frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The version both ends speak from here on.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Its software.
    #[prost(string, tag = "2")]
    pub software: String,
    /// Largest frame it takes, in bytes, length field not counted.
    #[prost(uint64, tag = "3")]
    pub frame_bytes_max: u64,
    /// Largest payload it takes, in bytes.
    #[prost(uint64, tag = "4")]
    pub payload_bytes_max: u64,
    /// The id of its store: 16 bytes; empty from a server that does not tell.
    #[prost(bytes = "bytes", tag = "5")]
    pub store_id: bytes::Bytes,
}

impl Welcome {
    /// The id of the server's store, if it tells. What was sent to one store and what was leased
    /// from it says nothing about another one.
    pub fn store_id(&self) -> Option<[u8; 16]> {
        (&*self.store_id).try_into().ok()
    }
}

/// Why a send, a query or a connection was refused.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireError {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(uint64, optional, tag = "3")]
    pub retry_after_ms: Option<u64>,
}

impl From<&Refusal> for WireError {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message.clone(),
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

impl From<WireError> for Refusal {
    /// A code that a newer end made up is taken for [`Code::Unknown`]: asking again with the same
    /// id is safe, whatever it meant.
    fn from(error: WireError) -> Self {
        let code = Code::parse(&error.code).unwrap_or(Code::Unknown);
        let mut refusal = Self::new(code, error.message);
        refusal.retry_after_ms = error.retry_after_ms;
        refusal
    }
}

/// A question, as it came; exactly one field is set. What makes no sense is found out by the
/// session, so that it is refused by its tag and nothing else is lost.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireQuery {
    /// A page of the log.
    #[prost(message, optional, tag = "1")]
    pub log: Option<WireLogQuery>,
    /// The request with this id: 16 bytes.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub by_id: Option<bytes::Bytes>,
    /// The server's figures.
    #[prost(bool, tag = "3")]
    pub stats: bool,
}

/// Which stored requests to read, as it came; see [`LogQuery`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireLogQuery {
    /// The first sequence number to look at.
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// The last one.
    #[prost(uint64, optional, tag = "2")]
    pub to: Option<u64>,
    /// Received at or after, unix milliseconds.
    #[prost(uint64, optional, tag = "3")]
    pub from_time_ms: Option<u64>,
    /// Received before or at, unix milliseconds.
    #[prost(uint64, optional, tag = "4")]
    pub to_time_ms: Option<u64>,
    /// Topic patterns.
    #[prost(string, repeated, tag = "5")]
    pub topics: Vec<String>,
    /// Most requests in the page.
    #[prost(uint32, tag = "6")]
    pub limit: u32,
    /// Bytes after which the page is closed.
    #[prost(uint32, tag = "7")]
    pub page_bytes: u32,
    /// 1 requests, 2 notifications; not there: both.
    #[prost(uint32, optional, tag = "8")]
    pub kind: Option<u32>,
}

impl From<&Query> for WireQuery {
    fn from(query: &Query) -> Self {
        match query {
            Query::Log(log) => Self {
                log: Some(log.into()),
                ..Self::default()
            },
            Query::ById(id) => Self {
                by_id: Some(bytes::Bytes::copy_from_slice(id.as_bytes())),
                ..Self::default()
            },
            Query::Stats => Self {
                stats: true,
                ..Self::default()
            },
        }
    }
}

impl From<&LogQuery> for WireLogQuery {
    fn from(query: &LogQuery) -> Self {
        Self {
            from: query.from.0,
            to: query.to.map(|to| to.0),
            from_time_ms: query.from_time_ms,
            to_time_ms: query.to_time_ms,
            topics: query.topics.iter().map(ToString::to_string).collect(),
            limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
            page_bytes: u32::try_from(query.page_bytes).unwrap_or(u32::MAX),
            kind: query.kind.map(|kind| u32::from(kind.to_byte())),
        }
    }
}

impl TryFrom<WireQuery> for Query {
    type Error = Refusal;

    fn try_from(query: WireQuery) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::new(Code::BadQuery, what.to_owned());
        match query {
            WireQuery {
                log: Some(log),
                by_id: None,
                stats: false,
            } => Ok(Self::Log(log.try_into()?)),
            WireQuery {
                log: None,
                by_id: Some(id),
                stats: false,
            } => {
                let id = id
                    .as_ref()
                    .try_into()
                    .map_err(|_| bad("a request id has 16 bytes"))?;
                Ok(Self::ById(RequestId::from_bytes(id)))
            }
            WireQuery {
                log: None,
                by_id: None,
                stats: true,
            } => Ok(Self::Stats),
            _ => Err(bad("a query asks exactly one thing that this server knows")),
        }
    }
}

impl TryFrom<WireLogQuery> for LogQuery {
    type Error = Refusal;

    fn try_from(query: WireLogQuery) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::new(Code::BadQuery, what.to_owned());
        if query.limit == 0 || query.page_bytes == 0 {
            return Err(bad("a page of 0 requests or bytes holds nothing"));
        }
        if query.topics.len() > Self::TOPICS_MAX {
            return Err(bad("a query has at most 64 topic patterns"));
        }
        let topics: Result<_, Refusal> = query.topics.iter().map(|text| text.parse()).collect();
        let kind = query.kind.map(|kind| {
            u8::try_from(kind)
                .ok()
                .and_then(Kind::from_byte)
                .ok_or_else(|| bad("the kind of a message is 1 (request) or 2 (notification)"))
        });
        Ok(Self {
            from: Seq(query.from),
            to: query.to.map(Seq),
            from_time_ms: query.from_time_ms,
            to_time_ms: query.to_time_ms,
            topics: topics?,
            kind: kind.transpose()?,
            limit: query.limit as usize,
            page_bytes: query.page_bytes as usize,
        })
    }
}
