//! The evolving parts of the frames that carry streams and replies.

use bytes::Bytes;
use prost::Message as _;

use super::control::WireError;
use crate::code::{Code, Refusal};
use crate::consumer::config::ConsumerProto;
use crate::consumer::{Answer, CREDIT_MAX, ConsumerConfig, LeaseToken, Reply};
use crate::stream::{BUFFER_MAX, Consume, Open, Subscribe};

/// What a stream is to carry, as it came; exactly one field is set. What makes no sense is found
/// out by the session, so that this stream alone is refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireOpen {
    #[prost(message, optional, tag = "1")]
    consume: Option<WireConsume>,
    #[prost(message, optional, tag = "2")]
    subscribe: Option<WireSubscribe>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireConsume {
    #[prost(string, tag = "1")]
    consumer: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ConsumerProto>,
    #[prost(uint32, tag = "3")]
    credit: u32,
    #[prost(string, repeated, tag = "4")]
    held: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSubscribe {
    #[prost(string, repeated, tag = "1")]
    patterns: Vec<String>,
    #[prost(uint32, tag = "2")]
    buffer: u32,
}

impl From<&Open> for WireOpen {
    fn from(open: &Open) -> Self {
        match open {
            Open::Consume(consume) => Self {
                consume: Some(WireConsume {
                    consumer: consume.consumer.to_string(),
                    config: consume.config.as_ref().map(ConsumerConfig::to_proto),
                    credit: consume.credit,
                    held: consume.held.iter().map(ToString::to_string).collect(),
                }),
                subscribe: None,
            },
            Open::Subscribe(subscribe) => Self {
                consume: None,
                subscribe: Some(WireSubscribe {
                    patterns: subscribe.patterns.iter().map(ToString::to_string).collect(),
                    buffer: subscribe.buffer,
                }),
            },
        }
    }
}

impl TryFrom<WireOpen> for Open {
    type Error = Refusal;

    fn try_from(open: WireOpen) -> Result<Self, Refusal> {
        let open = match (open.consume, open.subscribe) {
            (Some(consume), None) => Self::Consume(Consume {
                consumer: consume.consumer.parse()?,
                config: consume.config.map(ConsumerConfig::from_proto).transpose()?,
                credit: consume.credit.min(CREDIT_MAX),
                held: tokens(&consume.held)?,
            }),
            (None, Some(subscribe)) => {
                let patterns: Result<_, Refusal> =
                    subscribe.patterns.iter().map(|text| text.parse()).collect();
                Self::Subscribe(Subscribe {
                    patterns: patterns?,
                    buffer: subscribe.buffer.min(BUFFER_MAX),
                })
            }
            _ => {
                return Err(Refusal::new(
                    Code::BadQuery,
                    "a stream carries exactly one thing that this server knows",
                ));
            }
        };
        open.check()?;
        Ok(open)
    }
}

/// Which of the leases that a worker brought back it keeps.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireOpened {
    #[prost(string, repeated, tag = "1")]
    kept: Vec<String>,
}

impl WireOpened {
    pub(super) fn of(kept: &[LeaseToken]) -> Self {
        Self {
            kept: kept.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn kept(&self) -> Result<Vec<LeaseToken>, Refusal> {
        tokens(&self.kept)
    }
}

fn tokens(texts: &[String]) -> Result<Vec<LeaseToken>, Refusal> {
    texts.iter().map(|text| text.parse()).collect()
}

/// Which items of a Settle frame were refused.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireSettled {
    #[prost(message, repeated, tag = "1")]
    errors: Vec<WireSettleError>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSettleError {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<WireError>,
}

impl WireSettled {
    pub(super) fn of(errors: &[(u32, Refusal)]) -> Self {
        let errors = errors.iter().map(|(index, refusal)| WireSettleError {
            index: *index,
            error: Some(refusal.into()),
        });
        Self {
            errors: errors.collect(),
        }
    }

    pub(super) fn into_errors(self) -> Vec<(u32, Refusal)> {
        let errors = self.errors.into_iter();
        errors
            .map(|error| (error.index, error.error.unwrap_or_default().into()))
            .collect()
    }
}

/// How a request ended, as it is said; the bytes of a reply are the responder's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WireAnswer {
    /// 1 reply, 2 dead lettered, 3 expired.
    #[prost(uint32, tag = "1")]
    pub status: u32,
    /// prost `Reply`, as it is stored.
    #[prost(bytes = "bytes", tag = "2")]
    pub reply: Bytes,
    /// Why it is a dead letter.
    #[prost(string, tag = "3")]
    pub reason: String,
}

impl WireAnswer {
    /// A reply, from the bytes that are stored.
    pub fn reply(stored: Bytes) -> Self {
        Self {
            status: 1,
            reply: stored,
            reason: String::new(),
        }
    }
}

impl From<&Answer> for WireAnswer {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Reply(reply) => Self::reply(Bytes::from(reply.encode_to_vec())),
            Answer::DeadLettered { reason } => Self {
                status: 2,
                reply: Bytes::new(),
                reason: reason.clone(),
            },
            Answer::Expired => Self {
                status: 3,
                ..Self::default()
            },
        }
    }
}

impl TryFrom<WireAnswer> for Answer {
    type Error = Refusal;

    /// An answer that a newer server made up is [`Code::Unknown`]: asking again with the same id
    /// is safe.
    fn try_from(answer: WireAnswer) -> Result<Self, Refusal> {
        match answer.status {
            1 => Reply::decode(answer.reply)
                .map(Self::Reply)
                .map_err(|_| Refusal::new(Code::Corrupt, "the reply of a request cannot be read")),
            2 => Ok(Self::DeadLettered {
                reason: answer.reason,
            }),
            3 => Ok(Self::Expired),
            status => Err(Refusal::new(
                Code::Unknown,
                format!("the server answers with status {status}, which is not known here"),
            )),
        }
    }
}
