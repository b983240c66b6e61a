//! A change of state, as the journal keeps it.
//!
//! ```text
//!  0  u32  length of the whole operation
//!  4  u8   type: 1 append (an entry), 2 set offset, 3 dead letter
//!  5  u8   version of the type: 1
//!  6  u16  append: identity length; set offset: name length; else 0
//!  8       body
//! ```
//! Set offset: u64 offset, then the consumer's name. Dead letter: u64 number, then prost
//! [`DeadLetter`]. An append is an entry as `edgebus_core::entry` describes it, and nothing else.

use bytes::{BufMut, Bytes};
use edgebus_core::entry::TYPE_APPEND;
use edgebus_core::{Code, ConsumerName, Entry, Refusal, Seq};
use prost::Message as _;

const TYPE_SET_OFFSET: u8 = 2;
const TYPE_DEAD_LETTER: u8 = 3;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    /// A request was stored.
    Append(Entry),
    /// Everything up to an offset is done for a consumer.
    SetOffset { consumer: ConsumerName, offset: Seq },
    /// A request failed for good.
    DeadLetter { number: u64, letter: DeadLetter },
}

/// A request that failed for good for one consumer, kept until someone deletes or requeues it.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The request's place in the log.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The consumer it failed for.
    #[prost(string, tag = "2")]
    pub consumer: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// When it was moved here: store time, milliseconds.
    #[prost(uint64, tag = "4")]
    pub store_time_ms: u64,
    /// When it was moved here: wall clock, unix milliseconds.
    #[prost(uint64, tag = "5")]
    pub wall_ms: u64,
    /// The whole request, as an entry; it outlives the log's own copy.
    #[prost(bytes = "bytes", tag = "6")]
    pub entry: Bytes,
}

impl Op {
    /// Appends the operation to a group.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Append(entry) => out.extend_from_slice(entry.as_bytes()),
            Self::SetOffset { consumer, offset } => {
                let name = consumer.as_str().as_bytes();
                put_header(out, TYPE_SET_OFFSET, name.len() as u16, 8 + name.len());
                out.put_u64_le(offset.0);
                out.put_slice(name);
            }
            Self::DeadLetter { number, letter } => {
                put_header(out, TYPE_DEAD_LETTER, 0, 8 + letter.encoded_len());
                out.put_u64_le(*number);
                letter.encode_raw(out);
            }
        }
    }

    /// Cuts the operation that starts the buffer off it.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the bytes are no operation this version knows.
    pub(super) fn split_from(ops: &mut Bytes) -> Result<Self, Refusal> {
        let header = ops
            .get(..HEADER_BYTES)
            .ok_or_else(|| corrupt("is cut short"))?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (kind, version) = (header[4], header[5]);
        if kind == TYPE_APPEND {
            return Entry::split_from(ops).map(Self::Append);
        }
        if length < HEADER_BYTES + 8 || length > ops.len() {
            return Err(corrupt("has a length that does not fit"));
        }
        if version != VERSION {
            return Err(corrupt("has a version that is not known"));
        }
        let body = ops.split_to(length).slice(HEADER_BYTES..);
        let mut word = [0; 8];
        word.copy_from_slice(&body[..8]);
        let word = u64::from_le_bytes(word);
        match kind {
            TYPE_SET_OFFSET => {
                let name =
                    std::str::from_utf8(&body[8..]).map_err(|_| corrupt("names no consumer"))?;
                Ok(Self::SetOffset {
                    consumer: name.parse()?,
                    offset: Seq(word),
                })
            }
            TYPE_DEAD_LETTER => {
                let letter = DeadLetter::decode(body.slice(8..))
                    .map_err(|_| corrupt("holds a dead letter that cannot be read"))?;
                Ok(Self::DeadLetter {
                    number: word,
                    letter,
                })
            }
            _ => Err(corrupt("has a type that is not known")),
        }
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, extra: u16, body_bytes: usize) {
    out.put_u32_le((HEADER_BYTES + body_bytes) as u32);
    out.put_u8(kind);
    out.put_u8(VERSION);
    out.put_u16_le(extra);
}

#[cold]
fn corrupt(what: &str) -> Refusal {
    Refusal::new(Code::Corrupt, format!("an operation in the journal {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_survive_the_way_there_and_back() {
        let consumer: ConsumerName = "till".parse().expect("name");
        let letter = DeadLetter {
            seq: 3,
            reason: "no".into(),
            ..DeadLetter::default()
        };
        let ops = [
            Op::SetOffset {
                consumer,
                offset: Seq(9),
            },
            Op::DeadLetter { number: 4, letter },
        ];
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.encode(&mut bytes));
        let mut bytes = Bytes::from(bytes);
        for op in ops {
            assert_eq!(Op::split_from(&mut bytes), Ok(op));
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn operation_cut_anywhere_is_refused_and_never_panics() {
        let consumer: ConsumerName = "till".parse().expect("name");
        let mut bytes = Vec::new();
        Op::SetOffset {
            consumer,
            offset: Seq(9),
        }
        .encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(Op::split_from(&mut Bytes::copy_from_slice(&bytes[..cut])).is_err());
        }
    }
}
