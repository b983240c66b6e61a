//! Target `frames`: a stream of bytes cut into frames.
//!
//! Promises: no panic; the same frames however the stream is cut; what was decoded and is encoded
//! comes back the same; no more memory than the frame limit and what came; nothing is read after a
//! refusal.

use bytes::BytesMut;
use edgebus_core::Refusal;
use edgebus_core::wire::{Decoder, Frame, encode};

use super::mend::{self, FRAME_BYTES_MAX};

/// Target `frames`.
pub(super) fn frames(data: &[u8]) {
    look(data);
    let mut mended = data.to_vec();
    mend::frames(&mut mended);
    look(&mended);
}

fn look(data: &[u8]) {
    let whole = decode(data, [data.len().max(1)]);
    let cut = decode(data, splits(data));
    assert_eq!(whole.1, cut.1, "the end depends on how the stream is cut");
    let same = whole.0.iter().map(bytes_of).eq(cut.0.iter().map(bytes_of));
    assert!(same, "frames depend on how the stream is cut");
    for frame in &whole.0 {
        comes_back(frame);
    }
}

/// Sizes of pieces, drawn from the bytes themselves.
pub(super) fn splits(data: &[u8]) -> impl IntoIterator<Item = usize> + use<> {
    let seed = crc32c::crc32c(data);
    [1, 3, 1 + (seed & 7) as usize, 1 + (seed >> 3 & 63) as usize]
}

/// All frames of a stream that comes in pieces of these sizes, again and again, and how it ended.
pub(super) fn decode(
    data: &[u8],
    sizes: impl IntoIterator<Item = usize>,
) -> (Vec<Frame>, Option<Refusal>) {
    let sizes: Vec<usize> = sizes.into_iter().collect();
    let mut sizes = sizes.iter().cycle();
    let decoder = Decoder::new(FRAME_BYTES_MAX);
    let (mut buffer, mut left, mut frames) = (BytesMut::new(), data, Vec::new());
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Err(refusal) => return (frames, Some(refusal)),
            Ok(None) if left.is_empty() => return (frames, None),
            Ok(None) => {
                // Grown to twice its size at most, as buffers do.
                let bound = 2 * (FRAME_BYTES_MAX + 4 + data.len());
                assert!(
                    buffer.capacity() <= bound,
                    "{} bytes are held",
                    buffer.capacity()
                );
                let size = sizes.next().copied().unwrap_or(1).min(left.len());
                buffer.extend_from_slice(&left[..size]);
                left = &left[size..];
            }
        }
    }
}

fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes);
    bytes
}

/// Bytes are compared, as a figure that is no number is not equal to itself.
fn comes_back(frame: &Frame) {
    let bytes = bytes_of(frame);
    // What was left out because it is the default may be written.
    let decoder = Decoder::new(usize::MAX);
    let mut again = bytes.clone();
    match decoder.decode(&mut again) {
        Ok(Some(same)) => {
            assert!(again.is_empty(), "bytes are left of {frame:?}");
            assert_eq!(bytes_of(&same), bytes, "{frame:?} does not come back");
        }
        other => panic!("{frame:?} is encoded and comes back as {other:?}"),
    }
}
