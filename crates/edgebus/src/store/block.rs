//! Consecutive requests as one value of the `request_log` table.
//!
//! ```text
//!  0  u32  CRC32C of everything behind it
//!  4  u8   block version: 2
//!  5  u8   flags: bit 0, the entries are compressed (lz4 block format)
//!  6  u16  0
//!  8  u32  entries
//! 12  u32  bytes of the entries when not compressed
//! 16  u64  sequence number of the first entry
//! 24  u64  earliest receive time, unix milliseconds
//! 32  u64  latest receive time, unix milliseconds
//! 40  64   topic summary: a Bloom filter over the topics and their leading tokens
//! 104 u64  store time of the last entry, milliseconds; 0 when it is not known
//! 112      entries, one after the other
//! ```
//! Version 1, which is read and not written any more, has no store time: entries begin at 104.
//!
//! Times and summary tell whether a block can hold what is looked for before it is decompressed.

use bytes::Bytes;
use edgebus_core::query::LogQuery;
use edgebus_core::{Code, Entry, Refusal, Seq, TopicPattern};

const VERSION: u8 = 2;
const FLAG_LZ4: u8 = 1;
const HEADER_BYTES: usize = 112;
const HEADER_BYTES_V1: usize = 104;
const SUMMARY: std::ops::Range<usize> = 40..HEADER_BYTES_V1;
const SUMMARY_BITS: u32 = 512;
/// A byte of lz4 stands for at most so many: what says to be more is not allocated for.
const LZ4_RATIO_MAX: usize = 255;

/// Bytes of entries after which a block is closed. Blocks are read whole, so a larger one makes
/// a single read slower; a smaller one compresses worse.
pub(super) const BLOCK_ENTRY_BYTES: usize = 64 * 1024;

/// Collects consecutive entries.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    entries: Vec<u8>,
    count: u32,
    first_seq: u64,
    time_ms: (u64, u64),
    store_time_ms: u64,
    summary: TopicSummary,
    last_topic: Vec<u8>,
}

impl BlockBuilder {
    /// Adds the entry with the next sequence number.
    pub(super) fn push(&mut self, entry: &Entry) {
        if self.count == 0 {
            self.first_seq = entry.seq().0;
            self.time_ms = (u64::MAX, 0);
        }
        debug_assert_eq!(
            entry.seq().0,
            self.first_seq + u64::from(self.count),
            "blocks have no gaps"
        );
        self.count += 1;
        let received = entry.received_ms();
        self.time_ms = (self.time_ms.0.min(received), self.time_ms.1.max(received));
        self.store_time_ms = entry.store_time_ms();
        let topic = entry.record().topic_bytes();
        if self.last_topic != topic {
            self.summary.add(topic);
            self.last_topic = topic.to_vec();
        }
        self.entries.extend_from_slice(entry.as_bytes());
    }

    /// Whether the block should be closed.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= BLOCK_ENTRY_BYTES
    }

    /// Whether nothing was added yet.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Closes the block: its key (the last sequence number) and its bytes. The builder is empty
    /// again.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> u64 {
        out.clear();
        out.resize(HEADER_BYTES, 0);
        let packed = lz4_flex::block::compress(&self.entries);
        let smaller = packed.len() < self.entries.len();
        out[4] = VERSION;
        out[5] = if smaller { FLAG_LZ4 } else { 0 };
        out[8..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..16].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.time_ms.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.time_ms.1.to_le_bytes());
        out[SUMMARY].copy_from_slice(&self.summary.0);
        out[HEADER_BYTES_V1..].copy_from_slice(&self.store_time_ms.to_le_bytes());
        out.extend_from_slice(if smaller { &packed } else { &self.entries });
        let crc = crc32c::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        let last = self.first_seq + u64::from(self.count) - 1;
        self.entries.clear();
        self.count = 0;
        self.summary = TopicSummary::default();
        self.last_topic.clear();
        last
    }
}

/// A block as read, its checksum verified.
#[derive(Debug)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
}

