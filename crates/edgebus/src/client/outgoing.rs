//! What waits to be written on a connection: frames, and what will be joined into frames.

use edgebus_core::consumer::Settlement;
use edgebus_core::wire::Frame;

use super::state::Session;
use super::undecided::{Asked, Said};

/// Settlements of a stream are joined to earlier ones so many entries back.
const LOOK_BACK: usize = 8;
/// What a settlement takes in a frame, beside its reply or reason.
const SETTLE_BYTES: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    entries: Vec<Entry>,
    /// Bytes of records in the last frame, if it carries records.
    joined_bytes: usize,
    /// Up to which others are joined to it.
    joined_bytes_max: usize,
}

/// Something that waits to be written. Streams go by their numbers on the connection.
#[derive(Debug)]
enum Entry {
    Frame(Frame),
    Settle(Settling),
    Credit { number: u64, messages: u32 },
}

/// Settlements that will share a frame.
#[derive(Debug)]
pub(super) struct Settling {
    number: u64,
    /// The client's own number of the stream.
    pub(super) own: u64,
    pub(super) items: Vec<Said>,
    bytes: usize,
}

impl Outgoing {
    pub(super) fn new(joined_bytes_max: usize) -> Self {
        Self {
            joined_bytes_max,
            ..Self::default()
        }
    }

    /// Queues a frame; records that follow each other, for the same end, become one frame.
    pub(super) fn push(&mut self, frame: Frame) {
        if let Some(frame) = self.join(frame) {
            self.entries.push(Entry::Frame(frame));
        }
    }

    /// Adds the records of a frame to those of the last one, if that is possible.
    fn join(&mut self, mut frame: Frame) -> Option<Frame> {
        let Some((_, more)) = records_of(&mut frame) else {
            return Some(frame);
        };
        let more: usize = more.iter().map(|record| record.as_bytes().len()).sum();
        if let Some(Entry::Frame(last)) = self.entries.last_mut()
            && std::mem::discriminant(last) == std::mem::discriminant(&frame)
            && self.joined_bytes + more <= self.joined_bytes_max
            && let Some((first_tag, records)) = records_of(last)
            && let Some((next_tag, added)) = records_of(&mut frame)
            // Tags are given out in order, under the lock that is held here; but others may ask
            // between two of those that publish.
            && *first_tag + records.len() as u64 == *next_tag
        {
            records.append(added);
            self.joined_bytes += more;
            return None;
        }
        self.joined_bytes = more;
        Some(frame)
    }

    /// Queues what is said about a message.
    pub(super) fn settle(&mut self, number: u64, own: u64, said: Said) {
        let bytes = SETTLE_BYTES + bytes_of(&said.settlement);
        let room = self.joined_bytes_max;
        let mut last = self.entries.iter_mut().rev().take(LOOK_BACK);
        let joined = last.find_map(|entry| match entry {
            Entry::Settle(settling) if settling.number == number => Some(settling),
            _ => None,
        });
        match joined {
            Some(settling) if settling.bytes + bytes <= room => {
                settling.items.push(said);
                settling.bytes += bytes;
            }
            _ => self.entries.push(Entry::Settle(Settling {
                number,
                own,
                items: vec![said],
                bytes,
            })),
        }
    }

    /// Queues credit.
    pub(super) fn credit(&mut self, number: u64, more: u32) {
        let mut last = self.entries.iter_mut().rev().take(LOOK_BACK);
        let joined = last.find_map(|entry| match entry {
            Entry::Credit {
                number: other,
                messages,
            } if *other == number => Some(messages),
            _ => None,
        });
        match joined {
            Some(messages) => *messages = messages.saturating_add(more),
            None => self.entries.push(Entry::Credit {
                number,
                messages: more,
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is to be written now, said by this session.
    pub(super) fn take(&mut self, session: &mut Session) -> Vec<Frame> {
        let entries = std::mem::take(&mut self.entries);
        let frames = entries.into_iter().filter_map(|entry| match entry {
            Entry::Frame(frame) => Some(frame),
            Entry::Credit { number, messages } => session.credit(number, messages),
            Entry::Settle(settling) => {
                let Settling {
                    number, own, items, ..
                } = settling;
                // Copied, as they may have to be said again; a reply's bytes are shared.
                let said: Vec<_> = items
                    .iter()
                    .map(|said| (said.token, said.settlement.clone()))
                    .collect();
                let said = said.iter().map(|(token, settlement)| (*token, settlement));
                let waiter = Asked::Settle { stream: own, items };
                Some(session.settle(number, said, Some(waiter)))
            }
        });
        frames.collect()
    }

    /// Makes everything that waits independent of the session.
    pub(super) fn finish(&mut self, session: &mut Session) {
        let frames = self.take(session);
        self.entries = frames.into_iter().map(Entry::Frame).collect();
    }

    /// Frames that need no session any more.
    pub(super) fn take_finished(&mut self) -> Vec<Frame> {
        let entries = std::mem::take(&mut self.entries);
        let frames = entries.into_iter().filter_map(|entry| match entry {
            Entry::Frame(frame) => Some(frame),
            _ => None,
        });
        frames.collect()
    }

    /// Nothing of it will be written. Settlements are handed back.
    pub(super) fn drop_all(&mut self) -> Vec<Settling> {
        let entries = std::mem::take(&mut self.entries);
        let settlings = entries.into_iter().filter_map(|entry| match entry {
            Entry::Settle(settling) => Some(settling),
            _ => None,
        });
        settlings.collect()
    }
}

/// The first tag and the records of a frame that may be joined with others.
fn records_of(frame: &mut Frame) -> Option<(&u64, &mut Vec<edgebus_core::Record>)> {
    match frame {
        Frame::Send { first_tag, records }
        | Frame::Request { first_tag, records }
        | Frame::Publish { first_tag, records } => Some((first_tag, records)),
        _ => None,
    }
}

/// About what a settlement takes beside its header.
fn bytes_of(settlement: &Settlement) -> usize {
    match settlement {
        Settlement::Complete(reply) => {
            let headers = reply.headers.iter();
            reply.payload.len()
                + headers
                    .map(|header| header.name.len() + header.value.len() + 8)
                    .sum::<usize>()
        }
        Settlement::Nak { reason, .. } | Settlement::Term { reason } => reason.len(),
        _ => 0,
    }
}
