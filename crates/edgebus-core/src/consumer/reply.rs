//! What a responder answers, and what a requester is told.

use bytes::Bytes;
use prost::Message as _;

use crate::code::Refusal;
use crate::record::{Header, RecordLimits, check_headers, check_meta_bytes, check_payload};

/// A responder's answer; the same bytes for whoever asks, however often.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reply {
    /// The content; any bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
    /// Names and values that travel along, in order.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<Header>,
}

impl Reply {
    /// A reply without headers.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Fails when it is larger than a record may be, so that it fits the frame that carries it.
    ///
    /// # Errors
    /// [`crate::Code::PayloadTooLarge`] or [`crate::Code::BadHeader`].
    pub fn check(&self, limits: &RecordLimits) -> Result<(), Refusal> {
        check_payload(self.payload.len(), limits)?;
        check_headers(&self.headers)?;
        check_meta_bytes(self.headers.iter().map(|header| header.encoded_len()).sum())
    }
}

/// How a request ended, for whoever waits for it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// It was done.
    Reply(Reply),
    /// It failed for good; a later reply replaces this.
    DeadLettered {
        /// Why.
        reason: String,
    },
    /// It was done or not, but nobody can tell any more: the request was trimmed.
    Expired,
}
