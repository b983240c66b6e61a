//! What is wanted of each message, written without looking at how the machine does it.

use std::collections::{BTreeMap, BTreeSet};

use edgebus_core::Seq;
use edgebus_core::consumer::{LeaseToken, Place};

/// What the offset knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not for the consumer, or below where it began.
    NotWanted,
    Todo,
    /// Done, or a dead letter.
    Done,
    /// Retention took it.
    Missed,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) matching: bool,
    pub(crate) state: State,
    pub(crate) again: bool,
    /// Goes up whenever it is done: tokens of earlier rounds are worth nothing.
    pub(crate) round: u32,
    pub(crate) charged: u32,
    pub(crate) suspect: bool,
    pub(crate) delivered: bool,
}

/// A message that somebody has, as far as the changes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Out {
    pub(crate) token: LeaseToken,
    pub(crate) place: Place,
    /// The worker is there.
    pub(crate) worker: Option<u64>,
    pub(crate) alone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) requeued: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) messages: BTreeMap<Seq, Message>,
    pub(crate) rows: BTreeMap<Seq, Row>,
    pub(crate) out: BTreeMap<Seq, Out>,
    pub(crate) tokens: BTreeMap<LeaseToken, u32>,
    pub(crate) epoch: u32,
    pub(crate) last_new: Seq,
    pub(crate) closed: BTreeSet<u64>,
    pub(crate) letters: u64,
}

impl Model {
    pub(crate) fn requeued(&self, seq: Seq) -> Option<u64> {
        let row = self.rows.get(&seq).filter(|row| row.requeued)?;
        Some(row.number)
    }

    /// Whether somebody should do it.
    pub(crate) fn wanted(&self, seq: Seq) -> bool {
        let message = &self.messages[&seq];
        message.state == State::Todo || message.again || self.requeued(seq).is_some()
    }

    pub(crate) fn message(&mut self, seq: Seq) -> &mut Message {
        self.messages
            .get_mut(&seq)
            .expect("a message that was appended")
    }

    /// It is done in every sense. Returns the number of the row that goes.
    pub(crate) fn done(&mut self, seq: Seq) -> Option<u64> {
        self.out.remove(&seq);
        let message = self.message(seq);
        if message.state != State::Missed {
            message.state = State::Done;
        }
        message.again = false;
        message.round += 1;
        message.charged = 0;
        message.suspect = false;
        let number = self.requeued(seq)?;
        self.rows.remove(&seq);
        Some(number)
    }

    pub(crate) fn dead(&mut self, seq: Seq, number: Option<u64>) {
        assert_eq!(number, self.requeued(seq), "the row of dead letter {seq}");
        assert!(self.wanted(seq), "dead letter {seq} was done");
        self.out.remove(&seq);
        self.letters += 1;
        let fresh = self.letters;
        let row = self.rows.entry(seq).or_insert(Row {
            number: fresh,
            requeued: false,
        });
        row.requeued = false;
        let message = self.message(seq);
        message.state = State::Done;
        message.again = false;
        message.round += 1;
        message.charged = 0;
        message.suspect = false;
    }

    /// Whether a token of this message counts as its own: not of an earlier epoch, not of a round
    /// that ended, unless it ended in the dead letters and was requeued.
    pub(crate) fn counts(&self, token: LeaseToken) -> bool {
        self.current_round(token) || token.epoch == self.epoch && self.requeued(token.seq).is_some()
    }

    pub(crate) fn current_round(&self, token: LeaseToken) -> bool {
        token.epoch == self.epoch
            && self.wanted(token.seq)
            && self.tokens[&token] == self.messages[&token.seq].round
    }

    pub(crate) fn holds(&self, token: LeaseToken) -> bool {
        self.out
            .get(&token.seq)
            .is_some_and(|out| out.token == token)
    }

    pub(crate) fn at_place(&self, place: Place) -> impl Iterator<Item = &Out> {
        self.out
            .values()
            .filter(move |out| out.place == place && out.worker.is_some())
    }

    /// Up to where all is done.
    pub(crate) fn offset(&self, from: Seq) -> Seq {
        let todo = |message: &Message| message.state == State::Todo;
        let mut above = self.messages.range(from.next()..);
        let first = above.find(|(_, message)| todo(message));
        first.map_or_else(
            || {
                self.messages
                    .keys()
                    .next_back()
                    .copied()
                    .unwrap_or(from)
                    .max(from)
            },
            |(seq, _)| Seq(seq.0 - 1),
        )
    }
}
