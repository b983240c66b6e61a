//! What is kept and what may go: retention, and the consumers that hold it.

use std::time::Duration;

use edgebus_core::consumer::Hold;
use edgebus_core::planted;
use edgebus_core::{ConsumerName, Seq};

use super::{Dispatch, Release, moment};
use crate::clock::Now;
use crate::store::RequestStore;

/// How often it is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Share of the byte limit up to which a consumer may hold the log.
const HELD_SHARE_MAX: f64 = 0.8;

impl Dispatch {
    /// Trims what is old enough and held by nobody, now and then. Also forgets requesters who gave
    /// up.
    pub(in crate::bus) fn retain(&mut self, store: &mut RequestStore, now: Now) {
        let due = |last| now.monotonic >= last + CHECK_EVERY;
        if !self.retention_checked.is_none_or(due) {
            return;
        }
        self.retention_checked = Some(now.monotonic);
        self.waiters.sweep();
        let Some(wanted) = store.retention_floor(now) else {
            store.hold_appends(None);
            return;
        };
        let (floor, holder) = self.held(store, wanted, now);
        let full = store.log_share() >= 1.0;
        store.hold_appends(holder.filter(|_| full));
        if floor > store.first_seq() {
            self.trim_to(store, floor);
        }
    }

    /// How far may be trimmed, and the consumer that never lets go, if one stands in the way.
    fn held(&self, store: &RequestStore, wanted: Seq, now: Now) -> (Seq, Option<ConsumerName>) {
        let now_ms = moment(store, now).store_ms;
        let crowded = store.log_share() >= HELD_SHARE_MAX;
        let (mut floor, mut holder) = (wanted, None);
        for (name, slot) in &self.slots {
            let Some(ledger) = store.ledgers().get(name) else {
                continue;
            };
            let Some(config) = ledger.config() else {
                continue;
            };
            let next = slot.machine.info(ledger).offset.next();
            let away_ms = slot
                .machine
                .idle_since_ms()
                .map_or(0, |since| now_ms.saturating_sub(since));
            let holds = match config.hold {
                Hold::ForMs(ms) => !crowded && away_ms <= ms,
                _ => true,
            };
            if holds && next < floor {
                floor = next;
                holder = (config.hold == Hold::Forever).then(|| name.clone());
            }
        }
        (floor, holder)
    }

    /// Nothing below is there any more.
    pub(super) fn trim_to(&mut self, store: &mut RequestStore, before: Seq) {
        let before = match planted!("trim-too-far") {
            true => before.next(),
            false => before,
        };
        let before = before.min(store.staged_seq().next());
        let first = store.first_seq();
        if before <= first {
            return;
        }
        self.trim(before);
        for name in self.names.clone().iter() {
            if let Some(slot) = self.slots.get_mut(name) {
                slot.page.retain(|entry| entry.seq() >= before);
            }
            self.drive(store, name, |machine, ledger, places, out| {
                machine.trimmed(ledger, places, before, out);
            });
        }
        self.release(Release::Trimmed(before, before.0 - first.0));
    }
}
