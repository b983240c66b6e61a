//! A real database on the simulated disk: redb keeps what it acknowledged over power cuts, and
//! stops keeping it when its syncs are taken away, which shows that the cuts bite.

use std::ops::Bound;

use redb::{
    BackendError, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use super::*;

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const CACHE_BYTES: usize = 1 << 20;
const LIVES: usize = 3;

/// Whether the database's syncs reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syncs {
    Real,
    Fake,
}

#[derive(Debug)]
struct Backend(Arc<dyn File>, Syncs);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.0.len()? {
            self.0.allocate(len)
        } else {
            self.0.set_len(len)
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.1 {
            Syncs::Real => self.0.sync(),
            Syncs::Fake => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock().map_err(BackendError::Io)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock().map_err(BackendError::Io)
    }

    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn open(disk: &SimDisk, path: &str, syncs: Syncs) -> Outcome<Database> {
    let file = disk.open(Path::new(path), OpenMode::Create)?;
    let backend = Backend(file, syncs);
    Ok(Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend)?)
}

/// An empty database, made aside: a cut during its creation is a known way to lose it.
fn create(disk: &SimDisk) -> Outcome<()> {
    open(disk, "/d/new", Syncs::Real)?.close()?;
    disk.open(Path::new("/d/new"), OpenMode::Existing)?.sync()?;
    disk.rename(Path::new("/d/new"), Path::new("/d/db"))?;
    Ok(disk.sync_dir(Path::new("/d"))?)
}

/// Row `number`, of a size and content that follow from it.
fn row(number: u64) -> Vec<u8> {
    let mut rng = SimRng::seeded(number);
    let mut bytes = vec![0; rng.below(6_000) as usize];
    rng.fill(&mut bytes);
    bytes
}

/// Commits row `number`, and takes one away, so that pages are freed and used again.
fn commit(database: &Database, number: u64) -> Outcome<()> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut rows = transaction.open_table(ROWS)?;
        rows.insert(number, row(number).as_slice())?;
        rows.remove(number.saturating_sub(10))?;
    }
    Ok(transaction.commit()?)
}

/// The last row there is; fails unless it and the nine before are as they were written.
fn check(database: &Database) -> Outcome<u64> {
    let transaction = database.begin_read()?;
    let rows = match transaction.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        rows => rows?,
    };
    let mut numbers = Vec::new();
    for entry in rows.iter()? {
        let (number, bytes) = entry?;
        if bytes.value() != row(number.value()) {
            return Err(format!("row {} is not what was written", number.value()).into());
        }
        numbers.push(number.value());
    }
    let last = numbers.last().copied().unwrap_or(0);
    let wanted: Vec<u64> = (last.saturating_sub(9).max(1)..=last).collect();
    if numbers == wanted {
        Ok(last)
    } else {
        Err(format!("rows {numbers:?}").into())
    }
}

/// Some lives of a database, each ended by a power cut in the midst of its work or of its opening;
/// how many commits were acknowledged, or what was lost.
fn lives(seed: u64, syncs: Syncs) -> Result<u64, String> {
    let mut rng = SimRng::seeded(seed);
    let disk = disk();
    create(&disk).expect("no cut yet");
    let mut acked = 0;
    for life in 0..=LIVES {
        let is_last = life == LIVES;
        if !is_last {
            disk.cut_after_ops(1 + rng.below(150));
        }
        let lost = |error: &dyn std::fmt::Display| format!("seed {seed} life {life}: {error}");
        match open(&disk, "/d/db", syncs) {
            Ok(database) => {
                let last = check(&database).map_err(|error| lost(&error))?;
                if last != acked && last != acked + 1 {
                    return Err(lost(&format!("{acked} acknowledged, {last} there")));
                }
                acked = last;
                while !is_last && commit(&database, acked + 1).is_ok() {
                    acked += 1;
                }
            }
            Err(_) if disk.power_is_off() => {}
            Err(error) => return Err(lost(&error)),
        }
        disk.power_cut(&mut rng);
    }
    Ok(acked)
}

#[test]
fn redb_keeps_every_acknowledged_commit_over_power_cuts() {
    let acked: u64 = (0..100)
        .map(|seed| lives(seed, Syncs::Real).expect("nothing is lost"))
        .sum();
    assert!(acked > 1_000, "only {acked} commits were put to the test");
}

#[test]
fn redb_without_syncs_loses_commits() {
    let is_lost = |seed: &u64| {
        let run = std::panic::catch_unwind(|| lives(*seed, Syncs::Fake));
        !matches!(run, Ok(Ok(_)))
    };
    let lost = (0..20).filter(is_lost).count();
    assert!(lost > 5, "only {lost} of 20");
}
