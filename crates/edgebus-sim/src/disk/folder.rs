//! The names in one folder: which survive a power cut, which are seen, and the changes between.
//!
//! Used by the disk's state. A rename is one step and survives whole or not at all; what survives
//! of several changes is either the first so many, as on a journaling file system, or any choice
//! of them that makes sense (no file appears under two names, no rename of what is not there).

use std::collections::BTreeMap;

use crate::rng::SimRng;

/// A file's identity, which a rename does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(pub(super) u64);

/// A folder's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FolderId(pub(super) u64);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(InodeId),
    Folder(FolderId),
}

/// Names and what they stand for.
type Names = BTreeMap<String, Node>;

/// A folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    durable: Names,
    seen: Names,
    pending: Vec<NameChange>,
}

impl Folder {
    pub(super) fn get(&self, name: &str) -> Option<Node> {
        self.seen.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.seen.keys()
    }

    /// What is seen under some name.
    pub(super) fn seen(&self) -> impl Iterator<Item = Node> {
        self.seen.values().copied()
    }

    /// Everything a name stands for now, or may stand for after a power cut.
    pub(super) fn reachable(&self) -> impl Iterator<Item = Node> {
        let pending = self.pending.iter().map(NameChange::node);
        self.durable
            .values()
            .copied()
            .chain(self.seen())
            .chain(pending)
    }

    /// Gives a new file or folder its name, which must be free.
    pub(super) fn link(&mut self, name: &str, node: Node) {
        self.change(NameChange::Link {
            name: name.to_owned(),
            node,
        });
    }

    /// Gives another name, taking it from what had it.
    pub(super) fn rename(&mut self, from: &str, to: &str, node: Node) {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(NameChange::Rename { from, to, node });
    }

    /// Takes a name away.
    pub(super) fn unlink(&mut self, name: &str, node: Node) {
        self.change(NameChange::Unlink {
            name: name.to_owned(),
            node,
        });
    }

    fn change(&mut self, change: NameChange) {
        let done = change.apply(&mut self.seen);
        assert!(done, "a name changed that was looked up before: {change:?}");
        self.pending.push(change);
    }

    /// Makes all changes durable.
    pub(super) fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.seen);
    }

    /// What is left when the power comes back, and how many changes are lost.
    pub(super) fn power_cut(&mut self, odds: NameOdds, rng: &mut SimRng) -> u64 {
        let first = rng.below(self.pending.len() as u64 + 1);
        let mut lost = 0;
        for (index, change) in (0..).zip(self.pending.drain(..)) {
            let survives = match odds {
                NameOdds::None => false,
                NameOdds::All => true,
                NameOdds::First => index < first,
                NameOdds::Each(survival) => rng.chance(survival),
            };
            if !(survives && change.apply(&mut self.durable)) {
                lost += 1;
            }
        }
        self.seen.clone_from(&self.durable);
        lost
    }
}

/// An unsynced change of names.
#[derive(Debug)]
enum NameChange {
    Link {
        name: String,
        node: Node,
    },
    Rename {
        from: String,
        to: String,
        node: Node,
    },
    Unlink {
        name: String,
        node: Node,
    },
}

impl NameChange {
    fn node(&self) -> Node {
        match self {
            Self::Link { node, .. } | Self::Rename { node, .. } | Self::Unlink { node, .. } => {
                *node
            }
        }
    }

    /// Does it and says so, or leaves the names alone when it makes no sense there because an
    /// earlier change was lost.
    fn apply(&self, names: &mut Names) -> bool {
        match self {
            Self::Link { name, node } => {
                let is_free = !names.contains_key(name);
                if is_free {
                    names.insert(name.clone(), *node);
                }
                is_free
            }
            Self::Rename { from, to, node } => {
                let is_there = names.get(from) == Some(node);
                if is_there {
                    names.remove(from);
                    names.insert(to.clone(), *node);
                }
                is_there
            }
            Self::Unlink { name, node } => {
                let is_there = names.get(name) == Some(node);
                if is_there {
                    names.remove(name);
                }
                is_there
            }
        }
    }
}

/// How changes of names fare in one power cut, in every folder.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameOdds {
    None,
    All,
    /// The first so many of a folder, drawn for each.
    First,
    /// Each on its own with this probability.
    Each(f64),
}

impl NameOdds {
    pub(super) fn draw(rng: &mut SimRng) -> Self {
        let each = Self::Each(rng.fraction());
        *rng.pick(&[
            Self::None,
            Self::All,
            Self::First,
            Self::First,
            Self::First,
            each,
        ])
    }
}
