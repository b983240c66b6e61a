//! A ledger as bytes, for the tables: prost, so that later versions add fields.
//!
//! Invariant: whatever decodes holds the invariants of [`Ledger`]; bytes that do not are refused.

use std::collections::BTreeMap;

use prost::Message as _;

use super::config::{ConsumerConfig, ConsumerProto};
use super::ledger::{ERRORS_MAX, Gaps, Ledger, Work};
use super::op_bytes::{pack_ranges, place_of, place_to, unpack_ranges};
use super::ranges::Ranges;
use super::settlement::AttemptError;
use crate::code::{Code, Refusal};
use crate::id::Seq;
use crate::planted;

#[derive(Clone, PartialEq, prost::Message)]
struct LedgerProto {
    #[prost(message, optional, tag = "1")]
    config: Option<ConsumerProto>,
    #[prost(uint32, tag = "2")]
    epoch: u32,
    #[prost(uint64, tag = "3")]
    offset: u64,
    /// How far `taken` is above the offset.
    #[prost(uint64, tag = "4")]
    taken_above: u64,
    #[prost(uint32, tag = "5")]
    delivery_max: u32,
    #[prost(uint64, repeated, tag = "6")]
    acked: Vec<u64>,
    #[prost(message, repeated, tag = "7")]
    open: Vec<WorkProto>,
    #[prost(message, repeated, tag = "8")]
    requeued: Vec<RequeuedProto>,
    #[prost(uint64, repeated, tag = "9")]
    again: Vec<u64>,
    #[prost(bool, tag = "10")]
    paused: bool,
    #[prost(uint64, tag = "11")]
    gaps: u64,
    #[prost(uint64, tag = "12")]
    gap_messages: u64,
    #[prost(uint64, repeated, tag = "13")]
    last_gap: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WorkProto {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint32, tag = "2")]
    delivery: u32,
    #[prost(uint32, tag = "3")]
    first: u32,
    #[prost(uint32, tag = "4")]
    charged: u32,
    /// 0: with nobody.
    #[prost(uint32, tag = "5")]
    place: u32,
    #[prost(bool, tag = "6")]
    alone: bool,
    #[prost(bool, tag = "7")]
    suspect: bool,
    #[prost(uint64, tag = "8")]
    due_ms: u64,
    #[prost(message, repeated, tag = "9")]
    errors: Vec<AttemptError>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequeuedProto {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
}

impl Ledger {
    /// As bytes: all of it.
    pub fn encode(&self) -> Vec<u8> {
        LedgerProto {
            config: self.config.as_ref().map(ConsumerConfig::to_proto),
            epoch: self.epoch,
            offset: self.offset.0,
            taken_above: self.taken.0.saturating_sub(self.offset.0),
            delivery_max: self.delivery_max,
            acked: match planted!("acks-above-offset-forgotten") {
                true => Vec::new(),
                false => pack_ranges(self.acked.iter()),
            },
            open: self.open.iter().map(work_to_proto).collect(),
            requeued: self
                .requeued
                .iter()
                .map(|(seq, number)| RequeuedProto {
                    seq: seq.0,
                    number: *number,
                })
                .collect(),
            again: pack_ranges(self.again.iter()),
            paused: self.paused,
            gaps: self.gaps.count,
            gap_messages: self.gaps.messages,
            last_gap: self
                .gaps
                .last
                .map_or(Vec::new(), |(from, to)| vec![from.0, to.0]),
        }
        .encode_to_vec()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when they are no ledger, [`Code::BadConfig`] or [`Code::BadPattern`] when
    /// its configuration makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let proto = LedgerProto::decode(bytes).map_err(|_| corrupt("cannot be read"))?;
        if proto.epoch == 0 {
            return Err(corrupt("has no epoch"));
        }
        let offset = Seq(proto.offset);
        let mut open = BTreeMap::new();
        for work in proto.open {
            let (seq, work) = work_from_proto(work)?;
            if open.insert(seq, work).is_some() {
                return Err(corrupt("names a message twice"));
            }
        }
        let ledger = Self {
            config: proto.config.map(ConsumerConfig::from_proto).transpose()?,
            epoch: proto.epoch,
            offset,
            taken: Seq(proto.offset.saturating_add(proto.taken_above)),
            delivery_max: proto.delivery_max,
            acked: ranges_of(&proto.acked)?,
            open,
            requeued: proto
                .requeued
                .iter()
                .map(|row| (Seq(row.seq), row.number))
                .collect(),
            again: ranges_of(&proto.again)?,
            paused: proto.paused,
            gaps: Gaps {
                count: proto.gaps,
                messages: proto.gap_messages,
                last: match proto.last_gap[..] {
                    [from, to] => Some((Seq(from), Seq(to))),
                    _ => None,
                },
            },
        };
        ledger.check()?;
        Ok(ledger)
    }

    /// Refuses what no run leads to.
    fn check(&self) -> Result<(), Refusal> {
        let floor = self.offset.0.saturating_add(1);
        if self
            .acked
            .iter()
            .next()
            .is_some_and(|(from, _)| from.0 <= floor)
        {
            return Err(corrupt("has acks below its offset"));
        }
        let mut below = self.open.range(..=self.offset).map(|(seq, _)| *seq);
        if below.any(|seq| !self.is_extra(seq)) {
            return Err(corrupt("has open messages below its offset"));
        }
        let mut deliveries = self.open.values().map(|work| work.delivery);
        if deliveries.any(|delivery| delivery == 0 || delivery > self.delivery_max) {
            return Err(corrupt("has delivery numbers out of range"));
        }
        Ok(())
    }
}

fn work_to_proto((seq, work): (&Seq, &Work)) -> WorkProto {
    WorkProto {
        seq: seq.0,
        delivery: work.delivery,
        first: work.first,
        charged: work.charged,
        place: work.out.map_or(0, |(place, _)| place_to(place)),
        alone: work.out.is_some_and(|(_, alone)| alone),
        suspect: work.suspect,
        due_ms: work.due_ms,
        errors: work.errors.clone(),
    }
}

fn work_from_proto(proto: WorkProto) -> Result<(Seq, Work), Refusal> {
    let out = match proto.place {
        0 => None,
        place => Some((
            place_of(place).ok_or_else(|| corrupt("names a kind of place that is not known"))?,
            proto.alone,
        )),
    };
    if proto.errors.len() > ERRORS_MAX {
        return Err(corrupt("has more errors of a message than are kept"));
    }
    let work = Work {
        delivery: proto.delivery,
        first: proto.first,
        charged: proto.charged,
        out,
        suspect: proto.suspect,
        due_ms: proto.due_ms,
        errors: proto.errors,
    };
    Ok((Seq(proto.seq), work))
}

fn ranges_of(packed: &[u64]) -> Result<Ranges, Refusal> {
    let mut ranges = Ranges::default();
    let unpacked = unpack_ranges(packed).ok_or_else(|| corrupt("has ranges that are none"))?;
    for (from, to) in unpacked {
        ranges.insert(from, to);
    }
    Ok(ranges)
}

#[cold]
fn corrupt(what: &str) -> Refusal {
    Refusal::new(Code::Corrupt, format!("a stored consumer state {what}"))
}
