//! How a client's connection fares, as an iterator.

use std::time::Duration;

use super::runtime::{TimedOut, wait_here};
use crate::client::{self, ConnectionState};

/// The states of a client's connection: first the one it is in, then each that follows.
///
/// An iterator that waits for the next one. It holds one state and no more: whoever reads slowly
/// misses those that passed meanwhile and gets the newest. It keeps neither the client nor its
/// thread, and ends after [`ConnectionState::Closed`], and when the client is dropped.
///
/// ```no_run
/// # fn example(client: edgebus::blocking::Client) {
/// let states = client.states();
/// std::thread::spawn(move || states.for_each(|state| println!("{state:?}")));
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectionStates(client::ConnectionStates);

impl ConnectionStates {
    pub(super) fn new(states: client::ConnectionStates) -> Self {
        Self(states)
    }

    /// The next state; `None` when no more come.
    ///
    /// # Errors
    /// [`TimedOut`] when it did not change in this time.
    pub fn next_timeout(&mut self, time: Duration) -> Result<Option<ConnectionState>, TimedOut> {
        wait_here(self.0.next(), Some(time))
    }
}

impl Iterator for ConnectionStates {
    type Item = ConnectionState;

    fn next(&mut self) -> Option<ConnectionState> {
        // Without a limit it does not end before it is done.
        wait_here(self.0.next(), None).unwrap_or_default()
    }
}
