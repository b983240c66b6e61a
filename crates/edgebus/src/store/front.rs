//! The oldest blocks of the log: what retention has to know, without asking the disk.
//!
//! The sealer keeps it: it reads ahead a piece at a time, adds what it seals, and takes away what
//! it removes. The writer asks it up to where the log is too old, too large or too long.
//!
//! Invariant: the blocks follow each other without a gap, from the oldest in the tables on.

use std::collections::VecDeque;

use edgebus_core::Seq;

use super::block::Block;

/// Blocks known at least, if there are as many; doubled whenever retention could have used more.
const WANTED_MIN: usize = 256;
/// Most blocks known: 2 MiB of memory.
const WANTED_MAX: usize = 64 * 1024;
/// Blocks read at a time.
const READ_AHEAD: usize = 256;

/// One block, as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockInfo {
    last_seq: Seq,
    /// Store time of its last request, milliseconds; `None` when the block is damaged: it goes when
    /// a later one does.
    store_ms: Option<u64>,
    bytes: u64,
}

impl BlockInfo {
    /// Of a row of the log. `untimed_ms` is for a block that does not say.
    pub(super) fn of(key: u64, row: &[u8], untimed_ms: u64) -> Self {
        let block = Block::parse(key, row).ok();
        Self {
            last_seq: Seq(key),
            store_ms: block.map(|block| block.store_time_ms().unwrap_or(untimed_ms)),
            bytes: row.len() as u64,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct LogFront {
    blocks: VecDeque<BlockInfo>,
    /// Whether these are all blocks of the tables.
    complete: bool,
    wanted: usize,
}

impl Default for LogFront {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            complete: false,
            wanted: WANTED_MIN,
        }
    }
}

/// How much is too much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Requests stored at this store time or before are too old; `None`: none is.
    pub(super) stored_ms: Option<u64>,
    /// Requests up to this one are too many.
    pub(super) last_seq: Seq,
    /// Bytes of blocks and replies beyond the limit, those counted that are being removed.
    pub(super) bytes: u64,
    /// Bytes of the blocks alone, and with the replies: what a block takes with it.
    pub(super) log_bytes: u64,
    pub(super) all_bytes: u64,
}

impl LogFront {
    /// Where to read on, and how many blocks; `None` when enough are known.
    pub(super) fn wants(&self, first: Seq) -> Option<(Seq, usize)> {
        let enough = self.complete || self.blocks.len() >= self.wanted;
        let last = self.blocks.back().map(|block| block.last_seq);
        // A block is known by its last request, so the oldest one is behind the one before `first`.
        let after = last.unwrap_or(Seq(first.0.saturating_sub(1)));
        (!enough).then_some((after, READ_AHEAD))
    }

    /// Takes in what was read; fewer than asked for means that there are no more.
    pub(super) fn read(&mut self, blocks: Vec<BlockInfo>, asked: usize) {
        self.complete = blocks.len() < asked;
        self.blocks.extend(blocks);
    }

    /// What cannot be read is not asked for again.
    pub(super) fn give_up(&mut self) {
        self.wanted = 0;
    }

    /// Takes in what was sealed.
    pub(super) fn sealed(&mut self, blocks: impl IntoIterator<Item = BlockInfo>) {
        for block in blocks {
            self.complete &= self.blocks.len() < WANTED_MAX;
            if self.complete {
                self.blocks.push_back(block);
            }
        }
    }

    /// Takes away what was removed from the tables, up to a sequence number.
    pub(super) fn removed(&mut self, last: Seq) {
        while self
            .blocks
            .front()
            .is_some_and(|block| block.last_seq <= last)
        {
            self.blocks.pop_front();
        }
    }

    /// Bytes of blocks that go already, as nothing before `first` is kept.
    pub(super) fn going_bytes(&self, first: Seq) -> u64 {
        let going = self
            .blocks
            .iter()
            .take_while(|block| block.last_seq < first);
        going.map(|block| block.bytes).sum()
    }

    /// The first sequence number to keep when whole blocks that break a bound go, and none that
    /// need not.
    pub(super) fn floor(&mut self, first: Seq, bounds: &Bounds) -> Option<Seq> {
        let mut floor = None;
        let mut freed = 0;
        let share = bounds.all_bytes as f64 / bounds.log_bytes.max(1) as f64;
        let mut blocks = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            let too_old = match (block.store_ms, bounds.stored_ms) {
                (Some(stored), Some(bound)) => stored <= bound,
                _ => false,
            };
            let too_many = block.last_seq <= bounds.last_seq;
            let too_large = freed < bounds.bytes;
            freed += (block.bytes as f64 * share) as u64;
            if too_old || too_many || too_large {
                floor = Some(block.last_seq.next());
                blocks = index + 1;
            }
        }
        if blocks == self.blocks.len() && !self.complete && self.wanted > 0 {
            self.wanted = (self.wanted * 2).min(WANTED_MAX);
        }
        floor.filter(|floor| *floor > first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(last_seq: u64, store_ms: Option<u64>, bytes: u64) -> BlockInfo {
        BlockInfo {
            last_seq: Seq(last_seq),
            store_ms,
            bytes,
        }
    }

    fn front() -> LogFront {
        let mut front = LogFront::default();
        let blocks = vec![
            block(10, Some(100), 50),
            block(20, None, 50),
            block(30, Some(300), 50),
            block(40, Some(400), 50),
        ];
        assert_eq!(front.wants(Seq(1)), Some((Seq(0), READ_AHEAD)));
        front.read(blocks, READ_AHEAD);
        assert_eq!(front.wants(Seq(1)), None);
        front
    }

    const KEPT: Bounds = Bounds {
        stored_ms: None,
        last_seq: Seq(0),
        bytes: 0,
        log_bytes: 200,
        all_bytes: 200,
    };

    #[test]
    fn whole_blocks_that_break_a_bound_go_and_no_others() {
        let floor = |bounds: Bounds| front().floor(Seq(1), &bounds).map(|seq| seq.0);
        assert_eq!(floor(KEPT), None);
        let age = |ms| Bounds {
            stored_ms: Some(ms),
            ..KEPT
        };
        assert_eq!(floor(age(99)), None);
        assert_eq!(floor(age(100)), Some(11));
        assert_eq!(
            floor(age(299)),
            Some(11),
            "a damaged block goes with a later one"
        );
        assert_eq!(floor(age(300)), Some(31));
        let count = |last| Bounds {
            last_seq: Seq(last),
            ..KEPT
        };
        assert_eq!(floor(count(9)), None);
        assert_eq!(floor(count(29)), Some(21));
        let size = |bytes| Bounds { bytes, ..KEPT };
        assert_eq!(floor(size(1)), Some(11));
        assert_eq!(floor(size(50)), Some(11));
        assert_eq!(floor(size(51)), Some(21));
        let with_replies = |bytes| Bounds {
            bytes,
            all_bytes: 400,
            ..KEPT
        };
        assert_eq!(
            floor(with_replies(100)),
            Some(11),
            "its replies go with a block"
        );
    }

    #[test]
    fn what_goes_already_is_not_asked_for_again() {
        let mut front = front();
        assert_eq!(front.going_bytes(Seq(21)), 100);
        let bounds = Bounds { bytes: 100, ..KEPT };
        assert_eq!(front.floor(Seq(21), &bounds), None);
        front.removed(Seq(20));
        assert_eq!(front.going_bytes(Seq(21)), 0);
        front.sealed([block(50, Some(500), 50)]);
        let bounds = Bounds { bytes: 101, ..KEPT };
        assert_eq!(front.floor(Seq(21), &bounds), Some(Seq(51)));
    }
}
