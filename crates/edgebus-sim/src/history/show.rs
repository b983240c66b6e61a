//! An event on one line, for whoever reads the story of a run.

use std::fmt;

use super::call::{Asked, How, Operation, Outcome};
use super::{Event, Kind, Noted};

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.3} ms  {}",
            self.at.as_secs_f64() * 1000.0,
            self.event
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(asked) => asked.fmt(f),
            Self::Operating { call, client, what } => {
                write!(f, "c{} asks operator {} {what}", call.0, client.0)
            }
            Self::Opened { worker, consumer } => write!(f, "w{} opens {consumer}", worker.0),
            Self::Closed { worker } => write!(f, "w{} ends", worker.0),
            Self::Given {
                worker,
                consumer,
                token,
                id,
                payload,
                attempt,
            } => {
                show_worker(f, worker.map(|worker| worker.0))?;
                write!(
                    f,
                    " gets {consumer} {token} attempt {attempt} {id} {payload}"
                )
            }
            Self::Settling(settling) => {
                write!(f, "c{} ", settling.call.0)?;
                show_worker(f, settling.worker.map(|worker| worker.0))?;
                let (consumer, token) = (&settling.consumer, settling.token);
                write!(f, " says {consumer} {token} {}", settling.how)
            }
            Self::Told { call, outcome } => write!(f, "c{} told {outcome}", call.0),
            Self::Gone { client } => write!(f, "client {} is gone", client.0),
            Self::Seen {
                call,
                seq,
                id,
                payload,
            } => {
                if let Some(call) = call {
                    write!(f, "c{} ", call.0)?;
                }
                write!(f, "seen {seq} {id} {payload}")
            }
            Self::SeenLast { seq } => write!(f, "seen last {seq}"),
            Self::Trimmed { before } => write!(f, "log begins at {before}"),
            Self::Gap { consumer, from, to } => write!(f, "{consumer} missed {from} to {to}"),
            Self::DeadLetter {
                consumer,
                seq,
                reason,
            } => write!(f, "{consumer} has dead letter {seq} {reason}"),
            Self::Fault { kind, what } => write!(f, "FAULT {kind} {what}"),
            Self::IoFailed => f.write_str("FAULT of the disk: nothing may be acked from here on"),
            Self::Died { how } => write!(f, "SERVER DIED {how:?}"),
            Self::Started => f.write_str("SERVER STARTED"),
            Self::Remark(what) => write!(f, "-- {what}"),
            Self::Final(last) => write!(
                f,
                "FINAL {} messages, last {}, {} consumers, {} dead letters",
                last.log.len(),
                last.last,
                last.consumers.len(),
                last.letters.len()
            ),
        }
    }
}

fn show_worker(f: &mut fmt::Formatter<'_>, worker: Option<u32>) -> fmt::Result {
    match worker {
        Some(worker) => write!(f, "w{worker}"),
        None => f.write_str("operator"),
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Send => "send",
            Kind::Request => "request",
            Kind::Spool => "spool",
            Kind::Publish => "publish",
        };
        let (call, client) = (self.call.0, self.client.0);
        write!(
            f,
            "c{call} client {client} asks {kind} {} {}",
            self.id, self.topic
        )?;
        write!(f, " {}", self.payload)?;
        if self.scope.0 != 0 {
            write!(f, " scope {}", self.scope.0)?;
        }
        if let Some(expires) = self.expires {
            write!(f, " expires {} ms", expires.as_millis())?;
        }
        Ok(())
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ack => f.write_str("ack"),
            Self::Complete(reply) => write!(f, "complete {reply}"),
            Self::Nak => f.write_str("nak"),
            Self::Term => f.write_str("term"),
            Self::Extend => f.write_str("extend"),
            Self::Release => f.write_str("release"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUp(name, setup) => {
                write!(f, "set up {name} {}", setup.patterns.join(" "))
            }
            Self::Reset(name, offset) => write!(f, "reset {name} to {offset}"),
            Self::Delete(name) => write!(f, "delete {name}"),
            Self::Pause(name) => write!(f, "pause {name}"),
            Self::Resume(name) => write!(f, "resume {name}"),
            Self::ReplayInto(name, from, to) => write!(f, "replay {from} to {to} into {name}"),
            Self::Requeue(name) => write!(f, "requeue {}", of(name.as_ref())),
            Self::RemoveLetters(name) => write!(f, "remove dead letters {}", of(name.as_ref())),
            Self::Bury(name, seq) => write!(f, "bury {seq} for {name}"),
            Self::Trim(before) => write!(f, "trim before {before}"),
            Self::Show(from, to) => write!(f, "show {from} to {to}"),
        }
    }
}

fn of(name: Option<&edgebus_core::ConsumerName>) -> &str {
    name.map_or("of all", edgebus_core::ConsumerName::as_str)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored { seq, duplicate } => {
                let word = if *duplicate { "duplicate" } else { "stored" };
                write!(f, "{word} {seq}")
            }
            Self::Spooled { number } => write!(f, "spooled {number}"),
            Self::Refused(code) => write!(f, "refused {code}"),
            Self::Unknown => f.write_str("unknown"),
            Self::Reply(reply) => write!(f, "reply {reply}"),
            Self::DeadLettered => f.write_str("dead-lettered"),
            Self::ReplyExpired => f.write_str("reply expired"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Done => f.write_str("done"),
            Self::AlreadyCompleted => f.write_str("already completed"),
            Self::StaleLease => f.write_str("stale lease"),
            Self::Shown(upto) => write!(f, "shown up to {upto}"),
        }
    }
}
