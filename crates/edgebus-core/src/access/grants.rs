//! What one identity may do.
//!
//! Asked for every message, so topics that are granted by name are found in a sorted list, and
//! whoever may do everything is known without looking.

use super::{Rule, Verb};
use crate::topic::TopicPattern;

/// What one identity may do; nothing by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// One for each verb, in the order of [`Verb::ALL`].
    verbs: [Topics; Verb::ALL.len()],
}

/// The topics on which a verb is granted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Topics {
    /// Every topic; the lists are empty then.
    every: bool,
    /// Single topics, sorted.
    single: Vec<Box<str>>,
    /// Patterns with wildcards, in no order, none of them twice.
    patterns: Vec<TopicPattern>,
}

impl Grants {
    /// Every verb on every topic.
    pub fn everything() -> Self {
        let every = || Topics {
            every: true,
            ..Topics::default()
        };
        Self {
            verbs: Verb::ALL.map(|_| every()),
        }
    }

    /// What rules grant together.
    pub(super) fn of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let Self { mut verbs } = Self::default();
        for rule in rules {
            for verb in &rule.verbs {
                let topics = &mut verbs[*verb as usize];
                for pattern in &rule.topics {
                    topics.add(pattern);
                }
            }
        }
        verbs.iter_mut().for_each(Topics::tidy);
        Self { verbs }
    }

    /// Whether every verb is granted on every topic, so that nothing else has to be asked.
    pub fn is_everything(&self) -> bool {
        self.verbs.iter().all(|topics| topics.every)
    }

    /// Whether a verb is granted on any topic at all.
    pub fn has(&self, verb: Verb) -> bool {
        let topics = self.of_verb(verb);
        topics.every || !topics.single.is_empty() || !topics.patterns.is_empty()
    }

    /// Whether a verb is granted on a topic. The text is taken to be a valid topic.
    pub fn allows(&self, verb: Verb, topic: &str) -> bool {
        let topics = self.of_verb(verb);
        topics.every || topics.has_single(topic) || topics.patterns.iter().any(|p| p.matches(topic))
    }

    /// Whether a verb is granted on every topic that a pattern selects, and on all of them by one
    /// pattern that is granted: those that only several grant together are not looked for.
    pub fn covers(&self, verb: Verb, pattern: &TopicPattern) -> bool {
        let topics = self.of_verb(verb);
        topics.every
            || topics.has_single(pattern.as_str())
            || topics.patterns.iter().any(|p| p.covers(pattern))
    }

    fn of_verb(&self, verb: Verb) -> &Topics {
        &self.verbs[verb as usize]
    }
}

impl Topics {
    fn add(&mut self, pattern: &TopicPattern) {
        self.every |= pattern.is_all();
        match pattern.is_single() {
            true => self.single.push(pattern.as_str().into()),
            false => self.patterns.push(pattern.clone()),
        }
    }

    fn tidy(&mut self) {
        if self.every {
            self.single = Vec::new();
            self.patterns = Vec::new();
        }
        self.single.sort_unstable();
        self.single.dedup();
        self.patterns
            .sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        self.patterns.dedup();
        self.single.shrink_to_fit();
        self.patterns.shrink_to_fit();
    }

    fn has_single(&self, topic: &str) -> bool {
        !self.single.is_empty() && self.single.binary_search_by(|s| (**s).cmp(topic)).is_ok()
    }
}
