//! Decoders under bytes that nobody meant: one function from bytes a target, for three runners:
//! `edgebus-sim fuzz`, the tests of this crate, and libFuzzer (`fuzz/` at the root).
//!
//! In reading order: [`mend`] checksums put right, so that the bytes behind them are looked at;
//! [`wire`], [`session`], [`journal`], [`rows`], [`ledger`], [`backup`], [`text`], [`topics`] the targets;
//! [`seeds`] what a real encoder writes for each; [`corpus`] the files that are kept; [`mutate`] and
//! [`run`] the runner on stable Rust; [`command`] its command.
//!
//! Invariants: a target panics when a promise is broken and in no other case; it reads nothing but
//! its bytes, so that an input which broke something breaks it again.

mod backup;
pub mod command;
pub mod corpus;
mod journal;
mod ledger;
mod mend;
pub mod mutate;
mod rows;
pub mod run;
mod seeds;
mod session;
mod text;
mod topics;
mod wire;

/// Something that reads bytes, and what to give it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As it is named on the command line and in the corpus.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// What real encoders write, each under a name.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// Every target there is.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frames",
        run: wire::frames,
        seeds: seeds::frames,
    },
    Target {
        name: "server",
        run: session::server,
        seeds: seeds::client_says,
    },
    Target {
        name: "client",
        run: session::client,
        seeds: seeds::server_says,
    },
    Target {
        name: "journal",
        run: journal::journal,
        seeds: seeds::journal,
    },
    Target {
        name: "blocks",
        run: rows::blocks,
        seeds: seeds::blocks,
    },
    Target {
        name: "records",
        run: rows::records,
        seeds: seeds::records,
    },
    Target {
        name: "entries",
        run: rows::entries,
        seeds: seeds::entries,
    },
    Target {
        name: "ops",
        run: rows::ops,
        seeds: seeds::ops,
    },
    Target {
        name: "ledgers",
        run: ledger::ledgers,
        seeds: seeds::ledgers,
    },
    Target {
        name: "backups",
        run: backup::backups,
        seeds: seeds::backups,
    },
    Target {
        name: "rights",
        run: text::rights,
        seeds: seeds::rights,
    },
    Target {
        name: "config",
        run: text::config,
        seeds: seeds::config,
    },
    Target {
        name: "topics",
        run: topics::topics,
        seeds: seeds::topics,
    },
];

/// The target of a name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Gives bytes to the target of a name.
///
/// # Panics
/// When a promise is broken, or no target is called that.
pub fn give(name: &str, data: &[u8]) {
    let target = named(name).expect("a target is called that");
    (target.run)(data);
}
