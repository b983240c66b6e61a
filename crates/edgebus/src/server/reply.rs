//! Writes a connection's replies: receipts as soon as their group is on disk, answers as soon as
//! they are found, what streams bring as it comes; none waits for another.
//!
//! Invariant: everything in here is bounded, whatever a client asks and however little it reads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgebus_core::admin::Admin;
use edgebus_core::consumer::Answer;
use edgebus_core::query::Query;
use edgebus_core::session::{Outcome, frames_for};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal, Seq};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::answers::Answers;
use super::asker::Asker;
use super::outgoing::Room;
use super::streams::Pushes;
use super::{Shared, operators, queries};
use crate::bus::Submitted;
use crate::flag::Flag;
use crate::transport::Writer;

/// Submissions of one connection that may be undecided; their bytes are bounded by its lane.
const DECIDING_MAX: usize = 1024;
/// Frames of settlements of one connection that may be undecided.
const SETTLING_MAX: usize = 256;
/// Questions of one connection that are looked up at a time; each answer may be a page.
const LOOKUPS_MAX: usize = 2;
/// Operators' questions of one connection at a time, those that wait for messages included; more
/// are refused as busy, so that they hold up nothing else.
const OPERATORS_MAX: usize = 16;
/// Bounds of how often a client is given a sign of life.
const SIGN_MIN: Duration = Duration::from_millis(1);
const SIGN_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a client may take next to nothing while others wait for memory.
const PRESSED: Duration = Duration::from_secs(5);
/// Frames of streams that are written at a time.
const PUSHES: usize = 8;
/// Such frames after which it is looked whether there is something else to be said.
const PUSHED_IN_A_ROW: usize = 4;

/// The answer to a request, and its place among those that wait.
pub(super) type PendingAnswer = (oneshot::Receiver<Answer>, OwnedSemaphorePermit);

/// Something to tell the client.
pub(super) enum Reply {
    /// At once.
    Frames(Vec<Frame>),
    /// At once.
    Refused(Vec<Outcome>),
    /// When the records are decided.
    Outcomes {
        tags: Vec<u64>,
        submitted: Submitted,
        /// One for each record, if they are waited for.
        answers: Vec<PendingAnswer>,
    },
    /// When what was settled is on disk.
    Settling(Settling),
    /// When the answer is found.
    Query {
        asker: Asker,
        tag: u64,
        query: Query,
    },
    /// When it is done.
    Admin {
        asker: Asker,
        tag: u64,
        admin: Admin,
        /// What the question takes, until it is answered.
        heard: Room,
    },
}

/// Something to tell, and the room it takes until it is written.
pub(super) struct Queued {
    pub(super) reply: Reply,
    pub(super) room: Room,
}

impl Reply {
    /// What is held until the client takes it, about; nothing where that is counted elsewhere.
    pub(super) fn bytes(&self) -> usize {
        let told = |refusal: &Refusal| size_of::<Frame>() + refusal.message.len();
        match self {
            Self::Frames(frames) => size_of_val(&**frames),
            Self::Refused(refused) => {
                let refused = refused
                    .iter()
                    .filter_map(|outcome| outcome.result.as_ref().err());
                refused.map(told).sum()
            }
            _ => 0,
        }
    }
}

type Settling = Pin<Box<dyn Future<Output = Option<Frame>> + Send>>;
type Deciding = Pin<Box<dyn Future<Output = Decided> + Send>>;

/// Records that are decided.
struct Decided {
    outcomes: Vec<Outcome>,
    answers: Vec<PendingAnswer>,
}

/// Submissions in their order.
#[derive(Default)]
struct Undecided(VecDeque<Deciding>);

/// What else is not answered yet.
struct Unanswered {
    shared: Arc<Shared>,
    ending: Flag,
    settling: FuturesUnordered<Settling>,
    lookups: JoinSet<(Frame, Room)>,
    operators: JoinSet<(Frame, Room)>,
}

