//! Bugs on purpose, to see whether the simulator finds them.
//!
//! [`planted!`](crate::planted) is `false`, and nothing else, unless the whole program is compiled with
//! `--cfg edgebus_plant`; then it is true for the one bug that `set` named. Only product code asks;
//! whoever checks a history knows no names.

#[cfg(edgebus_plant)]
use std::sync::OnceLock;

#[cfg(edgebus_plant)]
static PLANTED: OnceLock<String> = OnceLock::new();

/// Plants a bug for the rest of this process.
///
/// # Errors
/// The one that was planted before.
#[cfg(edgebus_plant)]
pub fn set(name: &str) -> Result<(), String> {
    PLANTED.set(name.to_owned()).map_err(|_| {
        let before = PLANTED.get().map_or("", String::as_str);
        before.to_owned()
    })
}

/// Whether this is the bug that was planted.
#[cfg(edgebus_plant)]
pub fn is(name: &str) -> bool {
    PLANTED.get().is_some_and(|planted| planted == name)
}

/// Whether a bug of this name is planted; never, unless compiled with `--cfg edgebus_plant`.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(edgebus_plant)]
        let planted = $crate::plant::is($name);
        #[cfg(not(edgebus_plant))]
        let planted = false;
        planted
    }};
}
