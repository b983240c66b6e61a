//! The hub: live subscribers and what is handed to them.
//!
//! Publishers and the engine push; each subscriber has a bounded buffer of its own. A subscriber
//! that does not keep up misses messages and is told how many; it never makes anyone wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use edgebus_core::{Code, Entry, Refusal};
use parking_lot::RwLock;

use crate::delivery::{Notifications, Notifier, Put, Subscription, notifications_beside};

/// Most live subscribers of one bus.
pub(super) const SUBSCRIBERS_MAX: usize = 65_536;

/// Everyone who listens live.
#[derive(Debug, Default)]
pub(super) struct Hub {
    subscribers: RwLock<Vec<Subscriber>>,
    /// The bus stops; set under the lock of the subscribers, so that none slips in behind.
    ended: AtomicBool,
    /// Beside the lock, as every group asks.
    count: AtomicUsize,
    next_id: AtomicU64,
    published: AtomicU64,
    missed: AtomicU64,
    /// Bytes that wait for all subscribers.
    waiting_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Subscriber {
    id: u64,
    wants: Subscription,
    notifier: Notifier,
}

/// Takes the subscriber out of the hub when it is dropped.
#[derive(Debug)]
struct Subscribed {
    hub: Arc<Hub>,
    id: u64,
}

impl Hub {
    /// Adds a subscriber, until what it returns is dropped.
    ///
    /// # Errors
    /// [`Code::Busy`]: there are too many. [`Code::ShuttingDown`].
    pub(super) fn subscribe(
        self: &Arc<Self>,
        wants: Subscription,
    ) -> Result<Notifications, Refusal> {
        let all_bytes = self.waiting_bytes.clone();
        let (notifier, notifications) = notifications_beside(wants.buffer, all_bytes);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut subscribers = self.subscribers.write();
        if self.ended.load(Ordering::Relaxed) {
            let what = "the bus has stopped";
            return Err(Refusal::new(Code::ShuttingDown, what));
        }
        if subscribers.len() >= SUBSCRIBERS_MAX {
            let what = "there are too many subscriptions";
            return Err(Refusal::new(Code::Busy, what));
        }
        subscribers.push(Subscriber {
            id,
            wants,
            notifier,
        });
        self.count.store(subscribers.len(), Ordering::Release);
        drop(subscribers);
        let subscribed = Subscribed {
            hub: self.clone(),
            id,
        };
        Ok(notifications.holding(Box::new(subscribed)))
    }

    /// Whether nobody listens.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Hands a message to everyone who wants it; says to how many. Never waits.
    pub(super) fn publish(&self, entry: &Entry) -> u64 {
        self.published.fetch_add(1, Ordering::Relaxed);
        if self.is_empty() {
            return 0;
        }
        let record = entry.record();
        let (topic, target) = (record.topic_str(), record.target());
        let mut reached = 0;
        for subscriber in self.subscribers.read().iter() {
            let wants = &subscriber.wants;
            let meant = target.is_empty() || target == wants.client;
            if meant && wants.patterns.iter().any(|p| p.matches(topic)) {
                match subscriber.notifier.notify(entry.clone()) {
                    Put::Waits => reached += 1,
                    Put::Missed => {
                        reached += 1;
                        self.missed.fetch_add(1, Ordering::Relaxed);
                    }
                    Put::Gone => {}
                }
            }
        }
        reached
    }

    /// The bus stops: subscribers get what waits and then the end.
    pub(super) fn end(&self) {
        let subscribers = self.subscribers.write();
        self.ended.store(true, Ordering::Relaxed);
        for subscriber in subscribers.iter() {
            subscriber.notifier.end(None);
        }
    }

    /// Subscribers, messages published, and messages that subscribers missed.
    pub(super) fn figures(&self) -> (u64, u64, u64) {
        (
            self.count.load(Ordering::Relaxed) as u64,
            self.published.load(Ordering::Relaxed),
            self.missed.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        let mut subscribers = self.hub.subscribers.write();
        subscribers.retain(|other| other.id != self.id);
        self.hub.count.store(subscribers.len(), Ordering::Release);
    }
}