/// Writes replies until no more can come and all have left, but for those to requests that go on.
/// Gives the writer back, unless the client is gone or takes nothing.
pub(super) async fn write_all(
    shared: Arc<Shared>,
    mut writer: Writer,
    mut replies: mpsc::Receiver<Queued>,
    mut pushes: Pushes,
    ending: Flag,
) -> Option<Writer> {
    let mut answers = Answers::default();
    let mut undecided = Undecided::default();
    let mut unanswered = Unanswered {
        shared: shared.clone(),
        ending,
        settling: FuturesUnordered::new(),
        lookups: JoinSet::new(),
        operators: JoinSet::new(),
    };
    let period = shared.config.sign_of_life.clamp(SIGN_MIN, SIGN_MAX);
    let mut signs = tokio::time::interval_at(Instant::now() + period, period);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = true;
    let mut open = true;
    let mut pushed = 0;
    while open || !undecided.0.is_empty() || !unanswered.is_empty() {
        let room = undecided.0.len() < DECIDING_MAX && unanswered.has_room();
        // What is to be written holds its memory until then.
        let (mut holds, mut held) = (Vec::new(), None);
        let pushes_first = pushed < PUSHED_IN_A_ROW;
        pushed += 1;
        let mut frames = tokio::select! {
            // Each of these ends by itself but for the messages, which wait their turn, and what is
            // new, which waits for all others.
            biased;
            _ = signs.tick() => {
                let waits = !undecided.0.is_empty() || !unanswered.is_empty();
                let sign = std::mem::replace(&mut silent, true) && waits;
                sign.then_some(Frame::Ping { token: 0 }).into_iter().collect()
            }
            Some(push) = pushes.recv(), if pushes_first => {
                let mut frames = vec![push.frame];
                holds.push(push.holds);
                while frames.len() < PUSHES && let Ok(push) = pushes.try_recv() {
                    frames.push(push.frame);
                    holds.push(push.holds);
                }
                frames
            }
            decided = undecided.next() => {
                pushed = 0;
                decided.frames(&mut answers)
            }
            (frame, room) = unanswered.next() => {
                pushed = 0;
                held = room;
                frame.into_iter().collect()
            }
            () = std::future::ready(()), if answers.is_ready() => Vec::new(),
            () = answers.take_in(&shared.outgoing), if !answers.is_ready() => Vec::new(),
            // What is not answered waits in here, so its number is bounded too.
            reply = replies.recv(), if open && room => match reply {
                Some(Queued { reply: Reply::Outcomes { tags, submitted, answers }, .. }) => {
                    undecided.0.push_back(Box::pin(decide(tags, submitted, answers)));
                    Vec::new()
                }
                Some(Queued { reply, room }) => {
                    held = room;
                    unanswered.take(reply)
                }
                None => {
                    open = false;
                    Vec::new()
                }
            },
            // Nothing else was there to be said.
            () = std::future::ready(()), if !pushes_first => {
                pushed = 0;
                Vec::new()
            }
        };
        let mut kept = Vec::new();
        if answers.is_ready() {
            let told = answers.frames(&shared.bus, &shared.outgoing).await;
            frames.extend(told.0);
            kept = told.1;
        }
        if frames.is_empty() {
            continue;
        }
        silent = false;
        shared.counters.say(&frames);
        let ending = &unanswered.ending;
        if !write(&shared, &mut writer, frames, &mut answers, ending).await {
            return None;
        }
        drop((holds, held, kept));
    }
    Some(writer)
}

/// Writes frames and takes in answers meanwhile, so that they do not pile up where they cannot be
/// seen. `false` when the client is gone or takes nothing.
async fn write(
    shared: &Shared,
    writer: &mut Writer,
    frames: Vec<Frame>,
    answers: &mut Answers,
    ending: &Flag,
) -> bool {
    let limits = &shared.config.limits;
    let patience = limits.write_timeout.clamp(SIGN_MIN, SIGN_MAX);
    let least = |time: Duration| limits.frame_bytes_per_second_min as u64 * time.as_secs();
    let crawled = writer.crawled();
    let mut pressed = tokio::time::interval_at(Instant::now() + PRESSED, PRESSED);
    let mut waits = tokio::time::interval_at(Instant::now() + patience, patience);
    let mut left = crawled.load(Ordering::Relaxed);
    let mut taken = left;
    let writing = writer.write(frames);
    tokio::pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written.is_ok(),
            // Others wait for the memory that it holds.
            _ = pressed.tick() => {
                let before = std::mem::replace(&mut left, crawled.load(Ordering::Relaxed));
                if shared.outgoing.is_wanted() && left - before <= least(PRESSED) {
                    return false;
                }
            }
            // A slow way may take its time, unless somebody waits for the end of it.
            _ = waits.tick() => {
                let before = std::mem::replace(&mut taken, crawled.load(Ordering::Relaxed));
                let ends = shared.stopping.is_raised() || ending.is_raised();
                let waited_for = ends || shared.outgoing.is_wanted();
                if waited_for || taken - before <= least(patience) {
                    return false;
                }
            }
            () = answers.take_in(&shared.outgoing) => {}
        }
    }
}

