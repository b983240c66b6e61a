//! Takes down what the real library was asked and what it told, in the words of the history.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgebus::admin::ConsumerInfo;
use edgebus::consumer::LeaseToken;
use edgebus::{
    Code, ConsumerName, Delivered, Entry, Message, Receipt, Refusal, RequestError, Response, Scope,
    SendError, Seq,
};

use super::worker::Role;
use crate::history::{
    Asked, Call, Client, Death, Digest, Event, How, Kind, Operation, Outcome, Recorder, Settling,
    Setup, Start, Terms, Worker,
};

/// Where a run is taken down; clones write into the same history.
#[derive(Clone, Debug)]
pub struct Notes {
    recorder: Recorder,
    began: SystemTime,
}

impl Notes {
    /// An empty history in real time.
    pub fn new(terms: Terms) -> Self {
        Self {
            began: SystemTime::now(),
            recorder: Recorder::in_real_time(terms),
        }
    }

    /// When, from the start of the run, it was so long after 1970.
    pub fn since_start(&self, since_1970: Duration) -> Duration {
        let began = self.began.duration_since(UNIX_EPOCH);
        since_1970.saturating_sub(began.unwrap_or_default())
    }

    /// The recorder behind it.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A message is about to be stored.
    pub fn sends(&self, client: Client, message: &Message) -> Call {
        self.asks(client, message, Kind::Send)
    }

    /// A message is about to be stored, and its reply waited for.
    pub fn requests(&self, client: Client, message: &Message) -> Call {
        self.asks(client, message, Kind::Request)
    }

    fn asks(&self, client: Client, message: &Message, kind: Kind) -> Call {
        let call = self.recorder.call();
        self.recorder.note(Event::Asked(Asked {
            call,
            client,
            kind,
            id: message.id,
            scope: Scope::default(),
            topic: message.topic.as_str().into(),
            payload: Digest::of(&message.payload),
            expires: None,
        }));
        call
    }

    /// How a send ended.
    pub fn sent(&self, call: Call, ended: &Result<Receipt, SendError>) {
        self.recorder.told(call, outcome_of(ended));
    }

    /// How a request ended.
    pub fn answered(&self, call: Call, ended: &Result<Response, RequestError>) {
        let outcome = match ended {
            Ok(response) => {
                let Receipt { seq, duplicate, .. } = response.receipt;
                self.recorder.told(call, Outcome::Stored { seq, duplicate });
                Outcome::Reply(Digest::of(&response.reply.payload))
            }
            Err(RequestError::Send(error)) => outcome_of(&Err(error.clone())),
            Err(RequestError::DeadLettered { .. }) => Outcome::DeadLettered,
            Err(RequestError::ReplyExpired { .. }) => Outcome::ReplyExpired,
            // Whoever was to bring the reply went away.
            Err(_) => Outcome::Unknown,
        };
        self.recorder.told(call, outcome);
    }

    /// The application stopped waiting; whether it was stored was not told.
    pub fn given_up(&self, call: Call) {
        self.recorder.told(call, Outcome::Unknown);
    }

    /// A consumer is about to be made.
    pub fn sets_up(&self, client: Client, role: &Role) -> Call {
        let setup = Setup {
            responder: role.responder,
            notifications: false,
            patterns: vec![role.pattern.into()],
            start: Start::All,
            attempts_max: role.config().max_attempts,
        };
        let what = Operation::SetUp(role.name(), setup);
        self.recorder.operating(client, what)
    }

    /// How something an operator asked for ended.
    pub fn operated<T>(&self, call: Call, ended: &Result<T, Refusal>) {
        self.recorder
            .told(call, outcome_of_settling(ended.as_ref().err()));
    }

    /// A stream of messages is about to be opened.
    pub fn opens(&self, role: &Role) -> Worker {
        let worker = self.recorder.worker();
        let consumer = role.name();
        self.recorder.note(Event::Opened { worker, consumer });
        worker
    }

    /// A stream is no more.
    pub fn closed(&self, worker: Worker) {
        self.recorder.note(Event::Closed { worker });
    }

