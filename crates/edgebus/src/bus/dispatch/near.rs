//! Messages in memory, read once for all consumers that stand at the same place.
//!
//! A thousand consumers look at each message, and few want it. A group has few topics, so each
//! consumer's patterns are compared with those and not with every message.

use ahash::AHashMap;
use edgebus_core::consumer::ConsumerConfig;
use edgebus_core::{Entry, Kind, Seq};

/// Consecutive messages, and which topics they have.
#[derive(Debug, Default)]
pub(super) struct Near {
    from: Seq,
    pub(super) last: Seq,
    pub(super) entries: Vec<Entry>,
    /// For each message, its place among the topics.
    topic_of: Vec<usize>,
    /// For each topic, the first message that has it.
    topics: Vec<usize>,
}

impl Near {
    /// Messages from some point on; there is at least one.
    pub(super) fn new(from: Seq, entries: Vec<Entry>) -> Self {
        let mut known: AHashMap<(Kind, &str), usize> = AHashMap::new();
        let (mut topic_of, mut topics) = (Vec::with_capacity(entries.len()), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            let record = entry.record();
            let topic = *known
                .entry((record.kind(), record.topic_str()))
                .or_insert_with(|| {
                    topics.push(at);
                    topics.len() - 1
                });
            topic_of.push(topic);
        }
        Self {
            from,
            last: entries.last().map_or(from, Entry::seq),
            topic_of,
            topics,
            entries,
        }
    }

    /// Whether these are the messages from there on.
    pub(super) fn begins_at(&self, from: Seq) -> bool {
        !self.entries.is_empty() && self.from == from
    }

    /// The messages on topics of a consumer. Some may be for another client all the same.
    pub(super) fn wanted_by(&self, config: &ConsumerConfig) -> Vec<&Entry> {
        let wants = |first: &usize| config.selects_topic_of(self.entries[*first].record());
        let wanted: Vec<bool> = self.topics.iter().map(wants).collect();
        if !wanted.contains(&true) {
            return Vec::new();
        }
        let entries = self.entries.iter().zip(&self.topic_of);
        entries
            .filter(|(_, topic)| wanted[**topic])
            .map(|(entry, _)| entry)
            .collect()
    }
}
