//! Sends the lines of a file over one connection, in order, a window of them at a time.
//!
//! One task does it all; there is none per request. Requests that are undecided wait in a queue in
//! the order of the file; those at its front that are decided are reported.
//!
//! Invariants: receipts are printed in the order of the file, each only after the server gave it.
//! Nothing is sent after the first sign that the connection is lost or the store has stopped, so
//! that the server never gets a later line without an earlier one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use edgebus::{Client, ClientConfig, Code, PendingReceipt, Receipt, Refusal, RequestId, SendError};
use tokio::sync::mpsc;

use super::Template;
use super::input::{self, Batch, Line};
use super::line::IdRule;
use super::report::{Ending, Report};
use crate::args::{Global, SendOptions};
use crate::error::CliError;
use crate::remote;
use crate::takers;

/// Sends the file.
pub(super) fn run(
    path: &Path,
    template: Template,
    options: &SendOptions,
    config: ClientConfig,
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
    remote::runtime()?.block_on(async {
        let client = remote::connect(global, config).await?;
        let batches = input::start(input, template, ids)
            .map_err(|e| CliError::io("start a thread for", path, e))?;
        let mut sender = Sender {
            client,
            window: options.window as usize,
            batches,
            lines: Vec::new().into_iter(),
            undecided: VecDeque::new(),
            report: Report::new(path, length, has_ids, global.json),
            stopped: None,
        };
        let ending = sender.send_all().await?;
        if matches!(ending, Ending::Done)
            && sender.report.has_stored()
            && let Some(hint) = takers::none_takes(&sender.client, &options.topic).await
        {
            sender.report.say(&hint);
        }
        sender.report.finish(ending)
    })
}

struct Sender {
    client: Client,
    window: usize,
    batches: mpsc::Receiver<io::Result<Batch>>,
    /// Lines that came and were not sent yet.
    lines: std::vec::IntoIter<Line>,
    /// In the order of the file.
    undecided: VecDeque<Undecided>,
    report: Report,
    /// Why the server takes nothing more: its store has stopped, or is full.
    stopped: Option<Refusal>,
}

/// A line that was taken from the input and not reported yet.
struct Undecided {
    line: u64,
    state: State,
}

enum State {
    Sent(PendingReceipt, Instant),
    /// Refused before it was sent; waits for its turn to be reported.
    Refused(Option<RequestId>, Refusal),
}

impl Sender {
    async fn send_all(&mut self) -> Result<Ending, CliError> {
        let mut interrupted = pin!(remote::interrupted());
        let mut ending = None;
        loop {
            self.report_decided()?;
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
                () = &mut interrupted => return self.give_up(),
                outcome = first(&mut self.undecided) => self.report_first(outcome)?,
                batch = self.batches.recv(), if ending.is_none() && self.lines.len() == 0 => {
                    ending = self.take_batch(batch);
                }
            }
        }
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

    /// Sends what the window has room for; says why nothing more is to be sent.
    fn send_lines(&mut self) -> Option<Ending> {
        if let Some(refusal) = &self.stopped {
            return Some(Ending::Stopped(refusal.clone()));
        }
        while self.undecided.len() < self.window {
            let Line { number, message } = self.lines.next()?;
            let sent = match message {
                Ok(message) => self.client.try_send(message),
                Err(refusal) => {
                    self.queue(number, State::Refused(None, refusal));
                    continue;
                }
            };
            match sent {
                Ok(pending) => {
                    self.report.sent();
                    self.queue(number, State::Sent(pending, Instant::now()));
                }
                Err(error) if error.code() == Code::Disconnected => {
                    return Some(Ending::Lost(error.to_refusal()));
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
        outcome: Option<Result<Receipt, SendError>>,
    ) -> Result<(), CliError> {
        let Some(Undecided { line, state }) = self.undecided.pop_front() else {
            return Ok(());
        };
        match (state, outcome) {
            (State::Sent(_, since), Some(Ok(receipt))) => {
                self.report.receipt(&receipt, since.elapsed())
            }
            (State::Sent(..), Some(Err(error))) => {
                let refusal = error.to_refusal();
                // What follows would be refused too, line by line.
                if matches!(refusal.code, Code::Poisoned | Code::StorageFull) {
                    self.stopped.get_or_insert(refusal.clone());
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

/// Waits until the front of the queue is decided; `None` if it was never sent. Waits for ever on
/// an empty queue.
async fn first(queue: &mut VecDeque<Undecided>) -> Option<Result<Receipt, SendError>> {
    match queue.front_mut().map(|first| &mut first.state) {
        Some(State::Sent(pending, _)) => Some(pending.await),
        Some(State::Refused(..)) => None,
        None => std::future::pending().await,
    }
}
