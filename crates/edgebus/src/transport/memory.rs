//! Frames handed over within one process, without encoding them.

use tokio::sync::mpsc;

use super::{Reader, Receiving, Sending, Writer};

/// Writes that may wait in each direction.
const WRITES: usize = 16;

/// One end of a connection: what it receives with and what it sends with.
pub(crate) type End = (Reader, Writer);

/// The two ends of a connection in memory.
pub fn pair() -> (End, End) {
    let (to_left, from_right) = mpsc::channel(WRITES);
    let (to_right, from_left) = mpsc::channel(WRITES);
    let end = |receiver, sender| {
        (
            Reader(Receiving::Memory(receiver)),
            Writer(Sending::Memory(sender)),
        )
    };
    (end(from_right, to_right), end(from_left, to_left))
}
