//! What somebody may do: each thing that can be asked for against what is granted. Nothing here
//! looks anything up.
//!
//! Invariants: a refusal names the verb and what was asked for, and is the same whether or not that
//! exists. Where nobody has written down who may do what, nothing is looked at.

use edgebus_core::access::Verb;
use edgebus_core::consumer::ConsumerConfig;
use edgebus_core::session::Outcome;
use edgebus_core::{Code, ConsumerName, Entry, Kind, Record, Refusal, TopicPattern};

use super::asker::Asker;
use crate::access::Grants;

impl Asker {
    /// What it may do, unless that is everything.
    pub(super) fn limits(&self) -> Option<&Grants> {
        self.grants.as_deref()
    }

    /// Whether it may do something on every topic that a pattern selects.
    pub(super) fn covers(&self, verb: Verb, pattern: &TopicPattern) -> bool {
        self.limits()
            .is_none_or(|grants| grants.covers(verb, pattern))
    }

    /// Whether it may do something on a topic.
    pub(super) fn allows(&self, verb: Verb, topic: &str) -> bool {
        self.limits()
            .is_none_or(|grants| grants.allows(verb, topic))
    }

    /// Fails unless it may do something on every topic that one of the patterns selects; no pattern
    /// stands for every topic.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(super) fn may(&self, verb: Verb, patterns: &[TopicPattern]) -> Result<(), Refusal> {
        if self.grants.is_none() {
            return Ok(());
        }
        let every = [TopicPattern::all()];
        let patterns = if patterns.is_empty() {
            &every[..]
        } else {
            patterns
        };
        match patterns.iter().find(|p| !self.covers(verb, p)) {
            None => Ok(()),
            Some(pattern) => Err(self.may_not(verb, pattern.as_str())),
        }
    }

    /// Fails unless it may work with what a consumer is to do: an inbox is its own.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(super) fn may_consume(&self, config: &ConsumerConfig) -> Result<(), Refusal> {
        self.may(verb_of(config), &config.patterns)
    }

    /// Fails unless it may work for a consumer, or see it, as it is set up; `None` when there is no
    /// such consumer, which only those may know who may see all.
    ///
    /// # Errors
    /// [`Code::Forbidden`], which does not tell whether there is one.
    pub(super) fn may_work_for(
        &self,
        name: &ConsumerName,
        there: Option<&ConsumerConfig>,
    ) -> Result<(), Refusal> {
        if self.grants.is_none() {
            return Ok(());
        }
        let may = match there {
            None => self.covers(Verb::Consume, &TopicPattern::all()),
            Some(there) => {
                let own = there.target.is_empty() || there.target == self.identity.name();
                own && self.may_consume(there).is_ok()
            }
        };
        if may {
            return Ok(());
        }
        Err(self.may_not_with(Verb::Consume, name))
    }

    /// Fails unless it may change a consumer, as it is set up; `None` as above.
    ///
    /// # Errors
    /// [`Code::Forbidden`], which does not tell whether there is one.
    pub(super) fn may_change(
        &self,
        name: &ConsumerName,
        there: Option<&ConsumerConfig>,
    ) -> Result<(), Refusal> {
        let patterns = there.map_or(&[][..], |there| &there.patterns);
        self.may(Verb::Admin, patterns)
            .map_err(|_| self.may_not_with(Verb::Admin, name))
    }

    /// Fails unless it may see a consumer: whoever may work for it or change it.
    ///
    /// # Errors
    /// [`Code::Forbidden`], which does not tell whether there is one.
    pub(super) fn may_see(
        &self,
        name: &ConsumerName,
        there: Option<&ConsumerConfig>,
    ) -> Result<(), Refusal> {
        let may = self.may_work_for(name, there);
        may.or_else(|refusal| self.may_change(name, there).map_err(|_| refusal))
    }

    /// Whether it may know what became of a message that it asks for by id: one that it sent, or
    /// may read in the log.
    pub(super) fn may_know(&self, entry: &Entry) -> bool {
        self.grants.is_none()
            || entry.identity() == self.identity.name()
            || self.allows(Verb::Replay, entry.record().topic_str())
    }

    /// Takes out records that it may not say, and has them refused; says how many that were.
    pub(super) fn sort_out(
        &self,
        records: &mut Vec<(u64, Record)>,
        refused: &mut Vec<Outcome>,
        verb_of: impl Fn(Kind) -> Verb,
    ) -> usize {
        let Some(grants) = self.limits().filter(|grants| !grants.is_everything()) else {
            return 0;
        };
        let before = refused.len();
        // Messages that come together are mostly about the same.
        let mut last: Option<(Verb, Record)> = None;
        records.retain(|(tag, record)| {
            let verb = verb_of(record.kind());
            let same = |(v, r): &(Verb, Record)| *v == verb && r.topic_str() == record.topic_str();
            if last.as_ref().is_some_and(same) {
                return true;
            }
            let may = grants.allows(verb, record.topic_str());
            if may {
                last = Some((verb, record.clone()));
            } else {
                refused.push(Outcome {
                    tag: *tag,
                    result: Err(self.may_not(verb, record.topic_str())),
                });
            }
            may
        });
        refused.len() - before
    }

    #[cold]
    pub(super) fn may_not(&self, verb: Verb, topic: &str) -> Refusal {
        let who = &self.identity;
        let message = format!("{who} may not {} on {topic}", in_words(verb));
        Refusal::new(Code::Forbidden, message)
    }

    /// Without topics: they would tell what is there.
    #[cold]
    fn may_not_with(&self, verb: Verb, name: &ConsumerName) -> Refusal {
        let who = &self.identity;
        let verb = in_words(verb);
        let message = format!("{who} may not {verb} on the topics of consumer {name}");
        Refusal::new(Code::Forbidden, message)
    }
}

/// What somebody has to be allowed to have a stream.
#[derive(Debug)]
pub(super) enum Needs {
    /// A consumer, and how it is set up.
    Work(ConsumerName, Box<ConsumerConfig>),
    /// To notifications.
    Subscribe(Vec<TopicPattern>),
}

impl Needs {
    /// Fails unless somebody is allowed that.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub(super) fn met_by(&self, asker: &Asker) -> Result<(), Refusal> {
        match self {
            Self::Work(name, there) => asker.may_work_for(name, Some(there)),
            Self::Subscribe(patterns) => asker.may(Verb::Subscribe, patterns),
        }
    }
}

/// What is needed to work for a consumer.
fn verb_of(config: &ConsumerConfig) -> Verb {
    match config.kind {
        Kind::Notification => Verb::Subscribe,
        _ => Verb::Consume,
    }
}

fn in_words(verb: Verb) -> &'static str {
    match verb {
        Verb::DeadLetters => "handle dead-letters",
        Verb::Admin => "act as admin",
        verb => verb.as_str(),
    }
}

/// What is needed to store a message.
pub(super) fn verb_to_send(kind: Kind) -> Verb {
    match kind {
        Kind::Notification => Verb::Publish,
        _ => Verb::Send,
    }
}
