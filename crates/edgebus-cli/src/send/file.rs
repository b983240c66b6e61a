//! Sends the lines of a file, in order, a window of them at a time; over a lost connection too, if
//! the server is back soon.
//!
//! One task does it all; there is none per request. Requests that are undecided wait in a queue in
//! the order of the file; those at its front that are decided are reported.
//!
//! Past a spool no server is waited for: what is not stored is on this machine's disk.
//!
//! Invariants: receipts are printed in the order of the file, each only after the server or the spool
//! gave it. Nothing is sent after it was given up to wait for a server, or after the first sign that
//! the store or the spool is full, so that the server never gets a later line without an earlier one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use edgebus::{Accepted, ClientConfig, Code, Refusal, RequestId, SendError, SpoolingClient};
use tokio::sync::mpsc;

use super::Template;
use super::input::{self, Batch, Line};
use super::line::IdRule;
use super::outlet::{Outlet, Pending};
use super::report::{Ending, Report};
use crate::args::{Global, SendOptions};
use crate::error::CliError;
use crate::output::say;
use crate::reconnect::{Change, GIVE_UP_AFTER, Watch};
use crate::remote;
use crate::spooling::{self, Folder};
use crate::takers;

/// A server behind a spool that says nothing for three of these is taken for lost.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long to wait, at the end, for the server to take what is in the spool.
const FORWARD_WITHIN: Duration = Duration::from_secs(10);
/// How long what left may take to be decided after an interrupt; a disk decides it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends the file.
pub(super) fn run(
    path: &Path,
    template: Template,
    options: &SendOptions,
    config: ClientConfig,
    spool: Option<&Folder>,
    global: &Global,
) -> Result<(), CliError> {
    let (input, length) = input::open(path)?;
    let ids = match &options.id_field {
        None => IdRule::New,
        Some(name) => IdRule::Field {
            name: name.clone(),
            namespace: options.id_namespace.clone(),
        },
    };
    let has_ids = matches!(ids, IdRule::Field { .. });
    let runtime = remote::runtime()?;
    let ended = runtime.block_on(async {
        let outlet = open(config, spool, global).await?;
        let batches = input::start(input, template, ids)
            .map_err(|e| CliError::io("start a thread for", path, e))?;
        let mut report = Report::new(path, length, has_ids, global.json);
        if let (Outlet::Spool(client), Some(folder)) = (&outlet, spool) {
            report = report.past_spool(&folder.dir, client.dead());
        }
        let mut sender = Sender {
            watch: outlet.watch(),
            outlet: Some(outlet),
            give_up_at: None,
            lost: None,
            over: None,
            window: options.window as usize,
            batches,
            lines: Vec::new().into_iter(),
            held: None,
            undecided: VecDeque::new(),
            report,
            stopped: None,
        };
        let ending = sender.send_all().await?;
        let Sender {
            mut report, outlet, ..
        } = sender;
        if matches!(ending, Ending::Done)
            && report.has_stored()
            && let Some(outlet) = &outlet
            && let Some(hint) = takers::none_takes(outlet.client(), &options.topic).await
        {
            report.say(&hint);
        }
        if let Some(Outlet::Spool(client)) = outlet {
            if matches!(ending, Ending::Done) {
                forward(&client).await;
            }
            report.left_in_spool(client.waiting(), client.dead());
            spooling::end(client).await;
        }
        report.finish(ending)
    });
    spooling::end_runtime(runtime);
    ended
}

async fn open(
    config: ClientConfig,
    spool: Option<&Folder>,
    global: &Global,
) -> Result<Outlet, CliError> {
    let Some(folder) = spool else {
        // Nothing is given up line by line: see the invariants.
        let config = config.give_up_after(None);
        let client = remote::connect_lasting(global, config).await?;
        return Ok(Outlet::Server(client));
    };
    let config = config.heartbeat(HEARTBEAT);
    let client = spooling::connect(folder, spooling::SERVER_WITHIN, config, global).await?;
    if !spooling::is_connected(&client) {
        let url = global.server.clone().unwrap_or_default();
        let dir = folder.dir.display();
        let why = spooling::why_away(&client, &url);
        say!("edgebus: {why}; requests are kept in {dir} until it takes them");
    }
    Ok(Outlet::Spool(client))
}

/// Waits for the spool to be forwarded, until somebody wants the command to end: all is on a disk.
async fn forward(client: &SpoolingClient) {
    let until = tokio::time::Instant::now() + FORWARD_WITHIN;
    tokio::select! {
        () = spooling::forward(client, until) => {}
        () = remote::interrupted() => {}
    }
}

