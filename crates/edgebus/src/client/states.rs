//! What a client tells about its connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use edgebus_core::Refusal;
use futures_core::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

/// How a client stands with its servers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No server was reached so far.
    Connecting,
    /// A server is there.
    Connected {
        /// Which, as it was named.
        server: String,
        /// Counts the connections of this client: 1 is the first.
        connection: u64,
    },
    /// The server went away, or is there and does not let the client in; it is tried again.
    Lost {
        /// Why.
        reason: Refusal,
    },
    /// It is over: nothing more is sent, and nothing more comes.
    Closed {
        /// Why.
        reason: Refusal,
    },
}

/// The states of a client's connection: first the one it is in, then each that follows.
///
/// A stream of [`ConnectionState`]. It holds one state and no more: whoever reads slowly misses
/// those that passed meanwhile and gets the newest. It ends after [`ConnectionState::Closed`], and
/// when the client is dropped.
pub struct ConnectionStates(BoxStream<'static, ConnectionState>);

impl ConnectionStates {
    pub(super) fn new(states: watch::Receiver<ConnectionState>) -> Self {
        let first = (states, true, false);
        let stream = futures_util::stream::unfold(first, |(mut states, first, over)| async move {
            if over || (!first && states.changed().await.is_err()) {
                return None;
            }
            let state = states.borrow_and_update().clone();
            let over = matches!(state, ConnectionState::Closed { .. });
            Some((state, (states, false, over)))
        });
        Self(stream.boxed())
    }

    /// The next state; `None` when no more come. Cancel-safe.
    pub async fn next(&mut self) -> Option<ConnectionState> {
        self.0.next().await
    }
}

impl Stream for ConnectionStates {
    type Item = ConnectionState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for ConnectionStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionStates").finish_non_exhaustive()
    }
}
