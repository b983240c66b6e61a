//! A machine with one spool on its disk: what it does, and what it was told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::Code;
use edgebus::spool::{Settled, Spool, SpoolConfig, SpoolRow, StoreError};
use edgebus_sim::{SimClock, SimDisk, SimRng};

use super::model::{Model, Unsure, record};
use crate::machine::Met;
use crate::process::Process;

pub(super) const DIR: &str = "/srv/till/spool";

pub(super) struct SpoolMachine {
    pub(super) disk: SimDisk,
    pub(super) process: Process,
    clock: SimClock,
    config: SpoolConfig,
    told: Model,
    unsure: Unsure,
    /// Handed out since the last rewind, and not settled.
    out: Vec<u64>,
    /// Dead by what was told, and without room to write it down: they wait, and are not handed out.
    owed: Vec<u64>,
    /// Whether the disk may be full: then what is settled may not be written down.
    pub(super) is_full: bool,
    pub(super) met: Met,
}

impl SpoolMachine {
    pub(super) fn new(seed: u64, rng: &mut SimRng) -> Self {
        let disk = SimDisk::new(seed);
        let bytes_max = *rng.pick(&[60_000, 400_000, u64::MAX]);
        Self {
            process: Process::new(&disk),
            disk,
            clock: SimClock::new(1_700_000_000_000),
            config: SpoolConfig::default()
                .segment_bytes(64 * 1024)
                .bytes_max(bytes_max),
            told: Model::default(),
            unsure: Unsure::default(),
            out: Vec::new(),
            owed: Vec::new(),
            is_full: false,
            met: Met::default(),
        }
    }

    pub(super) fn next_life(&mut self, rng: &mut SimRng) {
        if !self.process.is_dead() {
            self.disk.power_cut(rng);
        }
        self.process = Process::new(&self.disk);
    }

    pub(super) fn is_over(&self) -> bool {
        self.disk.power_is_off() || self.process.is_dead()
    }

    /// Opens the spool and checks that it holds what was told.
    pub(super) fn start(&mut self) -> Result<Spool, StoreError> {
        let opened = Spool::open_with(
            Path::new(DIR),
            self.config,
            Arc::new(self.process.clone()),
            Arc::new(self.clock.clone()),
        );
        let spool = opened.inspect_err(|_| self.met.failed_starts += 1)?;
        self.met.torn_tails += u64::from(spool.torn_tail().is_some());
        let rows = list(|after, limit| spool.list(after, limit))?;
        let unsure = std::mem::take(&mut self.unsure);
        let before = self.told.clone();
        if let Err(why) = self.told.adopt(&rows, &unsure) {
            panic!("{why}; told {before:?}; unsure {unsure:?}");
        }
        if !unsure.appended.is_empty() {
            match self.told.last > before.last {
                true => self.met.unsure_kept += 1,
                false => self.met.unsure_lost += 1,
            }
        }
        self.out.clear();
        self.owed.clear();
        Ok(spool)
    }

    /// From a start to its end or to an error.
    pub(super) fn live(&mut self, rng: &mut SimRng, actions: u64) -> Result<(), StoreError> {
        let mut spool = match self.start() {
            Err(error) if self.is_full && error.code() == Code::StorageFull => return Ok(()),
            other => other?,
        };
        for _ in 0..1 + rng.below(actions) {
            self.act(&mut spool, rng)?;
        }
        Ok(())
    }

    fn act(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        self.clock
            .advance(Duration::from_millis(*rng.pick(&[0, 1, 2_000])));
        match rng.below(20) {
            0..9 => self.commit(spool, rng),
            9..13 => self.next(spool, rng),
            13 => {
                spool.rewind();
                self.out.clear();
                Ok(())
            }
            14 => self.remove(spool, rng),
            15 => self.retry(spool, rng),
            16 => self.look(spool),
            _ => self.settle_all(spool, rng),
        }
    }

