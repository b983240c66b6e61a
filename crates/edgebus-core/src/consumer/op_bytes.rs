//! Ops as bytes, for the journal: prost, with numbers that repeat packed as differences.
//!
//! Attempts and acks are most of what a busy journal holds; one attempt costs 1 byte, one
//! range of acks 2, when they follow each other.

use bytes::Bytes;
use prost::Message as _;

use super::config::{ConsumerConfig, ConsumerProto};
use super::op::{Attempt, ConsumerOp, Failure, PlaceKind};
use crate::code::{Code, Refusal};
use crate::id::Seq;

#[derive(Clone, PartialEq, prost::Message)]
struct OpProto {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Put(PutProto),
    #[prost(message, tag = "2")]
    Delete(Nothing),
    #[prost(uint64, tag = "3")]
    Reset(u64),
    #[prost(message, tag = "4")]
    Attempts(AttemptsProto),
    #[prost(message, tag = "5")]
    Done(RangesProto),
    #[prost(message, tag = "6")]
    Completed(CompletedProto),
    #[prost(message, tag = "7")]
    Failed(FailedProto),
    #[prost(uint64, tag = "8")]
    DeadLettered(u64),
    #[prost(message, tag = "9")]
    Requeued(TwoProto),
    #[prost(uint64, tag = "10")]
    Dropped(u64),
    #[prost(message, tag = "11")]
    Again(RangesProto),
    #[prost(uint64, tag = "12")]
    Progress(u64),
    #[prost(message, tag = "13")]
    Gap(TwoProto),
    #[prost(bool, tag = "14")]
    Paused(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct PutProto {
    #[prost(message, optional, tag = "1")]
    config: Option<ConsumerProto>,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AttemptsProto {
    /// Differences to the one before.
    #[prost(sint64, repeated, tag = "1")]
    seqs: Vec<i64>,
    /// One each; left out when all are 1.
    #[prost(uint32, repeated, tag = "2")]
    deliveries: Vec<u32>,
    /// Kind of place, plus 4 when alone; one each, or one for all.
    #[prost(uint32, repeated, tag = "3")]
    places: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangesProto {
    /// See [`pack_ranges`].
    #[prost(uint64, repeated, tag = "1")]
    ranges: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompletedProto {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(bytes = "bytes", tag = "2")]
    reply: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FailedProto {
    #[prost(message, repeated, tag = "1")]
    failures: Vec<FailureProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FailureProto {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(bool, tag = "2")]
    charged: bool,
    #[prost(bool, tag = "3")]
    suspect: bool,
    #[prost(uint64, tag = "4")]
    due_ms: u64,
    #[prost(string, tag = "5")]
    error: String,
    #[prost(uint64, tag = "6")]
    wall_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TwoProto {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint64, tag = "2")]
    other: u64,
}

impl ConsumerOp {
    /// As bytes, for the journal.
    pub fn encode(&self) -> Vec<u8> {
        let what = match self {
            Self::Put { config, offset } => What::Put(PutProto {
                config: Some(config.to_proto()),
                offset: offset.0,
            }),
            Self::Delete => What::Delete(Nothing {}),
            Self::Reset { offset } => What::Reset(offset.0),
            Self::Attempts(attempts) => What::Attempts(pack_attempts(attempts)),
            Self::Done(ranges) => What::Done(RangesProto {
                ranges: pack_ranges(ranges.iter().copied()),
            }),
            Self::Completed { seq, reply } => What::Completed(CompletedProto {
                seq: seq.0,
                reply: reply.clone(),
            }),
            Self::Failed(failures) => What::Failed(FailedProto {
                failures: failures.iter().map(failure_to_proto).collect(),
            }),
            Self::DeadLettered { seq } => What::DeadLettered(seq.0),
            Self::Requeued { seq, number } => What::Requeued(TwoProto {
                seq: seq.0,
                other: *number,
            }),
            Self::Dropped { seq } => What::Dropped(seq.0),
            Self::Again(ranges) => What::Again(RangesProto {
                ranges: pack_ranges(ranges.iter().copied()),
            }),
            Self::Progress { offset } => What::Progress(offset.0),
            Self::Gap { from, to } => What::Gap(TwoProto {
                seq: from.0,
                other: to.0,
            }),
            Self::Paused(paused) => What::Paused(*paused),
        };
        OpProto { what: Some(what) }.encode_to_vec()
    }

    /// From bytes; a reply shares their memory.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when they are no op of this version, [`Code::BadConfig`] or
    /// [`Code::BadPattern`] when a configuration makes no sense.
    pub fn decode(bytes: Bytes) -> Result<Self, Refusal> {
        let proto = OpProto::decode(bytes).map_err(|_| corrupt("cannot be read"))?;
        let ranges = |packed: RangesProto| {
            unpack_ranges(&packed.ranges).ok_or_else(|| corrupt("has ranges that are none"))
        };
        Ok(match proto.what {
            None => return Err(corrupt("has a type that is not known")),
            Some(What::Put(put)) => Self::Put {
                config: ConsumerConfig::from_proto(put.config.unwrap_or_default())?,
                offset: Seq(put.offset),
            },
            Some(What::Delete(Nothing {})) => Self::Delete,
            Some(What::Reset(offset)) => Self::Reset {
                offset: Seq(offset),
            },
            Some(What::Attempts(attempts)) => Self::Attempts(unpack_attempts(&attempts)?),
            Some(What::Done(packed)) => Self::Done(ranges(packed)?),
            Some(What::Completed(completed)) => Self::Completed {
                seq: Seq(completed.seq),
                reply: completed.reply,
            },
            Some(What::Failed(failed)) => {
                Self::Failed(failed.failures.into_iter().map(failure_from).collect())
            }
            Some(What::DeadLettered(seq)) => Self::DeadLettered { seq: Seq(seq) },
            Some(What::Requeued(two)) => Self::Requeued {
                seq: Seq(two.seq),
                number: two.other,
            },
            Some(What::Dropped(seq)) => Self::Dropped { seq: Seq(seq) },
            Some(What::Again(packed)) => Self::Again(ranges(packed)?),
            Some(What::Progress(offset)) => Self::Progress {
                offset: Seq(offset),
            },
            Some(What::Gap(two)) => Self::Gap {
                from: Seq(two.seq),
                to: Seq(two.other),
            },
            Some(What::Paused(paused)) => Self::Paused(paused),
        })
    }
}

fn failure_to_proto(failure: &Failure) -> FailureProto {
    FailureProto {
        seq: failure.seq.0,
        charged: failure.charged,
        suspect: failure.suspect,
        due_ms: failure.due_ms,
        error: failure.error.clone(),
        wall_ms: failure.wall_ms,
    }
}

fn failure_from(proto: FailureProto) -> Failure {
    Failure {
        seq: Seq(proto.seq),
        charged: proto.charged,
        suspect: proto.suspect,
        due_ms: proto.due_ms,
        error: proto.error,
        wall_ms: proto.wall_ms,
    }
}

const ALONE: u32 = 4;

fn pack_attempts(attempts: &[Attempt]) -> AttemptsProto {
    let mut before = 0u64;
    let seqs = attempts.iter().map(|attempt| {
        let difference = attempt.seq.0.wrapping_sub(before) as i64;
        before = attempt.seq.0;
        difference
    });
    let place = |attempt: &Attempt| place_to(attempt.place) + if attempt.alone { ALONE } else { 0 };
    let mut proto = AttemptsProto {
        seqs: seqs.collect(),
        ..AttemptsProto::default()
    };
    if attempts.iter().any(|attempt| attempt.delivery != 1) {
        proto.deliveries = attempts.iter().map(|attempt| attempt.delivery).collect();
    }
    proto.places = match attempts.split_first() {
        Some((first, rest)) if rest.iter().all(|other| place(other) == place(first)) => {
            vec![place(first)]
        }
        _ => attempts.iter().map(place).collect(),
    };
    proto
}

fn unpack_attempts(proto: &AttemptsProto) -> Result<Vec<Attempt>, Refusal> {
    let count = proto.seqs.len();
    let fits = |given: usize, short: usize| given == count || given == short;
    if !fits(proto.deliveries.len(), 0) || !fits(proto.places.len(), 1) {
        return Err(corrupt("has attempts that do not add up"));
    }
    let mut seq = 0u64;
    let attempts = proto.seqs.iter().enumerate().map(|(at, difference)| {
        seq = seq.wrapping_add(*difference as u64);
        let place = proto.places.get(at).or(proto.places.first());
        let place = place.copied().unwrap_or_default();
        Ok(Attempt {
            seq: Seq(seq),
            delivery: proto.deliveries.get(at).copied().unwrap_or(1),
            place: place_of(place % ALONE)
                .filter(|_| place < 2 * ALONE)
                .ok_or_else(|| corrupt("names a kind of place that is not known"))?,
            alone: place >= ALONE,
        })
    });
    attempts.collect()
}

/// The number of a kind of place, from 1 up.
pub(super) const fn place_to(place: PlaceKind) -> u32 {
    match place {
        PlaceKind::Process => 1,
        PlaceKind::Connection => 2,
        PlaceKind::Detached => 3,
    }
}

/// The kind of place with a number.
pub(super) const fn place_of(number: u32) -> Option<PlaceKind> {
    match number {
        1 => Some(PlaceKind::Process),
        2 => Some(PlaceKind::Connection),
        3 => Some(PlaceKind::Detached),
        _ => None,
    }
}

/// Ascending ranges as pairs: how far the start is above the end of the one before (0 before the
/// first), then how many more than one there are.
pub(super) fn pack_ranges(ranges: impl Iterator<Item = (Seq, Seq)>) -> Vec<u64> {
    let mut before = 0u64;
    let mut packed = Vec::with_capacity(2 * ranges.size_hint().0);
    for (from, to) in ranges {
        // Wrapping: an owner that merges ops may hand over ranges that are not in order.
        packed.push(from.0.wrapping_sub(before));
        packed.push(to.0.saturating_sub(from.0));
        before = to.0;
    }
    packed
}

/// Back from [`pack_ranges`]; `None` when it is none.
pub(super) fn unpack_ranges(packed: &[u64]) -> Option<Vec<(Seq, Seq)>> {
    let (pairs, rest) = packed.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut before = 0u64;
    let ranges = pairs.iter().map(|[above, more]| {
        let from = before.wrapping_add(*above);
        before = from.checked_add(*more)?;
        Some((Seq(from), Seq(before)))
    });
    ranges.collect()
}

#[cold]
fn corrupt(what: &str) -> Refusal {
    Refusal::new(
        Code::Corrupt,
        format!("a stored change of a consumer {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(seq: u64, delivery: u32, place: PlaceKind, alone: bool) -> Attempt {
        Attempt {
            seq: Seq(seq),
            delivery,
            place,
            alone,
        }
    }

    fn every_op() -> Vec<ConsumerOp> {
        let config = ConsumerConfig::responder("a.>".parse().expect("pattern"));
        let failure = Failure {
            seq: Seq(7),
            charged: true,
            suspect: true,
            due_ms: 99,
            error: "no".to_owned(),
            wall_ms: 100,
        };
        let ranges = vec![
            (Seq(3), Seq(3)),
            (Seq(5), Seq(9)),
            (Seq(1 << 60), Seq(u64::MAX)),
        ];
        vec![
            ConsumerOp::Put {
                config,
                offset: Seq(4),
            },
            ConsumerOp::Delete,
            ConsumerOp::Reset { offset: Seq(0) },
            ConsumerOp::Attempts(vec![]),
            ConsumerOp::Attempts(vec![
                attempt(9, 1, PlaceKind::Process, false),
                attempt(10, 1, PlaceKind::Process, false),
            ]),
            ConsumerOp::Attempts(vec![
                attempt(9, 1, PlaceKind::Connection, false),
                attempt(u64::MAX, 3, PlaceKind::Process, true),
                attempt(2, u32::MAX, PlaceKind::Detached, true),
            ]),
            ConsumerOp::Done(ranges.clone()),
            ConsumerOp::Completed {
                seq: Seq(8),
                reply: Bytes::from_static(b"yes"),
            },
            ConsumerOp::Failed(vec![failure.clone(), failure]),
            ConsumerOp::DeadLettered { seq: Seq(0) },
            ConsumerOp::Requeued {
                seq: Seq(1),
                number: 2,
            },
            ConsumerOp::Dropped { seq: Seq(3) },
            ConsumerOp::Again(ranges),
            ConsumerOp::Progress { offset: Seq(77) },
            ConsumerOp::Gap {
                from: Seq(1),
                to: Seq(2),
            },
            ConsumerOp::Paused(false),
            ConsumerOp::Paused(true),
        ]
    }

    #[test]
    fn every_op_survives_the_way_through_the_journal() {
        for op in every_op() {
            assert_eq!(ConsumerOp::decode(Bytes::from(op.encode())), Ok(op));
        }
    }

    #[test]
    fn op_cut_anywhere_is_refused_or_another_op_and_never_panics() {
        for op in every_op() {
            let bytes = Bytes::from(op.encode());
            for cut in 0..bytes.len() {
                assert_ne!(
                    ConsumerOp::decode(bytes.slice(..cut)).ok(),
                    Some(op.clone())
                );
            }
        }
    }

    #[test]
    fn thousand_attempts_and_acks_in_a_row_take_a_few_bytes_each() {
        let attempts = (1..=1000).map(|seq| attempt((1 << 40) + seq, 1, PlaceKind::Process, false));
        assert!(ConsumerOp::Attempts(attempts.collect()).encode().len() < 1100);
        let acks = (1..=1000).map(|n| (Seq((1 << 40) + 2 * n), Seq((1 << 40) + 2 * n)));
        assert!(ConsumerOp::Done(acks.collect()).encode().len() < 2100);
    }
}