impl Undecided {
    /// The outcomes of the submission that is first in line. Cancel-safe; never done without one.
    async fn next(&mut self) -> Decided {
        let decided = match self.0.front_mut() {
            Some(deciding) => deciding.await,
            None => std::future::pending().await,
        };
        self.0.pop_front();
        decided
    }
}

impl Decided {
    /// The frames that tell the outcomes. Answers are waited for from then on.
    fn frames(self, answers: &mut Answers) -> Vec<Frame> {
        for (outcome, (answer, place)) in self.outcomes.iter().zip(self.answers) {
            if let Ok((seq, _)) = outcome.result {
                answers.wait_for(outcome.tag, Seq(seq), answer, place);
            }
        }
        frames_for(self.outcomes)
    }
}

impl Unanswered {
    fn is_empty(&self) -> bool {
        self.settling.is_empty() && self.lookups.is_empty() && self.operators.is_empty()
    }

    fn has_room(&self) -> bool {
        self.settling.len() < SETTLING_MAX && self.lookups.len() < LOOKUPS_MAX
    }

    /// Takes a reply in; gives what can be told at once.
    fn take(&mut self, reply: Reply) -> Vec<Frame> {
        // A page may be as large as that.
        let page_bytes = self.shared.config.limits.frame_bytes_max / 4;
        match reply {
            Reply::Frames(frames) => return frames,
            Reply::Refused(refused) => {
                self.shared.counters.refuse(refused.len());
                return frames_for(refused);
            }
            Reply::Settling(settling) => self.settling.push(settling),
            Reply::Query { asker, tag, query } => {
                let shared = self.shared.clone();
                self.lookups.spawn(async move {
                    let room = match query {
                        Query::Log(_) => shared.outgoing.room(page_bytes).await,
                        _ => None,
                    };
                    (queries::answer(shared, asker, tag, query).await, room)
                });
            }
            Reply::Admin { tag, .. } if self.operators.len() >= OPERATORS_MAX => {
                return vec![too_many_operators(tag)];
            }
            Reply::Admin {
                asker,
                tag,
                admin,
                heard,
            } => {
                let (shared, ending) = (self.shared.clone(), self.ending.clone());
                let bytes = match &admin {
                    // Messages that have come are not thrown away: they find room afterwards.
                    Admin::Next { .. } => 0,
                    Admin::DeadLetters { .. } | Admin::Consumers | Admin::Clients => page_bytes,
                    _ => 0,
                };
                self.operators.spawn(async move {
                    let outgoing = shared.outgoing.clone();
                    let room = outgoing.room(bytes).await;
                    let frame = operators::answer(shared, asker, tag, admin, ending).await;
                    drop(heard);
                    let room = match &frame {
                        Frame::Managed { managed, .. } if room.is_none() => {
                            outgoing.room(managed.encoded_len()).await
                        }
                        _ => room,
                    };
                    (frame, room)
                });
            }
            // They wait in line.
            Reply::Outcomes { .. } => {}
        }
        Vec::new()
    }

    /// The next answer, if one is wanted. Cancel-safe; never done while nothing is asked.
    async fn next(&mut self) -> (Option<Frame>, Room) {
        let told = |told: Result<(Frame, Room), JoinError>| match told {
            Ok((frame, room)) => (Some(frame), room),
            // A task that was aborted has nothing to tell: the process ends.
            Err(_) => (None, None),
        };
        tokio::select! {
            biased;
            Some(settled) = self.settling.next() => (settled, None),
            Some(found) = self.lookups.join_next() => told(found),
            Some(done) = self.operators.join_next() => told(done),
            else => std::future::pending().await,
        }
    }
}

async fn decide(tags: Vec<u64>, submitted: Submitted, answers: Vec<PendingAnswer>) -> Decided {
    let told =
        |result: Result<(Seq, bool), Refusal>| result.map(|(seq, duplicate)| (seq.0, duplicate));
    let results = submitted.outcomes().await;
    let outcomes = tags.into_iter().zip(results).map(|(tag, result)| Outcome {
        tag,
        result: told(result),
    });
    Decided {
        outcomes: outcomes.collect(),
        answers,
    }
}

fn too_many_operators(tag: u64) -> Frame {
    let full = "too many questions of operators wait on this connection: ask again later";
    Frame::Error {
        tag,
        refusal: Refusal::new(Code::Busy, full).retry_after_ms(100),
    }
}
