//! Bugs on purpose: switches in the product's code that are there only in a build with
//! `--cfg edgebus_plant`, to see whether the checker finds them.
//!
//! This table is for people and for the test that plants each of them. The worlds and the checker
//! know none of the names.

use crate::processes::Failure;
use crate::say::out;
/// A bug that can be planted.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// As the product's code names it.
    pub name: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
}

macro_rules! plants {
    ($($name:literal: $breaks:literal;)+) => {
        /// All bugs that can be planted.
        pub const PLANTS: &[Plant] = &[$(Plant { name: $name, breaks: $breaks },)+];
    };
}

plants! {
    "ack-before-sync": "a group is acked when it is written; its sync comes with the next one";
    "unpadded-groups": "a group begins in the block in which the last one ends, which is written again";
    "no-directory-sync": "a new segment's name is not synced before groups are written to it";
    "recycle-too-early": "journal segments are freed before what they hold is sealed";
    "prune-before-publish": "what is being sealed is forgotten before the tables have it";
    "memory-only-dedupe": "ids are known only until they are sealed";
    "deliver-before-sync": "messages go to workers before their group is on disk";
    "reply-before-journal": "replies go to requesters before the completion is on disk";
    "attempts-not-journaled": "it is not written down that a message was given out";
    "offset-past-unacked": "a consumer's offset moves over messages that are out";
    "acks-above-offset-forgotten": "acks above the offset are not sealed";
    "another-reply-wins": "a second completion counts, and its reply replaces the first";
    "lease-survives-reset": "a lease from before a reset still counts";
    "pause-ignored": "a paused consumer goes on";
    "gap-in-silence": "what retention takes from a consumer is not told as a gap";
    "trim-too-far": "one message too many is trimmed";
    "ack-after-io-error": "what was in a group that failed is acked all the same";
    "conflict-ignored": "another content under a known id gets the first receipt";
    "scope-ignored": "ids of all scopes are taken for one another";
    "full-before-known": "on a full disk what is stored already is refused, too";
    "dead-letter-not-kept": "what failed for good leaves no dead letter";
    "spool-forgets-before-receipt": "a spool forgets a request when it is sent, not when it is stored";
    "resent-out-of-order": "after a lost connection requests are said again in another order";
}

/// Stands for a bug's name on the command line: name all of them, and run nothing.
pub const LIST: &str = "list";

/// Names all bugs, if that is asked for in place of one. Whether it was.
pub(super) fn listed(name: Option<&str>) -> bool {
    let is_asked = name == Some(LIST);
    for plant in PLANTS.iter().filter(|_| is_asked) {
        out!("{:<30} {}", plant.name, plant.breaks);
    }
    is_asked
}

/// Plants a bug for the rest of this process.
///
/// # Errors
/// [`Failure::CannotRun`] when there is none of this name, or not in this build.
pub(super) fn plant(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    if !PLANTS.iter().any(|plant| plant.name == name) {
        return Err(Failure::CannotRun(format!(
            "there is no bug {name}: `--plant list` names all"
        )));
    }
    set(name)
}

#[cfg(edgebus_plant)]
fn set(name: &str) -> Result<(), Failure> {
    edgebus::plant::set(name).map_err(|before| {
        Failure::CannotRun(format!(
            "bug {before} is planted already, and a process takes one"
        ))
    })
}

#[cfg(not(edgebus_plant))]
fn set(name: &str) -> Result<(), Failure> {
    Err(Failure::CannotRun(format!(
        "bug {name} is not in this build: build with RUSTFLAGS=\"--cfg edgebus_plant\", or run `cargo xtask plants`"
    )))
}

#[cfg(test)]
mod tests {
    use super::PLANTS;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        for (place, plant) in PLANTS.iter().enumerate() {
            assert!(
                PLANTS[place + 1..]
                    .iter()
                    .all(|other| other.name != plant.name)
            );
        }
    }
}