    fn commit(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        let mut settled = Vec::new();
        for number in std::mem::take(&mut self.out) {
            match rng.below(10) {
                0..5 => settled.push((number, Settled::Forwarded)),
                5 => settled.push((number, died())),
                _ => self.out.push(number),
            }
        }
        let count = *rng.pick(&[0, 1, 1, 3, 9]);
        let records: Vec<_> = (0..count).map(|_| record(rng)).collect();
        self.commit_these(spool, settled, records)
    }

    /// What was handed out is all forwarded, and nothing new comes.
    fn settle_all(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        let out = std::mem::take(&mut self.out);
        let settled = out.into_iter().map(|number| match rng.chance(0.02) {
            true => (number, died()),
            false => (number, Settled::Forwarded),
        });
        self.commit_these(spool, settled.collect(), Vec::new())
    }

    fn commit_these(
        &mut self,
        spool: &mut Spool,
        settled: Vec<(u64, Settled)>,
        records: Vec<edgebus::Record>,
    ) -> Result<(), StoreError> {
        self.unsure = Unsure {
            appended: records.clone(),
            dead: std::mem::take(&mut self.owed),
            ..Unsure::default()
        };
        for (number, settled) in &settled {
            match settled {
                Settled::Forwarded => self.unsure.forwarded.push(*number),
                _ => self.unsure.dead.push(*number),
            }
        }
        let outcomes = spool.commit(&settled, records.clone())?;
        self.met.acked += 1;
        let unsure = std::mem::take(&mut self.unsure);
        for number in unsure.forwarded {
            let record = self.told.waiting.remove(&number).expect("handed out");
            self.told.remembered.insert(number, record);
        }
        for number in unsure.dead {
            if !self.told.waiting.contains_key(&number) {
                continue;
            }
            self.met.letters += 1;
            let is_dead = spool.list(number - 1, 1)?;
            let is_dead = is_dead.first().is_some_and(|row| {
                row.number == number && row.state != edgebus::spool::RowState::Waiting
            });
            assert!(is_dead || self.is_full, "{number} is not dead");
            if is_dead {
                let record = self.told.waiting.remove(&number).expect("handed out");
                self.told.dead.insert(number, record);
            } else {
                self.owed.push(number);
            }
        }
        let mut is_refused = false;
        for (outcome, record) in outcomes.into_iter().zip(records) {
            match outcome {
                Ok(number) => {
                    assert!(!is_refused, "no gap in what is stored");
                    assert_eq!(number, self.told.last + 1);
                    self.told.last = number;
                    self.told.waiting.insert(number, record);
                }
                Err(refusal) => {
                    is_refused = true;
                    assert_eq!(refusal.code, Code::StorageFull);
                    self.met.refused_full += 1;
                    let is_bounded = self.config.bytes_max < u64::MAX;
                    assert!(self.is_full || is_bounded, "{refusal}");
                }
            }
        }
        if !self.is_full {
            self.told.settle_for_good();
            self.met.trims += 1;
        }
        Ok(())
    }

    fn next(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        let (count, bytes) = (1 + rng.below(12) as usize, 1 + rng.below(20_000) as usize);
        let given = spool.next(count, bytes)?;
        let behind = self.out.last().copied().unwrap_or(0);
        for (waiting, after) in given
            .iter()
            .zip(std::iter::once(behind).chain(given.iter().map(|w| w.number)))
        {
            assert!(waiting.number > after, "in order");
            assert_eq!(
                Some(&waiting.record),
                self.told.waiting.get(&waiting.number)
            );
            self.out.push(waiting.number);
        }
        let total: usize = given.iter().map(|w| w.record.as_bytes().len()).sum();
        assert!(given.len() <= count && (given.len() == 1 || total <= bytes));
        Ok(())
    }

