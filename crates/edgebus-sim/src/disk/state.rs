//! The disk itself: files, folders, power, room, and the order of events at each call.
//!
//! Called by the handles, which hold its mutex for the length of one call. Invariant: a call that
//! changes something first asks [`State::begin`], so that it is counted and a fault can strike;
//! without power nothing changes at all.

use std::collections::BTreeMap;
use std::io;

use super::crash::{Change, Odds};
use super::faults::{Counts, Fault, FaultPlan, Op, Verdict};
use super::folder::{Folder, FolderId, InodeId, NameOdds, Node};
use super::inode::{HandleId, Inode};
use crate::rng::SimRng;

/// Room on a disk nobody limited: 1 PiB, so that sums with it do not overflow.
const CAPACITY_BYTES: u64 = 1 << 50;

/// Whether the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
}

/// Everything on the disk.
pub(super) struct State {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) folders: BTreeMap<FolderId, Folder>,
    next_id: u64,
    /// How often the power came back; handles of an earlier boot are dead.
    pub(super) boot: u64,
    pub(super) power: Power,
    pub(super) faults: FaultPlan,
    pub(super) counts: Counts,
    pub(super) capacity_bytes: u64,
    /// Decides what a failed sync loses and where a short write ends.
    rng: SimRng,
}

/// The error of every call on a machine without power, and on a handle from before.
pub(super) fn power_is_off() -> io::Error {
    io::Error::other("power is off")
}

impl State {
    pub(super) const ROOT: FolderId = FolderId(0);

    pub(super) fn new(seed: u64) -> Self {
        Self {
            inodes: BTreeMap::new(),
            folders: BTreeMap::from([(Self::ROOT, Folder::default())]),
            next_id: 1,
            boot: 0,
            power: Power::On,
            faults: FaultPlan::default(),
            counts: Counts::default(),
            capacity_bytes: CAPACITY_BYTES,
            rng: SimRng::seeded(seed),
        }
    }

