//! What operators are answered, as it came; see [`Managed`]. Looked at by the client's session, so
//! that an answer of a newer server costs that answer alone.

use bytes::Bytes;
use prost::Message as _;

use super::stream::WireAnswer;
use crate::admin::{
    BackupPart, ClientInfo, ConsumerInfo, DeadLetterRow, LetterState, Managed, RequestState,
};
use crate::code::{Code, Refusal};
use crate::consumer::config::ConsumerProto;
use crate::consumer::{AttemptError, ConsumerConfig, DeadLetterCode, Delivery};
use crate::entry::Entry;
use crate::id::Seq;

/// An answer to an operator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WireManaged {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Done(super::Empty),
    #[prost(message, tag = "2")]
    Consumers(Consumers),
    #[prost(message, tag = "3")]
    Deliveries(Deliveries),
    #[prost(message, tag = "4")]
    DeadLetters(Letters),
    #[prost(uint64, tag = "5")]
    Count(u64),
    #[prost(message, tag = "6")]
    Clients(Clients),
    #[prost(message, tag = "7")]
    Trimmed(Trimmed),
    #[prost(message, tag = "8")]
    State(State),
    #[prost(message, tag = "9")]
    Backup(Part),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(bytes = "bytes", tag = "3")]
    bytes: Bytes,
    #[prost(bool, tag = "4")]
    done: bool,
    #[prost(uint64, tag = "5")]
    estimate_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Consumers {
    #[prost(message, repeated, tag = "1")]
    consumers: Vec<WireConsumer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireConsumer {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ConsumerProto>,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(uint64, tag = "4")]
    offset: u64,
    #[prost(uint64, tag = "5")]
    lag: u64,
    #[prost(uint64, tag = "6")]
    in_flight: u64,
    #[prost(uint64, tag = "7")]
    retrying: u64,
    #[prost(uint64, tag = "8")]
    suspects: u64,
    #[prost(uint64, tag = "9")]
    workers: u64,
    #[prost(uint64, tag = "10")]
    dead_letters: u64,
    #[prost(string, tag = "11")]
    state: String,
    #[prost(uint64, tag = "12")]
    completed: u64,
    #[prost(uint64, tag = "13")]
    failed: u64,
    #[prost(uint64, tag = "14")]
    gaps: u64,
    #[prost(uint64, tag = "15")]
    gap_messages: u64,
    #[prost(uint64, optional, tag = "16")]
    last_gap_from: Option<u64>,
    #[prost(uint64, optional, tag = "17")]
    last_gap_to: Option<u64>,
    #[prost(uint64, optional, tag = "18")]
    held_since_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Deliveries {
    #[prost(message, repeated, tag = "1")]
    deliveries: Vec<WireDelivery>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDelivery {
    #[prost(string, tag = "1")]
    token: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(bytes = "bytes", tag = "3")]
    entry: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Letters {
    #[prost(message, repeated, tag = "1")]
    letters: Vec<WireLetter>,
    #[prost(uint64, optional, tag = "2")]
    next: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireLetter {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(string, tag = "3")]
    consumer: String,
    #[prost(string, tag = "4")]
    code: String,
    #[prost(string, tag = "5")]
    reason: String,
    #[prost(uint32, tag = "6")]
    state: u32,
    #[prost(message, repeated, tag = "7")]
    attempts: Vec<AttemptError>,
    #[prost(uint64, tag = "8")]
    wall_ms: u64,
    #[prost(bytes = "bytes", tag = "9")]
    entry: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Clients {
    #[prost(message, repeated, tag = "1")]
    clients: Vec<WireClient>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireClient {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(uint64, tag = "4")]
    connected_ms: u64,
    #[prost(uint32, tag = "5")]
    streams: u32,
    #[prost(uint64, tag = "6")]
    in_flight: u64,
    #[prost(uint64, tag = "7")]
    sent: u64,
    #[prost(string, tag = "8")]
    identity: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Trimmed {
    #[prost(uint64, tag = "1")]
    first_seq: u64,
    #[prost(uint64, tag = "2")]
    messages: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(uint64, optional, tag = "1")]
    seq: Option<u64>,
    #[prost(message, optional, tag = "2")]
    answer: Option<WireAnswer>,
}

impl From<&Managed> for WireManaged {
    fn from(managed: &Managed) -> Self {
        let what = match managed {
            Managed::Done => What::Done(super::Empty {}),
            Managed::Consumers(consumers) => What::Consumers(Consumers {
                consumers: consumers.iter().map(Into::into).collect(),
            }),
            Managed::Deliveries(deliveries) => What::Deliveries(Deliveries {
                deliveries: deliveries.iter().map(Into::into).collect(),
            }),
            Managed::DeadLetters { letters, next } => What::DeadLetters(Letters {
                letters: letters.iter().map(Into::into).collect(),
                next: *next,
            }),
            Managed::Count(count) => What::Count(*count),
            Managed::Clients(clients) => What::Clients(Clients {
                clients: clients.iter().map(Into::into).collect(),
            }),
            Managed::Trimmed {
                first_seq,
                messages,
            } => What::Trimmed(Trimmed {
                first_seq: first_seq.0,
                messages: *messages,
            }),
            Managed::State(state) => What::State(State {
                seq: state.seq.map(|seq| seq.0),
                answer: state.answer.as_ref().map(Into::into),
            }),
            Managed::Backup(part) => What::Backup(Part {
                id: part.id,
                offset: part.offset,
                bytes: part.bytes.clone(),
                done: part.done,
                estimate_bytes: part.estimate_bytes,
            }),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<WireManaged> for Managed {
    type Error = Refusal;

    fn try_from(managed: WireManaged) -> Result<Self, Refusal> {
        Ok(match managed.what {
            Some(What::Done(_)) => Self::Done,
            Some(What::Consumers(list)) => Self::Consumers(all(list.consumers)?),
            Some(What::Deliveries(list)) => Self::Deliveries(all(list.deliveries)?),
            Some(What::DeadLetters(page)) => Self::DeadLetters {
                letters: all(page.letters)?,
                next: page.next,
            },
            Some(What::Count(count)) => Self::Count(count),
            Some(What::Clients(list)) => {
                Self::Clients(list.clients.into_iter().map(Into::into).collect())
            }
            Some(What::Trimmed(trimmed)) => Self::Trimmed {
                first_seq: Seq(trimmed.first_seq),
                messages: trimmed.messages,
            },
            Some(What::State(state)) => Self::State(RequestState {
                seq: state.seq.map(Seq),
                answer: state.answer.map(TryInto::try_into).transpose()?,
            }),
            Some(What::Backup(part)) => Self::Backup(BackupPart {
                id: part.id,
                offset: part.offset,
                bytes: part.bytes,
                done: part.done,
                estimate_bytes: part.estimate_bytes,
            }),
            None => {
                return Err(Refusal::new(
                    Code::UnexpectedFrame,
                    "the server's answer is not known here: update this end",
                ));
            }
        })
    }
}

impl WireManaged {
    /// An answer that fits a frame, whose limit is in bytes, length field not counted. A page of
    /// dead letters is cut, and says where to go on; a single one that is too large loses what is
    /// known of its oldest attempts.
    ///
    /// # Errors
    /// [`Code::FrameTooLarge`] for what cannot be cut.
    pub fn within(managed: &Managed, frame_bytes_max: usize) -> Result<Self, Refusal> {
        let room = frame_bytes_max.saturating_sub(BESIDE_ANSWER_BYTES);
        let mut wire = Self::from(managed);
        if let Some(What::DeadLetters(page)) = &mut wire.what {
            page.cut(room);
        }
        if wire.encoded_len() <= room {
            return Ok(wire);
        }
        Err(Refusal::new(
            Code::FrameTooLarge,
            format!("the answer is larger than a frame of {frame_bytes_max} bytes: ask for less"),
        ))
    }
}

/// What a frame has before an answer, and the answer before what it holds.
const BESIDE_ANSWER_BYTES: usize = 64;
/// What stands before each item of a list.
const BESIDE_ITEM_BYTES: usize = 8;

impl Letters {
    fn cut(&mut self, room: usize) {
        let mut left = room;
        let fits = |letter: &WireLetter| {
            let rest = left.checked_sub(letter.encoded_len() + BESIDE_ITEM_BYTES);
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let count = self
            .letters
            .iter()
            .map(fits)
            .take_while(|fits| *fits)
            .count();
        let count = count.max(1);
        if count < self.letters.len() {
            self.letters.truncate(count);
            self.next = self.letters.last().map(|letter| letter.number);
        }
        if let [only] = &mut self.letters[..] {
            only.cut(room);
        }
    }
}

impl WireLetter {
    fn cut(&mut self, room: usize) {
        let mut over = (self.encoded_len() + BESIDE_ITEM_BYTES).saturating_sub(room);
        let oldest = self.attempts.iter().take_while(|attempt| {
            let goes_on = over > 0;
            over = over.saturating_sub(attempt.encoded_len());
            goes_on
        });
        let oldest = oldest.count();
        self.attempts.drain(..oldest);
    }
}

fn all<W, T: TryFrom<W, Error = Refusal>>(items: Vec<W>) -> Result<Vec<T>, Refusal> {
    items.into_iter().map(T::try_from).collect()
}

impl From<&ConsumerInfo> for WireConsumer {
    fn from(info: &ConsumerInfo) -> Self {
        Self {
            name: info.name.to_string(),
            config: info.config.as_ref().map(ConsumerConfig::to_proto),
            epoch: info.epoch,
            offset: info.offset.0,
            lag: info.lag,
            in_flight: info.in_flight,
            retrying: info.retrying,
            suspects: info.suspects,
            workers: info.workers,
            dead_letters: info.dead_letters,
            state: info.state.clone(),
            completed: info.completed,
            failed: info.failed,
            gaps: info.gaps,
            gap_messages: info.gap_messages,
            last_gap_from: info.last_gap.map(|(from, _)| from.0),
            last_gap_to: info.last_gap.map(|(_, to)| to.0),
            held_since_ms: info.held_since_ms,
        }
    }
}

impl TryFrom<WireConsumer> for ConsumerInfo {
    type Error = Refusal;

    fn try_from(info: WireConsumer) -> Result<Self, Refusal> {
        Ok(Self {
            name: info.name.parse()?,
            config: info.config.map(ConsumerConfig::from_proto).transpose()?,
            epoch: info.epoch,
            offset: Seq(info.offset),
            lag: info.lag,
            in_flight: info.in_flight,
            retrying: info.retrying,
            suspects: info.suspects,
            workers: info.workers,
            dead_letters: info.dead_letters,
            state: info.state,
            completed: info.completed,
            failed: info.failed,
            gaps: info.gaps,
            gap_messages: info.gap_messages,
            last_gap: info
                .last_gap_from
                .zip(info.last_gap_to)
                .map(|(from, to)| (Seq(from), Seq(to))),
            held_since_ms: info.held_since_ms,
        })
    }
}

impl From<&Delivery> for WireDelivery {
    fn from(delivery: &Delivery) -> Self {
        Self {
            token: delivery.token.to_string(),
            attempt: delivery.attempt,
            entry: delivery.entry.as_bytes().clone(),
        }
    }
}

impl TryFrom<WireDelivery> for Delivery {
    type Error = Refusal;

    fn try_from(delivery: WireDelivery) -> Result<Self, Refusal> {
        Ok(Self {
            token: delivery.token.parse()?,
            attempt: delivery.attempt,
            entry: Entry::from_bytes(delivery.entry)?,
        })
    }
}

impl From<&DeadLetterRow> for WireLetter {
    fn from(row: &DeadLetterRow) -> Self {
        Self {
            number: row.number,
            seq: row.seq.0,
            consumer: row.consumer.clone(),
            code: row.code.as_str().to_owned(),
            reason: row.reason.clone(),
            state: row.state.to_number(),
            attempts: row.attempts.clone(),
            wall_ms: row.wall_ms,
            entry: row.entry.as_bytes().clone(),
        }
    }
}

impl TryFrom<WireLetter> for DeadLetterRow {
    type Error = Refusal;

    fn try_from(row: WireLetter) -> Result<Self, Refusal> {
        Ok(Self {
            number: row.number,
            seq: Seq(row.seq),
            consumer: row.consumer,
            code: DeadLetterCode::parse(&row.code),
            reason: row.reason,
            state: LetterState::from_number(row.state),
            attempts: row.attempts,
            wall_ms: row.wall_ms,
            entry: Entry::from_bytes(row.entry)?,
        })
    }
}

impl From<&ClientInfo> for WireClient {
    fn from(info: &ClientInfo) -> Self {
        Self {
            id: info.id,
            name: info.name.clone(),
            address: info.address.clone(),
            connected_ms: info.connected_ms,
            streams: info.streams,
            in_flight: info.in_flight,
            sent: info.sent,
            identity: info.identity.clone(),
        }
    }
}

impl From<WireClient> for ClientInfo {
    fn from(info: WireClient) -> Self {
        Self {
            id: info.id,
            name: info.name,
            address: info.address,
            connected_ms: info.connected_ms,
            streams: info.streams,
            in_flight: info.in_flight,
            sent: info.sent,
            identity: info.identity,
        }
    }
}
