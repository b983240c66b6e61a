//! Attempts are journaled: no lease is given out twice, nobody is charged more than there were
//! deliveries, and what failed as often as it may is given up.

use std::collections::{BTreeMap, HashMap};

use edgebus_core::ConsumerName;
use edgebus_core::consumer::LeaseToken;

use super::facts::{ConsumerFacts, Facts, What};
use super::report::Report;
use crate::history::{How, Place};

const LEASE: &str = "lease given twice";
const CHARGED: &str = "attempts that were not made";
const ENDLESS: &str = "failed more often than allowed";

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (name, consumer) in &facts.consumers {
        leases(name, consumer, report);
        charged(facts, name, consumer, report);
    }
}

fn leases(name: &ConsumerName, consumer: &ConsumerFacts<'_>, report: &mut Report) {
    let mut first: HashMap<LeaseToken, Place> = HashMap::new();
    for given in &consumer.given {
        if let Some(before) = first.insert(given.token, given.place) {
            report.add(LEASE, [before, given.place], || {
                format!("{name} gave out lease {} twice", given.token)
            });
        }
    }
}

fn charged(
    facts: &Facts<'_>,
    name: &ConsumerName,
    consumer: &ConsumerFacts<'_>,
    report: &mut Report,
) {
    for given in &consumer.given {
        if given.attempt > given.token.delivery {
            report.add(CHARGED, [given.place], || {
                let (attempt, token) = (given.attempt, given.token);
                format!("{name} gave out {token} as attempt {attempt}")
            });
        }
    }
    let Some((setup, _)) = consumer.one_setup(facts) else {
        return;
    };
    for given in &consumer.given {
        if given.attempt > setup.attempts_max {
            report.add(ENDLESS, [given.place], || {
                let (attempt, token) = (given.attempt, given.token);
                format!("{name} gave out {token} as attempt {attempt}")
            });
        }
    }
    for (seq, calls) in &consumer.settled {
        let mut failed: BTreeMap<u32, Vec<Place>> = BTreeMap::new();
        for call in calls.iter().filter_map(|call| facts.call(*call)) {
            if let (What::Settle(said), Some(done)) = (call.what, call.done())
                && said.how == How::Nak
                && !consumer.may_run_again(facts, *seq, Place(0))
            {
                failed.entry(said.token.epoch).or_default().push(done);
            }
        }
        for places in failed.into_values() {
            if places.len() > setup.attempts_max as usize {
                report.add(ENDLESS, places.iter().copied(), || {
                    format!("{name} had {seq} fail {} times", places.len())
                });
            }
        }
    }
}
