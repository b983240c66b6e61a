//! Clients on a network that fails by seed, with servers that come and go: what they were told is
//! true, and nothing happens twice. Checked from what each client noted of its own calls, against
//! the log, never against what the library believes.
//!
//! In reading order: [`fixture`] clients, servers that restart, the notes; [`sends`] requests
//! without replies; [`spooling`] those that may wait on the client's disk; [`work`] requests with replies, and workers; [`news`] notifications. Other
//! seeds: `EDGEBUS_CHAOS_SEEDS=100..200`.

mod fixture;
mod news;
mod sends;
mod spooling;
mod work;
