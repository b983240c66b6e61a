//! The loop: messages come, commands run, outcomes are told.
//!
//! One task does it all but run the commands. What it holds is bounded by the credit.

use std::sync::Arc;
use std::time::Duration;

use edgebus::consumer::{ConsumerMode, LeaseToken, Reply, Settlement};
use edgebus::{Client, Code, ConsumerName, RecordLimits, Refusal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::held::{Checked, Held, Holding, Key, State, key_of};
use super::link::{Came, Link, Opened, Post};
use super::report::{Report, untold};
use super::script::{Ended, Job, Script};
use crate::error::{CliError, INTERRUPTED};
use crate::reconnect::{Change, may_come_back, say_back, say_lost};
use crate::remote;

/// How long the server is waited for when all commands have ended and the worker is to stop.
const STOP_TIME: Duration = Duration::from_secs(10);
/// How long giving back may take when it is to stop at once.
const RELEASE_TIME: Duration = Duration::from_secs(2);
/// How long to wait before an outcome is told again: the server may be about to stop.
const AGAIN_TIME: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    post: Post,
    script: Arc<Script>,
    timeout: Duration,
    workers: usize,
    link: Link,
    holding: Holding,
    jobs: JoinSet<(Key, Ended)>,
    telling: JoinSet<Told>,
    checking: JoinSet<Checked>,
    report: Report,
    interrupts: [Signal; 2],
    stopping: Stopping,
    /// What ends the command when everything has been brought to an end.
    failure: Option<CliError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// Takes nothing new.
    Draining,
    /// Kills what runs.
    AtOnce,
}

/// What the server said to an outcome.
struct Told {
    token: LeaseToken,
    result: Result<(), Refusal>,
}

impl Worker {
    /// Connects, and makes the consumer if it is new.
    pub(super) async fn start(
        post: Post,
        script: Script,
        workers: u16,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let watch = |kind| signal(kind).map_err(|e| CliError::io("watch", "signals".as_ref(), e));
        let interrupts = [
            watch(SignalKind::interrupt())?,
            watch(SignalKind::terminate())?,
        ];
        let Opened { link, ack_wait } = post.open().await?;
        let mut holding = Holding::default();
        holding.set_ack_wait(ack_wait);
        let worker = Self {
            report: Report::new(post.global.json),
            post,
            script: Arc::new(script),
            timeout,
            workers: usize::from(workers),
            link,
            holding,
            jobs: JoinSet::new(),
            telling: JoinSet::new(),
            checking: JoinSet::new(),
            interrupts,
            stopping: Stopping::No,
            failure: None,
        };
        let Post {
            pattern, consumer, ..
        } = &worker.post;
        let ready = format!("working on {pattern} as consumer {consumer}");
        worker.report.say(&ready);
        Ok(worker)
    }

    /// Works until it is interrupted, or cannot go on.
    pub(super) async fn run(mut self) -> Result<(), CliError> {
        let mut give_up_at = None;
        while !self.is_over() {
            self.start_commands();
            let extend_at = self.holding.next_extend();
            let [interrupt, terminate] = &mut self.interrupts;
            tokio::select! {
                _ = interrupt.recv() => self.interrupted(),
                _ = terminate.recv() => self.interrupted(),
                came = self.link.next() => self.came(came),
                Some(Ok((key, ended))) = self.jobs.join_next() => self.ended(key, ended),
                Some(Ok(told)) = self.telling.join_next() => self.told(told),
                Some(Ok(checked)) = self.checking.join_next() => self.holding.checked(&checked),
                () = until(extend_at), if self.link.is_up() => self.holding.extend(),
                () = until(give_up_at) => return Err(untold(self.holding.len())),
            }
            if self.stopping == Stopping::AtOnce {
                return self.kill_all().await;
            }
            let waits_for_server = self.stopping == Stopping::Draining && self.jobs.is_empty();
            match waits_for_server {
                true => give_up_at = give_up_at.or_else(|| Some(Instant::now() + STOP_TIME)),
                false => give_up_at = None,
            }
        }
        self.leave().await;
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let is_gone = matches!(self.link, Link::Gone);
        self.stopping != Stopping::No
            && self.jobs.is_empty()
            && self.telling.is_empty()
            && (self.holding.is_empty() || is_gone)
    }

