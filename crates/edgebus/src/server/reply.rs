//! Writes a connection's replies: receipts as soon as their group is on disk, answers as soon as
//! they are found, neither waiting for the other.

use std::collections::VecDeque;
use std::pin::Pin;

use edgebus_core::Refusal;
use edgebus_core::session::{Outcome, frames_for};
use edgebus_core::wire::Frame;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::bus::Submitted;
use crate::transport::Writer;

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
    /// When the answer is there.
    Answer(JoinHandle<Frame>),
}

type Deciding = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send>>;

/// Writes replies until no more can come and all have left, or the client is gone.
pub(super) async fn write_all(mut writer: Writer, mut replies: mpsc::Receiver<Reply>) {
    let mut deciding: VecDeque<Deciding> = VecDeque::new();
    let mut answers = JoinSet::new();
    let mut open = true;
    while open || !deciding.is_empty() || !answers.is_empty() {
        let room = deciding.len() < DECIDING_MAX;
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
                Ok(Ok(frame)) => vec![frame],
                // The task was aborted, as the process ends.
                _ => continue,
            },
            // Undecided replies wait in here, so their number is bounded too.
            reply = replies.recv(), if open && room => match reply {
                None => {
                    open = false;
                    continue;
                }
                Some(Reply::Frame(frame)) => vec![frame],
                Some(Reply::Refused(refused)) => frames_for(refused),
                Some(Reply::Outcomes { tags, submitted }) => {
                    deciding.push_back(Box::pin(decide(tags, submitted)));
                    continue;
                }
                Some(Reply::Answer(answer)) => {
                    answers.spawn(answer);
                    continue;
                }
            },
        };
        if writer.write(frames).await.is_err() {
            return;
        }
    }
    writer.close().await;
}

/// Submissions of one connection that may be undecided; their bytes are bounded by its lane.
const DECIDING_MAX: usize = 1024;

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
