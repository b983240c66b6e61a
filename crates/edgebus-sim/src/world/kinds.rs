//! Everything that goes wrong in a world, by name.

use std::fmt;

use crate::history::{Event, Recorder};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// Something that goes wrong, or that happens to machines and processes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    /// The server's machine loses its power while it runs.
    PowerCut = "power cut, server running";
    /// The same while the store is made, opened or recovered.
    PowerCutOpening = "power cut, store being opened";
    /// A machine with a spool loses its power.
    PowerCutClient = "power cut, spooling client";
    /// The server's process is killed at a call.
    Kill = "kill of the server";
    /// A client's process is killed, with what it holds.
    KillClient = "kill of a client";
    /// A call of the server's fails, and all that follow.
    IoError = "I/O error of the server";
    /// A write of the server's ends in the middle.
    ShortWrite = "short write of the server";
    /// A call of a spool's fails.
    IoErrorClient = "I/O error of a spool";
    /// The server's disk is full for a while.
    DiskFull = "disk full";
    /// The server is shut down in order and starts again.
    Shutdown = "shutdown and restart";
    /// A connection is cut.
    Cut = "connection cut";
    /// A connection carries nothing any more, and nobody is told.
    Silence = "connection half open";
    /// A connection carries nothing for a while.
    Stall = "connection stalled";
    /// A bit that was sent is another one when it arrives.
    Flip = "bit flipped on the way";
    /// Nobody listens.
    NoConnection = "connection refused";
    /// Nobody answers.
    NoAnswer = "connection not answered";
    /// The wall clock jumps forwards.
    ClockForwards = "clock jumps forwards";
    /// The wall clock jumps backwards.
    ClockBackwards = "clock jumps backwards";
    /// The wall clock stands still.
    ClockFrozen = "clock stands still";
    /// The wall clock shows 1970.
    Clock1970 = "clock shows 1970";
    /// A worker hangs longer than its lease lasts.
    Hang = "worker hangs past its lease";
    /// A write that was not synced is lost in part.
    Torn = "write torn";
    /// A write that was not synced is lost.
    Dropped = "write dropped";
    /// A change of names that was not synced is lost.
    NameDropped = "name dropped";
}

impl FaultKind {
    /// What a wall clock does.
    pub(super) const CLOCKS: [Self; 4] = [
        Self::ClockForwards,
        Self::ClockBackwards,
        Self::ClockFrozen,
        Self::Clock1970,
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Notes that something goes wrong, and where.
pub(crate) fn fault(recorder: &Recorder, kind: FaultKind, what: impl fmt::Display) {
    recorder.note(Event::Fault {
        kind: kind.name(),
        what: what.to_string().into(),
    });
}
