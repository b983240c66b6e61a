//! What a client's end of a connection tells.

use crate::admin::Managed;
use crate::code::Refusal;
use crate::consumer::{Answer, Delivery, LeaseToken};
use crate::entry::Entry;
use crate::query::{LogPage, Stats};
use crate::wire::Frame;
use crate::wire::control::Welcome;

/// Something a client waited for.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<S, Q, R = Q> {
    /// The server took the connection; these are its limits.
    Opened(Welcome),
    /// One send is decided: sequence number and whether it was stored before, or why not.
    Sent(S, Result<(u64, bool), Refusal>),
    /// How one request ended. Follows its [`Event::Sent`]; `Err` when it was refused there, or
    /// when it is stored and the server cannot tell: then asking again with the same id does.
    Answered(R, Result<Answer, Refusal>),
    /// Part of the log.
    Page(Q, LogPage),
    /// Figures.
    Stats(Q, Box<Stats>),
    /// What was settled is on disk, but for these items, by their place.
    Settled(Q, Vec<(u32, Refusal)>),
    /// A notification was handed to so many subscribers.
    Published(Q, u64),
    /// An operator's answer.
    Managed(Q, Managed),
    /// A question or a stream was refused.
    Refused(Q, Refusal),
    /// A stream is open.
    StreamOpened {
        /// Whoever asked for it.
        waiter: Q,
        /// Its number.
        stream: u64,
        /// Leases that were brought back and are still held; the others went to someone else.
        kept: Vec<LeaseToken>,
    },
    /// Messages for a worker.
    Deliveries {
        /// On which stream.
        stream: u64,
        /// What it is given.
        deliveries: Vec<Delivery>,
    },
    /// Notifications.
    Notifications {
        /// On which stream.
        stream: u64,
        /// What was told.
        entries: Vec<Entry>,
    },
    /// Notifications were missed at this place.
    Lagged {
        /// On which stream.
        stream: u64,
        /// How many.
        missed: u64,
    },
    /// A stream has ended; nothing more comes on it.
    Closed {
        /// Which.
        stream: u64,
        /// Why the server ended it; `None`: as this end wanted.
        refusal: Option<Refusal>,
    },
    /// Answer the server with this frame.
    Reply(Frame),
}

/// Whoever still waits when a connection ends, each kind in the order in which it began to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<S, Q, R = Q> {
    /// Sends whose outcome is not known, with their tags; and whoever waits for the replies to
    /// those that are requests.
    pub sends: Vec<(u64, S, Option<R>)>,
    /// Whoever waits for replies to requests that are stored and go on.
    pub replies: Vec<R>,
    /// Whoever waits for answers.
    pub questions: Vec<Q>,
    /// Streams that were open or closing, ascending.
    pub streams: Vec<u64>,
}