struct Sender {
    /// The only handle there is, so that what is undecided is decided when it goes. `None` when
    /// nothing more is sent.
    outlet: Option<Outlet>,
    watch: Watch,
    /// When nothing more is waited for; `None` while the server is there, or is not needed.
    give_up_at: Option<Instant>,
    /// Why the connection was lost last.
    lost: Option<Refusal>,
    window: usize,
    batches: mpsc::Receiver<io::Result<Batch>>,
    /// Lines that came and were not sent yet.
    lines: std::vec::IntoIter<Line>,
    /// The next one, for which there was no room.
    held: Option<Line>,
    /// In the order of the file.
    undecided: VecDeque<Undecided>,
    report: Report,
    /// Why nothing more is sent, though the server might be there.
    over: Option<Refusal>,
    /// Why the server takes nothing more: its store is full.
    stopped: Option<Refusal>,
}

/// A line that was taken from the input and not reported yet.
struct Undecided {
    line: u64,
    state: State,
}

enum State {
    Sent(Pending, Instant),
    /// Refused before it was sent; waits for its turn to be reported.
    Refused(Option<RequestId>, Refusal),
}

impl Sender {
    async fn send_all(&mut self) -> Result<Ending, CliError> {
        let mut interrupted = pin!(remote::interrupted());
        let mut is_interrupted = false;
        let mut ending = None;
        loop {
            self.report_decided()?;
            if let Some(Ending::Done) | None = ending {
                ending = self.ending().or(ending);
            }
            if ending.is_none() {
                ending = self.send_lines();
            }
            match ending {
                Some(ending) if self.undecided.is_empty() => return Ok(ending),
                _ => {}
            }
            // A receipt is not held back while there is nothing to do but wait.
            self.report.flush()?;
            tokio::select! {
                () = &mut interrupted, if !is_interrupted => {
                    if !self.is_past_spool() {
                        return self.give_up();
                    }
                    is_interrupted = true;
                    ending = Some(Ending::Interrupted);
                    self.give_up_at = Some(Instant::now() + LAST_WORDS);
                }
                change = self.watch.say_next() => self.changed(change),
                () = until(self.give_up_at) => match is_interrupted {
                    true => return self.give_up(),
                    false => self.give_up_server(),
                },
                outcome = first(&mut self.undecided) => self.report_first(outcome)?,
                batch = self.batches.recv(), if ending.is_none() && self.is_hungry() => {
                    ending = self.take_batch(batch);
                }
            }
        }
    }

    fn is_past_spool(&self) -> bool {
        matches!(self.outlet, Some(Outlet::Spool(_)))
    }

    /// Whether all lines that came were sent.
    fn is_hungry(&self) -> bool {
        self.lines.len() == 0 && self.held.is_none()
    }

