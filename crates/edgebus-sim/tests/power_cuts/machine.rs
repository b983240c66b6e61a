//! A machine with one store on its disk: what it does, and what it was told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use edgebus::consumer::ConsumerOp;
use edgebus::store::{SealStep, Sealer, StageError};
use edgebus::{Code, Record, RequestStore, Scope, Seq, StoreConfig, StoreError};
use edgebus_sim::{SimClock, SimDisk, SimRng};

use crate::model::{CONSUMERS, Change, Model, Request, name};
use crate::process::Process;

pub(crate) const DIR: &str = "/srv/edgebus/data";

/// A store that seals, recycles segments and begins new tables of ids every few requests.
pub(crate) fn small_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 160 * 1024;
    config.record.payload_bytes_max = 4 * 1024;
    config.seal_bytes = 12 * 1024;
    config.seal_journal_bytes = 64 * 1024;
    config.seal_after = Duration::from_secs(5);
    config.disk_free_bytes_min = 0;
    config.cache_bytes = 1024 * 1024;
    config.ids_per_generation = 40;
    config.dedupe_horizon = Duration::from_secs(10);
    config
}

/// Runs a test for seeds 0 to `count`, or as many as `EDGEBUS_SEEDS` says, or for the one in
/// `EDGEBUS_SEED`, on all processors. Returns what they met, added up.
pub(crate) fn for_seeds(test: &str, count: u64, run: impl Fn(u64) -> Met + Sync) -> Met {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect(name))
    };
    let seeds = match (number("EDGEBUS_SEED"), number("EDGEBUS_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count_wanted) => 0..count_wanted.unwrap_or(count),
    };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut met = Met::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return met;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(more) => met.add(&more),
                Err(panic) => {
                    eprintln!(
                        "seed {seed} failed; again: EDGEBUS_SEED={seed} cargo test -p edgebus-sim --test power_cuts {test}"
                    );
                    resume_unwind(panic);
                }
            }
        }
    };
    let threads = available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut met = Met::default();
        for thread in threads {
            met.add(&thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        met
    })
}

/// What a run met: one that never met a tear proves nothing about tears.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    /// Starts that found a torn group.
    pub(crate) torn_tails: u64,
    /// Starts at which what was unsure was there, and was not.
    pub(crate) unsure_kept: u64,
    pub(crate) unsure_lost: u64,
    /// Starts that failed.
    pub(crate) failed_starts: u64,
    /// Requests acknowledged.
    pub(crate) acked: u64,
    /// Overlays sealed.
    pub(crate) seals: u64,
    /// Refusals for want of room.
    pub(crate) refused_full: u64,
    /// Steps of the sealer that found the disk full.
    pub(crate) sealer_full: u64,
    /// Replies, dead letters and trims that were acknowledged.
    pub(crate) replies: u64,
    pub(crate) letters: u64,
    pub(crate) trims: u64,
}

impl Met {
    fn add(&mut self, more: &Self) {
        self.torn_tails += more.torn_tails;
        self.unsure_kept += more.unsure_kept;
        self.unsure_lost += more.unsure_lost;
        self.failed_starts += more.failed_starts;
        self.acked += more.acked;
        self.seals += more.seals;
        self.refused_full += more.refused_full;
        self.sealer_full += more.sealer_full;
        self.replies += more.replies;
        self.letters += more.letters;
        self.trims += more.trims;
    }
}

/// Disk and clock, which outlive a power cut, and what the store acknowledged.
pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    /// Whose store it is; another one after each kill and power cut.
    pub(crate) process: Process,
    pub(crate) clock: SimClock,
    pub(crate) config: StoreConfig,
    pub(crate) acked: Model,
    /// Asked for and not acknowledged: the next start decides.
    pub(crate) unsure: Vec<Change>,
    pub(crate) met: Met,
}

/// One opening of the store.
pub(crate) struct Life {
    pub(crate) store: RequestStore,
    /// `None` when the store seals by itself after each commit.
    pub(crate) sealer: Option<Sealer>,
}

