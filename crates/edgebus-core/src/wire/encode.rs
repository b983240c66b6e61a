//! Frames to bytes.

use bytes::{BufMut, BytesMut};

use super::control::WireError;
use super::{Frame, HEADER_BYTES, ReceiptRange, kind};

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
        Frame::Send { first_tag, records } => {
            out.put_u64_le(*first_tag);
            out.put_u32_le(records.len() as u32);
            out.put_u32_le(0);
            for record in records {
                out.put_slice(record.as_bytes());
            }
            kind::SEND
        }
        Frame::Receipts(ranges) => {
            out.put_u32_le(ranges.len() as u32);
            out.put_u32_le(0);
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
            out.put_u32_le(page.entries.len() as u32);
            out.put_u32_le(0);
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
    }
}

fn put_prost(kind: u8, message: &impl prost::Message, out: &mut BytesMut) -> u8 {
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
