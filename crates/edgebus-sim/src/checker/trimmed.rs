//! Retention and operators take what they may take, and no more.

use edgebus_core::Seq;

use super::facts::{CallFacts, Facts, MessageFacts, What};
use super::report::Report;
use crate::history::{Operation, Place, Retention};

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

/// Whether a message may have been gone when something was told at `place`.
pub(super) fn may_be_gone(facts: &Facts<'_>, message: &MessageFacts<'_>, place: Place) -> bool {
    if message.row.is_some() {
        return false;
    }
    let by_hand = matches!(facts.terms.retention, Retention::ByHand);
    let Some((_, seq)) = message.evidence.filter(|_| by_hand) else {
        return true;
    };
    facts
        .calls()
        .any(|(_, call)| call.asked < place && asked_for(call).is_some_and(|before| seq < before))
}

fn asked_for(call: &CallFacts<'_>) -> Option<Seq> {
    match call.what {
        What::Operate(Operation::Trim(before)) if !call.is_refused() => Some(*before),
        _ => None,
    }
}