    /// A worker got a message.
    pub fn given(&self, worker: Worker, role: &Role, message: &Delivered) {
        self.recorder.note(Event::Given {
            worker: Some(worker),
            consumer: role.name(),
            token: message.token(),
            id: message.request_id(),
            payload: Digest::of(&message.payload()),
            attempt: message.attempt(),
        });
    }

    /// A worker is about to say what became of a message.
    pub fn settles(&self, worker: Worker, role: &Role, token: LeaseToken, how: How) -> Call {
        let call = self.recorder.call();
        self.recorder.note(Event::Settling(Settling {
            call,
            worker: Some(worker),
            consumer: role.name(),
            token,
            how,
        }));
        call
    }

    /// How that ended.
    pub fn settled(&self, call: Call, ended: &Result<(), Refusal>) {
        self.recorder
            .told(call, outcome_of_settling(ended.as_ref().err()));
    }

    /// It was said, and nobody waits for what becomes of it.
    pub fn said(&self, call: Call) {
        self.recorder.told(call, Outcome::Unknown);
    }

    /// A stretch of the log is about to be asked for.
    pub fn looks(&self, client: Client, from: Seq, to: Seq) -> Call {
        self.recorder.operating(client, Operation::Show(from, to))
    }

    /// A message of it was shown.
    pub fn saw(&self, call: Call, entry: &Entry) {
        self.recorder.note(Event::Seen {
            call: Some(call),
            seq: entry.seq(),
            id: entry.record().id(),
            payload: Digest::of(entry.record().payload_bytes()),
        });
    }

    /// All of it was shown up to here, or it went wrong.
    pub fn looked(&self, call: Call, upto: Option<Seq>) {
        let outcome = upto.map_or(Outcome::Unknown, Outcome::Shown);
        self.recorder.told(call, outcome);
    }

    /// The number of the last message was seen.
    pub fn saw_last(&self, seq: u64) {
        self.recorder.note(Event::SeenLast { seq: Seq(seq) });
    }

    /// What a consumer missed was seen.
    pub fn saw_gap(&self, info: &ConsumerInfo) {
        if let Some((from, to)) = info.last_gap {
            let consumer = info.name.clone();
            self.recorder.note(Event::Gap { consumer, from, to });
        }
    }

    /// The server is there.
    pub fn started(&self) {
        self.recorder.note(Event::Started);
    }

    /// The server is gone.
    pub fn died(&self, how: Death) {
        self.recorder.note(Event::Died { how });
    }

    /// Something was made to go wrong.
    pub fn fault(&self, kind: &'static str, what: impl Into<Arc<str>>) {
        let what = what.into();
        self.recorder.note(Event::Fault { kind, what });
    }
}

impl Role {
    /// The consumer's name.
    pub fn name(&self) -> ConsumerName {
        self.consumer.parse().expect("names here are sound")
    }
}

fn outcome_of(ended: &Result<Receipt, SendError>) -> Outcome {
    match ended {
        Ok(receipt) => Outcome::Stored {
            seq: receipt.seq,
            duplicate: receipt.duplicate,
        },
        Err(SendError::Refused { refusal, .. }) => Outcome::Refused(refusal.code),
        Err(_) => Outcome::Unknown,
    }
}

fn outcome_of_settling(refusal: Option<&Refusal>) -> Outcome {
    match refusal.map(|refusal| refusal.code) {
        None => Outcome::Done,
        Some(Code::Unknown) => Outcome::Unknown,
        Some(Code::AlreadyCompleted) => Outcome::AlreadyCompleted,
        Some(Code::StaleLease) => Outcome::StaleLease,
        Some(code) => Outcome::Refused(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_never_noted_as_refused() {
        let unknown = Refusal::new(Code::Unknown, "lost");
        assert_eq!(outcome_of_settling(Some(&unknown)), Outcome::Unknown);
        let stale = Refusal::new(Code::StaleLease, "given to someone else");
        assert_eq!(outcome_of_settling(Some(&stale)), Outcome::StaleLease);
        assert_eq!(outcome_of_settling(None), Outcome::Done);
    }
}
