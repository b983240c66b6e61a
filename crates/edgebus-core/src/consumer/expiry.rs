//! Until when a message may be started.

use crate::entry::Entry;

/// Store time, milliseconds, from which on a message is not started any more; `None` for ever, and
/// for entries that do not tell when they were stored.
pub(super) fn expires_at(entry: &Entry) -> Option<u64> {
    let stored_ms = entry.store_time_ms();
    if stored_ms == 0 {
        return None;
    }
    match entry.record().expires_ms() {
        0 => None,
        expires_ms => Some(stored_ms.saturating_add(expires_ms)),
    }
}