    /// Fails without power, and for what was opened before the power last went.
    pub(super) fn check_power(&self, boot: u64) -> io::Result<()> {
        match self.power {
            Power::On if boot == self.boot => Ok(()),
            Power::On | Power::Off => Err(power_is_off()),
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Counts a call and asks what is to happen to it.
    fn begin(&mut self, op: Op) -> Verdict {
        self.counts.add(op);
        let verdict = self.faults.next();
        match verdict {
            Verdict::Go => {}
            Verdict::Cut => self.power = Power::Off,
            Verdict::Fail(_) => {
                self.counts.faults += 1;
                self.counts.failed_syncs += u64::from(matches!(op, Op::Sync | Op::SyncDir));
            }
        }
        verdict
    }

    /// Makes a change that a power cut during it may or may not undo.
    pub(super) fn mutate<T>(
        &mut self,
        op: Op,
        apply: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.begin(op) {
            Verdict::Go => apply(self),
            Verdict::Cut => apply(self).and(Err(power_is_off())),
            Verdict::Fail(fault) => Err(fault.error()),
        }
    }

    /// A file that is open, so that it exists.
    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes
            .get_mut(&id)
            .expect("an open file is kept until the power goes")
    }

    /// Writes as much as a fault and the room on the disk allow.
    pub(super) fn write(&mut self, id: InodeId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (limit, result) = match self.begin(Op::Write) {
            Verdict::Go => (bytes.len(), Ok(())),
            Verdict::Cut => (bytes.len(), Err(power_is_off())),
            Verdict::Fail(fault @ Fault::ShortWrite(_)) if !bytes.is_empty() => (
                self.rng.below(bytes.len() as u64) as usize,
                Err(fault.error()),
            ),
            Verdict::Fail(fault) => (0, Err(fault.error())),
        };
        let end_max = self.inode(id).len().saturating_add(self.free_bytes());
        let fitting = end.min(end_max).saturating_sub(offset) as usize;
        let written = &bytes[..limit.min(fitting)];
        if !written.is_empty() {
            let bytes = written.to_vec();
            self.inode(id).change(Change::Write { offset, bytes });
        }
        result?;
        if written.len() < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// Makes a file's content durable; a failure leaves it to chance and forgets the rest.
    pub(super) fn sync(&mut self, id: InodeId) -> io::Result<()> {
        match self.begin(Op::Sync) {
            Verdict::Go => {
                self.inode(id).sync();
                Ok(())
            }
            Verdict::Cut => Err(power_is_off()),
            Verdict::Fail(fault) => {
                let odds = Odds::draw(&mut self.rng);
                let mut rng = self.rng.fork();
                let losses = self.inode(id).fail_sync(odds, &mut rng);
                self.counts.torn += losses.torn;
                self.counts.dropped += losses.dropped;
                Err(fault.error())
            }
        }
    }

    /// Makes a folder's names durable; after a failure they stay as unsure as they were.
    pub(super) fn sync_dir(&mut self, id: FolderId) -> io::Result<()> {
        match self.begin(Op::SyncDir) {
            Verdict::Go => {
                self.folder(id).sync();
                self.forget_unreachable();
                Ok(())
            }
            Verdict::Cut => Err(power_is_off()),
            Verdict::Fail(fault) => Err(fault.error()),
        }
    }

    /// Changes a length, within the room on the disk.
    pub(super) fn change_len(&mut self, id: InodeId, op: Op, len: u64) -> io::Result<()> {
        self.mutate(op, |state| {
            if len.saturating_sub(state.inode(id).len()) > state.free_bytes() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let change = if op == Op::Allocate {
                Change::Extend(len)
            } else {
                Change::SetLen(len)
            };
            state.inode(id).change(change);
            Ok(())
        })
    }

    /// Room left: every byte of a file's length counts, written or not; a removed file's count
    /// until it is closed.
    pub(super) fn free_bytes(&self) -> u64 {
        let kept = self
            .inodes
            .values()
            .filter(|inode| inode.linked || inode.handles > 0);
        let used = kept.map(Inode::len).fold(0, u64::saturating_add);
        self.capacity_bytes.saturating_sub(used)
    }

    /// A handle is gone, and its lock with it.
    pub(super) fn close(&mut self, id: InodeId, handle: HandleId) {
        let inode = self.inode(id);
        inode.handles -= 1;
        if inode.lock == Some(handle) {
            inode.lock = None;
        }
        if inode.handles == 0 && !inode.linked {
            self.forget_unreachable();
        }
    }

    /// Makes everything durable, as if long ago.
    pub(super) fn sync_all(&mut self) {
        self.inodes.values_mut().for_each(Inode::sync);
        self.folders.values_mut().for_each(Folder::sync);
        self.forget_unreachable();
    }

    /// Cuts the power if it is still on, lets chance decide what survives, and starts again.
    pub(super) fn power_cut(&mut self, rng: &mut SimRng) {
        let name_odds = NameOdds::draw(rng);
        for folder in self.folders.values_mut() {
            self.counts.names_dropped += folder.power_cut(name_odds, rng);
        }
        let odds = Odds::draw(rng);
        for inode in self.inodes.values_mut() {
            let losses = inode.power_cut(odds, rng);
            self.counts.torn += losses.torn;
            self.counts.dropped += losses.dropped;
            self.counts.shredded += losses.shredded;
            inode.linked = false;
        }
        for node in self.folders.values().flat_map(Folder::seen) {
            if let Node::File(id) = node
                && let Some(inode) = self.inodes.get_mut(&id)
            {
                inode.linked = true;
            }
        }
        self.counts.power_cuts += 1;
        self.faults = FaultPlan::default();
        self.boot += 1;
        self.power = Power::On;
        self.forget_unreachable();
    }

    pub(super) fn folder(&mut self, id: FolderId) -> &mut Folder {
        self.folders
            .get_mut(&id)
            .expect("a folder is kept while a name leads to it")
    }

    /// Drops what no name leads to, now or after any power cut, and nobody has open.
    fn forget_unreachable(&mut self) {
        let mut folders = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        let mut ahead = vec![Self::ROOT];
        while let Some(id) = ahead.pop() {
            let Some(folder) = self.folders.remove(&id) else {
                continue;
            };
            for node in folder.reachable() {
                match node {
                    Node::Folder(id) => ahead.push(id),
                    Node::File(id) => inodes.extend(self.inodes.remove_entry(&id)),
                }
            }
            folders.insert(id, folder);
        }
        let open = std::mem::take(&mut self.inodes).into_iter();
        inodes.extend(open.filter(|(_, inode)| inode.handles > 0));
        self.inodes = inodes;
        self.folders = folders;
    }
}
