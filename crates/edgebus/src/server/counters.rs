//! What is counted of connections and of what was refused to them, for operators.

use std::sync::atomic::{AtomicU64, Ordering};

use edgebus_core::query::Stats;
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal};

use super::places::Full;

/// Counts since the server started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    cut: AtomicU64,
    /// Requests that were refused before the bus saw them.
    refused: AtomicU64,
    full_total: AtomicU64,
    full_address: AtomicU64,
    full_identity: AtomicU64,
    handshakes_failed: AtomicU64,
    unauthenticated: AtomicU64,
    forbidden: AtomicU64,
    too_slow: AtomicU64,
    busy: AtomicU64,
}

impl Counters {
    /// A connection was accepted.
    pub(super) fn accept(&self) {
        add(&self.accepted, 1);
    }

    /// A connection found no place.
    pub(super) fn turn_away(&self, full: Full) {
        add(&self.cut, 1);
        self.full(full);
    }

    /// A limit of connections was met.
    pub(super) fn full(&self, full: Full) {
        let of = match full {
            Full::Total => &self.full_total,
            Full::Address => &self.full_address,
            Full::Identity => &self.full_identity,
        };
        add(of, 1);
    }

    /// A connection was ended from this side, for a reason.
    pub(super) fn cut(&self, refusal: &Refusal) {
        add(&self.cut, 1);
        match refusal.code {
            Code::TooSlow => add(&self.too_slow, 1),
            Code::Unauthenticated => add(&self.unauthenticated, 1),
            Code::Busy => add(&self.busy, 1),
            _ => {}
        }
    }

    /// A connection was ended from this side before its client had introduced itself.
    pub(super) fn fail_handshake(&self) {
        add(&self.handshakes_failed, 1);
    }

    /// So many things were refused to somebody who has no right to them.
    pub(super) fn forbid(&self, count: usize) {
        add(&self.forbidden, count as u64);
    }

    /// So many requests were refused before the bus saw them.
    pub(super) fn refuse(&self, requests: usize) {
        add(&self.refused, requests as u64);
    }

    /// These frames are about to be said: what they refuse for want of room is counted.
    pub(super) fn say(&self, frames: &[Frame]) {
        let busy = frames.iter().filter(|frame| match frame {
            Frame::Error { refusal, .. } => refusal.code == Code::Busy,
            Frame::Close { refusal, .. } => {
                let refusal = refusal.as_ref();
                refusal.is_some_and(|refusal| refusal.code == Code::Busy)
            }
            _ => false,
        });
        let busy = busy.count() as u64;
        if busy > 0 {
            add(&self.busy, busy);
        }
    }

    /// The counts, among other figures.
    pub(super) fn add_to(&self, stats: Stats) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            refused: stats.refused + get(&self.refused),
            connections_accepted: get(&self.accepted),
            connections_cut: get(&self.cut),
            connections_refused_total: get(&self.full_total),
            connections_refused_address: get(&self.full_address),
            connections_refused_identity: get(&self.full_identity),
            handshakes_failed: get(&self.handshakes_failed),
            unauthenticated: get(&self.unauthenticated),
            forbidden: get(&self.forbidden),
            too_slow: get(&self.too_slow),
            busy: get(&self.busy),
            ..stats
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
