//! The entry: a record together with what the server adds to it, which no client can write.
//!
//! ```text
//!  0  u32  length of the whole entry
//!  4  u8   1: an appended request (the journal has other numbers for other changes)
//!  5  u8   entry version: 2
//!  6  u16  identity length
//!  8  u64  sequence number
//! 16  u64  receive time: the server's wall clock, unix milliseconds
//! 24  u32  scope of the request id
//! 28  u32  record length
//! 32  u64  store time when it was stored, milliseconds
//! 40       identity (UTF-8), then the record
//! ```
//! Version 1, which is read and not written any more, has no store time: identity and record begin
//! at 32. Lengths and the fields before them are the same.
//!
//! The same bytes are an operation in the journal, a row in a sealed block and a row in a page on
//! the wire. The record has its own checksum; the rest is covered by that of group, block or frame.
//!
//! Invariant: an [`Entry`] has lengths that fit its bytes.

use bytes::Bytes;

use crate::code::{Code, Refusal};
use crate::id::{Scope, Seq};
use crate::record::{HEADER_BYTES as RECORD_HEADER_BYTES, Record};

/// Bytes before the identity.
pub const HEADER_BYTES: usize = 40;
/// The same of an entry of version 1.
const HEADER_BYTES_V1: usize = 32;
/// The number of an appended request among the journal's operations.
pub const TYPE_APPEND: u8 = 1;
/// The entry version written by this code.
pub const VERSION: u8 = 2;
/// Longest identity, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 255;

/// What the server writes beside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The request's place in the log.
    pub seq: Seq,
    /// The server's wall clock when it took the request, unix milliseconds.
    pub received_ms: u64,
    /// Store time when it was stored, milliseconds.
    pub store_time_ms: u64,
    /// The space its id lives in.
    pub scope: Scope,
    /// Who sent it, as proven to the server; empty for its own process.
    pub identity: &'a str,
}

/// A stored request; cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    bytes: Bytes,
    record: Record,
}

impl Entry {
    /// Bytes that [`Entry::encode`] will add.
    pub fn encoded_bytes(identity: &str, record: &Record) -> usize {
        HEADER_BYTES + identity.len() + record.as_bytes().len()
    }

    /// Appends the entry to a buffer.
    pub fn encode(out: &mut Vec<u8>, envelope: &Envelope<'_>, record: &Record) {
        let identity = envelope.identity.as_bytes();
        debug_assert!(
            identity.len() <= IDENTITY_BYTES_MAX,
            "identities are bounded where they are made"
        );
        let length = Self::encoded_bytes(envelope.identity, record);
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&(length as u32).to_le_bytes());
        header[4] = TYPE_APPEND;
        header[5] = VERSION;
        header[6..8].copy_from_slice(&(identity.len() as u16).to_le_bytes());
        header[8..16].copy_from_slice(&envelope.seq.0.to_le_bytes());
        header[16..24].copy_from_slice(&envelope.received_ms.to_le_bytes());
        header[24..28].copy_from_slice(&envelope.scope.0.to_le_bytes());
        header[28..32].copy_from_slice(&(record.as_bytes().len() as u32).to_le_bytes());
        header[32..].copy_from_slice(&envelope.store_time_ms.to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(identity);
        out.extend_from_slice(record.as_bytes());
    }

    /// Cuts the entry that starts the buffer off it, without copying.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the bytes are no entry of a known version.
    pub fn split_from(buffer: &mut Bytes) -> Result<Self, Refusal> {
        let length = buffer
            .get(..4)
            .map(|l| u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize);
        match length {
            Some(length) if length <= buffer.len() => Self::from_bytes(buffer.split_to(length)),
            _ => Err(corrupt("is cut short")),
        }
    }

