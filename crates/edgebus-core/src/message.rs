//! A message as its sender writes it, and the receipt that comes back.
//!
//! [`Message`] is what applications build; [`crate::record`] turns it into bytes once. Nothing
//! here reads a clock or draws random bytes: ids and times are handed in.

use bytes::Bytes;

use crate::id::{RequestId, Seq};
use crate::topic::Topic;

/// What a message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Work to be done once; stored, numbered and deduplicated.
    Request,
    /// News for whoever listens.
    Notification,
}

impl Kind {
    /// The number that stands for the kind in a record.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Notification => 2,
        }
    }

    /// The kind with this number, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Request),
            2 => Some(Self::Notification),
            _ => None,
        }
    }
}

/// A message on its way to the server.
///
/// ```
/// use edgebus_core::{Message, RequestId};
/// let message = Message::new(RequestId::from_bytes([7; 16]), "orders.created".try_into()?, "{}")
///     .source("till-7")
///     .header("currency", "EUR");
/// assert_eq!(message.topic.as_str(), "orders.created");
/// # Ok::<(), edgebus_core::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The id under which the server stores it once.
    pub id: RequestId,
    /// Request or notification.
    pub kind: Kind,
    /// What it is about.
    pub topic: Topic,
    /// The name the sender gives itself; claimed, not proven.
    pub source: String,
    /// The client a notification is meant for; empty for everyone.
    pub target: String,
    /// Ties messages of one conversation together; empty for none.
    pub correlation_id: String,
    /// Names and values that travel along, in order.
    pub headers: Vec<(String, String)>,
    /// The sender's wall clock, unix milliseconds; 0 when not told.
    pub time_ms: u64,
    /// How long after being stored it may still be started, in milliseconds; 0 for ever.
    pub expires_ms: u64,
    /// The content; any bytes.
    pub payload: Bytes,
}

impl Message {
    /// A request without headers.
    pub fn new(id: RequestId, topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self {
            id,
            kind: Kind::Request,
            topic,
            source: String::new(),
            target: String::new(),
            correlation_id: String::new(),
            headers: Vec::new(),
            time_ms: 0,
            expires_ms: 0,
            payload: payload.into(),
        }
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the name the sender gives itself.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Sets the client a notification is meant for.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = id.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the sender's wall clock, unix milliseconds.
    #[must_use]
    pub fn time_ms(mut self, unix_ms: u64) -> Self {
        self.time_ms = unix_ms;
        self
    }

    /// Sets how long after being stored it may still be started, in milliseconds.
    #[must_use]
    pub fn expires_ms(mut self, ms: u64) -> Self {
        self.expires_ms = ms;
        self
    }
}

/// What the server answers once the request is on disk: its bytes survive a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Receipt {
    /// The id of the request.
    pub request_id: RequestId,
    /// Its place in the log.
    pub seq: Seq,
    /// Whether it had been stored before this sending.
    pub duplicate: bool,
}

impl Receipt {
    /// A receipt.
    pub fn new(request_id: RequestId, seq: Seq, duplicate: bool) -> Self {
        Self {
            request_id,
            seq,
            duplicate,
        }
    }
}