impl<'a> Block<'a> {
    /// Checks the bytes found under a key.
    ///
    /// # Errors
    /// [`Code::Corrupt`] naming the requests concerned, also for one of a later version.
    pub(super) fn parse(key: u64, bytes: &'a [u8]) -> Result<Self, Refusal> {
        let intact = bytes.len() >= HEADER_BYTES_V1
            && bytes[..4] == crc32c::crc32c(&bytes[4..]).to_le_bytes();
        if intact && bytes[4] > VERSION {
            return Err(newer(key, bytes[4]));
        }
        if !intact || bytes[4] == 0 || bytes[4] == VERSION && bytes.len() < HEADER_BYTES {
            return Err(corrupt(key));
        }
        let first = u64_at(bytes, 16);
        let count = u64::from(u32_at(bytes, 8));
        if count == 0 || first.checked_add(count - 1) != Some(key) {
            return Err(corrupt(key));
        }
        Ok(Self {
            bytes,
            first_seq: Seq(first),
            last_seq: Seq(key),
        })
    }

    /// Store time of its last request, milliseconds; `None` when an earlier version did not write
    /// it down.
    pub(super) fn store_time_ms(&self) -> Option<u64> {
        let known = self.bytes[4] >= 2;
        let time_ms = known.then(|| u64_at(self.bytes, HEADER_BYTES_V1));
        time_ms.filter(|ms| *ms > 0)
    }

    /// `false`: surely holds nothing that the query selects.
    pub(super) fn may_hold(&self, query: &LogQuery) -> bool {
        let (earliest, latest) = (u64_at(self.bytes, 24), u64_at(self.bytes, 32));
        query.from_time_ms.is_none_or(|from| latest >= from)
            && query.to_time_ms.is_none_or(|to| earliest <= to)
            && (query.topics.is_empty()
                || query
                    .topics
                    .iter()
                    .any(|pattern| self.summary().may_match(pattern)))
    }

    /// Whether a receive time is within those of the block.
    pub(super) fn holds_time(&self, received_ms: u64) -> bool {
        (u64_at(self.bytes, 24)..=u64_at(self.bytes, 32)).contains(&received_ms)
    }

    fn summary(&self) -> TopicSummary {
        let mut summary = [0; 64];
        summary.copy_from_slice(&self.bytes[SUMMARY]);
        TopicSummary(summary)
    }

    /// The entries, each with its own checksum verified.
    ///
    /// # Errors
    /// [`Code::Corrupt`] naming the request concerned.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Refusal> {
        let key = self.last_seq.0;
        let raw_bytes = u32_at(self.bytes, 12) as usize;
        let header_bytes = match self.bytes[4] {
            1 => HEADER_BYTES_V1,
            _ => HEADER_BYTES,
        };
        let body = &self.bytes[header_bytes..];
        let raw = if self.bytes[5] & FLAG_LZ4 != 0 {
            if raw_bytes > body.len().saturating_mul(LZ4_RATIO_MAX) {
                return Err(corrupt(key));
            }
            lz4_flex::block::decompress(body, raw_bytes).map_err(|_| corrupt(key))?
        } else {
            body.to_vec()
        };
        let mut raw = Bytes::from(raw);
        (self.first_seq.0..=key)
            .map(|seq| {
                let entry = Entry::split_from(&mut raw).map_err(|_| corrupt(seq))?;
                let sound = entry.seq() == Seq(seq) && entry.record().is_intact();
                if sound { Ok(entry) } else { Err(corrupt(seq)) }
            })
            .collect()
    }
}

/// A Bloom filter over topics and their leading tokens, so that `orders.*` can be looked for.
#[derive(Debug, Clone)]
struct TopicSummary([u8; 64]);

impl Default for TopicSummary {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl TopicSummary {
    fn add(&mut self, topic: &[u8]) {
        let ends = topic
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(at, _)| at);
        for end in ends.chain([topic.len()]) {
            for bit in Self::bits(&topic[..end]) {
                self.0[bit / 8] |= 1 << (bit % 8);
            }
        }
    }

