//! The messages that are held, by what they are: one that is delivered again is the same one.

use std::collections::HashMap;
use std::time::Duration;

use edgebus::Delivered;
use edgebus::consumer::{LeaseToken, Settlement};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The epoch of the consumer and the sequence number: after a reset it is to be run again.
pub(super) type Key = (u32, u64);

pub(super) fn key_of(token: LeaseToken) -> Key {
    (token.epoch, token.seq.0)
}

/// A message, and how far it is.
pub(super) struct Held {
    pub(super) delivered: Delivered,
    pub(super) state: State,
    extend_at: Instant,
}

pub(super) enum State {
    /// For a command to end.
    Waiting,
    /// As that, but the connection was lost: somebody else may have got it meanwhile.
    InDoubt,
    /// A command works on it; this kills it.
    Running(oneshot::Sender<()>),
    /// The command has ended.
    Ended {
        settlement: Settlement,
        /// The lease under which the server is being told.
        telling: Option<LeaseToken>,
        /// How often it was told before and nobody knows whether the server heard.
        unheard: u32,
    },
}

/// Whether a message that was in doubt is still ours.
pub(super) struct Checked {
    key: Key,
    token: LeaseToken,
    is_ours: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Holding {
    messages: HashMap<Key, Held>,
    /// Half of how long a lease lasts.
    extend_every: Duration,
}

impl Holding {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn running(&self) -> usize {
        let running = |held: &&Held| matches!(held.state, State::Running(_));
        self.messages.values().filter(running).count()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Held> {
        self.messages.get_mut(&key)
    }

    /// Lets go of it: it is given back, unless it is settled.
    pub(super) fn remove(&mut self, key: Key) -> Option<Held> {
        self.messages.remove(&key)
    }

    /// Keeps a message; one that is held already goes on under its newer lease.
    pub(super) fn add(&mut self, delivered: Delivered) -> Key {
        let key = key_of(delivered.token());
        let extend_at = Instant::now() + self.extend_every;
        match self.messages.get_mut(&key) {
            Some(held) => {
                held.delivered = delivered;
                held.extend_at = extend_at;
                if matches!(held.state, State::InDoubt) {
                    held.state = State::Waiting;
                }
            }
            None => {
                let state = State::Waiting;
                let held = Held {
                    delivered,
                    state,
                    extend_at,
                };
                self.messages.insert(key, held);
            }
        }
        key
    }

    pub(super) fn tokens(&self) -> Vec<LeaseToken> {
        let token = |held: &Held| held.delivered.token();
        self.messages.values().map(token).collect()
    }

    /// Those that a command can be started for, in the order of the log.
    pub(super) fn waiting(&self) -> Vec<Key> {
        self.keys(|state| matches!(state, State::Waiting))
    }

    /// Those that no command was started for.
    pub(super) fn unbegun(&self) -> Vec<Key> {
        self.keys(|state| matches!(state, State::Waiting | State::InDoubt))
    }

    fn keys(&self, wanted: impl Fn(&State) -> bool) -> Vec<Key> {
        let wanted = self.messages.iter().filter(|(_, held)| wanted(&held.state));
        let mut keys: Vec<Key> = wanted.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    /// How long leases last.
    pub(super) fn set_ack_wait(&mut self, ack_wait: Duration) {
        self.extend_every = (ack_wait / 2).max(Duration::from_millis(1));
    }

    /// The connection was lost. Gives what asks, once it is back, whether messages that wait are
    /// still ours: a lease that can be extended is.
    pub(super) fn doubt(&mut self) -> Vec<impl Future<Output = Checked> + Send + use<>> {
        let waiting = self.messages.iter_mut();
        let waiting = waiting.filter(|(_, held)| matches!(held.state, State::Waiting));
        waiting
            .map(|(key, held)| {
                held.state = State::InDoubt;
                let (key, message) = (*key, held.delivered.incoming().clone());
                async move {
                    let token = message.token();
                    let is_ours = message.extend().await.is_ok();
                    Checked {
                        key,
                        token,
                        is_ours,
                    }
                }
            })
            .collect()
    }

    /// Goes on with a message that was in doubt, or lets go of it.
    pub(super) fn checked(&mut self, checked: &Checked) {
        let Some(held) = self.messages.get_mut(&checked.key) else {
            return;
        };
        let is_meant =
            matches!(held.state, State::InDoubt) && held.delivered.token() == checked.token;
        match checked.is_ours {
            _ if !is_meant => {}
            true => held.state = State::Waiting,
            false => drop(self.messages.remove(&checked.key)),
        }
    }

    /// When the first lease is to be extended.
    pub(super) fn next_extend(&self) -> Option<Instant> {
        self.messages.values().map(|held| held.extend_at).min()
    }

    /// Asks for more time for all that need it.
    pub(super) fn extend(&mut self) {
        let now = Instant::now();
        for held in self.messages.values_mut() {
            if held.extend_at <= now {
                held.extend_at = now + self.extend_every;
                let message = held.delivered.incoming().clone();
                // A lease that is over is no reason to stop: the first completion counts.
                tokio::spawn(async move { message.extend().await });
            }
        }
    }
}
