//! What a check says: each thing that is wrong, where it is, and what it costs.

use std::fmt;
use std::path::PathBuf;

use edgebus_core::Seq;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// As a crash leaves it, or of no use any more: the store is sound all the same.
    Note,
    /// Bytes that count are not what was written.
    Damage,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, as a stable word: `version`, `segment`, `group`, `torn_tail`, `page`,
    /// `block`, `record`, `id`, `filter`, `reply`, `consumer`, `dead_letter`, `metadata`, `table`, `gap`.
    pub kind: &'static str,
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes, when that is known.
    pub byte: Option<u64>,
    /// The table of `store.redb`, when it is in one.
    pub table: Option<String>,
    /// The key of the row, for people.
    pub key: Option<String>,
    /// What is wrong, for people.
    pub what: String,
    /// What it costs.
    pub lost: Lost,
}

/// What is lost with something that is wrong. Lists are bounded; the numbers are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// First and last sequence number of requests whose content cannot be read.
    pub seqs: Option<(Seq, Seq)>,
    /// Ids that are not known any more, or whose request is lost, as text; at most [`Lost::IDS_MAX`].
    pub ids: Vec<String>,
    /// Sequence number of a reply that cannot be read.
    pub reply: Option<Seq>,
    /// A consumer of which something is not known any more.
    pub consumer: Option<String>,
    /// Number of a dead letter that cannot be read.
    pub dead_letter: Option<u64>,
    /// First and last change of state that cannot be read.
    pub lsns: Option<(u64, u64)>,
}

impl Lost {
    /// Most ids that one finding names.
    pub const IDS_MAX: usize = 1_000;

    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Lost {
    /// Comma-separated; `nothing` when nothing is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.seqs {
            Some((first, last)) if first == last => {
                parts.push(format!("the request with seq {first}"))
            }
            Some((first, last)) => parts.push(format!("the requests with seqs {first} to {last}")),
            None => {}
        }
        if !self.ids.is_empty() {
            const SHOWN: usize = 5;
            let shown = self.ids.iter().take(SHOWN).cloned().collect::<Vec<_>>();
            let rest = match self.ids.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            parts.push(format!("ids {}{rest}", shown.join(", ")));
        }
        if let Some(seq) = self.reply {
            parts.push(format!("the reply to seq {seq}"));
        }
        if let Some(consumer) = &self.consumer {
            parts.push(format!("the state of consumer {consumer}"));
        }
        if let Some(number) = self.dead_letter {
            parts.push(format!("dead letter {number}"));
        }
        match self.lsns {
            Some((first, last)) if first == last => {
                parts.push(format!("the change with lsn {first}"))
            }
            Some((first, last)) => parts.push(format!("the changes with lsns {first} to {last}")),
            None => {}
        }
        match parts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

/// What was looked at, and how much of it is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Journal segments, groups in them, and operations in those.
    pub segments: u64,
    /// See `segments`.
    pub groups: u64,
    /// See `segments`.
    pub operations: u64,
    /// Pages of `store.redb` that are in use.
    pub pages: u64,
    /// Blocks of the log, and requests in them.
    pub blocks: u64,
    /// See `blocks`.
    pub requests: u64,
    /// Rows of ids.
    pub ids: u64,
    /// Stored replies.
    pub replies: u64,
    /// Consumers.
    pub consumers: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Bytes looked at.
    pub bytes: u64,
    /// What is wrong.
    pub damages: u64,
    /// What is worth a word and not wrong.
    pub notes: u64,
}

impl Summary {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damages == 0
    }
}

/// Who is told while a store is looked at, so that nothing has to be kept.
pub trait Watch {
    /// Something is wrong, or worth a word.
    fn found(&mut self, finding: Finding);

    /// So many bytes were looked at, of so many.
    fn progress(&mut self, done: u64, all: u64) {
        let _ = (done, all);
    }

    /// These bytes of a file count, for what. For tools that damage stores on purpose.
    #[doc(hidden)]
    fn in_use(&mut self, file: &std::path::Path, at: u64, bytes: u64, what: &str) {
        let _ = (file, at, bytes, what);
    }
}

impl Watch for Vec<Finding> {
    fn found(&mut self, finding: Finding) {
        self.push(finding);
    }
}