    fn may_match(&self, pattern: &TopicPattern) -> bool {
        let literal: Vec<&str> = pattern
            .as_str()
            .split('.')
            .take_while(|token| !matches!(*token, "*" | ">"))
            .collect();
        let prefix = literal.join(".");
        prefix.is_empty()
            || Self::bits(prefix.as_bytes())
                .into_iter()
                .all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    fn bits(prefix: &[u8]) -> [usize; 3] {
        let hash = crc32c::crc32c(prefix);
        [hash, hash >> 9, hash >> 18].map(|part| (part % SUMMARY_BITS) as usize)
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cold]
fn newer(seq: u64, version: u8) -> Refusal {
    Refusal::new(
        Code::Corrupt,
        format!(
            "request_log, the block that holds seq {seq}: it has version {version}, this edgebus knows up to \
             {VERSION}: update edgebus"
        ),
    )
}

#[cold]
fn corrupt(seq: u64) -> Refusal {
    Refusal::new(
        Code::Corrupt,
        format!(
            "request_log, the block that holds seq {seq}: stored bytes do not match their checksum"
        ),
    )
}

#[cfg(test)]
mod tests {
    use edgebus_core::entry::Envelope;
    use edgebus_core::{Message, Record, RecordLimits, RequestId, Scope};

    use super::*;

    fn entry(seq: u64, topic: &str, payload: Vec<u8>) -> Entry {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            topic.parse().expect("topic"),
            payload,
        );
        let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
        let envelope = Envelope {
            seq: Seq(seq),
            received_ms: seq * 10,
            store_time_ms: seq,
            scope: Scope(0),
            identity: "",
        };
        let mut bytes = Vec::new();
        Entry::encode(&mut bytes, &envelope, &record);
        Entry::from_bytes(bytes.into()).expect("whole")
    }

    fn block(entries: &[Entry]) -> (u64, Vec<u8>) {
        let mut builder = BlockBuilder::default();
        entries.iter().for_each(|entry| builder.push(entry));
        let mut bytes = Vec::new();
        let key = builder.finish(&mut bytes);
        (key, bytes)
    }

    /// With a right checksum, so that it is believed as far as it goes.
    #[test]
    fn length_that_no_lz4_stands_for_is_refused_and_not_allocated() {
        let mut builder = BlockBuilder::default();
        (1..40).for_each(|seq| builder.push(&entry(seq, "a.b", vec![7; 100])));
        let mut bytes = Vec::new();
        let key = builder.finish(&mut bytes);
        assert_eq!(bytes[5], FLAG_LZ4);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let block = Block::parse(key, &bytes).expect("its checksum is right");
        assert_eq!(block.entries().expect_err("4 GiB").code, Code::Corrupt);
    }

    #[test]
    fn block_gives_back_its_entries_compressed_or_not() {
        let noise: Vec<u8> = (0..900u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        for payload in [b"{\"a\":1}".repeat(20), noise] {
            let entries = [entry(5, "a.b", payload.clone()), entry(6, "a.c", payload)];
            let (key, bytes) = block(&entries);
            assert_eq!(key, 6);
            let parsed = Block::parse(key, &bytes).expect("sound");
            assert_eq!(parsed.entries().expect("sound"), entries);
            assert_eq!(parsed.store_time_ms(), Some(6), "that of the last entry");
        }
    }

    #[test]
    fn block_of_version_1_is_read_and_has_no_store_time() {
        let entries = [entry(5, "a.b", vec![1]), entry(6, "a.c", vec![2])];
        let (key, mut bytes) = block(&entries);
        bytes[4] = 1;
        bytes.drain(HEADER_BYTES_V1..HEADER_BYTES);
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let parsed = Block::parse(key, &bytes).expect("sound");
        assert_eq!(parsed.entries().expect("sound"), entries);
        assert_eq!(parsed.store_time_ms(), None);
    }

    #[test]
    fn any_flipped_bit_is_corruption() {
        let (key, bytes) = block(&[entry(5, "a.b", b"{\"a\":1}".repeat(20))]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Block::parse(key, &flipped).expect_err("flipped").code,
                Code::Corrupt
            );
        }
        assert!(
            Block::parse(key + 1, &bytes).is_err(),
            "a block under another key is corruption"
        );
    }

    #[test]
    fn block_that_cannot_match_is_skipped() {
        let (key, bytes) = block(&[
            entry(5, "orders.created", vec![]),
            entry(6, "orders.paid.eu", vec![]),
        ]);
        let block = Block::parse(key, &bytes).expect("sound");
        let holds = |pattern: &str| {
            let mut query = LogQuery::from(Seq(1));
            query.topics = vec![pattern.parse().expect("pattern")];
            block.may_hold(&query)
        };
        assert!(
            holds("orders.*")
                && holds("orders.created")
                && holds("*.paid.eu")
                && holds("orders.paid.>")
        );
        assert!(!holds("sensors.>") && !holds("orders.refused"));
        let mut query = LogQuery::from(Seq(1));
        query.from_time_ms = Some(61);
        assert!(!block.may_hold(&query));
        query.from_time_ms = Some(60);
        assert!(block.may_hold(&query));
    }
}
