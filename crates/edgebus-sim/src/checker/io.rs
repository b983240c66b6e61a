//! No ack after an I/O error.

use super::facts::{Facts, What};
use super::report::Report;
use crate::history::{Event, How, Outcome, Place};

const RULE: &str = "ack after an I/O error";

/// What is asked after the error, and told before the next start, was not stored: what comes in
/// between may have been on its way.
pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let mut failed: Option<Place> = None;
    for (place, event) in facts.history.events() {
        match event {
            Event::IoFailed => failed = failed.or(Some(place)),
            Event::Started => failed = None,
            Event::Told { call, outcome } => {
                let new = match outcome {
                    Outcome::Stored { duplicate, .. } => !duplicate,
                    Outcome::Done => true,
                    _ => false,
                };
                let (Some(failed), Some(call)) = (failed, facts.call(*call)) else {
                    continue;
                };
                // The time of a lease is not kept on disk.
                let kept = !matches!(call.what, What::Settle(said) if said.how == How::Extend);
                if new && kept && call.asked > failed {
                    let what = match call.what {
                        What::Store(asked) => format!("{} was stored", asked.id),
                        What::Operate(what) => format!("{what} was done"),
                        What::Settle(said) => format!("{} {} was done", said.token, said.how),
                    };
                    report.add(RULE, [failed, call.asked, place], || what);
                }
            }
            _ => {}
        }
    }
}
