//! The record: a client's request as bytes. It is written once, by the sender, and is the same on
//! the wire, in the journal and in a stored block.
//!
//! ```text
//!  0  u32  CRC32C of everything behind it
//!  4  u32  payload length
//!  8  u16  topic length
//! 10  u16  meta length
//! 12  u8   kind: 1 request, 2 notification
//! 13  u8   record version: 1
//! 14  u16  reserved, 0
//! 16  16   request id, RFC 9562 order
//! 32  u64  sender's wall clock, unix milliseconds
//! 40       topic, then meta (prost, `RecordMeta`), then payload
//! ```
//! Numbers are little-endian. The checksum is the sender's own, so that a byte that changes
//! anywhere on the way, or years later on the disk, is found out by whoever reads it.
//!
//! Invariant: a [`Record`] has lengths that fit its bytes; [`Record::verify`] checks the rest.

use bytes::Bytes;
use prost::Message as _;

use crate::code::{Code, Refusal, start_of};
use crate::id::RequestId;
use crate::message::{Kind, Message};
use crate::topic::{Topic, check_topic};

/// Bytes before the topic.
pub const HEADER_BYTES: usize = 40;
/// The record version written by this code.
pub const VERSION: u8 = 1;
/// Most headers of one message.
pub const HEADERS_MAX: usize = 64;
/// Longest encoded meta part (source, target, correlation id, headers), in bytes.
pub const META_BYTES_MAX: usize = 16 * 1024;

/// What a sender may add beside topic and payload; unknown fields of newer senders are kept in the
/// bytes and skipped here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RecordMeta {
    /// The name the sender gives itself.
    #[prost(string, tag = "1")]
    pub source: String,
    /// The client a notification is meant for.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Ties messages together.
    #[prost(string, tag = "3")]
    pub correlation_id: String,
    /// Names and values in order.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
    /// How long after being stored it may still be started, in milliseconds; 0 for ever.
    #[prost(uint64, tag = "5")]
    pub expires_ms: u64,
    /// Reserved: how long after being stored it must not be started, in milliseconds.
    #[prost(uint64, tag = "6")]
    pub not_before_ms: u64,
    /// Reserved: messages of one key are worked on in order.
    #[prost(string, tag = "7")]
    pub order_key: String,
}

/// The one field of [`RecordMeta`] that is looked at whenever a message is given out.
#[derive(Clone, PartialEq, prost::Message)]
struct ExpiresMeta {
    #[prost(uint64, tag = "5")]
    expires_ms: u64,
}

/// One header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    /// 1 to 128 visible ASCII characters without `=`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Any text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// How large a record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Largest payload, in bytes.
    pub payload_bytes_max: usize,
}

impl Default for RecordLimits {
    /// What fits a frame of 1 MiB together with the largest topic and meta part.
    fn default() -> Self {
        Self {
            payload_bytes_max: 1024 * 1024 - 32 * 1024,
        }
    }
}

/// A request in its encoded form; cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record(Bytes);

