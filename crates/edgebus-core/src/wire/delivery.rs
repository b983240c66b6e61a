//! The bodies of the frames that carry streams, settlements and replies, both directions side by
//! side.
//!
//! Like the others, nothing is allocated for a count before the bytes that are left could hold it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::control::WireError;
use super::decode::{corrupt, end, prost_body, take_count, take_u64};
use super::encode::{put_count, put_prost};
use super::settle::{SettleItem, WireSettlement};
use super::stream::{WireOpened, WireSettled};
use super::{Frame, kind};
use crate::code::Refusal;
use crate::consumer::{Delivery, LeaseToken};
use crate::entry::{Entry, HEADER_BYTES as ENTRY_HEADER_BYTES};
use crate::id::Seq;
use crate::record::HEADER_BYTES as RECORD_HEADER_BYTES;

/// Least bytes of an entry.
pub(super) const ENTRY_BYTES_MIN: usize = ENTRY_HEADER_BYTES + RECORD_HEADER_BYTES;
/// What stands before the entry of a delivery.
const DELIVERY_HEADER_BYTES: usize = 16;
/// What stands before the body of a settlement.
const SETTLE_HEADER_BYTES: usize = 24;

/// A frame whose type is one of these, or that it is not known.
pub(super) fn decode_body(kind: u8, mut body: Bytes) -> Result<Frame, Refusal> {
    let body = &mut body;
    let first = take_u64(body)?;
    match kind {
        kind::ANSWER => Ok(Frame::Answer {
            tag: first,
            answer: prost_body(body)?,
        }),
        kind::OPEN => Ok(Frame::Open {
            stream: first,
            open: Box::new(prost_body(body)?),
        }),
        kind::OPENED => {
            let kept = prost_body::<WireOpened>(body)?.kept();
            Ok(Frame::Opened {
                stream: first,
                kept: kept.map_err(|_| corrupt("a frame holds a lease token that is none"))?,
            })
        }
        kind::CREDIT => {
            let credit = take_u64(body)? as u32;
            let stream = first;
            end(body, Frame::Credit { stream, credit })
        }
        kind::DELIVER => {
            let deliveries = take_deliveries(body)?;
            let stream = first;
            end(body, Frame::Deliver { stream, deliveries })
        }
        kind::SETTLE => {
            let stream = first;
            let tag = take_u64(body)?;
            let items = take_items(body)?;
            end(body, Frame::Settle { stream, tag, items })
        }
        kind::SETTLED => Ok(Frame::Settled {
            tag: first,
            errors: prost_body::<WireSettled>(body)?.into_errors(),
        }),
        kind::PUBLISHED => {
            let reached = take_u64(body)?;
            let tag = first;
            end(body, Frame::Published { tag, reached })
        }
        kind::NOTIFY => {
            let stream = first;
            let entries = take_entries(body)?;
            end(body, Frame::Notify { stream, entries })
        }
        kind::LAGGED => {
            let missed = take_u64(body)?;
            let stream = first;
            end(body, Frame::Lagged { stream, missed })
        }
        kind::CLOSE => {
            let refusal = match body.is_empty() {
                true => None,
                false => Some(prost_body::<WireError>(body)?.into()),
            };
            let stream = first;
            Ok(Frame::Close { stream, refusal })
        }
        kind::ADMIN => Ok(Frame::Admin {
            tag: first,
            admin: Box::new(prost_body(body)?),
        }),
        kind::MANAGED => Ok(Frame::Managed {
            tag: first,
            managed: Box::new(prost_body(body)?),
        }),
        // The caller asks for no other.
        _ => Err(corrupt("a frame of this type carries no delivery")),
    }
}

/// A count and so many entries.
pub(super) fn take_entries(body: &mut Bytes) -> Result<Vec<Entry>, Refusal> {
    let count = take_count(body, ENTRY_BYTES_MIN)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Entry::split_from(body)?);
    }
    Ok(entries)
}

