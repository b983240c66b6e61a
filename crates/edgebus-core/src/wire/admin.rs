//! What operators ask, as it came; see [`Admin`]. What makes no sense is found out by the session,
//! so that it is refused by its tag and nothing else is lost.

use bytes::Bytes;

use super::control::WireLogQuery;
use super::settle::WireSettlement;
use crate::admin::{Admin, DeadLetterFilter, Position};
use crate::code::{Code, Refusal};
use crate::consumer::ConsumerConfig;
use crate::consumer::config::ConsumerProto;
use crate::id::{RequestId, Seq};

/// A question of an operator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireAdmin {
    #[prost(
        oneof = "What",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17"
    )]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    ConsumerAdd(Add),
    #[prost(message, tag = "2")]
    Consumers(super::Empty),
    #[prost(message, tag = "3")]
    ConsumerInfo(Named),
    #[prost(message, tag = "4")]
    ConsumerPause(Pause),
    #[prost(message, tag = "5")]
    ConsumerRemove(Named),
    #[prost(message, tag = "6")]
    ConsumerReset(Reset),
    #[prost(message, tag = "7")]
    Next(Next),
    #[prost(message, tag = "8")]
    Settle(SettleOne),
    #[prost(message, tag = "9")]
    DeadLetters(Letters),
    #[prost(message, tag = "10")]
    DeadLetterCount(Filter),
    #[prost(message, tag = "11")]
    Requeue(Chosen),
    #[prost(message, tag = "12")]
    RemoveDeadLetters(Chosen),
    #[prost(message, tag = "13")]
    Clients(super::Empty),
    #[prost(message, tag = "14")]
    Trim(At),
    #[prost(message, tag = "15")]
    ReplayInto(Replay),
    #[prost(bytes = "bytes", tag = "16")]
    RequestState(Bytes),
    #[prost(message, tag = "17")]
    Backup(NextPart),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct NextPart {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Add {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ConsumerProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pause {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    paused: bool,
}

/// A place in the log: one of the two.
#[derive(Clone, PartialEq, prost::Message)]
struct At {
    #[prost(uint64, optional, tag = "1")]
    seq: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    time_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reset {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    to: Option<At>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Next {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    count: u32,
    #[prost(bool, tag = "3")]
    ack: bool,
    #[prost(uint64, tag = "4")]
    wait_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SettleOne {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    token: String,
    #[prost(uint32, tag = "3")]
    what: u32,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Filter {
    #[prost(uint64, repeated, tag = "1")]
    numbers: Vec<u64>,
    #[prost(string, optional, tag = "2")]
    topic: Option<String>,
    #[prost(string, optional, tag = "3")]
    consumer: Option<String>,
    #[prost(bool, tag = "4")]
    all: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Letters {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
    #[prost(uint64, tag = "2")]
    after: u64,
    #[prost(uint32, tag = "3")]
    limit: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chosen {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
    #[prost(bool, tag = "2")]
    dry_run: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Replay {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    query: Option<WireLogQuery>,
}

impl From<&Admin> for WireAdmin {
    fn from(admin: &Admin) -> Self {
        Self {
            what: Some(admin.into()),
        }
    }
}

impl From<&Admin> for What {
    fn from(admin: &Admin) -> Self {
        match admin {
            Admin::ConsumerAdd { name, config } => Self::ConsumerAdd(Add {
                name: name.to_string(),
                config: Some(config.to_proto()),
            }),
            Admin::Consumers => Self::Consumers(super::Empty {}),
            Admin::ConsumerInfo { name } => Self::ConsumerInfo(Named::of(name)),
            Admin::ConsumerPause { name, paused } => Self::ConsumerPause(Pause {
                name: name.to_string(),
                paused: *paused,
            }),
            Admin::ConsumerRemove { name } => Self::ConsumerRemove(Named::of(name)),
            Admin::ConsumerReset { name, to } => Self::ConsumerReset(Reset {
                name: name.to_string(),
                to: Some((*to).into()),
            }),
            Admin::Next {
                name,
                count,
                ack,
                wait_ms,
            } => Self::Next(Next {
                name: name.to_string(),
                count: *count,
                ack: *ack,
                wait_ms: *wait_ms,
            }),
            Admin::Settle {
                name,
                token,
                settlement,
            } => {
                let WireSettlement { what, body } = settlement.into();
                Self::Settle(SettleOne {
                    name: name.to_string(),
                    token: token.to_string(),
                    what: u32::from(what),
                    body,
                })
            }
            Admin::DeadLetters {
                filter,
                after,
                limit,
            } => Self::DeadLetters(Letters {
                filter: Some(filter.into()),
                after: *after,
                limit: *limit,
            }),
            Admin::DeadLetterCount { filter } => Self::DeadLetterCount(filter.into()),
            Admin::Requeue { filter, dry_run } => Self::Requeue(Chosen::of(filter, *dry_run)),
            Admin::RemoveDeadLetters { filter, dry_run } => {
                Self::RemoveDeadLetters(Chosen::of(filter, *dry_run))
            }
            Admin::Clients => Self::Clients(super::Empty {}),
            Admin::Trim { before } => Self::Trim((*before).into()),
            Admin::ReplayInto { name, query } => Self::ReplayInto(Replay {
                name: name.to_string(),
                query: Some(query.into()),
            }),
            Admin::RequestState { id } => Self::RequestState(Bytes::copy_from_slice(id.as_bytes())),
            Admin::Backup { id, offset } => Self::Backup(NextPart {
                id: *id,
                offset: *offset,
            }),
        }
    }
}

impl TryFrom<WireAdmin> for Admin {
    type Error = Refusal;

    fn try_from(admin: WireAdmin) -> Result<Self, Refusal> {
        let what = admin
            .what
            .ok_or_else(|| bad("asks nothing that this server knows"))?;
        let admin = what.into_admin()?;
        admin.check()?;
        Ok(admin)
    }
}

impl What {
    /// Every name, number and position is looked at here; what goes together by
    /// [`Admin::check`].
    fn into_admin(self) -> Result<Admin, Refusal> {
        Ok(match self {
            Self::ConsumerAdd(add) => Admin::ConsumerAdd {
                name: add.name.parse()?,
                config: ConsumerConfig::from_proto(add.config.unwrap_or_default())?,
            },
            Self::Consumers(_) => Admin::Consumers,
            Self::ConsumerInfo(named) => Admin::ConsumerInfo {
                name: named.name.parse()?,
            },
            Self::ConsumerPause(pause) => Admin::ConsumerPause {
                name: pause.name.parse()?,
                paused: pause.paused,
            },
            Self::ConsumerRemove(named) => Admin::ConsumerRemove {
                name: named.name.parse()?,
            },
            Self::ConsumerReset(reset) => Admin::ConsumerReset {
                name: reset.name.parse()?,
                to: reset.to.unwrap_or_default().try_into()?,
            },
            Self::Next(next) => Admin::Next {
                name: next.name.parse()?,
                count: next.count,
                ack: next.ack,
                wait_ms: next.wait_ms,
            },
            Self::Settle(one) => Admin::Settle {
                name: one.name.parse()?,
                token: one.token.parse()?,
                settlement: WireSettlement {
                    // What is no byte is no kind either.
                    what: u8::try_from(one.what).unwrap_or(u8::MAX),
                    body: one.body,
                }
                .try_into()?,
            },
            Self::DeadLetters(letters) => Admin::DeadLetters {
                filter: letters.filter.unwrap_or_default().try_into()?,
                after: letters.after,
                limit: letters.limit,
            },
            Self::DeadLetterCount(filter) => Admin::DeadLetterCount {
                filter: filter.try_into()?,
            },
            Self::Requeue(chosen) => Admin::Requeue {
                filter: chosen.filter.unwrap_or_default().try_into()?,
                dry_run: chosen.dry_run,
            },
            Self::RemoveDeadLetters(chosen) => Admin::RemoveDeadLetters {
                filter: chosen.filter.unwrap_or_default().try_into()?,
                dry_run: chosen.dry_run,
            },
            Self::Clients(_) => Admin::Clients,
            Self::Trim(at) => Admin::Trim {
                before: at.try_into()?,
            },
            Self::ReplayInto(replay) => Admin::ReplayInto {
                name: replay.name.parse()?,
                query: replay
                    .query
                    .ok_or_else(|| bad("names no messages to replay"))?
                    .try_into()?,
            },
            Self::RequestState(id) => {
                let id = id.as_ref().try_into();
                let id = id.map_err(|_| bad("names a request by an id that has not 16 bytes"))?;
                Admin::RequestState {
                    id: RequestId::from_bytes(id),
                }
            }
            Self::Backup(NextPart { id, offset }) => Admin::Backup { id, offset },
        })
    }
}

impl Named {
    fn of(name: &impl ToString) -> Self {
        Self {
            name: name.to_string(),
        }
    }
}

impl Chosen {
    fn of(filter: &DeadLetterFilter, dry_run: bool) -> Self {
        Self {
            filter: Some(filter.into()),
            dry_run,
        }
    }
}

impl From<Position> for At {
    fn from(position: Position) -> Self {
        match position {
            Position::Seq(seq) => Self {
                seq: Some(seq.0),
                time_ms: None,
            },
            Position::TimeMs(ms) => Self {
                seq: None,
                time_ms: Some(ms),
            },
        }
    }
}

impl TryFrom<At> for Position {
    type Error = Refusal;

    fn try_from(at: At) -> Result<Self, Refusal> {
        match (at.seq, at.time_ms) {
            (Some(seq), None) => Ok(Self::Seq(Seq(seq))),
            (None, Some(ms)) => Ok(Self::TimeMs(ms)),
            _ => Err(bad(
                "names a place in the log by neither or both of number and time",
            )),
        }
    }
}

impl From<&DeadLetterFilter> for Filter {
    fn from(filter: &DeadLetterFilter) -> Self {
        Self {
            numbers: filter.numbers.clone(),
            topic: filter.topic.as_ref().map(ToString::to_string),
            consumer: filter.consumer.as_ref().map(ToString::to_string),
            all: filter.all,
        }
    }
}

impl TryFrom<Filter> for DeadLetterFilter {
    type Error = Refusal;

    fn try_from(filter: Filter) -> Result<Self, Refusal> {
        Ok(Self {
            numbers: filter.numbers,
            topic: filter.topic.map(|text| text.parse()).transpose()?,
            consumer: filter.consumer.map(|text| text.parse()).transpose()?,
            all: filter.all,
        })
    }
}

#[cold]
fn bad(what: &str) -> Refusal {
    Refusal::new(Code::BadQuery, format!("an operator's question {what}"))
}