    fn take_batch(&mut self, batch: Option<io::Result<Batch>>) -> Option<Ending> {
        match batch {
            None => Some(Ending::Done),
            Some(Err(error)) => Some(Ending::InputFailed(error)),
            Some(Ok(batch)) => {
                self.report.progress(batch.bytes_read);
                self.lines = batch.lines.into_iter();
                None
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            // It is not needed.
            Change::Lost(_) | Change::Back if self.is_past_spool() => {}
            Change::Lost(why) => {
                self.lost = why;
                self.give_up_at = Some(Instant::now() + GIVE_UP_AFTER);
            }
            // Until it answers, it may as well be none.
            Change::Back if self.undecided.is_empty() => self.give_up_at = None,
            Change::Back => {}
            Change::Over(why) => self.end_client(why),
        }
    }

    /// Waits for the server no longer.
    fn give_up_server(&mut self) {
        let gone = || Refusal::new(Code::Disconnected, "the server went away");
        let why = self.lost.take().unwrap_or_else(gone);
        self.end_client(why);
    }

    /// Nothing more leaves, and all that is undecided is decided by it.
    fn end_client(&mut self, why: Refusal) {
        self.give_up_at = None;
        self.outlet = None;
        self.over.get_or_insert(why);
    }

    /// Why nothing more is to be sent, if so.
    fn ending(&self) -> Option<Ending> {
        if let Some(refusal) = &self.stopped {
            return Some(Ending::Stopped(refusal.clone()));
        }
        self.over.as_ref().map(|why| match why.code {
            Code::Poisoned => Ending::Stopped(why.clone()),
            _ => Ending::Lost(why.clone()),
        })
    }

    /// Sends what the window has room for.
    fn send_lines(&mut self) -> Option<Ending> {
        let outlet = self.outlet.clone()?;
        while self.undecided.len() < self.window {
            let line = self.held.take().or_else(|| self.lines.next());
            let Line { number, message } = line?;
            let sent = match &message {
                Ok(message) => outlet.try_send(message.clone()),
                Err(refusal) => {
                    self.queue(number, State::Refused(None, refusal.clone()));
                    continue;
                }
            };
            match sent {
                Ok(pending) => {
                    self.report.sent();
                    self.queue(number, State::Sent(pending, Instant::now()));
                }
                // Not so many bytes at a time. Those that are decided make room.
                Err(error) if error.code() == Code::Busy && !self.undecided.is_empty() => {
                    self.held = Some(Line { number, message });
                    return None;
                }
                Err(error) if error.code() == Code::Disconnected => {
                    self.end_client(error.to_refusal());
                    return self.ending();
                }
                Err(error) => {
                    let id = Some(error.request_id());
                    self.queue(number, State::Refused(id, error.to_refusal()));
                }
            }
        }
        None
    }

    fn queue(&mut self, line: u64, state: State) {
        self.undecided.push_back(Undecided { line, state });
    }

    /// Reports what is decided at the front of the queue, without waiting.
    fn report_decided(&mut self) -> Result<(), CliError> {
        // A poll here needs no wake-up: whoever waits afterwards polls again. Nor does it count
        // against the task's budget, which would make decided ones look undecided.
        let mut context = Context::from_waker(Waker::noop());
        while !self.undecided.is_empty() {
            let polled = {
                let first = tokio::task::unconstrained(first(&mut self.undecided));
                pin!(first).poll(&mut context)
            };
            match polled {
                Poll::Ready(outcome) => self.report_first(outcome)?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Reports the front of the queue.
    fn report_first(
        &mut self,
        outcome: Option<Result<Accepted, SendError>>,
    ) -> Result<(), CliError> {
        let Some(Undecided { line, state }) = self.undecided.pop_front() else {
            return Ok(());
        };
        match (state, outcome) {
            (State::Sent(_, since), Some(Ok(accepted))) => {
                if !self.is_past_spool() && !self.watch.is_lost() {
                    self.give_up_at = None;
                }
                self.report.accepted(&accepted, since.elapsed())
            }
            (State::Sent(..), Some(Err(error))) => {
                let refusal = error.to_refusal();
                match refusal.code {
                    // What follows would be refused too, line by line.
                    Code::Poisoned | Code::StorageFull => {
                        self.stopped.get_or_insert(refusal.clone());
                    }
                    // It was never sent, and nothing behind it is.
                    Code::Disconnected => {
                        self.end_client(refusal);
                        self.report.unsent();
                        return Ok(());
                    }
                    // Of a spool it means that its disk failed.
                    Code::Unknown if self.is_past_spool() => {
                        let stopped = Refusal::new(Code::Poisoned, refusal.message.clone());
                        self.stopped.get_or_insert(stopped);
                    }
                    Code::Unknown => self.end_client(refusal.clone()),
                    _ => {}
                }
                self.report
                    .refused(line, Some(error.request_id()), &refusal)
            }
            (State::Refused(id, refusal), _) => self.report.refused(line, id, &refusal),
            (State::Sent(..), None) => Ok(()),
        }
    }

    /// Reports all that is undecided as unknown.
    fn give_up(&mut self) -> Result<Ending, CliError> {
        self.report_decided()?;
        for Undecided { line, state } in std::mem::take(&mut self.undecided) {
            match state {
                State::Refused(id, refusal) => self.report.refused(line, id, &refusal)?,
                State::Sent(pending, _) => {
                    let error = SendError::Unknown {
                        request_id: pending.request_id(),
                        reason: "interrupted before the answer came".to_owned(),
                    };
                    let id = Some(pending.request_id());
                    self.report.refused(line, id, &error.to_refusal())?;
                }
            }
        }
        Ok(Ending::Interrupted)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the front of the queue is decided; `None` if it was never sent. Waits for ever on
/// an empty queue.
async fn first(queue: &mut VecDeque<Undecided>) -> Option<Result<Accepted, SendError>> {
    match queue.front_mut().map(|first| &mut first.state) {
        Some(State::Sent(pending, _)) => Some(pending.await),
        Some(State::Refused(..)) => None,
        None => std::future::pending().await,
    }
}
