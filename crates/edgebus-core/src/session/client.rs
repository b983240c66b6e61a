//! The client's end of a connection.

use std::collections::{HashMap, VecDeque};

use crate::code::{Code, Refusal};
use crate::query::{LogPage, Query, Stats};
use crate::record::Record;
use crate::wire::control::{Hello, Welcome};
use crate::wire::{Frame, PROTOCOL_VERSION, ReceiptRange, TAG_CONNECTION};

/// Something a client waited for.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<S, Q> {
    /// The server took the connection; these are its limits.
    Opened(Welcome),
    /// One send is decided: sequence number and whether it was stored before, or why not.
    Sent(S, Result<(u64, bool), Refusal>),
    /// Part of the log.
    Page(Q, LogPage),
    /// Figures.
    Stats(Q, Box<Stats>),
    /// A question was refused.
    Refused(Q, Refusal),
    /// Answer the server with this frame.
    Reply(Frame),
}

/// The client's end of one connection. `S` waits for one send, `Q` for one answer.
#[derive(Debug)]
pub struct ClientSession<S, Q> {
    opened: bool,
    first_tag: u64,
    sends: VecDeque<Option<S>>,
    next_query: u64,
    queries: HashMap<u64, Q>,
}

/// Tags of questions have this bit, so that they never meet those of sends.
const QUERY_TAGS: u64 = 1 << 62;

impl<S, Q> ClientSession<S, Q> {
    /// A new connection, and the frame to open it with.
    pub fn open(client: impl Into<String>, software: impl Into<String>) -> (Self, Frame) {
        let session = Self {
            opened: false,
            first_tag: 0,
            sends: VecDeque::new(),
            next_query: QUERY_TAGS,
            queries: HashMap::new(),
        };
        let hello = Frame::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client: client.into(),
            software: software.into(),
        });
        (session, hello)
    }

    /// The frame that sends records, one waiter each.
    pub fn send(&mut self, records: Vec<Record>, waiters: impl IntoIterator<Item = S>) -> Frame {
        let first_tag = self.first_tag + self.sends.len() as u64;
        let before = self.sends.len();
        self.sends.extend(waiters.into_iter().map(Some));
        assert_eq!(
            self.sends.len() - before,
            records.len(),
            "each record has a waiter"
        );
        Frame::Send { first_tag, records }
    }

    /// The frame that asks a question.
    pub fn query(&mut self, query: Query, waiter: Q) -> Frame {
        let tag = self.next_query;
        self.next_query += 1;
        self.queries.insert(tag, waiter);
        Frame::Query {
            tag,
            query: (&query).into(),
        }
    }

    /// Sends that are not decided yet.
    pub fn in_flight(&self) -> usize {
        self.sends.iter().filter(|waiter| waiter.is_some()).count()
    }

    /// Takes a frame and tells what it decides.
    ///
    /// # Errors
    /// The server ended the connection, or broke the protocol: close it.
    pub fn on_frame(
        &mut self,
        frame: Frame,
        mut tell: impl FnMut(Event<S, Q>),
    ) -> Result<(), Refusal> {
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
            Frame::Error { tag, refusal } => match self.queries.remove(&tag) {
                Some(waiter) => tell(Event::Refused(waiter, refusal)),
                None => tell(Event::Sent(self.decide(tag)?, Err(refusal))),
            },
            Frame::Page { tag, page } => tell(Event::Page(self.answer(tag)?, page)),
            Frame::Stats { tag, stats } => tell(Event::Stats(self.answer(tag)?, stats)),
            Frame::Ping { token } => tell(Event::Reply(Frame::Pong { token })),
            Frame::Pong { .. } => {}
            _ => return Err(breach("only a client sends this frame")),
        }
        Ok(())
    }

    fn on_receipts(
        &mut self,
        range: &ReceiptRange,
        tell: &mut impl FnMut(Event<S, Q>),
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
        self.queries
            .remove(&tag)
            .ok_or_else(|| breach("the server answers a question nobody asked"))
    }

    /// Ends the session: whoever still waits. For a send that means the outcome is unknown.
    pub fn close(self) -> (impl Iterator<Item = S>, impl Iterator<Item = Q>) {
        (self.sends.into_iter().flatten(), self.queries.into_values())
    }
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
fn breach(what: &str) -> Refusal {
    Refusal::new(Code::UnexpectedFrame, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, RecordLimits, RequestId};

    fn record() -> Record {
        let message = Message::new(
            RequestId::from_bytes([1; 16]),
            "a".parse().expect("topic"),
            "x",
        );
        Record::encode(&message, &RecordLimits::default()).expect("fits")
    }

    fn opened() -> ClientSession<u32, u32> {
        let (mut session, _) = ClientSession::open("c", "s");
        let mut events = 0;
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            ..Welcome::default()
        };
        session
            .on_frame(Frame::Welcome(welcome), |_| events += 1)
            .expect("welcome");
        assert_eq!(events, 1);
        session
    }

    fn told(
        session: &mut ClientSession<u32, u32>,
        frame: Frame,
    ) -> Result<Vec<(u32, bool)>, Refusal> {
        let mut told = Vec::new();
        session.on_frame(frame, |event| match event {
            Event::Sent(waiter, result) => told.push((waiter, result.is_ok())),
            other => panic!("{other:?}"),
        })?;
        Ok(told)
    }

    #[test]
    fn sends_are_decided_in_any_order_and_each_once() {
        let mut session = opened();
        session.send(vec![record(), record(), record()], [10, 11, 12]);
        let second = ReceiptRange {
            first_tag: 1,
            first_seq: 5,
            count: 2,
            duplicate: false,
        };
        assert_eq!(
            told(&mut session, Frame::Receipts(vec![second])),
            Ok(vec![(11, true), (12, true)])
        );
        assert_eq!(session.in_flight(), 1);
        let refusal = Refusal::new(Code::BadTopic, "no");
        assert_eq!(
            told(&mut session, Frame::Error { tag: 0, refusal }),
            Ok(vec![(10, false)])
        );
        assert!(told(&mut session, Frame::Receipts(vec![second])).is_err());
        assert!(matches!(
            session.send(vec![record()], [13]),
            Frame::Send { first_tag: 3, .. }
        ));
    }

    #[test]
    fn welcome_of_another_version_is_refused() {
        let (mut session, _) = ClientSession::<u32, u32>::open("c", "s");
        let welcome = Welcome {
            version: PROTOCOL_VERSION + 1,
            ..Welcome::default()
        };
        let refusal = session
            .on_frame(Frame::Welcome(welcome), |_| {})
            .expect_err("not spoken");
        assert_eq!(refusal.code, Code::WrongVersion);
    }

    #[test]
    fn close_hands_back_whoever_waits() {
        let mut session = opened();
        session.send(vec![record(), record()], [1, 2]);
        session.query(Query::Stats, 9);
        let first = ReceiptRange {
            first_tag: 0,
            first_seq: 5,
            count: 1,
            duplicate: false,
        };
        told(&mut session, Frame::Receipts(vec![first])).expect("one receipt");
        let (sends, queries) = session.close();
        assert_eq!(
            (sends.collect::<Vec<_>>(), queries.collect::<Vec<_>>()),
            (vec![2], vec![9])
        );
    }
}
