//! Runs a function on each message of a consumer, so many at a time.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use edgebus_core::Refusal;
use edgebus_core::consumer::{Reply, Settlement};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

use super::{BoxFuture, Delivered, Incoming, Messages};

/// What a handler says about a message.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Handled {
    /// Done, and this is the reply.
    Reply(Reply),
    /// Done.
    Done,
    /// Failed, and why: to be tried again. So does a handler that panics.
    Retry(String),
    /// Failed for good, and why: a dead letter.
    Reject(String),
}

impl From<Reply> for Handled {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// An error means that it is to be tried again.
impl<T: Into<Handled>, E: Display> From<Result<T, E>> for Handled {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(handled) => handled.into(),
            Err(error) => Self::Retry(error.to_string()),
        }
    }
}

impl From<Handled> for Settlement {
    fn from(handled: Handled) -> Self {
        match handled {
            Handled::Reply(reply) => Self::Complete(reply),
            Handled::Done => Self::Ack,
            Handled::Retry(reason) => Self::Nak {
                delay_ms: None,
                reason,
            },
            Handled::Reject(reason) => Self::Term { reason },
        }
    }
}

/// A running handler. Dropping it aborts what it does; messages it was working on are given back,
/// and no attempt is charged.
#[must_use = "a handler that is dropped stops"]
#[derive(Debug)]
pub struct Handler {
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), Refusal>>,
    /// What it ended with has been told.
    over: bool,
}

impl Handler {
    /// Takes no more messages, finishes those it is working on, and leaves. What it finished is on
    /// disk, as far as that can be, when this returns.
    ///
    /// A future that is dropped has dropped the handler: what it still works on is aborted and given
    /// back; what it finished stays finished.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ended by itself, or the process ends: there is nothing left to stop.
        let _ = self.ended().await;
    }

    /// Waits until no more messages come. Cancel-safe.
    ///
    /// # Errors
    /// Why not, the first time it is asked: the connection was lost, the consumer removed, or the
    /// bus stopped.
    pub async fn ended(&mut self) -> Result<(), Refusal> {
        if self.over {
            return Ok(());
        }
        let ended = (&mut self.running).await;
        self.over = true;
        ended.unwrap_or(Ok(()))
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Runs a handler on each message, at most `concurrency` at a time. Needs a tokio runtime.
pub(crate) fn run<H, F>(messages: Messages, concurrency: usize, handler: H) -> Handler
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future + Send + 'static,
    F::Output: Into<Handled>,
{
    let (stop, stopped) = oneshot::channel();
    let runner = Runner {
        messages,
        tasks: JoinSet::new(),
        working: HashMap::new(),
        settling: Vec::new(),
    };
    let handler = Arc::new(handler);
    Handler {
        stop: Some(stop),
        running: tokio::spawn(runner.run(concurrency.max(1), handler, stopped)),
        over: false,
    }
}

/// Fields go in this order: no credit is returned for what is aborted.
struct Runner {
    messages: Messages,
    tasks: JoinSet<Handled>,
    working: HashMap<Id, Delivered>,
    /// Settlements of the last ones, to be waited for.
    settling: Vec<BoxFuture<Result<(), Refusal>>>,
}

impl Runner {
    async fn run<H, F>(
        mut self,
        concurrency: usize,
        handler: Arc<H>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), Refusal>
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Handled>,
    {
        let mut ended = Ok(());
        let mut taking = true;
        loop {
            let room = self.working.len() < concurrency;
            tokio::select! {
                biased;
                // Nobody sends: the other end goes.
                _ = &mut stopped, if taking => {
                    self.messages.stop();
                    taking = false;
                }
                Some(done) = self.tasks.join_next_with_id() => self.settle(done, taking),
                message = self.messages.next(), if taking && room => match message {
                    Some(Ok(delivered)) => self.start(delivered, handler.clone()),
                    Some(Err(refusal)) => {
                        ended = Err(refusal);
                        taking = false;
                    }
                    None => taking = false,
                },
                else => break,
            }
        }
        for settling in std::mem::take(&mut self.settling) {
            // Whoever was faster has done it, or it comes again: nothing to be done here.
            if let Err(refusal) = settling.await {
                tracing::debug!(code = %refusal.code, "a settlement was refused: {refusal}");
            }
        }
        ended
    }

    fn start<H, F>(&mut self, delivered: Delivered, handler: Arc<H>)
    where
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future + Send + 'static,
        F::Output: Into<Handled>,
    {
        let incoming = delivered.incoming().clone();
        // A task of its own, so that a panic ends nothing else.
        let task = self
            .tasks
            .spawn(async move { (*handler)(incoming).await.into() });
        self.working.insert(task.id(), delivered);
    }

    fn settle(&mut self, done: Result<(Id, Handled), JoinError>, taking: bool) {
        let (id, handled) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Handled::Retry(reason_of(error))),
        };
        let Some(delivered) = self.working.remove(&id) else {
            return;
        };
        if taking {
            delivered.settle(handled.into());
        } else {
            self.settling.push(delivered.settle_wait(handled.into()));
        }
    }
}

/// What a handler that did not return said.
fn reason_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("the handler panicked: {}", text_of(&*panic)),
        Err(_) => "the handler was aborted".to_owned(),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        panic.downcast_ref().copied().unwrap_or("without a message")
    }
}
