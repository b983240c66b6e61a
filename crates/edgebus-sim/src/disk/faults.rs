//! What a test orders to go wrong, and at which call.
//!
//! Only calls that change something are counted ([`Op`]). Invariant: a fault changes nothing by
//! itself; the state asks before each such call and acts on the [`Verdict`].

use std::io;

/// A call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write,
    Sync,
    SyncDir,
    Create,
    Rename,
    Remove,
    Allocate,
    SetLen,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// With this error and without effect, except that a failed sync forgets which bytes it did
    /// not write.
    Error(io::ErrorKind),
    /// With this error, after a part of the bytes if it is a write; as [`Fault::Error`] if not.
    ShortWrite(io::ErrorKind),
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        let (Self::Error(kind) | Self::ShortWrite(kind)) = self;
        io::Error::new(kind, "simulated fault")
    }
}

/// How often a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Times {
    /// That call only.
    Once,
    /// That call and every later one.
    Sticky,
}

/// How many calls of each kind there were, since the disk was made; failed ones count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Writes of bytes.
    pub writes: u64,
    /// Syncs of a file.
    pub syncs: u64,
    /// Syncs of a folder.
    pub dir_syncs: u64,
    /// Files and folders created, files emptied on opening.
    pub creates: u64,
    /// Renames.
    pub renames: u64,
    /// Removals.
    pub removes: u64,
    /// Allocations.
    pub allocates: u64,
    /// Changes of a length.
    pub set_lens: u64,
    /// Calls that a [`Fault`] hit.
    pub faults: u64,
    /// Syncs of files and folders among them.
    pub failed_syncs: u64,
    /// Power cuts carried out.
    pub power_cuts: u64,
    /// Writes of which only some sectors survived a power cut or failed sync.
    pub torn: u64,
    /// Writes and length changes of which nothing survived one.
    pub dropped: u64,
    /// Blocks that were being written to, and hold anything after a power cut.
    pub shredded: u64,
    /// Changes of names that did not survive a power cut.
    pub names_dropped: u64,
}

impl Counts {
    /// Calls that changed something: what [`SimDisk::cut_after_ops`](super::SimDisk::cut_after_ops)
    /// counts.
    pub fn ops(&self) -> u64 {
        self.writes
            + self.syncs
            + self.dir_syncs
            + self.creates
            + self.renames
            + self.removes
            + self.allocates
            + self.set_lens
    }

    /// Adds what was done to another disk.
    pub fn add_all(&mut self, other: &Self) {
        self.writes += other.writes;
        self.syncs += other.syncs;
        self.dir_syncs += other.dir_syncs;
        self.creates += other.creates;
        self.renames += other.renames;
        self.removes += other.removes;
        self.allocates += other.allocates;
        self.set_lens += other.set_lens;
        self.faults += other.faults;
        self.failed_syncs += other.failed_syncs;
        self.power_cuts += other.power_cuts;
        self.torn += other.torn;
        self.dropped += other.dropped;
        self.shredded += other.shredded;
        self.names_dropped += other.names_dropped;
    }

    pub(super) fn add(&mut self, op: Op) {
        *match op {
            Op::Write => &mut self.writes,
            Op::Sync => &mut self.syncs,
            Op::SyncDir => &mut self.dir_syncs,
            Op::Create => &mut self.creates,
            Op::Rename => &mut self.renames,
            Op::Remove => &mut self.removes,
            Op::Allocate => &mut self.allocates,
            Op::SetLen => &mut self.set_lens,
        } += 1;
    }
}

/// What is to happen to a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Go,
    /// The power goes during it.
    Cut,
    Fail(Fault),
}

/// What is ordered.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    /// Calls until the power goes, that one included; never 0.
    cut_in: Option<u64>,
    fault: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    /// Calls until it strikes, that one included.
    strikes_in: u64,
    fault: Fault,
    times: Times,
}

impl FaultPlan {
    pub(super) fn cut_in(&mut self, ops: u64) {
        self.cut_in = Some(ops);
    }

    pub(super) fn fail_in(&mut self, ops: u64, fault: Fault, times: Times) {
        let strikes_in = ops.max(1);
        self.fault = Some(Armed {
            strikes_in,
            fault,
            times,
        });
    }

    /// Counts a call and says what is to happen to it.
    pub(super) fn next(&mut self) -> Verdict {
        if let Some(left) = &mut self.cut_in {
            *left -= 1;
            if *left == 0 {
                *self = Self::default();
                return Verdict::Cut;
            }
        }
        let Some(armed) = &mut self.fault else {
            return Verdict::Go;
        };
        if armed.strikes_in > 1 {
            armed.strikes_in -= 1;
            return Verdict::Go;
        }
        let fault = armed.fault;
        if armed.times == Times::Once {
            self.fault = None;
        }
        Verdict::Fail(fault)
    }
}
