//! Tells people that the server went away and that it is back. The way back is the client's own.
//!
//! Invariant: whoever waits is told once that the connection is gone, and once that it is back.

use std::time::Duration;

use edgebus::{Client, ConnectionState, ConnectionStates, Refusal};

use crate::output::say;

/// What happened to a connection.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is gone, and why if that is known; the client looks for the server.
    Lost(Option<Refusal>),
    /// It is there again.
    Back,
    /// It is gone for good, and why.
    Over(Refusal),
}

/// Watches a client's connection, from when it is there.
pub(crate) struct Watch {
    states: ConnectionStates,
    /// The connection that was there last.
    connection: u64,
    is_lost: bool,
    /// It is back too, which is still to be told.
    came_back: bool,
}

impl Watch {
    pub(crate) fn over(client: &Client) -> Self {
        Self {
            states: client.states(),
            connection: 1,
            is_lost: false,
            came_back: false,
        }
    }

    /// Of a client that may have no connection so far.
    pub(crate) fn from_the_start(client: &Client) -> Self {
        let is_lost = !matches!(client.state(), ConnectionState::Connected { .. });
        Self {
            states: client.states(),
            connection: u64::from(!is_lost),
            is_lost,
            came_back: false,
        }
    }

    /// Whether it is gone, as far as was told.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The next change; none after [`Change::Over`]. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Change {
        if std::mem::take(&mut self.came_back) {
            self.is_lost = false;
            return Change::Back;
        }
        loop {
            match self.states.next().await {
                Some(ConnectionState::Connected { connection, .. }) => {
                    if connection <= self.connection {
                        continue;
                    }
                    self.connection = connection;
                    if self.is_lost {
                        self.is_lost = false;
                        return Change::Back;
                    }
                    // It was gone for so short a time that only this shows it.
                    (self.is_lost, self.came_back) = (true, true);
                    return Change::Lost(None);
                }
                Some(ConnectionState::Lost { reason }) if !self.is_lost => {
                    self.is_lost = true;
                    return Change::Lost(Some(reason));
                }
                Some(ConnectionState::Closed { reason }) => return Change::Over(reason),
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// As [`Watch::next`], and says it; for those who have no more to say than that.
    pub(crate) async fn say_next(&mut self) -> Change {
        let change = self.next().await;
        match &change {
            Change::Lost(why) => say_lost(why.as_ref()),
            Change::Back => say_back("going on"),
            Change::Over(_) => {}
        }
        change
    }
}

/// How long commands that are to end by themselves wait for a server that went away.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Whether the same may work later, or with another run of the server.
pub(crate) fn may_come_back(refusal: &Refusal) -> bool {
    refusal.code.is_retryable()
}

/// Says that the connection is gone.
pub(crate) fn say_lost(refusal: Option<&Refusal>) {
    let why = refusal.map_or("the connection was closed", |refusal| &refusal.message);
    say!("edgebus: the server went away ({why}); trying to connect again");
}

/// Says that the connection is back.
pub(crate) fn say_back(what: &str) {
    say!("edgebus: connected again; {what}");
}