fn take_deliveries(body: &mut Bytes) -> Result<Vec<Delivery>, Refusal> {
    let count = take_count(body, DELIVERY_HEADER_BYTES + ENTRY_BYTES_MIN)?;
    let mut deliveries = Vec::with_capacity(count);
    for _ in 0..count {
        let (epoch, delivery) = halves(take_u64(body)?);
        let (attempt, _) = halves(take_u64(body)?);
        let entry = Entry::split_from(body)?;
        let token = LeaseToken {
            epoch,
            seq: entry.seq(),
            delivery,
        };
        deliveries.push(Delivery {
            token,
            attempt,
            entry,
        });
    }
    Ok(deliveries)
}

fn take_items(body: &mut Bytes) -> Result<Vec<SettleItem>, Refusal> {
    let count = take_count(body, SETTLE_HEADER_BYTES)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let seq = Seq(take_u64(body)?);
        let (epoch, delivery) = halves(take_u64(body)?);
        let (what, length) = halves(take_u64(body)?);
        if length as usize > body.remaining() {
            return Err(corrupt("the body of a settlement is cut short"));
        }
        let token = LeaseToken {
            epoch,
            seq,
            delivery,
        };
        let settlement = WireSettlement {
            what: what as u8,
            body: body.split_to(length as usize),
        };
        items.push(SettleItem { token, settlement });
    }
    Ok(items)
}

/// Two numbers of 32 bits, in the order in which they stand.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

pub(super) fn put_opened(stream: u64, kept: &[LeaseToken], out: &mut BytesMut) -> u8 {
    out.put_u64_le(stream);
    put_prost(kind::OPENED, &WireOpened::of(kept), out)
}

pub(super) fn put_deliver(stream: u64, deliveries: &[Delivery], out: &mut BytesMut) -> u8 {
    out.put_u64_le(stream);
    put_count(deliveries.len(), out);
    for delivery in deliveries {
        out.put_u32_le(delivery.token.epoch);
        out.put_u32_le(delivery.token.delivery);
        out.put_u32_le(delivery.attempt);
        out.put_u32_le(0);
        out.put_slice(delivery.entry.as_bytes());
    }
    kind::DELIVER
}

pub(super) fn put_settle(stream: u64, tag: u64, items: &[SettleItem], out: &mut BytesMut) -> u8 {
    out.put_u64_le(stream);
    out.put_u64_le(tag);
    put_count(items.len(), out);
    for SettleItem { token, settlement } in items {
        out.put_u64_le(token.seq.0);
        out.put_u32_le(token.epoch);
        out.put_u32_le(token.delivery);
        out.put_u32_le(u32::from(settlement.what));
        out.put_u32_le(settlement.body.len() as u32);
        out.put_slice(&settlement.body);
    }
    kind::SETTLE
}

pub(super) fn put_settled(tag: u64, errors: &[(u32, Refusal)], out: &mut BytesMut) -> u8 {
    out.put_u64_le(tag);
    put_prost(kind::SETTLED, &WireSettled::of(errors), out)
}

pub(super) fn put_notify(stream: u64, entries: &[Entry], out: &mut BytesMut) -> u8 {
    out.put_u64_le(stream);
    put_count(entries.len(), out);
    for entry in entries {
        out.put_slice(entry.as_bytes());
    }
    kind::NOTIFY
}

pub(super) fn put_close(stream: u64, refusal: Option<&Refusal>, out: &mut BytesMut) -> u8 {
    out.put_u64_le(stream);
    match refusal {
        Some(refusal) => put_prost(kind::CLOSE, &WireError::from(refusal), out),
        None => kind::CLOSE,
    }
}

/// Bytes of a delivery in its frame.
pub(crate) fn delivery_bytes(delivery: &Delivery) -> usize {
    DELIVERY_HEADER_BYTES + delivery.entry.as_bytes().len()
}
