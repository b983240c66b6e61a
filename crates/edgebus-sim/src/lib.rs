//! What edgebus runs on when a test decides what goes wrong: a disk, a clock and chance, all
//! repeatable from one seed.
//!
//! In reading order:
//! - [`say`]: what is printed; [`sizes`]: what may be typed; [`built`]: what this was built of
//! - [`rng`]: randomness from a seed
//! - [`clock`]: time that moves when told to
//! - [`disk`]: files that lose what was not synced, tear what was being written, and fail on
//!   request
//! - [`history`]: what happened in a run, as those saw it who asked, worked and looked
//! - [`checker`]: whether that keeps the contract
//! - [`flips`]: bits that turn over in a whole store
//! - [`world`]: the real server and its clients on all that, from a seed; [`mod@run`]: many seeds
//! - [`processes`]: the real binary on the real machine, killed, starved and let down by its disk
//! - [`network`]: the real binary under floods of connections, and while its certificates change
//! - [`fuzz`]: bytes that nobody meant, for every decoder
//!
//! Architecture invariant: but for [`processes`] and [`network`], which are real, nothing here reads the machine's clock, its randomness or its file
//! system, and nothing iterates over a hash map. A run that cannot be repeated from its seed is
//! worth nothing.

mod say;

pub mod built;

mod sizes;

pub mod rng;

pub mod clock;

pub mod disk;

pub mod history;

pub mod checker;

pub mod flips;

pub mod world;

pub mod run;

pub mod processes;

pub mod network;

pub mod fuzz;

pub use clock::SimClock;
pub use disk::{Counts, Fault, SimDisk, Times};
pub use rng::SimRng;
