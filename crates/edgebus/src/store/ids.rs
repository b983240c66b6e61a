//! Telling requests apart: fingerprints of their content, and filters that say "surely not stored"
//! without asking the disk.
//!
//! Both are keyed with 128 bits that are drawn when a store is made and never leave it, so that
//! nobody can prepare contents or ids that collide.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus_core::{Record, RequestId, Scope};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

/// 128 bits that stand for topic and payload of a request.
pub(super) type Fingerprint = u128;

/// Computes fingerprints and filter hashes with a store's key. Cheap to clone; meant to be used
/// on the connection's own task, before the queue.
#[derive(Clone, Copy)]
pub struct Fingerprinter {
    key: (u64, u64),
}

impl std::fmt::Debug for Fingerprinter {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

impl Fingerprinter {
    pub(super) fn new(key: (u64, u64)) -> Self {
        Self { key }
    }

    /// The key, for a copy of the store. It is a secret.
    pub(super) fn key(&self) -> (u64, u64) {
        self.key
    }

    /// SipHash-2-4 (128 bits) of topic length, topic and payload.
    pub fn fingerprint(&self, record: &Record) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        let topic = record.topic_bytes();
        hasher.write(&(topic.len() as u16).to_le_bytes());
        hasher.write(topic);
        hasher.write(record.payload_bytes());
        hasher.finish128().as_u128()
    }

    /// SipHash-1-3 (64 bits) of an id, for filters.
    pub(super) fn id_hash(&self, id: &RequestId, scope: Scope) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.1, self.key.0);
        hasher.write(id.as_bytes());
        hasher.write(&scope.0.to_le_bytes());
        hasher.finish()
    }
}

/// A blocked Bloom filter over request ids: each id sets seven bits in one 512-bit block, so that
/// a look costs one cache line (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
/// Filters", 2007). Some 0.5 % of the ids that are not in it
/// pass when it is full.
#[derive(Debug)]
pub(super) struct IdFilter {
    words: Box<[AtomicU64]>,
}

const WORDS_PER_BLOCK: usize = 8;
const BITS_PER_ID: usize = 12;
const BITS_SET: u32 = 7;

impl IdFilter {
    /// An empty filter for that many ids.
    pub(super) fn with_capacity(ids: usize) -> Self {
        let blocks = (ids * BITS_PER_ID).div_ceil(WORDS_PER_BLOCK * 64).max(1);
        Self {
            words: (0..blocks * WORDS_PER_BLOCK)
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    /// A filter from the bytes of [`IdFilter::to_bytes`]; `None` when they are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let whole = !bytes.is_empty() && bytes.len().is_multiple_of(WORDS_PER_BLOCK * 8);
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            AtomicU64::new(u64::from_le_bytes(word))
        };
        whole.then(|| Self {
            words: bytes.chunks_exact(8).map(word).collect(),
        })
    }

    /// The filter's bits, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }

    /// Adds an id, given as its hash. Readers see it no later than they see the table row that belongs to it, as the
    /// view that shows the row is published under a lock afterwards.
    pub(super) fn insert(&self, id_hash: u64) {
        let (block, bits) = self.place(id_hash);
        for (word, bit) in bits {
            self.words[block + word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// `false`: surely never added.
    pub(super) fn may_contain(&self, id_hash: u64) -> bool {
        let (block, mut bits) = self.place(id_hash);
        bits.all(|(word, bit)| self.words[block + word].load(Ordering::Relaxed) & bit != 0)
    }

    /// First word of the block, and the bits in it as (word, mask).
    fn place(&self, hash: u64) -> (usize, impl Iterator<Item = (usize, u64)> + use<>) {
        let blocks = self.words.len() / WORDS_PER_BLOCK;
        // The upper half picks the block, the lower half the bits by double hashing.
        let block = (((hash >> 32) * blocks as u64) >> 32) as usize * WORDS_PER_BLOCK;
        let (start, step) = (hash as u32, (hash as u32).rotate_left(15) | 1);
        let bits = (0..BITS_SET).map(move |i| {
            let bit = start.wrapping_add(i.wrapping_mul(step)) >> 23;
            ((bit >> 6) as usize, 1 << (bit & 63))
        });
        (block, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebus_core::{Message, RecordLimits};

    const KEYS: Fingerprinter = Fingerprinter { key: (1, 2) };

    fn id(number: u64) -> RequestId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        RequestId::from_bytes(bytes)
    }

    fn hash(number: u64) -> u64 {
        KEYS.id_hash(&id(number), Scope(0))
    }

    #[test]
    fn filter_forgets_nobody_and_lets_few_strangers_pass() {
        let ids = 20_000;
        let filter = IdFilter::with_capacity(ids as usize);
        (0..ids).for_each(|n| filter.insert(hash(n)));
        assert!((0..ids).all(|n| filter.may_contain(hash(n))));
        let strangers = (ids..2 * ids)
            .filter(|n| filter.may_contain(hash(*n)))
            .count();
        assert!(
            strangers < ids as usize * 3 / 100,
            "{strangers} of {ids} strangers pass"
        );
        let stored = IdFilter::from_bytes(&filter.to_bytes()).expect("whole");
        assert!((0..ids).all(|n| stored.may_contain(hash(n))));
        assert!(IdFilter::from_bytes(&[0; 63]).is_none());
    }

    #[test]
    fn fingerprint_is_of_topic_and_payload_only() {
        let make = |topic: &str, payload: &str, source: &str| {
            let message = Message::new(id(1), topic.parse().expect("topic"), payload.to_owned())
                .source(source);
            KEYS.fingerprint(&Record::encode(&message, &RecordLimits::default()).expect("fits"))
        };
        assert_eq!(make("a", "x", "till-1"), make("a", "x", "till-2"));
        assert_ne!(make("a", "x", ""), make("a", "y", ""));
        assert_ne!(make("a", "x", ""), make("ax", "", ""));
    }
}