    fn came(&mut self, came: Came) {
        match came {
            Came::Message(delivered) => {
                let key = self.holding.add(delivered);
                // Told again, should it be one whose outcome did not arrive.
                self.tell(key);
            }
            Came::Changed(Change::Lost(why)) => {
                say_lost(why.as_ref());
                for asking in self.holding.doubt() {
                    self.checking.spawn(asking);
                }
            }
            Came::Changed(Change::Back) => say_back("going on"),
            Came::Changed(Change::Over(refusal)) => self.give_up(refusal.into()),
            Came::End(why) => {
                let ended = || Refusal::new(Code::Disconnected, "no more messages come");
                self.give_up(why.unwrap_or_else(ended).into());
            }
        }
    }

    /// Nothing more can be done for the consumer: what runs may end.
    fn give_up(&mut self, failure: CliError) {
        self.link = Link::Gone;
        self.failure = Some(failure);
        self.stop_taking();
    }

    fn stop_taking(&mut self) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Draining;
        }
        self.link.stop_taking();
        for key in self.holding.unbegun() {
            self.holding.remove(key);
        }
    }

    fn interrupted(&mut self) {
        if self.stopping != Stopping::No {
            self.stopping = Stopping::AtOnce;
            return;
        }
        self.stop_taking();
        if self.holding.running() > 0 {
            let running = self.holding.running();
            self.report.say(&format!(
                "stopping when {running} running commands have ended; a second interrupt kills them"
            ));
        }
    }

    /// Starts a command for each message that waits, as long as there is room.
    fn start_commands(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let room = self.workers.saturating_sub(self.jobs.len());
        for key in self.holding.waiting().into_iter().take(room) {
            let Some(held) = self.holding.get_mut(key) else {
                continue;
            };
            let (kill, killed) = oneshot::channel();
            held.state = State::Running(kill);
            let message = &held.delivered;
            let job = Job {
                payload: message.payload(),
                environment: environment(held, &self.post.consumer),
                timeout: self.timeout,
                output_bytes_max: RecordLimits::default().payload_bytes_max,
                show_stderr: !self.post.global.json,
            };
            let script = self.script.clone();
            self.jobs
                .spawn(async move { (key, script.run(job, killed).await) });
        }
    }

    fn ended(&mut self, key: Key, ended: Ended) {
        let settlement = match ended {
            Ended::Done(output) => match ConsumerMode::from(self.post.mode) {
                ConsumerMode::Responder => Settlement::Complete(Reply::new(output)),
                _ => Settlement::Ack,
            },
            Ended::Reject(reason) => Settlement::Term { reason },
            Ended::Retry(reason) => Settlement::Nak {
                delay_ms: None,
                reason,
            },
            Ended::Killed => return,
        };
        if let Some(held) = self.holding.get_mut(key) {
            held.state = State::Ended {
                settlement,
                telling: None,
                unheard: 0,
            };
            self.tell(key);
        }
    }

    /// Tells the server what became of a message, if that is known, there is a server, and it is
    /// not being told.
    fn tell(&mut self, key: Key) {
        let (Some(client), Some(held)) = (self.link.client(), self.holding.get_mut(key)) else {
            return;
        };
        let State::Ended {
            settlement,
            telling: telling @ None,
            unheard,
        } = &mut held.state
        else {
            return;
        };
        let token = held.delivered.token();
        *telling = Some(token);
        let (client, settlement) = (client.clone(), settlement.clone());
        let name = self.post.consumer.clone();
        let is_again = *unheard > 0;
        self.telling.spawn(async move {
            if is_again {
                sleep(AGAIN_TIME).await;
            }
            Told {
                token,
                result: tell(&client, &name, token, settlement).await,
            }
        });
    }

    fn told(&mut self, told: Told) {
        let key = key_of(told.token);
        let Some(held) = self.holding.get_mut(key) else {
            return;
        };
        let State::Ended {
            settlement,
            telling,
            unheard,
        } = &mut held.state
        else {
            return;
        };
        *telling = None;
        match told.result {
            Ok(()) => self.report.settled(held.delivered.incoming(), settlement),
            // It was heard when it was told before.
            Err(refusal) if refusal.code == Code::AlreadyCompleted && *unheard > 0 => {
                self.report.settled(held.delivered.incoming(), settlement);
            }
            // It may have arrived or not; it is told again, as soon as there is a server.
            Err(refusal) if may_come_back(&refusal) => {
                *unheard += 1;
                return self.tell(key);
            }
            // It came again while it was told of.
            Err(_) if held.delivered.token() != told.token => return self.tell(key),
            Err(refusal) if is_no_reply(&refusal, settlement) => {
                *settlement = Settlement::Term {
                    reason: refusal.message,
                };
                return self.tell(key);
            }
            Err(refusal) => {
                let message = held.delivered.incoming();
                self.report
                    .note(message, &format!("the outcome was not taken: {refusal}"));
            }
        }
        self.holding.remove(key);
    }

    /// Kills what runs, and gives back all that is not done.
    async fn kill_all(mut self) -> Result<(), CliError> {
        let mut tokens = Vec::new();
        for token in self.holding.tokens() {
            if let Some(held) = self.holding.remove(key_of(token)) {
                match held.state {
                    State::Running(kill) => {
                        // It may have ended meanwhile.
                        let _ = kill.send(());
                        tokens.push((token, Settlement::Release));
                    }
                    State::Ended { settlement, .. } => tokens.push((token, settlement)),
                    State::Waiting | State::InDoubt => {}
                }
            }
        }
        while self.jobs.join_next().await.is_some() {}
        if let Some(client) = self.link.client().filter(|_| self.link.is_up()) {
            let name = &self.post.consumer;
            let give_back = async {
                for (token, settlement) in tokens {
                    // What cannot be given back comes back when its lease is over.
                    let _ = client.settle_by_name(name.clone(), token, settlement).await;
                }
            };
            let _ = timeout(RELEASE_TIME, give_back).await;
        }
        Err(CliError::silent(INTERRUPTED))
    }

    /// Makes sure that the server has got back what was not taken.
    async fn leave(&mut self) {
        self.link.stop_taking();
        if let Some(client) = self.link.client() {
            let _ = timeout(RELEASE_TIME, remote::all_said(client)).await;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Tells the server by name, which works under any lease and over any connection.
async fn tell(
    client: &Client,
    name: &ConsumerName,
    token: LeaseToken,
    settlement: Settlement,
) -> Result<(), Refusal> {
    const BUSY_WAIT_MS: u64 = 50;
    loop {
        let settling = client.settle_by_name(name.clone(), token, settlement.clone());
        match settling.await {
            Err(refusal) if refusal.code == Code::Busy => {
                let wait_ms = refusal.retry_after_ms.unwrap_or(BUSY_WAIT_MS);
                sleep(Duration::from_millis(wait_ms)).await;
            }
            settled => return settled,
        }
    }
}

/// The server takes no such reply, however often it is told.
fn is_no_reply(refusal: &Refusal, settlement: &Settlement) -> bool {
    matches!(settlement, Settlement::Complete(_))
        && matches!(refusal.code, Code::PayloadTooLarge | Code::FrameTooLarge)
}

fn environment(held: &Held, consumer: &ConsumerName) -> Vec<(&'static str, String)> {
    let message = &held.delivered;
    vec![
        ("EDGEBUS_REQUEST_ID", message.request_id().to_string()),
        ("EDGEBUS_TOPIC", message.topic().to_owned()),
        ("EDGEBUS_ATTEMPT", message.attempt().to_string()),
        ("EDGEBUS_SEQ", message.seq().to_string()),
        ("EDGEBUS_CONSUMER", consumer.to_string()),
    ]
}