    /// An entry from exactly its bytes.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the bytes are no entry of a known version.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Refusal> {
        if bytes.len() < HEADER_BYTES_V1 + RECORD_HEADER_BYTES {
            return Err(corrupt("is cut short"));
        }
        if bytes[4] != TYPE_APPEND {
            return Err(corrupt("has a type that is not known"));
        }
        if !(1..=VERSION).contains(&bytes[5]) {
            return Err(corrupt(&format!(
                "has version {}, this edgebus knows up to {VERSION}",
                bytes[5]
            )));
        }
        let header = header_bytes(&bytes);
        let identity = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        let record = u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) as usize;
        if header + identity + record != bytes.len() {
            return Err(corrupt("has lengths that do not add up"));
        }
        let mut rest = bytes.slice(header + identity..);
        let record = Record::split_from(&mut rest).map_err(|_| corrupt("has a broken record"))?;
        if !rest.is_empty() || std::str::from_utf8(&bytes[header..header + identity]).is_err() {
            return Err(corrupt("has lengths that do not add up"));
        }
        Ok(Self { bytes, record })
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The request's place in the log.
    pub fn seq(&self) -> Seq {
        Seq(u64_at(&self.bytes, 8))
    }

    /// The server's wall clock when it took the request, unix milliseconds.
    pub fn received_ms(&self) -> u64 {
        u64_at(&self.bytes, 16)
    }

    /// Store time when it was stored, milliseconds; 0 when nobody wrote it down (version 1).
    pub fn store_time_ms(&self) -> u64 {
        match header_bytes(&self.bytes) {
            HEADER_BYTES => u64_at(&self.bytes, HEADER_BYTES_V1),
            _ => 0,
        }
    }

    /// The space its id lives in.
    pub fn scope(&self) -> Scope {
        Scope(u32::from_le_bytes([
            self.bytes[24],
            self.bytes[25],
            self.bytes[26],
            self.bytes[27],
        ]))
    }

    /// Who sent it, as proven to the server.
    pub fn identity(&self) -> &str {
        let end = self.bytes.len() - self.record.as_bytes().len();
        std::str::from_utf8(&self.bytes[header_bytes(&self.bytes)..end]).unwrap_or_default()
    }

    /// What the client sent.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// Bytes before the identity in an entry of a known version.
fn header_bytes(bytes: &[u8]) -> usize {
    match bytes[5] {
        1 => HEADER_BYTES_V1,
        _ => HEADER_BYTES,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cold]
fn corrupt(what: &str) -> Refusal {
    Refusal::new(Code::Corrupt, format!("a stored request {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RequestId;
    use crate::message::Message;
    use crate::record::RecordLimits;

    #[test]
    fn entry_gives_back_envelope_and_record() {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            "a.b".parse().expect("topic"),
            "x",
        );
        let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
        let envelope = Envelope {
            seq: Seq(7),
            received_ms: 8,
            store_time_ms: 10,
            scope: Scope(9),
            identity: "till-7",
        };
        let mut bytes = Vec::new();
        Entry::encode(&mut bytes, &envelope, &record);
        Entry::encode(&mut bytes, &envelope, &record);
        let mut bytes = Bytes::from(bytes);
        for _ in 0..2 {
            let entry = Entry::split_from(&mut bytes).expect("whole");
            assert_eq!(
                (entry.seq(), entry.received_ms(), entry.scope()),
                (Seq(7), 8, Scope(9))
            );
            assert_eq!((entry.identity(), entry.record()), ("till-7", &record));
            assert_eq!(entry.store_time_ms(), 10);
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn entry_of_version_1_is_read_and_has_no_store_time() {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            "a.b".parse().expect("topic"),
            "x",
        );
        let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
        let mut bytes = Vec::new();
        let length = (32 + 2 + record.as_bytes().len()) as u32;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[1, 1, 2, 0]);
        bytes.extend_from_slice(&7u64.to_le_bytes());
        bytes.extend_from_slice(&8u64.to_le_bytes());
        bytes.extend_from_slice(&9u32.to_le_bytes());
        bytes.extend_from_slice(&(record.as_bytes().len() as u32).to_le_bytes());
        bytes.extend_from_slice(b"me");
        bytes.extend_from_slice(record.as_bytes());
        for cut in 0..bytes.len() {
            assert!(Entry::from_bytes(Bytes::copy_from_slice(&bytes[..cut])).is_err());
        }
        let entry = Entry::from_bytes(bytes.clone().into()).expect("whole");
        assert_eq!((entry.seq(), entry.received_ms()), (Seq(7), 8));
        assert_eq!((entry.scope(), entry.identity()), (Scope(9), "me"));
        assert_eq!((entry.record(), entry.store_time_ms()), (&record, 0));

        bytes[5] = 3;
        let refusal = Entry::from_bytes(bytes.into()).expect_err("of a later version");
        assert_eq!(refusal.code, Code::Corrupt);
    }

    #[test]
    fn entry_cut_anywhere_is_refused_and_never_panics() {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            "a.b".parse().expect("topic"),
            "x",
        );
        let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
        let envelope = Envelope {
            seq: Seq(7),
            received_ms: 8,
            store_time_ms: 10,
            scope: Scope(9),
            identity: "i",
        };
        let mut bytes = Vec::new();
        Entry::encode(&mut bytes, &envelope, &record);
        for cut in 0..bytes.len() {
            let mut part = Bytes::copy_from_slice(&bytes[..cut]);
            assert_eq!(
                Entry::split_from(&mut part).expect_err("cut").code,
                Code::Corrupt
            );
        }
    }
}
