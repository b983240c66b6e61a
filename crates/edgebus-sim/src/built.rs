//! What this program was built of, as `build.rs` found it, so that figures can be tied to code.

use crate::say::out;

macro_rules! version {
    ($more:literal) => {
        concat!(
            env!("CARGO_PKG_VERSION"),
            ", commit ",
            env!("EDGEBUS_SIM_COMMIT"),
            ", ",
            env!("EDGEBUS_SIM_RUSTC"),
            ", ",
            env!("EDGEBUS_SIM_TARGET"),
            ", ",
            env!("EDGEBUS_SIM_PROFILE"),
            $more
        )
    };
}

/// Version, commit, compiler, target and profile. The commit is marked when sources had changes that were not
/// committed, and "unknown" where no repository is.
#[cfg(not(edgebus_plant))]
pub const VERSION: &str = version!("");

/// Version, commit, compiler, target and profile, of a build that breaks its promises on purpose.
#[cfg(edgebus_plant)]
pub const VERSION: &str = version!(", with bugs that can be planted");

/// Prints it, above all figures.
pub fn tell() {
    out!("edgebus-sim {VERSION}");
}
