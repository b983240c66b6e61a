//! Writes a connection's replies: receipts as soon as their group is on disk, answers as soon as
//! they are found, neither waiting for the other.
//!
//! Invariant: everything in here is bounded, whatever a client asks and however little it reads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use edgebus_core::Refusal;
use edgebus_core::query::Query;
use edgebus_core::session::{Outcome, frames_for};
use edgebus_core::wire::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Shared, queries};
use crate::bus::Submitted;
use crate::transport::Writer;

/// Submissions of one connection that may be undecided; their bytes are bounded by its lane.
const DECIDING_MAX: usize = 1024;
/// Questions of one connection that are looked up at a time; each answer may be a page.
const ANSWERS_MAX: usize = 2;

/// Something to tell the client.
#[derive(Debug)]
pub(super) enum Reply {
    /// At once.
    Frame(Frame),
    /// At once.
    Refused(Vec<Outcome>),
    /// When the records are decided.
    Outcomes {
        tags: Vec<u64>,
        submitted: Submitted,
    },
    /// When the answer is found.
    Query { tag: u64, query: Query },
}

type Deciding = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send>>;

/// Writes replies until no more can come and all have left. Gives the writer back, unless the
/// client is gone or takes nothing.
pub(super) async fn write_all(
    shared: Arc<Shared>,
    mut writer: Writer,
    mut replies: mpsc::Receiver<Reply>,
) -> Option<Writer> {
    let mut deciding: VecDeque<Deciding> = VecDeque::new();
    let mut answers = JoinSet::new();
    let mut open = true;
    while open || !deciding.is_empty() || !answers.is_empty() {
        let room = deciding.len() < DECIDING_MAX && answers.len() < ANSWERS_MAX;
        let first = async {
            match deciding.front_mut() {
                Some(outcomes) => outcomes.await,
                None => std::future::pending().await,
            }
        };
        let frames = tokio::select! {
            outcomes = first => {
                deciding.pop_front();
                frames_for(outcomes)
            }
            Some(answer) = answers.join_next() => match answer {
                Ok(frame) => vec![frame],
                // The task was aborted, as the process ends.
                Err(_) => continue,
            },
            // What is not answered waits in here, so its number is bounded too.
            reply = replies.recv(), if open && room => match reply {
                None => {
                    open = false;
                    continue;
                }
                Some(Reply::Frame(frame)) => vec![frame],
                Some(Reply::Refused(refused)) => {
                    shared.count_refused(refused.len());
                    frames_for(refused)
                }
                Some(Reply::Outcomes { tags, submitted }) => {
                    deciding.push_back(Box::pin(decide(tags, submitted)));
                    continue;
                }
                Some(Reply::Query { tag, query }) => {
                    answers.spawn(queries::answer(shared.clone(), tag, query));
                    continue;
                }
            },
        };
        // A client that takes nothing must not keep the server from stopping.
        let written = tokio::time::timeout(shared.config.write_timeout, writer.write(frames));
        if !matches!(written.await, Ok(Ok(()))) {
            return None;
        }
    }
    Some(writer)
}

async fn decide(tags: Vec<u64>, submitted: Submitted) -> Vec<Outcome> {
    let told = |result: Result<(edgebus_core::Seq, bool), Refusal>| {
        result.map(|(seq, duplicate)| (seq.0, duplicate))
    };
    let outcomes = submitted.outcomes().await;
    tags.into_iter()
        .zip(outcomes)
        .map(|(tag, result)| Outcome {
            tag,
            result: told(result),
        })
        .collect()
}