impl Life {
    /// A store that seals by itself, or with a sealer of its own.
    pub(crate) fn new(mut store: RequestStore, rng: &mut SimRng) -> Self {
        let sealer = if rng.chance(0.7) {
            store.take_sealer()
        } else {
            None
        };
        Self { store, sealer }
    }
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        Self {
            process: Process::new(&disk),
            disk,
            clock: SimClock::new(1_700_000_000_000),
            config: small_config(),
            acked: Model::default(),
            unsure: Vec::new(),
            met: Met::default(),
        }
    }

    pub(crate) fn open(&self) -> Result<RequestStore, StoreError> {
        RequestStore::open_with(
            Path::new(DIR),
            self.config.clone(),
            Arc::new(self.process.clone()),
            Arc::new(self.clock.clone()),
        )
    }

    /// Lets the power go if it has not, and come back, or starts another process if this one died.
    pub(crate) fn next_life(&mut self, rng: &mut SimRng) {
        if !self.process.is_dead() {
            self.disk.power_cut(rng);
        }
        self.process = Process::new(&self.disk);
    }

    /// Whether nothing works any more, as ordered.
    pub(crate) fn is_over(&self) -> bool {
        self.disk.power_is_off() || self.process.is_dead()
    }

    /// Opens the store and checks that it holds all that was acknowledged, and of the rest all or
    /// nothing.
    pub(crate) fn start(&mut self) -> Result<RequestStore, StoreError> {
        let mut store = self.open().inspect_err(|_| self.met.failed_starts += 1)?;
        self.met.torn_tails += u64::from(store.torn_tail().is_some());
        self.check(&mut store);
        Ok(store)
    }

    /// See [`Machine::start`].
    pub(crate) fn check(&mut self, store: &mut RequestStore) {
        let unsure = std::mem::take(&mut self.unsure);
        match self.acked.compare(store) {
            Ok(()) => self.met.unsure_lost += u64::from(!unsure.is_empty()),
            Err(without) => {
                let more = self.acked.after(&unsure);
                if let Err(with) = more.compare(store) {
                    panic!("{without}; and if the unsure {unsure:?} were there: {with}");
                }
                self.acked = more;
                self.met.unsure_kept += 1;
            }
        }
        self.acked.check_look_ups(store);
    }

    /// Does something by chance. Fails when the store did; what it was about is then unsure.
    pub(crate) fn act(&mut self, life: &mut Life, rng: &mut SimRng) -> Result<(), StoreError> {
        let time_ms = *rng.pick(&[0, 1, 100, 2_000]);
        self.clock.advance(Duration::from_millis(time_ms));
        match rng.below(26) {
            0..5 => self.append(&mut life.store, Request::random(rng)),
            5..10 => self.group(&mut life.store, rng),
            10 | 11 => self.append_again(&mut life.store, rng),
            12 => self.set_offset(&mut life.store, rng),
            13 => self.dead_letter(&mut life.store, rng),
            14 => {
                life.store.close_overlay();
                Ok(())
            }
            15 => self.look(&life.store, rng),
            16..21 => self.consumers(&mut life.store, rng),
            21 => self.trim(&mut life.store, rng),
            _ => match &mut life.sealer {
                Some(sealer) => sealer.step().map(|step| {
                    self.met.sealer_full += u64::from(step == SealStep::Full);
                }),
                None => Ok(()),
            },
        }
    }

    /// Sends a request that is new.
    pub(crate) fn append(
        &mut self,
        store: &mut RequestStore,
        request: Request,
    ) -> Result<(), StoreError> {
        self.unsure = vec![Change::Append(request.clone())];
        let receipt = store.append_request(&request.message())?;
        self.ack();
        assert_eq!(
            (receipt.request_id, receipt.seq, receipt.duplicate),
            (request.id, self.acked.last_seq(), false)
        );
        Ok(())
    }

    /// Sends a known request again, or another one under its id.
    fn append_again(&self, store: &mut RequestStore, rng: &mut SimRng) -> Result<(), StoreError> {
        let Some(Seq(seq)) = self.acked.pick(rng) else {
            return Ok(());
        };
        let index = seq - 1;
        let known = &self.acked.log[index as usize];
        if rng.chance(0.3) {
            return match store.append_request(&known.forged().message()) {
                Err(StoreError::Refused(refusal)) => {
                    assert_eq!(refusal.code, Code::IdConflict);
                    Ok(())
                }
                Ok(receipt) => panic!("a forged request got {receipt:?}"),
                Err(error) => Err(error),
            };
        }
        let receipt = store.append_request(&known.message())?;
        assert_eq!((receipt.seq, receipt.duplicate), (Seq(index + 1), true));
        Ok(())
    }

    /// Sends several requests as one group, duplicates and other changes among them.
    pub(crate) fn group(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let now = store.clock().now();
        let keys = store.fingerprinter();
        let limits = store.record_limits();
        self.unsure.clear();
        let mut seq = self.acked.last_seq();
        for _ in 0..1 + rng.below(6) {
            let request = Request::random(rng);
            let record = Record::encode(&request.message(), &limits).expect("fits");
            let fingerprint = keys.fingerprint(&record);
            let mut stage =
                || store.stage_append(&record, Scope::default(), "till-7", fingerprint, now);
            match stage() {
                Err(StageError::GroupFull) => break,
                staged => assert_eq!(unrefused(staged)?, (seq.next(), false)),
            }
            seq = seq.next();
            if rng.chance(0.2) {
                assert_eq!(unrefused(stage())?, (seq, true));
            }
            self.unsure.push(Change::Append(request));
        }
        if rng.chance(0.3) && has_room(store)? {
            let (consumer, offset) = (*rng.pick(&CONSUMERS), Seq(rng.below(seq.0 + 1)));
            unrefused(store.stage_offset(&name(consumer), offset))?;
            let op = ConsumerOp::Reset { offset };
            self.unsure.push(Change::Consumer(consumer, op));
        }
        store.commit(now)?;
        self.ack();
        Ok(())
    }

    pub(crate) fn set_offset(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let consumer = *rng.pick(&CONSUMERS);
        let offset = Seq(rng.below(self.acked.last_seq().0 + 1));
        let op = ConsumerOp::Reset { offset };
        self.unsure = vec![Change::Consumer(consumer, op)];
        store.set_consumer_offset(&name(consumer), offset)?;
        self.ack();
        Ok(())
    }

    pub(crate) fn dead_letter(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let consumer = *rng.pick(&CONSUMERS);
        let seq = Seq(rng.below(self.acked.last_seq().0 + 2));
        let is_new = self.acked.letter_of(consumer, seq).is_none();
        if is_new && !(self.acked.first_seq()..=self.acked.last_seq()).contains(&seq) {
            let refused = store.move_to_dead_letter(seq, &name(consumer), "no");
            return match refused {
                Err(StoreError::Refused(refusal)) if refusal.code == Code::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(_) => panic!("there is no seq {seq}"),
            };
        }
        if is_new {
            self.unsure = vec![Change::Letter(consumer, seq, Vec::new())];
        }
        let moved = store.move_to_dead_letter(seq, &name(consumer), "no")?;
        assert_eq!(moved, is_new);
        self.ack();
        Ok(())
    }

    /// Reads something that is known.
    fn look(&self, store: &RequestStore, rng: &mut SimRng) -> Result<(), StoreError> {
        let seq = Seq(1 + rng.below(self.acked.last_seq().0 + 3));
        let found = store.get_by_seq(seq)?;
        let wanted = self.acked.log.get(seq.0 as usize - 1);
        let wanted = wanted.filter(|_| seq >= self.acked.first_seq());
        assert_eq!(
            found.map(|entry| entry.record().id()),
            wanted.map(|request| request.id)
        );
        Ok(())
    }

    pub(crate) fn ack(&mut self) {
        for change in &self.unsure {
            match change {
                Change::Consumer(_, ConsumerOp::Completed { .. }) => self.met.replies += 1,
                Change::Letter(..) => self.met.letters += 1,
                Change::Trim(_) => self.met.trims += 1,
                _ => {}
            }
        }
        self.acked = self.acked.after(&std::mem::take(&mut self.unsure));
        self.met.acked += 1;
    }
}

/// Makes room for what carries no request: that stays staged on a full disk, and what is told to
/// have failed must not happen later. Without room the requests are dropped, as the engine does.
pub(crate) fn has_room(store: &mut RequestStore) -> Result<bool, StoreError> {
    store
        .reserve(usize::MAX)
        .map(|()| true)
        .inspect_err(|_| store.drop_staged_appends())
}

/// A refusal for want of room, or because the store stopped, is an error like any other here.
pub(crate) fn unrefused<T>(staged: Result<T, StageError>) -> Result<T, StoreError> {
    staged.map_err(|error| match error {
        StageError::Refused(refusal) => StoreError::Refused(refusal),
        StageError::GroupFull => panic!("the group cannot be full"),
    })
}
