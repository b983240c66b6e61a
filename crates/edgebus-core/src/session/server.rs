//! The server's end of a connection.

use crate::code::{Code, Refusal};
use crate::query::Query;
use crate::record::{Record, RecordLimits};
use crate::wire::control::{Hello, Welcome};
use crate::wire::{FRAME_BYTES_MAX, Frame, PROTOCOL_VERSION, ReceiptRange, TAG_CONNECTION};

/// What a server allows on a connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Largest frame, in bytes, length field not counted.
    pub frame_bytes_max: usize,
    /// How large a record may be.
    pub record: RecordLimits,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            record: RecordLimits::default(),
        }
    }
}

/// What the server has to do about a frame.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// The client introduced itself: answer with this frame.
    Opened(Frame),
    /// Store the records that passed, in this order; answer the others with their refusals.
    Append {
        /// Tags and records that passed every check.
        records: Vec<(u64, Record)>,
        /// What was refused.
        refused: Vec<Outcome>,
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

/// The server's end of one connection.
#[derive(Debug)]
pub struct ServerSession {
    limits: ServerLimits,
    software: String,
    client: Option<String>,
}

impl ServerSession {
    /// A connection on which nothing was said yet. `software` is told to the client.
    pub fn new(limits: ServerLimits, software: impl Into<String>) -> Self {
        Self {
            limits,
            software: software.into(),
            client: None,
        }
    }

    /// The name the client gave itself, once it did.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// A breach of the protocol: say so with [`crate::wire::TAG_CONNECTION`], then close.
    pub fn on_frame(&mut self, frame: Frame) -> Result<Step, Refusal> {
        if self.client.is_none() {
            return match frame {
                Frame::Hello(hello) => self.on_hello(hello),
                _ => Err(unexpected("the first frame of a client is Hello")),
            };
        }
        match frame {
            Frame::Send { first_tag, records } => self.on_send(first_tag, records),
            Frame::Query {
                tag: TAG_CONNECTION,
                ..
            } => Err(unexpected(
                "the tag of a question stands for the connection",
            )),
            // A question that makes no sense is refused alone: sends are on their way beside it.
            Frame::Query { tag, query } => Ok(match query.try_into() {
                Ok(query) => Step::Query { tag, query },
                Err(refusal) => Step::Reply(Frame::Error { tag, refusal }),
            }),
            Frame::Ping { token } => Ok(Step::Reply(Frame::Pong { token })),
            Frame::Pong { .. } => Ok(Step::Nothing),
            Frame::Hello(_) => Err(unexpected("Hello is said once")),
            _ => Err(unexpected("only a server sends this frame")),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<Step, Refusal> {
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            return Err(Refusal::new(
                Code::WrongVersion,
                format!(
                    "the client speaks protocol versions {} to {}, this server speaks {PROTOCOL_VERSION}: \
                     update the older one",
                    hello.version_min, hello.version_max
                ),
            ));
        }
        if hello.client.len() > 255 {
            return Err(unexpected("a client name has at most 255 bytes"));
        }
        self.client = Some(hello.client);
        Ok(Step::Opened(Frame::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            software: self.software.clone(),
            frame_bytes_max: self.limits.frame_bytes_max as u64,
            payload_bytes_max: self.limits.record.payload_bytes_max as u64,
        })))
    }

    fn on_send(&self, first_tag: u64, records: Vec<Record>) -> Result<Step, Refusal> {
        if first_tag.checked_add(records.len() as u64).is_none() {
            return Err(unexpected("tags of a send run over the end"));
        }
        let mut passed = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        for (tag, record) in (first_tag..).zip(records) {
            match record.verify(&self.limits.record) {
                Ok(()) => passed.push((tag, record)),
                Err(refusal) => refused.push(Outcome {
                    tag,
                    result: Err(refusal),
                }),
            }
        }
        Ok(Step::Append {
            records: passed,
            refused,
        })
    }
}

/// The frames that tell outcomes: consecutive receipts as ranges, refusals one by one.
pub fn frames_for(outcomes: impl IntoIterator<Item = Outcome>) -> Vec<Frame> {
    let mut ranges: Vec<ReceiptRange> = Vec::new();
    let mut frames = Vec::new();
    for Outcome { tag, result } in outcomes {
        match result {
            Ok((seq, duplicate)) => {
                let joined = ranges
                    .last_mut()
                    .is_some_and(|range| range.extend(tag, seq, duplicate));
                if !joined {
                    ranges.push(ReceiptRange {
                        first_tag: tag,
                        first_seq: seq,
                        count: 1,
                        duplicate,
                    });
                }
            }
            Err(refusal) => frames.push(Frame::Error { tag, refusal }),
        }
    }
    // 24 bytes a range: this many fit the smallest frame limit that makes sense.
    const RANGES_PER_FRAME: usize = 1024;
    let receipts = ranges
        .chunks(RANGES_PER_FRAME)
        .map(|part| Frame::Receipts(part.to_vec()));
    receipts.chain(frames).collect()
}

