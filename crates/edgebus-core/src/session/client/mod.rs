//! The client's end of a connection: [`event`] what it tells, [`streams`] which streams are open.
//!
//! Whoever waits is a value handed in and handed out once: by an event, or by
//! [`ClientSession::close`].

mod event;
mod streams;

pub use event::{Event, Waiting};

use std::collections::{HashMap, VecDeque};

use crate::access::AccessToken;
use crate::admin::{Admin, Managed};
use crate::code::{Code, Refusal};
use crate::consumer::{LeaseToken, Settlement};
use crate::query::Query;
use crate::record::Record;
use crate::stream::Open;
use crate::wire::control::Hello;
use crate::wire::settle::SettleItem;
use crate::wire::{Frame, PROTOCOL_VERSION, ReceiptRange, TAG_CONNECTION};
use streams::Streams;

/// The client's end of one connection. `S` waits for one send, `Q` for one answer to whatever else
/// was asked, `R` for the reply to one request.
#[derive(Debug)]
pub struct ClientSession<S, Q, R = Q> {
    opened: bool,
    first_tag: u64,
    sends: VecDeque<Option<S>>,
    /// By the tag of the request, from before its receipt until it is answered.
    replies: HashMap<u64, R>,
    next_question: u64,
    questions: HashMap<u64, Q>,
    streams: Streams<Q>,
    /// Why the server is not listened to any more.
    ended: Option<Refusal>,
}

/// Tags of questions have this bit, so that they never meet those of sends.
const QUESTION_TAGS: u64 = 1 << 62;