    fn remove(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        let all = self.told.waiting.keys().chain(self.told.dead.keys());
        let numbers: Vec<u64> = all.copied().filter(|_| rng.chance(0.1)).collect();
        self.unsure = Unsure {
            removed: numbers.clone(),
            ..Unsure::default()
        };
        match spool.remove(&numbers) {
            Ok(count) => assert_eq!(count, numbers.len() as u64),
            Err(error) if self.is_full && error.code() == Code::StorageFull => {
                self.unsure = Unsure::default();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.unsure = Unsure::default();
        for number in numbers {
            self.told.waiting.remove(&number);
            self.told.dead.remove(&number);
            self.out.retain(|out| *out != number);
        }
        if !self.is_full {
            self.told.settle_for_good();
        }
        Ok(())
    }

    fn retry(&mut self, spool: &mut Spool, rng: &mut SimRng) -> Result<(), StoreError> {
        let dead = self.told.dead.keys();
        let numbers: Vec<u64> = dead.copied().filter(|_| rng.chance(0.4)).collect();
        self.unsure = Unsure {
            retried: numbers.clone(),
            ..Unsure::default()
        };
        let retried = spool.retry(&numbers);
        if self.is_full && matches!(&retried, Err(error) if error.code() == Code::StorageFull) {
            let rows = list(|after, limit| spool.list(after, limit))?;
            let unsure = std::mem::take(&mut self.unsure);
            let remembered = self.told.remembered.clone();
            self.told.adopt(&rows, &unsure).expect("some or none");
            self.told.remembered = remembered;
            return Ok(());
        }
        assert_eq!(retried?, numbers.len() as u64);
        self.unsure = Unsure::default();
        for number in numbers {
            self.told.last += 1;
            let record = self.told.dead.remove(&number).expect("dead");
            self.told.waiting.insert(self.told.last, record);
        }
        Ok(())
    }

    /// The owner's list and that of one who looks are the same, but for what is only remembered.
    fn look(&mut self, spool: &Spool) -> Result<(), StoreError> {
        let rows = list(|after, limit| spool.list(after, limit))?;
        if let Err(why) = self.told.compare(&rows) {
            panic!("{why}");
        }
        assert_eq!(
            (spool.waiting(), spool.dead()),
            (self.told.waiting.len() as u64, self.told.dead.len() as u64)
        );
        assert_eq!(
            spool.waiting_bytes() + spool.dead_bytes(),
            self.told.bytes()
        );
        let mut look = Spool::look_with(Path::new(DIR), Arc::new(self.process.clone()))?;
        let mut seen = list(|after, limit| look.list(after, limit))?;
        seen.retain(|row| !self.told.remembered.contains_key(&row.number));
        if let Err(why) = self.told.compare(&seen) {
            panic!("looking: {why}");
        }
        Ok(())
    }

    /// With room again, all goes out in order and nothing is left on the disk but a few segments.
    pub(super) fn drain(&mut self, rng: &mut SimRng) {
        let mut spool = self.start().expect("room");
        spool.rewind();
        let mut numbers: Vec<u64> = Vec::new();
        loop {
            let given = spool.next(10, 50_000).expect("readable");
            if given.is_empty() {
                break;
            }
            let given: Vec<u64> = given.iter().map(|w| w.number).collect();
            numbers.extend(&given);
            let settled = given.into_iter().map(|number| (number, Settled::Forwarded));
            self.commit_these(&mut spool, settled.collect(), Vec::new())
                .expect("room");
        }
        assert!(numbers.is_sorted());
        assert!(self.told.waiting.is_empty() && spool.waiting() == 0);
        let dead: Vec<u64> = self.told.dead.keys().copied().collect();
        assert_eq!(spool.remove(&dead).expect("room"), dead.len() as u64);
        self.told.dead.clear();
        drop(spool);
        self.next_life(rng);
        let spool = self.start().expect("room");
        assert_eq!((spool.waiting(), spool.dead()), (0, 0));
    }
}

fn died() -> Settled {
    Settled::Dead {
        code: Code::IdConflict,
        reason: "no".to_owned(),
    }
}

/// All rows, page by page.
fn list(
    mut page: impl FnMut(u64, usize) -> Result<Vec<SpoolRow>, StoreError>,
) -> Result<Vec<SpoolRow>, StoreError> {
    let mut rows: Vec<SpoolRow> = Vec::new();
    loop {
        let more = page(rows.last().map_or(0, |row| row.number), 20)?;
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}