#[cold]
fn unexpected(what: &str) -> Refusal {
    Refusal::new(Code::UnexpectedFrame, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::LogQuery;
    use crate::wire::control::{WireLogQuery, WireQuery};
    use crate::{Message, RequestId, Seq};

    fn hello(min: u32, max: u32) -> Frame {
        Frame::Hello(Hello {
            version_min: min,
            version_max: max,
            ..Hello::default()
        })
    }

    fn open() -> ServerSession {
        let mut session = ServerSession::new(ServerLimits::default(), "test");
        assert!(matches!(
            session.on_frame(hello(1, 1)),
            Ok(Step::Opened(Frame::Welcome(_)))
        ));
        session
    }

    #[test]
    fn anything_before_hello_is_refused() {
        let mut session = ServerSession::new(ServerLimits::default(), "test");
        let refusal = session
            .on_frame(Frame::Ping { token: 1 })
            .expect_err("too early");
        assert_eq!(refusal.code, Code::UnexpectedFrame);
    }

    #[test]
    fn version_that_is_not_shared_is_refused_with_both_named() {
        let mut session = ServerSession::new(ServerLimits::default(), "test");
        let refusal = session.on_frame(hello(2, 3)).expect_err("no version 1");
        assert_eq!(refusal.code, Code::WrongVersion);
        assert!(refusal.message.contains("2 to 3"));
    }

    #[test]
    fn bad_record_is_refused_alone_and_its_neighbours_pass() {
        let record = |topic: &str| {
            let message = Message::new(
                RequestId::from_bytes([1; 16]),
                topic.parse().expect("topic"),
                "x",
            );
            Record::encode(&message, &RecordLimits::default()).expect("fits")
        };
        let mut broken = record("a").as_bytes().to_vec();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        let broken = Record::split_from(&mut broken.into()).expect("lengths are right");
        let step = open().on_frame(Frame::Send {
            first_tag: 5,
            records: vec![record("a"), broken, record("b")],
        });
        let Ok(Step::Append { records, refused }) = step else {
            panic!("an append")
        };
        assert_eq!(
            records.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(),
            [5, 7]
        );
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].tag, 6);
        assert!(matches!(&refused[0].result, Err(refusal) if refusal.code == Code::RecordCorrupt));
    }

    #[test]
    fn question_that_makes_no_sense_is_refused_by_its_tag_and_nothing_ends() {
        let mut log = LogQuery::from(Seq(1));
        log.limit = 0;
        let nothing = WireQuery::default();
        let pattern = WireQuery {
            log: Some(WireLogQuery {
                topics: vec!["a.>.b".into()],
                limit: 1,
                page_bytes: 1,
                ..WireLogQuery::default()
            }),
            ..WireQuery::default()
        };
        let short_id = WireQuery {
            by_id: Some("12".into()),
            ..WireQuery::default()
        };
        let cases = [
            (WireQuery::from(&Query::Log(log)), Code::BadQuery),
            (nothing, Code::BadQuery),
            (pattern, Code::BadPattern),
            (short_id, Code::BadQuery),
        ];
        let mut session = open();
        for (query, code) in cases {
            let step = session.on_frame(Frame::Query { tag: 7, query });
            let Ok(Step::Reply(Frame::Error { tag: 7, refusal })) = step else {
                panic!("{step:?}")
            };
            assert_eq!(refusal.code, code);
        }
        let query = (&Query::Stats).into();
        let tag = TAG_CONNECTION;
        assert!(session.on_frame(Frame::Query { tag, query }).is_err());
    }

    #[test]
    fn receipts_leave_as_ranges() {
        let ok = |tag, seq| Outcome {
            tag,
            result: Ok((seq, false)),
        };
        let bad = Outcome {
            tag: 3,
            result: Err(Refusal::new(Code::Busy, "later")),
        };
        let frames = frames_for([ok(1, 11), ok(2, 12), bad.clone(), ok(4, 13)]);
        let Frame::Receipts(ranges) = &frames[0] else {
            panic!("receipts first")
        };
        assert_eq!(
            ranges
                .iter()
                .map(|r| (r.first_tag, r.count))
                .collect::<Vec<_>>(),
            [(1, 2), (4, 1)]
        );
        assert!(matches!(&frames[1], Frame::Error { tag: 3, .. }));
    }
}
