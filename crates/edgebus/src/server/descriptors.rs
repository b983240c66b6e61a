//! File descriptors: connections and the store draw from one limit of the process.
//!
//! A store that cannot open its next journal segment stops for good, so connections must leave
//! some over. The usual limit of 1,024 is raised as far as the system lets any process do so.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left to the store and to everything else in the process, those that are told that
/// there is no place for them included.
const LEFT_OVER: u64 = 256;
/// As many are asked of the system to be left over: a journal of many files has them all open.
const SPARE: u64 = 8192;

/// Makes room for that many connections; says how many there may be.
pub(super) fn make_room_for(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (connections as u64).saturating_add(SPARE);
    let Some(raised) = raise(limit, wanted) else {
        return allowed(connections, limit.current);
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    let allowed = allowed(connections, limit.current);
    if allowed < connections {
        tracing::warn!(
            "the limit for open files allows {allowed} connections instead of {connections}: raise it (ulimit -n)"
        );
    }
    allowed
}

/// The limit to ask for; `None` when the one there is will do.
fn raise(limit: Rlimit, wanted: u64) -> Option<Rlimit> {
    let current = limit.current?;
    (current < wanted).then(|| Rlimit {
        current: Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted))),
        maximum: limit.maximum,
    })
}

/// How many connections a limit leaves room for; never none.
fn allowed(connections: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else {
        return connections;
    };
    let room = limit.saturating_sub(LEFT_OVER).max(1);
    connections.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(current: u64, maximum: Option<u64>) -> Rlimit {
        Rlimit {
            current: Some(current),
            maximum,
        }
    }

    #[test]
    fn limit_is_raised_only_when_it_is_too_low_and_only_as_far_as_allowed() {
        assert!(raise(limit(4096, Some(4096)), 1152).is_none());
        let raised = raise(limit(1024, Some(524_288)), 1152).expect("too low");
        assert_eq!(
            (raised.current, raised.maximum),
            (Some(1152), Some(524_288))
        );
        let raised = raise(limit(1024, Some(1100)), 1152).expect("too low");
        assert_eq!(raised.current, Some(1100));
    }

    #[test]
    fn connections_leave_files_for_the_store() {
        assert_eq!(allowed(1024, Some(1024)), 1024 - LEFT_OVER as usize);
        assert_eq!(allowed(1024, Some(4096)), 1024);
        assert_eq!(allowed(1024, None), 1024);
        assert_eq!(allowed(1024, Some(3)), 1);
    }
}
