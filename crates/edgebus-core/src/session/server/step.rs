//! What a server has to do about a frame.

use crate::access::AccessToken;
use crate::admin::Admin;
use crate::code::Refusal;
use crate::consumer::{LeaseToken, Settlement};
use crate::query::Query;
use crate::record::Record;
use crate::stream::Open;
use crate::wire::Frame;

/// What the server has to do about a frame.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// The client introduced itself: let it in with this frame, if its token is good.
    Opened {
        /// The answer.
        welcome: Frame,
        /// What is to prove who it is.
        token: Option<AccessToken>,
    },
    /// Store the records that passed, in this order; answer the others with their refusals.
    Append {
        /// Tags and records that passed every check.
        records: Vec<(u64, Record)>,
        /// What was refused.
        refused: Vec<Outcome>,
        /// The sender waits for replies: beside its receipt each gets a [`Frame::Answer`], after
        /// it.
        wants_reply: bool,
    },
    /// Hand notifications that passed to whoever listens now, store nothing, and tell of each with
    /// [`Frame::Published`]; answer the others with their refusals.
    Publish {
        /// Tags and records that passed every check.
        records: Vec<(u64, Record)>,
        /// What was refused.
        refused: Vec<Outcome>,
    },
    /// Open a stream: answer with [`Frame::Opened`], or end it with
    /// [`super::ServerSession::end_stream`].
    Open {
        /// The client's number for it.
        stream: u64,
        /// What it carries.
        open: Open,
    },
    /// Send so many more messages.
    Credit {
        /// On which stream.
        stream: u64,
        /// How many; at most [`crate::consumer::CREDIT_MAX`].
        credit: u32,
    },
    /// Act on what a worker says; when that is on disk, answer.
    Settle {
        /// The stream on which it had the messages.
        stream: u64,
        /// Leases, and what became of them; none when all were refused.
        items: Vec<(LeaseToken, Settlement)>,
        /// Makes the answer.
        answer: SettleAnswer,
    },
    /// The client ended a stream: give back what it holds and, as its last frame, say
    /// [`Frame::Close`].
    CloseStream {
        /// Which.
        stream: u64,
    },
    /// Answer an operator, with [`Frame::Managed`] or by the tag.
    Admin {
        /// Names the question in its answer.
        tag: u64,
        /// What is asked.
        admin: Admin,
    },
    /// Answer a question.
    Query {
        /// Names the question in its answer.
        tag: u64,
        /// What is asked.
        query: Query,
    },
    /// Answer with this frame.
    Reply(Frame),
    /// Nothing.
    Nothing,
}

/// What became of one send.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The client's name for the send.
    pub tag: u64,
    /// Sequence number and whether it was stored before, or why not.
    pub result: Result<(u64, bool), Refusal>,
}

/// What is to be said about the items of one Settle frame.
#[derive(Debug, PartialEq)]
pub struct SettleAnswer {
    pub(super) tag: u64,
    /// Places in the frame of the items that passed.
    pub(super) passed: Vec<u32>,
    pub(super) refused: Vec<(u32, Refusal)>,
}

impl SettleAnswer {
    /// The answer, from what became of the items that passed, in their order; `None` when no
    /// answer is wanted.
    pub fn frame(self, results: impl IntoIterator<Item = Result<(), Refusal>>) -> Option<Frame> {
        if self.tag == 0 {
            return None;
        }
        let mut errors = self.refused;
        let results = self.passed.into_iter().zip(results);
        errors.extend(results.filter_map(|(at, result)| Some((at, result.err()?))));
        errors.sort_unstable_by_key(|(at, _)| *at);
        let tag = self.tag;
        Some(Frame::Settled { tag, errors })
    }
}
