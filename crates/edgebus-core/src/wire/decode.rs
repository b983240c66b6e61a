//! Bytes to frames, without copying payloads.
//!
//! Never allocates for a length it has not checked: a frame is waited for only when its length is
//! within the limit, and a list only as long as the bytes that came.

use bytes::{Buf, Bytes, BytesMut};

use super::control::{Hello, Welcome, WireError, WireQuery};
use super::{Frame, HEADER_BYTES, ReceiptRange, delivery, kind};
use crate::code::{Code, Refusal};
use crate::id::Seq;
use crate::query::{LogPage, Stats};
use crate::record::{HEADER_BYTES as RECORD_HEADER_BYTES, Record};

/// Cuts frames off a stream of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
}

impl Decoder {
    /// A decoder that refuses frames over a limit, in bytes, length field not counted.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }

    /// Takes the next whole frame off the buffer; `None` when more bytes are needed, in which case
    /// room for the rest of the frame has been reserved.
    ///
    /// # Errors
    /// [`Code::FrameTooLarge`], [`Code::FrameCorrupt`], [`Code::UnknownFrame`], or what the body
    /// is refused for. The stream is then of no more use.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, Refusal> {
        let Some(length) = buffer.get(..4) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > self.frame_bytes_max {
            return Err(Refusal::new(
                Code::FrameTooLarge,
                format!(
                    "a frame of {length} bytes is over the limit of {}",
                    self.frame_bytes_max
                ),
            ));
        }
        if length < HEADER_BYTES - 4 {
            return Err(corrupt("a frame is shorter than its header"));
        }
        if buffer.len() < 4 + length {
            buffer.reserve(4 + length - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(4 + length).freeze();
        frame.advance(4);
        let crc = frame.get_u32_le();
        if crc != crc32c::crc32c(&frame) {
            return Err(corrupt("a frame's checksum does not match its bytes"));
        }
        let kind = frame.get_u8();
        frame.advance(3);
        decode_body(kind, frame).map(Some)
    }
}

fn decode_body(kind: u8, mut body: Bytes) -> Result<Frame, Refusal> {
    match kind {
        kind::HELLO => Ok(Frame::Hello(prost_body::<Hello>(&mut body)?)),
        kind::WELCOME => Ok(Frame::Welcome(prost_body::<Welcome>(&mut body)?)),
        kind::SEND => {
            let (first_tag, records) = take_records(body)?;
            Ok(Frame::Send { first_tag, records })
        }
        kind::REQUEST => {
            let (first_tag, records) = take_records(body)?;
            Ok(Frame::Request { first_tag, records })
        }
        kind::PUBLISH => {
            let (first_tag, records) = take_records(body)?;
            Ok(Frame::Publish { first_tag, records })
        }
        kind::RECEIPTS => {
            let count = take_count(&mut body, 24)?;
            let ranges = (0..count)
                .map(|_| take_range(&mut body))
                .collect::<Result<_, _>>()?;
            end(&body, Frame::Receipts(ranges))
        }
        kind::ERROR => {
            let tag = take_u64(&mut body)?;
            Ok(Frame::Error {
                tag,
                refusal: prost_body::<WireError>(&mut body)?.into(),
            })
        }
        kind::QUERY => {
            let tag = take_u64(&mut body)?;
            Ok(Frame::Query {
                tag,
                query: prost_body::<WireQuery>(&mut body)?,
            })
        }
        kind::PAGE => {
            let tag = take_u64(&mut body)?;
            let next = take_u64(&mut body)?;
            let entries = delivery::take_entries(&mut body)?;
            let next = (next != 0).then_some(Seq(next));
            end(
                &body,
                Frame::Page {
                    tag,
                    page: LogPage { entries, next },
                },
            )
        }
        kind::STATS => {
            let tag = take_u64(&mut body)?;
            Ok(Frame::Stats {
                tag,
                stats: Box::new(prost_body::<Stats>(&mut body)?),
            })
        }
        kind::PING => {
            let token = take_u64(&mut body)?;
            end(&body, Frame::Ping { token })
        }
        kind::PONG => {
            let token = take_u64(&mut body)?;
            end(&body, Frame::Pong { token })
        }
        kind::ANSWER..=kind::MANAGED => delivery::decode_body(kind, body),
        kind => Err(Refusal::new(
            Code::UnknownFrame,
            format!("frame type {kind} is not known to protocol version 1"),
        )),
    }
}

/// The rest of the body.
pub(super) fn prost_body<M: prost::Message + Default>(body: &mut Bytes) -> Result<M, Refusal> {
    M::decode(body).map_err(|_| corrupt("a frame's body cannot be read"))
}

pub(super) fn take_u64(body: &mut Bytes) -> Result<u64, Refusal> {
    body.try_get_u64_le()
        .map_err(|_| corrupt("a frame's body is cut short"))
}

/// A count and its padding; refused when the bytes that are left cannot hold that many.
pub(super) fn take_count(body: &mut Bytes, item_bytes_min: usize) -> Result<usize, Refusal> {
    let word = take_u64(body)?;
    let count = (word & u64::from(u32::MAX)) as usize;
    if count > body.len() / item_bytes_min {
        return Err(corrupt("a frame counts more items than it holds"));
    }
    Ok(count)
}

/// The tag of the first, a count and so many records; nothing else.
fn take_records(mut body: Bytes) -> Result<(u64, Vec<Record>), Refusal> {
    let first_tag = take_u64(&mut body)?;
    let count = take_count(&mut body, RECORD_HEADER_BYTES)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(Record::split_from(&mut body)?);
    }
    end(&body, (first_tag, records))
}

fn take_range(body: &mut Bytes) -> Result<ReceiptRange, Refusal> {
    let first_tag = take_u64(body)?;
    let first_seq = take_u64(body)?;
    let word = take_u64(body)?;
    let count = (word & u64::from(u32::MAX)) as u32;
    let flags = (word >> 32) as u32;
    let fits = |first: u64| first.checked_add(u64::from(count)).is_some();
    if count == 0 || flags > 1 || !fits(first_tag) || !fits(first_seq) {
        return Err(corrupt("a range of receipts makes no sense"));
    }
    Ok(ReceiptRange {
        first_tag,
        first_seq,
        count,
        duplicate: flags == 1,
    })
}

pub(super) fn end<T>(body: &Bytes, whole: T) -> Result<T, Refusal> {
    if body.is_empty() {
        Ok(whole)
    } else {
        Err(corrupt("a frame has bytes behind its body"))
    }
}

#[cold]
pub(super) fn corrupt(what: &str) -> Refusal {
    Refusal::new(Code::FrameCorrupt, what.to_owned())
}
