//! Runs a plain function on each message of a consumer, each time on a thread where it may block.

use std::panic::resume_unwind;
use std::sync::Arc;

use edgebus_core::Refusal;

use super::delivered::Incoming;
use super::runtime::Runtime;
use crate::delivery::{self, BoxFuture, Handled};

/// A running handler.
///
/// Dropped, it takes no more messages; those it is working on are finished and settled by and by,
/// as nothing can interrupt a function that runs. To wait for them, use [`Handler::stop`].
#[must_use = "a handler that is dropped stops"]
#[derive(Debug)]
pub struct Handler {
    /// `None` while it is being stopped or dropped.
    handler: Option<delivery::Handler>,
    runtime: Runtime,
}

impl Handler {
    pub(super) fn new(handler: delivery::Handler, runtime: &Runtime) -> Self {
        Self {
            handler: Some(handler),
            runtime: runtime.clone(),
        }
    }

    /// Takes no more messages, finishes those it is working on, and leaves. What it finished is on
    /// disk, as far as that can be, when this returns.
    pub fn stop(mut self) {
        if let Some(handler) = self.handler.take() {
            self.runtime.wait(handler.stop());
        }
    }

    /// Waits until no more messages come.
    ///
    /// # Errors
    /// Why not, the first time it is asked: the connection was lost, the consumer removed, or the
    /// bus stopped.
    pub fn ended(&mut self) -> Result<(), Refusal> {
        match &mut self.handler {
            Some(handler) => self.runtime.wait(handler.ended()),
            None => Ok(()),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            self.runtime.leave(handler.stop());
        }
    }
}

/// The function as one that is awaited, and runs on a thread of the pool meanwhile.
pub(super) fn on_a_thread<H, T>(
    handler: H,
    runtime: Runtime,
) -> impl Fn(delivery::Incoming) -> BoxFuture<Handled> + Send + Sync + 'static
where
    H: Fn(Incoming) -> T + Send + Sync + 'static,
    T: Into<Handled>,
{
    let handed = Handed {
        handler: Some(Arc::new(handler)),
        runtime,
    };
    move |incoming| {
        let handler = handed.handler.clone();
        let incoming = Incoming::new(incoming, &handed.runtime);
        // What it returns becomes a `Handled` there too: that is the application's code as well.
        let work = move || match handler {
            Some(handler) => (*handler)(incoming).into(),
            None => ended(),
        };
        Box::pin(async move {
            match tokio::task::spawn_blocking(work).await {
                Ok(handled) => handled,
                Err(error) => match error.try_into_panic() {
                    // Whoever runs handlers knows what to make of it.
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => ended(),
                },
            }
        })
    }
}

fn ended() -> Handled {
    Handled::Retry("the client ended before the handler ran".to_owned())
}

/// A function that was handed over, with all it holds: which is dropped where it was run, as that
/// may wait for the client too.
struct Handed<H: Send + Sync + 'static> {
    /// `None` while it is dropped.
    handler: Option<Arc<H>>,
    runtime: Runtime,
}

impl<H: Send + Sync + 'static> Drop for Handed<H> {
    fn drop(&mut self) {
        let handler = self.handler.take();
        self.runtime.leave_blocking(move || drop(handler));
    }
}