impl Record {
    /// Writes a message as a record.
    ///
    /// # Errors
    /// [`Code::PayloadTooLarge`] and [`Code::BadHeader`], before anything is allocated for it.
    pub fn encode(message: &Message, limits: &RecordLimits) -> Result<Self, Refusal> {
        let meta = RecordMeta {
            source: message.source.clone(),
            target: message.target.clone(),
            correlation_id: message.correlation_id.clone(),
            headers: message
                .headers
                .iter()
                .map(|(name, value)| Header {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            expires_ms: message.expires_ms,
            not_before_ms: 0,
            order_key: String::new(),
        };
        check_meta(&meta)?;
        check_payload(message.payload.len(), limits)?;
        let topic = message.topic.as_str().as_bytes();
        let meta_bytes = meta.encoded_len();
        let mut out =
            Vec::with_capacity(HEADER_BYTES + topic.len() + meta_bytes + message.payload.len());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(message.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
        out.extend_from_slice(&(meta_bytes as u16).to_le_bytes());
        out.extend_from_slice(&[message.kind.to_byte(), VERSION, 0, 0]);
        out.extend_from_slice(message.id.as_bytes());
        out.extend_from_slice(&message.time_ms.to_le_bytes());
        out.extend_from_slice(topic);
        meta.encode_raw(&mut out);
        out.extend_from_slice(&message.payload);
        Ok(Self::sealed(out))
    }

    /// Cuts the record that starts the buffer off it, without copying.
    ///
    /// # Errors
    /// [`Code::BadRecord`] when the lengths it names do not fit the buffer; the buffer is then of
    /// no more use, as the next record cannot be found.
    pub fn split_from(buffer: &mut Bytes) -> Result<Self, Refusal> {
        let total = encoded_bytes(buffer)
            .filter(|&total| total <= buffer.len())
            .ok_or_else(|| {
                Refusal::new(Code::BadRecord, "a record is cut short: check its lengths")
            })?;
        Ok(Self(buffer.split_to(total)))
    }

    /// Checks everything that the lengths do not tell.
    ///
    /// # Errors
    /// [`Code::RecordCorrupt`], [`Code::BadRecord`], [`Code::BadTopic`],
    /// [`Code::PayloadTooLarge`] or [`Code::BadHeader`].
    pub fn verify(&self, limits: &RecordLimits) -> Result<(), Refusal> {
        if !self.is_intact() {
            return Err(Refusal::new(
                Code::RecordCorrupt,
                format!(
                    "checksum of request {} does not match its bytes: send it again",
                    self.id()
                ),
            ));
        }
        if self.0[13] != VERSION {
            return Err(self.bad("has a record version this server does not know"));
        }
        if Kind::from_byte(self.0[12]).is_none() {
            return Err(self.bad("has an unknown kind"));
        }
        check_topic(self.topic_bytes())?;
        check_payload(self.payload_bytes().len(), limits)?;
        if self.meta_bytes().is_empty() {
            return Ok(());
        }
        // Fields that are not known here count as well.
        check_meta_bytes(self.meta_len())?;
        check_meta(&self.meta()?)
    }

    /// Whether the checksum matches the bytes.
    pub fn is_intact(&self) -> bool {
        self.0[..4] == crc32c::crc32c(&self.0[4..]).to_le_bytes()
    }

    fn bad(&self, what: &str) -> Refusal {
        Refusal::new(Code::BadRecord, format!("request {} {what}", self.id()))
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The request id.
    pub fn id(&self) -> RequestId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[16..32]);
        RequestId::from_bytes(id)
    }

    /// Request or notification; a kind that is not known counts as a request.
    pub fn kind(&self) -> Kind {
        Kind::from_byte(self.0[12]).unwrap_or(Kind::Request)
    }

    /// The sender's wall clock, unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        let mut time = [0; 8];
        time.copy_from_slice(&self.0[32..40]);
        u64::from_le_bytes(time)
    }

    fn topic_len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[8], self.0[9]]))
    }

    fn meta_len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[10], self.0[11]]))
    }

    /// The topic as bytes, unchecked.
    pub fn topic_bytes(&self) -> &[u8] {
        &self.0[HEADER_BYTES..HEADER_BYTES + self.topic_len()]
    }

    /// The topic as text; empty when it is none, which [`Record::verify`] rules out.
    pub fn topic_str(&self) -> &str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// The topic.
    ///
    /// # Errors
    /// [`Code::BadTopic`] for a record that was not verified.
    pub fn topic(&self) -> Result<Topic, Refusal> {
        Topic::from_bytes(self.0.slice(HEADER_BYTES..HEADER_BYTES + self.topic_len()))
    }

    fn meta_bytes(&self) -> &[u8] {
        let start = HEADER_BYTES + self.topic_len();
        &self.0[start..start + self.meta_len()]
    }

    /// The meta part.
    ///
    /// # Errors
    /// [`Code::BadRecord`] when it cannot be read.
    pub fn meta(&self) -> Result<RecordMeta, Refusal> {
        RecordMeta::decode(self.meta_bytes())
            .map_err(|_| self.bad("has a meta part that cannot be read"))
    }

    /// How long after being stored it may still be started, in milliseconds; 0 for ever, also when
    /// the meta part cannot be read. Allocates nothing.
    pub fn expires_ms(&self) -> u64 {
        let meta = self.meta_bytes();
        if meta.is_empty() {
            return 0;
        }
        ExpiresMeta::decode(meta).map_or(0, |meta| meta.expires_ms)
    }

    /// The same request with another time to be started in, in milliseconds; a retry of it. Fields
    /// that are not known here are dropped from it.
    ///
    /// # Errors
    /// [`Code::BadRecord`] for a record that was not verified.
    pub fn with_expires_ms(&self, expires_ms: u64) -> Result<Self, Refusal> {
        let mut meta = self.meta()?;
        meta.expires_ms = expires_ms;
        let (topic, payload) = (self.topic_bytes(), self.payload_bytes());
        let meta_bytes = meta.encoded_len();
        check_meta_bytes(meta_bytes)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + topic.len() + meta_bytes + payload.len());
        out.extend_from_slice(&self.0[..HEADER_BYTES]);
        out[10..12].copy_from_slice(&(meta_bytes as u16).to_le_bytes());
        out.extend_from_slice(topic);
        meta.encode_raw(&mut out);
        out.extend_from_slice(payload);
        Ok(Self::sealed(out))
    }

    /// Puts the checksum before what is complete otherwise.
    fn sealed(mut bytes: Vec<u8>) -> Self {
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        Self(Bytes::from(bytes))
    }

    /// The client it is meant for; empty for everyone, also when the meta part cannot be read.
    pub fn target(&self) -> String {
        self.meta().map(|meta| meta.target).unwrap_or_default()
    }

    /// The payload as bytes.
    pub fn payload_bytes(&self) -> &[u8] {
        &self.0[HEADER_BYTES + self.topic_len() + self.meta_len()..]
    }

    /// The payload, sharing the record's memory.
    pub fn payload(&self) -> Bytes {
        self.0
            .slice(HEADER_BYTES + self.topic_len() + self.meta_len()..)
    }

    /// The message that was encoded.
    ///
    /// # Errors
    /// [`Code::BadTopic`] or [`Code::BadRecord`] for a record that was not verified.
    pub fn to_message(&self) -> Result<Message, Refusal> {
        let meta = self.meta()?;
        Ok(Message {
            id: self.id(),
            kind: self.kind(),
            topic: self.topic()?,
            source: meta.source,
            target: meta.target,
            correlation_id: meta.correlation_id,
            headers: meta
                .headers
                .into_iter()
                .map(|h| (h.name, h.value))
                .collect(),
            time_ms: self.time_ms(),
            expires_ms: meta.expires_ms,
            payload: self.payload(),
        })
    }
}