impl<S, Q, R> ClientSession<S, Q, R> {
    /// A new connection, and the frame to open it with. The token proves who the client is, if
    /// nothing else does.
    pub fn open(
        client: impl Into<String>,
        software: impl Into<String>,
        token: Option<AccessToken>,
    ) -> (Self, Frame) {
        let session = Self {
            opened: false,
            first_tag: 0,
            sends: VecDeque::new(),
            replies: HashMap::new(),
            next_question: QUESTION_TAGS,
            questions: HashMap::new(),
            streams: Streams::default(),
            ended: None,
        };
        let hello = Frame::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client: client.into(),
            software: software.into(),
            token: token.map(AccessToken::into_bytes),
        });
        (session, hello)
    }

    /// The frame that sends records, one waiter each.
    pub fn send(&mut self, records: Vec<Record>, waiters: impl IntoIterator<Item = S>) -> Frame {
        let first_tag = self.wait_for(records.len(), waiters);
        Frame::Send { first_tag, records }
    }

    /// The frame that sends requests and asks for their replies: one waiter each for the receipt
    /// and one for the reply. Both are told of each: a request that is refused has no reply.
    pub fn request(
        &mut self,
        records: Vec<Record>,
        waiters: impl IntoIterator<Item = S>,
        replies: impl IntoIterator<Item = R>,
    ) -> Frame {
        let first_tag = self.wait_for(records.len(), waiters);
        let before = self.replies.len();
        self.replies.extend((first_tag..).zip(replies));
        assert_eq!(
            self.replies.len() - before,
            records.len(),
            "each request has someone who waits for its reply"
        );
        Frame::Request { first_tag, records }
    }

    /// Has waiters wait for as many sends; gives the tag of the first.
    fn wait_for(&mut self, count: usize, waiters: impl IntoIterator<Item = S>) -> u64 {
        let first_tag = self.next_tag();
        let before = self.sends.len();
        self.sends.extend(waiters.into_iter().map(Some));
        assert_eq!(self.sends.len() - before, count, "each record has a waiter");
        first_tag
    }

    /// The frame that asks a question.
    pub fn query(&mut self, query: Query, waiter: Q) -> Frame {
        let tag = self.ask(waiter);
        Frame::Query {
            tag,
            query: (&query).into(),
        }
    }

    /// The frame that asks as an operator.
    pub fn manage(&mut self, admin: &Admin, waiter: Q) -> Frame {
        let tag = self.ask(waiter);
        Frame::Admin {
            tag,
            admin: Box::new(admin.into()),
        }
    }

    /// The frame that publishes notifications which nobody stores, one waiter each.
    pub fn publish(&mut self, records: Vec<Record>, waiters: impl IntoIterator<Item = Q>) -> Frame {
        let first_tag = self.next_question;
        for waiter in waiters {
            self.ask(waiter);
        }
        assert_eq!(
            self.next_question - first_tag,
            records.len() as u64,
            "each notification has a waiter"
        );
        Frame::Publish { first_tag, records }
    }

    /// The frame that asks for a stream, and its number. The waiter is told whether it is open.
    pub fn open_stream(&mut self, open: &Open, waiter: Q) -> (u64, Frame) {
        let stream = self.streams.add(waiter);
        let open = Box::new(open.into());
        (stream, Frame::Open { stream, open })
    }

    /// The frame that allows more messages on a stream; `None` when it is not open any more.
    pub fn credit(&mut self, stream: u64, credit: u32) -> Option<Frame> {
        let open = self.streams.is_open(stream);
        open.then_some(Frame::Credit { stream, credit })
    }

    /// The frame that says what became of messages. Without a waiter nothing is answered.
    pub fn settle<'a>(
        &mut self,
        stream: u64,
        items: impl IntoIterator<Item = (LeaseToken, &'a Settlement)>,
        waiter: Option<Q>,
    ) -> Frame {
        let tag = waiter.map_or(0, |waiter| self.ask(waiter));
        let items = items.into_iter().map(|(token, settlement)| SettleItem {
            token,
            settlement: settlement.into(),
        });
        Frame::Settle {
            stream,
            tag,
            items: items.collect(),
        }
    }

    /// The frame that ends a stream; `None` when it has ended. What still comes on it is dropped,
    /// as the server takes it back, until [`Event::Closed`].
    pub fn close_stream(&mut self, stream: u64) -> Option<Frame> {
        let refusal = None;
        let closes = self.streams.close(stream);
        closes.then_some(Frame::Close { stream, refusal })
    }

    fn ask(&mut self, waiter: Q) -> u64 {
        let tag = self.next_question;
        self.next_question += 1;
        self.questions.insert(tag, waiter);
        tag
    }

    /// Sends that are not decided yet.
    pub fn in_flight(&self) -> usize {
        self.sends.iter().filter(|waiter| waiter.is_some()).count()
    }

    /// Takes a frame and tells what it decides.
    ///
    /// # Errors
    /// The server ended the connection, or broke the protocol: close it. After that every frame
    /// is refused for the same, and nothing is told any more.
    pub fn on_frame(
        &mut self,
        frame: Frame,
        tell: impl FnMut(Event<S, Q, R>),
    ) -> Result<(), Refusal> {
        if let Some(refusal) = &self.ended {
            return Err(refusal.clone());
        }
        let outcome = self.take(frame, tell);
        if let Err(refusal) = &outcome {
            self.ended = Some(refusal.clone());
        }
        outcome
    }

    fn take(&mut self, frame: Frame, mut tell: impl FnMut(Event<S, Q, R>)) -> Result<(), Refusal> {
        match frame {
            Frame::Error {
                tag: TAG_CONNECTION,
                refusal,
            } => return Err(refusal),
            Frame::Welcome(welcome) if !self.opened => {
                if welcome.version != PROTOCOL_VERSION {
                    return Err(wrong_version(welcome.version));
                }
                self.opened = true;
                tell(Event::Opened(welcome));
            }
            _ if !self.opened => return Err(breach("the first frame of a server is Welcome")),
            Frame::Receipts(ranges) => {
                for range in ranges {
                    self.on_receipts(&range, &mut tell)?;
                }
            }
            Frame::Error { tag, refusal } => self.on_refusal(tag, refusal, &mut tell)?,
            Frame::Page { tag, page } => tell(Event::Page(self.answer(tag)?, page)),
            Frame::Stats { tag, stats } => tell(Event::Stats(self.answer(tag)?, stats)),
            Frame::Ping { token } => tell(Event::Reply(Frame::Pong { token })),
            Frame::Pong { .. } => {}
            Frame::Answer { tag, answer } => {
                let waiter = self.reply_waiter(tag)?;
                tell(Event::Answered(waiter, answer.try_into()));
            }
            Frame::Settled { tag, errors } => tell(Event::Settled(self.answer(tag)?, errors)),
            Frame::Published { tag, reached } => {
                tell(Event::Published(self.answer(tag)?, reached));
            }
            Frame::Managed { tag, managed } => {
                let waiter = self.answer(tag)?;
                tell(match Managed::try_from(*managed) {
                    Ok(managed) => Event::Managed(waiter, managed),
                    Err(refusal) => Event::Refused(waiter, refusal),
                });
            }
            frame => return self.on_stream(frame, tell),
        }
        Ok(())
    }

    /// Frames of streams. On a stream that this end has closed they come too late to matter.
    fn on_stream(
        &mut self,
        frame: Frame,
        mut tell: impl FnMut(Event<S, Q, R>),
    ) -> Result<(), Refusal> {
        match frame {
            Frame::Opened { stream, kept } => {
                if let Some(waiter) = self.streams.opened(stream)? {
                    tell(Event::StreamOpened {
                        waiter,
                        stream,
                        kept,
                    });
                }
            }
            Frame::Deliver { stream, deliveries } => {
                if self.streams.carries(stream)? {
                    tell(Event::Deliveries { stream, deliveries });
                }
            }
            Frame::Notify { stream, entries } => {
                if self.streams.carries(stream)? {
                    tell(Event::Notifications { stream, entries });
                }
            }
            Frame::Lagged { stream, missed } => {
                if self.streams.carries(stream)? {
                    tell(Event::Lagged { stream, missed });
                }
            }
            Frame::Close { stream, refusal } => tell(match self.streams.closed(stream)? {
                None => Event::Closed { stream, refusal },
                Some(waiter) => Event::Refused(waiter, refusal.unwrap_or_else(closed_early)),
            }),
            _ => return Err(breach("only a client sends this frame")),
        }
        Ok(())
    }

    fn on_refusal(
        &mut self,
        tag: u64,
        refusal: Refusal,
        tell: &mut impl FnMut(Event<S, Q, R>),
    ) -> Result<(), Refusal> {
        if let Some(waiter) = self.questions.remove(&tag) {
            tell(Event::Refused(waiter, refusal));
            return Ok(());
        }
        let reply = self.replies.remove(&tag);
        // A request that has its receipt is past refusing; but its reply may be out of reach.
        if !self.is_undecided(tag)
            && let Some(waiter) = reply
        {
            tell(Event::Answered(waiter, Err(refusal)));
            return Ok(());
        }
        let waiter = self.decide(tag)?;
        tell(Event::Sent(waiter, Err(refusal.clone())));
        if let Some(reply) = reply {
            tell(Event::Answered(reply, Err(refusal)));
        }
        Ok(())
    }

    fn on_receipts(
        &mut self,
        range: &ReceiptRange,
        tell: &mut impl FnMut(Event<S, Q, R>),
    ) -> Result<(), Refusal> {
        for i in 0..u64::from(range.count) {
            let waiter = self.decide(range.first_tag.wrapping_add(i))?;
            tell(Event::Sent(
                waiter,
                Ok((range.first_seq.wrapping_add(i), range.duplicate)),
            ));
        }
        Ok(())
    }

    fn is_undecided(&self, tag: u64) -> bool {
        let at = tag.checked_sub(self.first_tag);
        let waiter = at.and_then(|at| self.sends.get(usize::try_from(at).ok()?));
        waiter.is_some_and(Option::is_some)
    }

    /// Takes out whoever waits for a reply, which comes after the receipt.
    fn reply_waiter(&mut self, tag: u64) -> Result<R, Refusal> {
        if self.is_undecided(tag) {
            return Err(breach("the server answers a request without a receipt"));
        }
        let waiter = self.replies.remove(&tag);
        waiter.ok_or_else(|| breach("the server answers a request that is not waiting"))
    }

    /// Takes out the waiter of a send; a send is decided once.
    fn decide(&mut self, tag: u64) -> Result<S, Refusal> {
        let waiter = tag
            .checked_sub(self.first_tag)
            .and_then(|at| self.sends.get_mut(usize::try_from(at).ok()?))
            .and_then(Option::take)
            .ok_or_else(|| breach("the server answers a send that is not waiting"))?;
        while let Some(None) = self.sends.front() {
            self.sends.pop_front();
            self.first_tag += 1;
        }
        Ok(waiter)
    }

    fn answer(&mut self, tag: u64) -> Result<Q, Refusal> {
        self.questions
            .remove(&tag)
            .ok_or_else(|| breach("the server answers a question nobody asked"))
    }

    /// Whether nobody waits for anything but what comes on streams.
    pub fn is_idle(&self) -> bool {
        self.is_idle_but_for(|_| false)
    }

    /// As [`ClientSession::is_idle`], but for replies to requests that are stored and that
    /// nobody wants.
    pub fn is_idle_but_for(&self, unwanted: impl Fn(&R) -> bool) -> bool {
        let unwanted = self.replies.values().all(unwanted);
        self.sends.is_empty() && unwanted && self.questions.is_empty()
    }

    /// Whoever waits for replies to requests, stored or not, in any order.
    pub fn replies_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.replies.values_mut()
    }

    /// The tag that the next send gets.
    pub fn next_tag(&self) -> u64 {
        self.first_tag + self.sends.len() as u64
    }

    /// Ends the session: whoever still waits.
    pub fn close(mut self) -> Waiting<S, Q, R> {
        let (opening, streams) = self.streams.into_parts();
        let tags = self.first_tag..;
        let undecided = tags.zip(self.sends).filter_map(|(tag, waiter)| {
            let waiter = waiter?;
            Some((tag, waiter, self.replies.remove(&tag)))
        });
        Waiting {
            sends: undecided.collect(),
            replies: in_order(self.replies),
            questions: in_order(self.questions)
                .into_iter()
                .chain(opening)
                .collect(),
            streams,
        }
    }
}

/// Waiters in the order of their tags.
fn in_order<T>(waiters: HashMap<u64, T>) -> Vec<T> {
    let mut waiters: Vec<_> = waiters.into_iter().collect();
    waiters.sort_unstable_by_key(|(tag, _)| *tag);
    waiters.into_iter().map(|(_, waiter)| waiter).collect()
}

#[cold]
fn wrong_version(version: u32) -> Refusal {
    Refusal::new(
        Code::WrongVersion,
        format!(
            "the server speaks protocol version {version}, this client {PROTOCOL_VERSION}: update the older one"
        ),
    )
}

#[cold]
fn closed_early() -> Refusal {
    Refusal::new(
        Code::Disconnected,
        "the stream was closed before it was open",
    )
}

#[cold]
fn breach(what: &str) -> Refusal {
    Refusal::new(Code::UnexpectedFrame, what.to_owned())
}

#[cfg(test)]
mod tests;
