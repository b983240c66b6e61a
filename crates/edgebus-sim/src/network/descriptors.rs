//! How many files and connections this process, and a server that it starts, may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::processes::Failure;

/// Raises the limit of this process, which children inherit, to at least so many.
///
/// # Errors
/// [`Failure::CannotRun`] when the system does not let it.
pub(super) fn need(wanted: u64) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let hard = limit.maximum;
    let maximum = hard.map(|hard| hard.max(wanted));
    // Beyond the hard limit root may go, up to what the system allows a process.
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        Failure::CannotRun(format!(
            "it takes {wanted} open files, and this process may have {} ({error}): raise the limit (ulimit -Hn {wanted}), \
             or lower --scale",
            hard.map_or_else(|| "fewer".to_owned(), |hard| hard.to_string())
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_any_system_allows_is_refused_with_the_number() {
        need(16).expect("fewer than there are");
        let failure = need(1 << 40).expect_err("no system allows it");
        assert_eq!(failure.status(), 2);
        assert!(failure.to_string().contains("1099511627776"), "{failure}");
    }
}
