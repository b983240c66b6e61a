//! How a run ends: everything is decided and drained, the server stops as it is told, and what is
//! stored is read by the commands that an operator has.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgebus::consumer::DeadLetterCode;
use edgebus::{RequestStore, Scope, Seq};
use serde_json::Value;

use super::load::Load;
use super::server::{Server, Setup};
use super::{Failure, tools};
use crate::history::{
    Death, Digest, Event, Final, FinalConsumer, FinalReply, History, Letter, Row, Terms,
};

/// How long consumers may take to do what is left.
const DRAIN_TIME: Duration = Duration::from_secs(120);
/// How long a command may take to list a log.
const LIST_TIME: Duration = Duration::from_secs(300);

/// Ends a run under a server that is there, and gives what happened in it.
///
/// # Errors
/// [`Failure::Broken`] when something does not end, or cannot be read.
pub async fn end(mut load: Load, server: Server, setup: &Setup) -> Result<History, Failure> {
    let notes = load.notes().clone();
    load.decide().await?;
    load.drained(DRAIN_TIME).await?;
    load.leave().await?;
    server.stop()?;
    notes.died(Death::Shutdown);
    let last = read(setup)?;
    let recorder = notes.recorder();
    recorder.note(Event::Final(Box::new(last)));
    let terms = recorder.look(|history| history.terms);
    recorder.set_terms(Terms {
        drained: true,
        ..terms
    });
    Ok(recorder.finish())
}

/// Reads all that is stored in a folder that no server runs on.
///
/// # Errors
/// [`Failure::Broken`] when a command fails, or prints something else than what it is meant to.
pub fn read(setup: &Setup) -> Result<Final, Failure> {
    let limit = u64::MAX.to_string();
    let log = rows(setup, &["log", "ls", "--limit", &limit])?;
    let log: Vec<Row> = log.iter().map(row).collect::<Result<_, _>>()?;
    let consumers = rows(setup, &["consumer", "ls"])?;
    let consumers = consumers.iter().map(consumer).collect::<Result<_, _>>()?;
    let letters = rows(setup, &["dlq", "ls", "--limit", &limit])?;
    let letters = letters.iter().map(letter).collect::<Result<_, _>>()?;
    let (last, replies) = replies(&setup.data, &log)?;
    Ok(Final {
        log,
        last,
        consumers,
        letters,
        replies: Some(replies),
    })
}

/// Replies are read from the store itself: no command lists them.
fn replies(data: &Path, log: &[Row]) -> Result<(Seq, Vec<FinalReply>), Failure> {
    let failed = |error| Failure::broken("the store", error);
    let store = RequestStore::open(data).map_err(failed)?;
    let reader = store.reader();
    let mut replies = Vec::new();
    for Row { seq, .. } in log {
        if let Some(reply) = reader.reply(*seq).map_err(failed)? {
            replies.push(FinalReply {
                seq: *seq,
                payload: Digest::of(&reply.payload),
            });
        }
    }
    Ok((reader.last_seq(), replies))
}

/// What a listing prints, line by line.
fn rows(setup: &Setup, args: &[&str]) -> Result<Vec<Value>, Failure> {
    let mut command = Command::new(&setup.binary);
    command.args(args).args(["--json", "--data"]);
    command.arg(&setup.data);
    let ended = tools::run_to_end(&mut command, LIST_TIME)?;
    if !ended.status.success() {
        return Err(Failure::broken(
            format_args!("edgebus {}", args.join(" ")),
            ended.stderr.trim(),
        ));
    }
    let parse = |line| serde_json::from_str(line).map_err(|e| Failure::broken(line, e));
    ended.stdout.lines().map(parse).collect()
}

fn row(row: &Value) -> Result<Row, Failure> {
    let payload = match (row["payload"].as_str(), row["payload_base64"].as_str()) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(coded)) => STANDARD.decode(coded).ok(),
        (None, None) => None,
    };
    (|| {
        Some(Row {
            seq: Seq(row["seq"].as_u64()?),
            id: text(row, "request_id")?.parse().ok()?,
            scope: Scope::default(),
            topic: text(row, "topic")?.into(),
            payload: Digest::of(&payload?),
            notification: false,
        })
    })()
    .ok_or_else(|| odd("a row of the log", row))
}

fn consumer(row: &Value) -> Result<FinalConsumer, Failure> {
    (|| {
        Some(FinalConsumer {
            name: text(row, "name")?.parse().ok()?,
            offset: Seq(row["offset"].as_u64()?),
            paused: text(row, "state")? == "paused",
            gap_messages: row["gap_messages"].as_u64()?,
        })
    })()
    .ok_or_else(|| odd("a consumer", row))
}

fn letter(row: &Value) -> Result<Letter, Failure> {
    (|| {
        Some(Letter {
            consumer: text(row, "consumer")?.parse().ok()?,
            seq: Seq(row["seq"].as_u64()?),
            reason: DeadLetterCode::parse(text(row, "code")?),
        })
    })()
    .ok_or_else(|| odd("a dead letter", row))
}

fn text<'a>(row: &'a Value, name: &str) -> Option<&'a str> {
    row[name].as_str()
}

fn odd(what: &str, row: &Value) -> Failure {
    Failure::broken(format_args!("{what} is printed as"), row)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0192d3a4-0000-7000-8000-000000000001";

    #[test]
    fn rows_of_the_log_are_read_with_either_kind_of_payload() {
        let text = json!({"seq": 3, "request_id": ID, "topic": "work.a", "payload": "ab"});
        let coded =
            json!({"seq": 3, "request_id": ID, "topic": "work.a", "payload_base64": "YWI="});
        let row = row(&text).expect("a row");
        assert_eq!((row.seq, &*row.topic), (Seq(3), "work.a"));
        assert_eq!(row.payload, Digest::of(b"ab"));
        assert_eq!(super::row(&coded), Ok(row));
    }

    #[test]
    fn what_cannot_be_read_is_shown() {
        let failure = row(&json!({"seq": 3, "topic": "work.a"})).expect_err("no id");
        assert!(failure.to_string().contains("work.a"), "{failure}");
        assert!(letter(&json!({"seq": 3})).is_err());
        assert!(consumer(&json!({"name": "a", "offset": 1})).is_err());
    }
}
