//! Dead letters: requests that failed for good, as the journal and the tables keep them.
//!
//! Invariants: one for each consumer and request, found by its number, which is never used twice.
//! What is kept of its attempts is bounded, so that it always fits a group of the journal.

use bytes::Bytes;
use edgebus_core::consumer::{AttemptError, DeadLetterCode};
use edgebus_core::{Code, ConsumerName, Entry, Refusal};
use prost::Message as _;

/// A request that failed for good for one consumer, kept until someone deletes or requeues it.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The request's place in the log.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The consumer it failed for.
    #[prost(string, tag = "2")]
    pub consumer: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// When it was moved here: store time, milliseconds.
    #[prost(uint64, tag = "4")]
    pub store_time_ms: u64,
    /// When it was moved here: wall clock, unix milliseconds.
    #[prost(uint64, tag = "5")]
    pub wall_ms: u64,
    /// The whole request, as an entry; it outlives the log's own copy.
    #[prost(bytes = "bytes", tag = "6")]
    pub entry: Bytes,
    /// Why, as a stable word: see [`DeadLetterCode`]. Empty for one of format 1.
    #[prost(string, tag = "7")]
    pub code: String,
    /// What went wrong, attempt by attempt, oldest first; those of earlier lives come first.
    #[prost(message, repeated, tag = "8")]
    pub attempts: Vec<AttemptError>,
    /// 0 dead, 1 requeued: its consumer gets it again.
    #[prost(uint32, tag = "9")]
    pub state: u32,
}

/// A dead letter to be written.
#[derive(Clone, Debug)]
pub struct NewLetter<'a> {
    /// The consumer it failed for.
    pub consumer: &'a ConsumerName,
    /// The request.
    pub entry: &'a Entry,
    /// The row it has already, if it was requeued; what that says of earlier attempts is kept.
    pub number: Option<u64>,
    /// Why, as a word.
    pub code: DeadLetterCode,
    /// Why, for people.
    pub reason: &'a str,
    /// The attempts since it was requeued, or all.
    pub attempts: Vec<AttemptError>,
}

/// What becomes of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It waits for someone.
    Dead,
    /// Its consumer gets it again.
    Requeued,
    /// It goes.
    Removed,
}

/// Longest reason or error that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Most bytes kept of all attempts; the oldest go first. With the request, the reason and names
/// this is less than what a group has beside the largest payload.
const ATTEMPTS_BYTES_MAX: usize = 8 * 1024;

impl DeadLetter {
    /// The request.
    ///
    /// # Errors
    /// [`Code::Corrupt`] when its bytes are none.
    pub fn entry(&self) -> Result<Entry, Refusal> {
        Entry::from_bytes(self.entry.clone())
    }

    /// Why, as a word.
    pub fn code(&self) -> DeadLetterCode {
        DeadLetterCode::parse(&self.code)
    }

    /// Whether its consumer is to get it again.
    pub fn is_requeued(&self) -> bool {
        self.state == Fate::Requeued.to_state()
    }

    /// With texts and attempts cut to what is kept.
    pub(crate) fn bounded(mut self) -> Self {
        cut(&mut self.reason);
        let mut bytes = 0;
        let mut kept = self.attempts.len();
        for attempt in self.attempts.iter_mut().rev() {
            cut(&mut attempt.error);
            // Length and tag come on top of the message.
            bytes += attempt.encoded_len() + 4;
            if bytes > ATTEMPTS_BYTES_MAX {
                break;
            }
            kept -= 1;
        }
        self.attempts.drain(..kept);
        self
    }

    /// As a row of the table: a CRC32C, then the message.
    pub(super) fn to_row(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        [&crc32c::crc32c(&body).to_le_bytes(), body.as_slice()].concat()
    }

    /// From a row of the table.
    ///
    /// # Errors
    /// [`Code::Corrupt`], naming the row.
    pub(super) fn from_row(number: u64, row: &[u8]) -> Result<Self, Refusal> {
        let body = row
            .get(4..)
            .filter(|body| row[..4] == crc32c::crc32c(body).to_le_bytes());
        let letter = body.and_then(|body| Self::decode(Bytes::copy_from_slice(body)).ok());
        letter.ok_or_else(|| {
            let what =
                format!("dead_letters, number {number}: stored bytes do not match their checksum");
            Refusal::new(Code::Corrupt, what)
        })
    }
}

impl Fate {
    /// As the `state` of a dead letter.
    pub(super) fn to_state(self) -> u32 {
        match self {
            Self::Dead | Self::Removed => 0,
            Self::Requeued => 1,
        }
    }
}

/// Cuts a text to what is kept of it, between two characters.
fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let ends = text.char_indices().map(|(at, _)| at);
        let end = ends.take_while(|at| *at <= TEXT_BYTES_MAX).last();
        text.truncate(end.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(error: String, wall_ms: u64) -> AttemptError {
        AttemptError { error, wall_ms }
    }

    #[test]
    fn newest_attempts_are_kept_and_long_texts_cut() {
        let mut letter = DeadLetter {
            reason: "ä".repeat(2_000),
            attempts: (0..10_000)
                .map(|n| attempt("x".repeat(n), n as u64))
                .collect(),
            ..DeadLetter::default()
        };
        letter = letter.bounded();
        assert_eq!(letter.reason, "ä".repeat(512));
        assert_eq!(letter.attempts.len(), 7);
        assert_eq!(letter.attempts[6], attempt("x".repeat(1024), 9_999));
        assert!(letter.encoded_len() < 10 * 1024);

        letter.attempts = (0..3).map(|n| attempt("no".into(), n)).collect();
        assert_eq!(letter.clone().bounded(), letter, "short ones stay");
    }

    #[test]
    fn row_with_any_flipped_bit_is_corruption() {
        let letter = DeadLetter {
            seq: 7,
            code: "rejected".into(),
            ..DeadLetter::default()
        };
        let row = letter.to_row();
        assert_eq!(DeadLetter::from_row(1, &row), Ok(letter));
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(DeadLetter::from_row(1, &flipped).is_err());
        }
        assert!(DeadLetter::from_row(1, &row[..3]).is_err());
    }
}
