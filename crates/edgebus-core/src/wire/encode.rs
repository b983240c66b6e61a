//! Frames to bytes.

use bytes::{BufMut, BytesMut};

use super::control::WireError;
use super::{Frame, HEADER_BYTES, ReceiptRange, delivery, kind};
use crate::record::Record;

/// Appends a frame to a buffer.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    let kind = encode_body(frame, out);
    finish(out, start, kind);
}

/// Fills in the header of the frame that starts at `start`, now that its body is there.
fn finish(out: &mut BytesMut, start: usize, kind: u8) {
    let length = (out.len() - start - 4) as u32;
    out[start + 8] = kind;
    let crc = crc32c::crc32c(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn encode_body(frame: &Frame, out: &mut BytesMut) -> u8 {
    match frame {
        Frame::Hello(hello) => put_prost(kind::HELLO, hello, out),
        Frame::Welcome(welcome) => put_prost(kind::WELCOME, welcome, out),
        Frame::Send { first_tag, records } => put_records(kind::SEND, *first_tag, records, out),
        Frame::Receipts(ranges) => {
            put_count(ranges.len(), out);
            for range in ranges {
                put_range(range, out);
            }
            kind::RECEIPTS
        }
        Frame::Error { tag, refusal } => {
            out.put_u64_le(*tag);
            put_prost(kind::ERROR, &WireError::from(refusal), out)
        }
        Frame::Query { tag, query } => {
            out.put_u64_le(*tag);
            put_prost(kind::QUERY, query, out)
        }
        Frame::Page { tag, page } => {
            out.put_u64_le(*tag);
            out.put_u64_le(page.next.map_or(0, |next| next.0));
            put_count(page.entries.len(), out);
            for entry in &page.entries {
                out.put_slice(entry.as_bytes());
            }
            kind::PAGE
        }
        Frame::Stats { tag, stats } => {
            out.put_u64_le(*tag);
            put_prost(kind::STATS, stats.as_ref(), out)
        }
        Frame::Ping { token } => {
            out.put_u64_le(*token);
            kind::PING
        }
        Frame::Pong { token } => {
            out.put_u64_le(*token);
            kind::PONG
        }
        Frame::Request { first_tag, records } => {
            put_records(kind::REQUEST, *first_tag, records, out)
        }
        Frame::Answer { tag, answer } => {
            out.put_u64_le(*tag);
            put_prost(kind::ANSWER, answer, out)
        }
        Frame::Open { stream, open } => {
            out.put_u64_le(*stream);
            put_prost(kind::OPEN, open.as_ref(), out)
        }
        Frame::Opened { stream, kept } => delivery::put_opened(*stream, kept, out),
        Frame::Credit { stream, credit } => {
            out.put_u64_le(*stream);
            put_count(*credit as usize, out);
            kind::CREDIT
        }
        Frame::Deliver { stream, deliveries } => delivery::put_deliver(*stream, deliveries, out),
        Frame::Settle { stream, tag, items } => delivery::put_settle(*stream, *tag, items, out),
        Frame::Settled { tag, errors } => delivery::put_settled(*tag, errors, out),
        Frame::Publish { first_tag, records } => {
            put_records(kind::PUBLISH, *first_tag, records, out)
        }
        Frame::Published { tag, reached } => {
            out.put_u64_le(*tag);
            out.put_u64_le(*reached);
            kind::PUBLISHED
        }
        Frame::Notify { stream, entries } => delivery::put_notify(*stream, entries, out),
        Frame::Lagged { stream, missed } => {
            out.put_u64_le(*stream);
            out.put_u64_le(*missed);
            kind::LAGGED
        }
        Frame::Close { stream, refusal } => delivery::put_close(*stream, refusal.as_ref(), out),
        Frame::Admin { tag, admin } => {
            out.put_u64_le(*tag);
            put_prost(kind::ADMIN, admin.as_ref(), out)
        }
        Frame::Managed { tag, managed } => {
            out.put_u64_le(*tag);
            put_prost(kind::MANAGED, managed.as_ref(), out)
        }
    }
}

/// A number of 32 bits and as many zeros.
pub(super) fn put_count(count: usize, out: &mut BytesMut) {
    out.put_u32_le(count as u32);
    out.put_u32_le(0);
}

fn put_records(kind: u8, first_tag: u64, records: &[Record], out: &mut BytesMut) -> u8 {
    out.put_u64_le(first_tag);
    put_count(records.len(), out);
    for record in records {
        out.put_slice(record.as_bytes());
    }
    kind
}

pub(super) fn put_prost(kind: u8, message: &impl prost::Message, out: &mut BytesMut) -> u8 {
    out.reserve(message.encoded_len());
    message.encode_raw(out);
    kind
}

fn put_range(range: &ReceiptRange, out: &mut BytesMut) {
    out.put_u64_le(range.first_tag);
    out.put_u64_le(range.first_seq);
    out.put_u32_le(range.count);
    out.put_u32_le(u32::from(range.duplicate));
}
