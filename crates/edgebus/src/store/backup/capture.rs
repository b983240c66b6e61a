//! What reaches the tables while a backup is taken, and may concern what it has copied already.
//!
//! The sealer notes it in the moment in which it publishes a view. Invariant: whoever takes a view
//! and what was noted, under the locks of both, knows of every change up to that view; so the lock
//! here comes before that of the state.

use crate::store::overlay::Overlay;

/// Most rows that are noted between two pages: 16 MiB. A copy that is slower than that begins anew.
const NOTED_MAX: usize = 2 * 1024 * 1024;

/// Rows that were sealed since they were last taken.
#[derive(Debug, Default)]
pub(in crate::store) struct Capture {
    pub(super) replies: Vec<u64>,
    pub(super) letters: Vec<u64>,
    /// There were more than are noted.
    pub(super) overflowed: bool,
}

impl Capture {
    /// Notes what an overlay brings to the tables.
    pub(in crate::store) fn note(&mut self, overlay: &Overlay) {
        let more = overlay.replies.len() + overlay.letters.len();
        if self.overflowed || self.replies.len() + self.letters.len() + more > NOTED_MAX {
            *self = Self {
                overflowed: true,
                ..Self::default()
            };
            return;
        }
        self.replies.extend(overlay.replies.keys().map(|seq| seq.0));
        self.letters.extend(overlay.letters.keys());
    }
}
