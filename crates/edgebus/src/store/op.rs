//! A change of state, as the journal keeps it.
//!
//! ```text
//!  0  u32  length of the whole operation
//!  4  u8   type
//!  5  u8   version of the type: 1
//!  6  u16  see below
//!  8       body
//! ```
//! | type | bytes 6 and 7 | body |
//! |---|---|---|
//! | 1 append | identity length | an entry as `edgebus_core::entry` describes it, whose first 8 bytes these are |
//! | 2 consumer reset | name length | u64 offset, name |
//! | 3 dead letter | 0 | u64 number, prost [`DeadLetter`] |
//! | 4 consumer | name length | name, [`ConsumerOp`] |
//! | 5 dead letters | 0 dead, 1 requeued, 2 removed | their numbers, a u64 each |
//! | 6 trim | 0 | u64: nothing before this sequence number is kept |
//! | 7 mark | 0 | u64 each: nothing before this number is kept, the next number, the oldest segment that counts |
//!
//! Type 7 is of a journal without tables, which has to say of itself what they would: a store has
//! none. Types 4 to 6 and the fields of a dead letter from 7 on are not in format 1.

use bytes::{Buf as _, BufMut as _, Bytes};
use edgebus_core::consumer::ConsumerOp;
use edgebus_core::entry::TYPE_APPEND;
use edgebus_core::{Code, ConsumerName, Entry, Refusal, Seq};
use prost::Message as _;

use super::dead_letter::{DeadLetter, Fate};

const TYPE_RESET: u8 = 2;
const TYPE_DEAD_LETTER: u8 = 3;
const TYPE_CONSUMER: u8 = 4;
const TYPE_LETTERS: u8 = 5;
const TYPE_TRIM: u8 = 6;
const TYPE_MARK: u8 = 7;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// A request was stored.
    Append(Entry),
    /// What is durable about a consumer changed.
    Consumer { name: ConsumerName, op: ConsumerOp },
    /// A request failed for good, and is done for its consumer.
    DeadLetter { number: u64, letter: DeadLetter },
    /// What becomes of dead letters.
    Letters { numbers: Vec<u64>, fate: Fate },
    /// Nothing before a sequence number is kept.
    Trim { before: Seq },
    /// Where a journal without tables stands.
    Mark(Mark),
}

/// What a journal says of itself when there are no tables behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Nothing before it is kept.
    pub(crate) first: u64,
    /// What is appended next gets this number.
    pub(crate) next: u64,
    /// The oldest segment in which anything counts; those before it may be gone.
    pub(crate) segment: u64,
}

/// Bytes of a mark as an operation.
pub(crate) const MARK_BYTES: usize = HEADER_BYTES + 24;

impl Op {
    /// Whether it makes room on the disk in the end.
    pub(crate) fn frees_space(&self) -> bool {
        match self {
            Self::Trim { .. } => true,
            Self::Letters { fate, .. } => *fate == Fate::Removed,
            Self::Consumer { op, .. } => *op == ConsumerOp::Delete,
            Self::Append(_) | Self::DeadLetter { .. } | Self::Mark(_) => false,
        }
    }