/// Length of the record at the start of the bytes, if its header is there.
fn encoded_bytes(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER_BYTES)?;
    let payload = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let topic = usize::from(u16::from_le_bytes([header[8], header[9]]));
    let meta = usize::from(u16::from_le_bytes([header[10], header[11]]));
    Some(HEADER_BYTES + topic + meta + payload)
}

pub(crate) fn check_payload(len: usize, limits: &RecordLimits) -> Result<(), Refusal> {
    if len <= limits.payload_bytes_max {
        return Ok(());
    }
    Err(Refusal::new(
        Code::PayloadTooLarge,
        format!(
            "payload of {len} bytes is over the limit of {}: send a reference to the content instead",
            limits.payload_bytes_max
        ),
    ))
}

fn check_meta(meta: &RecordMeta) -> Result<(), Refusal> {
    check_headers(&meta.headers)?;
    check_meta_bytes(meta.encoded_len())
}

/// Whether headers, of a record or of a reply, are as many and named as is allowed.
pub(crate) fn check_headers(headers: &[Header]) -> Result<(), Refusal> {
    let bad = |what: String| Err(Refusal::new(Code::BadHeader, what));
    if headers.len() > HEADERS_MAX {
        return bad(format!(
            "{} headers are more than {HEADERS_MAX}",
            headers.len()
        ));
    }
    for header in headers {
        let name = header.name.as_bytes();
        let fits = (1..=128).contains(&name.len());
        if !fits || !name.iter().all(|b| b.is_ascii_graphic() && *b != b'=') {
            return bad(format!(
                "header name {:?} is not allowed: use 1 to 128 visible ASCII characters without '='",
                start_of(&header.name)
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_meta_bytes(len: usize) -> Result<(), Refusal> {
    if len <= META_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Code::BadHeader,
        format!(
            "source, target, correlation id and headers take {len} bytes, more than {META_BYTES_MAX}"
        ),
    ))
}

#[cfg(test)]
mod tests;
