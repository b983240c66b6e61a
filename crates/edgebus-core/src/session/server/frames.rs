//! What a server says, cut into frames that are within the limit.

use crate::consumer::Delivery;
use crate::entry::Entry;
use crate::wire::{Frame, ReceiptRange, delivery_bytes};

use super::Outcome;

/// The frames that tell outcomes: consecutive receipts as ranges, refusals one by one.
pub fn frames_for(outcomes: impl IntoIterator<Item = Outcome>) -> Vec<Frame> {
    let mut ranges: Vec<ReceiptRange> = Vec::new();
    let mut frames = Vec::new();
    for Outcome { tag, result } in outcomes {
        match result {
            Ok((seq, duplicate)) => {
                let joined = ranges
                    .last_mut()
                    .is_some_and(|range| range.extend(tag, seq, duplicate));
                if !joined {
                    ranges.push(ReceiptRange {
                        first_tag: tag,
                        first_seq: seq,
                        count: 1,
                        duplicate,
                    });
                }
            }
            Err(refusal) => frames.push(Frame::Error { tag, refusal }),
        }
    }
    // 24 bytes a range: this many fit the smallest frame limit that makes sense.
    const RANGES_PER_FRAME: usize = 1024;
    let receipts = ranges
        .chunks(RANGES_PER_FRAME)
        .map(|part| Frame::Receipts(part.to_vec()));
    receipts.chain(frames).collect()
}

/// The frames that bring messages to a worker, each within a limit in bytes, length field not
/// counted; a single message that is larger has a frame of its own.
pub fn deliver_frames(
    stream: u64,
    deliveries: Vec<Delivery>,
    frame_bytes_max: usize,
) -> impl Iterator<Item = Frame> {
    let parts = parts(deliveries, frame_bytes_max, delivery_bytes);
    parts.map(move |deliveries| Frame::Deliver { stream, deliveries })
}

/// The frames that bring notifications to a subscriber; bounded like those of
/// [`deliver_frames`].
pub fn notify_frames(
    stream: u64,
    entries: Vec<Entry>,
    frame_bytes_max: usize,
) -> impl Iterator<Item = Frame> {
    let parts = parts(entries, frame_bytes_max, |entry| entry.as_bytes().len());
    parts.map(move |entries| Frame::Notify { stream, entries })
}

/// What a frame has before its items, header and all.
const BESIDE_ITEMS_BYTES: usize = 32;

fn parts<T>(
    items: Vec<T>,
    frame_bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> impl Iterator<Item = Vec<T>> {
    let room = frame_bytes_max.saturating_sub(BESIDE_ITEMS_BYTES);
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = items.next()?;
        let mut left = room.saturating_sub(bytes_of(&first));
        let mut part = vec![first];
        while let Some(item) = items.next_if(|item| bytes_of(item) <= left) {
            left -= bytes_of(&item);
            part.push(item);
        }
        Some(part)
    })
}