    /// Appends the operation to a group.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Append(entry) => out.extend_from_slice(entry.as_bytes()),
            Self::Consumer {
                name,
                op: ConsumerOp::Reset { offset },
            } => {
                let name = name.as_str().as_bytes();
                put_header(out, TYPE_RESET, name.len() as u16, 8 + name.len());
                out.put_u64_le(offset.0);
                out.put_slice(name);
            }
            Self::Consumer { name, op } => {
                let (name, op) = (name.as_str().as_bytes(), op.encode());
                put_header(out, TYPE_CONSUMER, name.len() as u16, name.len() + op.len());
                out.put_slice(name);
                out.put_slice(&op);
            }
            Self::DeadLetter { number, letter } => {
                put_header(out, TYPE_DEAD_LETTER, 0, 8 + letter.encoded_len());
                out.put_u64_le(*number);
                letter.encode_raw(out);
            }
            Self::Letters { numbers, fate } => {
                let fate = match fate {
                    Fate::Dead => 0,
                    Fate::Requeued => 1,
                    Fate::Removed => 2,
                };
                put_header(out, TYPE_LETTERS, fate, 8 * numbers.len());
                numbers.iter().for_each(|number| out.put_u64_le(*number));
            }
            Self::Trim { before } => {
                put_header(out, TYPE_TRIM, 0, 8);
                out.put_u64_le(before.0);
            }
            Self::Mark(mark) => {
                put_header(out, TYPE_MARK, 0, 24);
                out.put_u64_le(mark.first);
                out.put_u64_le(mark.next);
                out.put_u64_le(mark.segment);
            }
        }
    }

    /// Cuts the operation that starts the buffer off it.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when the bytes are no operation this version knows.
    pub(crate) fn split_from(ops: &mut Bytes) -> Result<Self, Refusal> {
        let header = ops
            .get(..HEADER_BYTES)
            .ok_or_else(|| corrupt("is cut short"))?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (kind, version) = (header[4], header[5]);
        let extra = u16::from_le_bytes([header[6], header[7]]);
        if kind == TYPE_APPEND {
            return Entry::split_from(ops).map(Self::Append);
        }
        if length < HEADER_BYTES || length > ops.len() {
            return Err(corrupt("has a length that does not fit"));
        }
        if version != VERSION {
            return Err(corrupt(&format!(
                "has version {version} of type {kind}, this edgebus knows {VERSION}"
            )));
        }
        let mut body = ops.split_to(length).slice(HEADER_BYTES..);
        match kind {
            TYPE_RESET => {
                let offset = Seq(word(&mut body)?);
                let name = name(&body)?;
                let op = ConsumerOp::Reset { offset };
                Ok(Self::Consumer { name, op })
            }
            TYPE_DEAD_LETTER => {
                let number = word(&mut body)?;
                let letter = DeadLetter::decode(body)
                    .map_err(|_| corrupt("holds a dead letter that cannot be read"))?;
                Ok(Self::DeadLetter { number, letter })
            }
            TYPE_CONSUMER => {
                let name_bytes = usize::from(extra);
                if name_bytes > body.len() {
                    return Err(corrupt("names a consumer that is cut short"));
                }
                let name = name(&body.split_to(name_bytes))?;
                let op = ConsumerOp::decode(body)?;
                Ok(Self::Consumer { name, op })
            }
            TYPE_LETTERS => {
                let fate = match extra {
                    0 => Fate::Dead,
                    1 => Fate::Requeued,
                    2 => Fate::Removed,
                    _ => return Err(corrupt("has a fate of dead letters that is not known")),
                };
                let mut numbers = Vec::with_capacity(body.len() / 8);
                while !body.is_empty() {
                    numbers.push(word(&mut body)?);
                }
                Ok(Self::Letters { numbers, fate })
            }
            TYPE_TRIM => {
                let before = Seq(word(&mut body)?);
                Ok(Self::Trim { before })
            }
            TYPE_MARK => Ok(Self::Mark(Mark {
                first: word(&mut body)?,
                next: word(&mut body)?,
                segment: word(&mut body)?,
            })),
            _ => Err(corrupt("has a type that is not known")),
        }
    }
}

fn word(body: &mut Bytes) -> Result<u64, Refusal> {
    body.try_get_u64_le().map_err(|_| corrupt("is cut short"))
}

fn name(bytes: &[u8]) -> Result<ConsumerName, Refusal> {
    let name = std::str::from_utf8(bytes).map_err(|_| corrupt("names no consumer"))?;
    name.parse().map_err(|_| corrupt("names no consumer"))
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

    fn ops() -> Vec<Op> {
        let name: ConsumerName = "till".parse().expect("name");
        let letter = DeadLetter {
            seq: 3,
            reason: "no".into(),
            code: "rejected".into(),
            ..DeadLetter::default()
        };
        let consumer = |op| Op::Consumer {
            name: name.clone(),
            op,
        };
        vec![
            consumer(ConsumerOp::Reset { offset: Seq(9) }),
            consumer(ConsumerOp::Delete),
            consumer(ConsumerOp::Done(vec![(Seq(3), Seq(9))])),
            consumer(ConsumerOp::Completed {
                seq: Seq(4),
                reply: Bytes::from_static(b"yes"),
            }),
            Op::DeadLetter { number: 4, letter },
            Op::Letters {
                numbers: vec![4, 9],
                fate: Fate::Requeued,
            },
            Op::Letters {
                numbers: vec![4],
                fate: Fate::Removed,
            },
            Op::Trim { before: Seq(7) },
            Op::Mark(Mark {
                first: 7,
                next: 9,
                segment: 2,
            }),
        ]
    }

    #[test]
    fn operations_survive_the_way_there_and_back() {
        let mut bytes = Vec::new();
        ops().iter().for_each(|op| op.encode(&mut bytes));
        let mut bytes = Bytes::from(bytes);
        for op in ops() {
            assert_eq!(Op::split_from(&mut bytes), Ok(op));
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn operation_cut_anywhere_is_refused_and_never_panics() {
        for op in ops() {
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert!(Op::split_from(&mut Bytes::copy_from_slice(&bytes[..cut])).is_err());
            }
        }
    }

    /// The length says what the operation holds, so a body that is cut must be found out too.
    #[test]
    fn operation_with_a_body_cut_anywhere_never_panics() {
        for op in ops() {
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            for cut in HEADER_BYTES..bytes.len() {
                let mut cut_short = bytes[..cut].to_vec();
                cut_short[..4].copy_from_slice(&(cut as u32).to_le_bytes());
                let _ = Op::split_from(&mut Bytes::from(cut_short));
            }
        }
    }
}
