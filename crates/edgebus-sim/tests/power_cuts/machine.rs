//! A machine with one store on its disk: what it does, and what it was told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::store::{SealStep, Sealer, StageError};
use edgebus::{Code, Record, RequestStore, Scope, Seq, StoreConfig, StoreError};
use edgebus_sim::{SimClock, SimDisk, SimRng};

use crate::model::{CONSUMERS, Change, Model, Request, name};

pub const DIR: &str = "/srv/edgebus/data";

/// A store that seals, recycles segments and begins new tables of ids every few requests.
pub fn small_config() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.segment_bytes = 160 * 1024;
    config.record.payload_bytes_max = 4 * 1024;
    config.seal_bytes = 12 * 1024;
    config.seal_journal_bytes = 64 * 1024;
    config.seal_after = Duration::from_secs(5);
    config.disk_free_bytes_min = 0;
    config.cache_bytes = 1024 * 1024;
    config.ids_per_generation = 40;
    config
}

/// Runs a test for many seeds, or for the one in `EDGEBUS_SEED`.
pub fn for_seeds(test: &str, seeds: std::ops::Range<u64>, run: impl Fn(u64)) {
    let one = std::env::var("EDGEBUS_SEED").ok();
    let one = one.map(|seed| seed.parse::<u64>().expect("EDGEBUS_SEED is a number"));
    let seeds = one.map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "seed {seed} failed; again: EDGEBUS_SEED={seed} cargo test -p edgebus-sim --test power_cuts {test}"
            );
            resume_unwind(panic);
        }
    }
}

/// Disk and clock, which outlive a power cut, and what the store acknowledged.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: SimClock,
    pub config: StoreConfig,
    pub acked: Model,
    /// Asked for and not acknowledged: the next start decides.
    pub unsure: Vec<Change>,
}

/// One opening of the store.
pub struct Life {
    pub store: RequestStore,
    /// `None` when the store seals by itself after each commit.
    pub sealer: Option<Sealer>,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            clock: SimClock::new(1_700_000_000_000),
            config: small_config(),
            acked: Model::default(),
            unsure: Vec::new(),
        }
    }

    pub fn open(&self) -> Result<RequestStore, StoreError> {
        RequestStore::open_with(
            Path::new(DIR),
            self.config.clone(),
            Arc::new(self.disk.this_boot()),
            Arc::new(self.clock.clone()),
        )
    }

    /// Opens the store and checks that it holds all that was acknowledged, and of the rest all or
    /// nothing.
    pub fn start(&mut self) -> Result<RequestStore, StoreError> {
        let mut store = self.open()?;
        self.check(&mut store);
        Ok(store)
    }

    /// See [`Machine::start`].
    pub fn check(&mut self, store: &mut RequestStore) {
        let unsure = std::mem::take(&mut self.unsure);
        if let Err(without) = self.acked.compare(store) {
            let more = self.acked.after(&unsure);
            if let Err(with) = more.compare(store) {
                panic!("{without}; and if the unsure {unsure:?} were there: {with}");
            }
            self.acked = more;
        }
        self.acked.check_look_ups(store);
    }

    /// Does something by chance. Fails when the store did; what it was about is then unsure.
    pub fn act(&mut self, life: &mut Life, rng: &mut SimRng) -> Result<(), StoreError> {
        let time_ms = *rng.pick(&[0, 1, 100, 2_000]);
        self.clock.advance(Duration::from_millis(time_ms));
        match rng.below(20) {
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
            _ => match &mut life.sealer {
                Some(sealer) => sealer.step().map(|step| assert_ne!(step, SealStep::Full)),
                None => Ok(()),
            },
        }
    }

    /// Sends a request that is new.
    pub fn append(&mut self, store: &mut RequestStore, request: Request) -> Result<(), StoreError> {
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
        if self.acked.log.is_empty() {
            return Ok(());
        }
        let index = rng.below(self.acked.log.len() as u64);
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
    pub fn group(&mut self, store: &mut RequestStore, rng: &mut SimRng) -> Result<(), StoreError> {
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
        if rng.chance(0.3) {
            let (consumer, offset) = (*rng.pick(&CONSUMERS), Seq(rng.below(seq.0 + 1)));
            unrefused(store.stage_offset(&name(consumer), offset))?;
            self.unsure.push(Change::Offset(consumer, offset));
        }
        store.commit(now)?;
        self.ack();
        Ok(())
    }

    pub fn set_offset(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let consumer = *rng.pick(&CONSUMERS);
        let offset = Seq(rng.below(self.acked.last_seq().0 + 1));
        self.unsure = vec![Change::Offset(consumer, offset)];
        store.set_consumer_offset(&name(consumer), offset)?;
        self.ack();
        Ok(())
    }

    pub fn dead_letter(
        &mut self,
        store: &mut RequestStore,
        rng: &mut SimRng,
    ) -> Result<(), StoreError> {
        let consumer = *rng.pick(&CONSUMERS);
        let seq = Seq(rng.below(self.acked.last_seq().0 + 2));
        if !(Seq(1)..=self.acked.last_seq()).contains(&seq) {
            let refused = store.move_to_dead_letter(seq, &name(consumer), "no");
            return match refused {
                Err(StoreError::Refused(refusal)) if refusal.code == Code::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(_) => panic!("there is no seq {seq}"),
            };
        }
        let is_new = !self.acked.dead.contains(&(consumer, seq));
        self.unsure = vec![Change::DeadLetter(consumer, seq)];
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
        assert_eq!(
            found.map(|entry| entry.record().id()),
            wanted.map(|request| request.id)
        );
        Ok(())
    }

    fn ack(&mut self) {
        self.acked = self.acked.after(&std::mem::take(&mut self.unsure));
    }
}

/// A refusal for want of room, or because the store stopped, is an error like any other here.
pub fn unrefused<T>(staged: Result<T, StageError>) -> Result<T, StoreError> {
    staged.map_err(|error| match error {
        StageError::Refused(refusal) => StoreError::Refused(refusal),
        StageError::GroupFull => panic!("the group cannot be full"),
    })
}
