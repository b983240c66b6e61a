//! Retention and operators take what they may take, and no more.

use edgebus_core::Seq;

use super::facts::{CallFacts, Facts, What};
use super::report::Report;
use crate::history::{Operation, Retention};

const RULE: &str = "trimmed too far";

/// The log begins no later than somebody asked for or retention allows.
pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let Some(last) = facts.last else {
        return;
    };
    let kept = match facts.terms.retention {
        Retention::Any => return,
        Retention::ByHand => Seq(1),
        Retention::Keeps(messages) => Seq(last.last.0.saturating_sub(messages).saturating_add(1)),
    };
    let asked = facts.calls().filter_map(|(_, call)| asked_for(call)).max();
    let allowed = asked.map_or(kept, |asked| asked.max(kept));
    if facts.floor > allowed {
        report.add(RULE, facts.end, || {
            format!(
                "the log begins at {}, and may begin at {allowed}",
                facts.floor
            )
        });
    }
}

fn asked_for(call: &CallFacts<'_>) -> Option<Seq> {
    match call.what {
        What::Operate(Operation::Trim(before)) if !call.is_refused() => Some(*before),
        _ => None,
    }
}
