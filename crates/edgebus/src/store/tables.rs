//! The redb tables: their names, their types, and the file they are in.
//!
//! Names are fixed, as tools outside open them. Opening and creating is here; reading is in
//! [`super::sealed`], writing in [`super::sealer`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use edgebus_core::Seq;
use redb::{Database, ReadableTable, Table, TableDefinition};

use super::StoreError;
use super::backend::FileBackend;
use crate::files::{Files, OpenMode};
use crate::host;

/// Last sequence number of a block → the block ([`super::block`]).
pub(super) const REQUEST_LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("request_log");
/// Consumer → everything up to this sequence number is done for it.
pub(super) const CONSUMER_OFFSETS: TableDefinition<'_, &str, u64> =
    TableDefinition::new("consumer_offsets");
/// Number → prost `DeadLetter`, behind its CRC32C.
pub(super) const DEAD_LETTERS: TableDefinition<'_, u64, &[u8]> =
    TableDefinition::new("dead_letters");
/// (consumer, sequence number) → number of the dead letter.
pub(super) const DEAD_LETTER_KEYS: TableDefinition<'_, (&str, u64), u64> =
    TableDefinition::new("dead_letter_keys");
/// Consumer → prost `Ledger`, behind its CRC32C ([`super::consumers`]).
pub(super) const CONSUMER_STATE: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("consumer_state");
/// Sequence number → prost `Reply`, behind its CRC32C.
pub(super) const REPLIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("replies");
/// (generation, part) → part of the filter over its ids.
pub(super) const ID_FILTERS: TableDefinition<'_, (u64, u32), &[u8]> =
    TableDefinition::new("id_filters");
/// Name → number; see the constants below.
pub(super) const METADATA: TableDefinition<'_, &str, u64> = TableDefinition::new("metadata");

/// Request id and scope.
pub(super) type IdKey = ([u8; 16], u32);
/// Sequence number; fingerprint, little-endian; CRC32C of these and the key ([`super::generations`]).
pub(super) type IdValue = (u64, [u8; 16], u32);
/// Where each id of a generation is stored.
pub(super) type IdTable<'a> = TableDefinition<'a, IdKey, IdValue>;

/// Rows of the `metadata` table.
pub(super) mod meta {
    pub(crate) const LAST_SEQ: &str = "last_seq";
    pub(crate) const SEALED_LSN: &str = "sealed_lsn";
    pub(crate) const FORMAT_VERSION: &str = "format_version";
    pub(crate) const STORE_TIME_MS: &str = "store_time_ms";
    pub(crate) const WALL_MS: &str = "wall_ms";
    pub(crate) const LAST_DEAD_LETTER: &str = "last_dead_letter";
    pub(crate) const FIRST_GENERATION: &str = "first_generation";
    pub(crate) const LAST_GENERATION: &str = "last_generation";
    pub(crate) const KEY_0: &str = "fingerprint_key_0";
    pub(crate) const KEY_1: &str = "fingerprint_key_1";
    /// Nothing before it is kept.
    pub(crate) const FIRST_SEQ: &str = "first_seq";
    /// Bytes of the values of `request_log`, of `replies`, and of `dead_letters`.
    pub(crate) const LOG_BYTES: &str = "log_bytes";
    pub(crate) const REPLY_BYTES: &str = "reply_bytes";
    pub(crate) const DEAD_LETTER_BYTES: &str = "dead_letter_bytes";
    /// Rows of `consumer_state`.
    pub(crate) const CONSUMERS: &str = "consumers";
    /// Highest epoch of the consumers that were removed.
    pub(crate) const REMOVED_EPOCH: &str = "removed_epoch";
    /// Store time at which requests that do not say when were stored at the latest.
    pub(crate) const UNTIMED_MS: &str = "untimed_ms";
    /// CRC32C of the rows of `consumer_offsets`.
    pub(crate) const OFFSETS_CRC: &str = "consumer_offsets_crc32c";
    /// CRC32C of all other rows of this table.
    pub(crate) const METADATA_CRC: &str = "metadata_crc32c";
}

/// The format of the tables and the journal that this code writes.
pub(super) const FORMAT_VERSION: u32 = 2;

/// The rows of `metadata` about a closed generation: the last sequence number in it, and the store
/// time when it was closed, milliseconds.
pub(super) fn generation_rows(generation: u64) -> [String; 2] {
    ["last_seq", "store_ms"].map(|what| format!("generation.{generation}.{what}"))
}

/// A reply as a row: a CRC32C over sequence number and reply, then the reply. A flipped bit in the
/// key would give a request the answer to another one.
pub(super) fn reply_row(seq: Seq, reply: &[u8]) -> Vec<u8> {
    [&reply_crc(seq, reply), reply].concat()
}

/// The reply in a row; `None` when it is damaged.
pub(super) fn reply_from_row(seq: Seq, row: &[u8]) -> Option<Bytes> {
    let reply = row.get(4..)?;
    (row[..4] == reply_crc(seq, reply)).then(|| Bytes::copy_from_slice(reply))
}

fn reply_crc(seq: Seq, reply: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(&seq.0.to_le_bytes()), reply).to_le_bytes()
}

/// The name of a generation's id table.
pub(super) fn id_table_name(generation: u64) -> String {
    format!("request_idempotency.{generation}")
}

/// The database in an open file.
///
/// What a damaged page made redb panic over was caught and told; closing the file then panics once
/// more, over the locks that the first one left, and whoever drops it is not to go down with that.
#[derive(Debug)]
pub(super) struct OpenTables(Option<Database>);

impl std::ops::Deref for OpenTables {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for OpenTables {
    fn drop(&mut self) {
        let database = self.0.take();
        let close = std::panic::AssertUnwindSafe(|| drop(database));
        // It is closed as well as it can be; the next start opens it as after a power cut.
        let _ = std::panic::catch_unwind(close);
    }
}

/// The file with the tables.
#[derive(Clone, Debug)]
pub(super) struct TablesFile {
    pub(super) files: Arc<dyn Files>,
    pub(super) path: PathBuf,
    pub(super) cache_bytes: usize,
}

impl TablesFile {
    /// Creates the file with empty tables under a temporary name, and renames it when it is whole
    /// and on disk: a power cut while redb creates a file can leave one that never opens again.
    ///
    /// # Errors
    /// What the operating system or redb says; the temporary file may stay.
    pub(super) fn create(&self, dir: &Path) -> Result<(), StoreError> {
        self.create_with(dir, |_, _| Ok(()))
    }

    /// The same with more in the tables; `fill` gets the database and where it is so far.
    ///
    /// # Errors
    /// Those of `fill`, too.
    pub(super) fn create_with(
        &self,
        dir: &Path,
        fill: impl FnOnce(&Database, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let temporary = self.path.with_extension("redb.new");
        let file = self
            .files
            .open(&temporary, OpenMode::Truncate)
            .map_err(|e| StoreError::io("create", &temporary, e))?;
        let database = self
            .builder()
            .create_with_backend(FileBackend::released(file.clone()));
        let database = database.map_err(|e| StoreError::redb("create", &temporary, e))?;
        fill_new(&database).map_err(|e| StoreError::redb("fill", &temporary, e))?;
        fill(&database, &temporary)?;
        database
            .close()
            .map_err(|e| StoreError::redb("close", &temporary, e))?;
        file.sync()
            .map_err(|e| StoreError::io("sync", &temporary, e))?;
        self.files
            .rename(&temporary, &self.path)
            .map_err(|e| StoreError::io("rename", &temporary, e))?;
        self.files
            .sync_dir(dir)
            .map_err(|e| StoreError::io("sync", dir, e))
    }

    /// Opens the file anew, for reading and writing.
    ///
    /// # Errors
    /// As [`TablesFile::look`].
    pub(super) fn open(&self) -> Result<OpenTables, StoreError> {
        let (database, backend) = self.look()?;
        self.release(&backend)?;
        Ok(database)
    }

    /// Lets a database from [`TablesFile::look`] write.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn release(&self, backend: &FileBackend) -> Result<(), StoreError> {
        let released = backend.release();
        released.map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// Opens the file, reading what is on disk and not what memory holds of it. Nothing is written
    /// to it before it is released.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is missing or unreadable, or what the operating system
    /// says.
    pub(super) fn look(&self) -> Result<(OpenTables, FileBackend), StoreError> {
        let path = &self.path;
        let file =
            self.files
                .open(path, OpenMode::Existing)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        StoreError::corrupt(path, "the file is missing")
                    }
                    _ => StoreError::io("open", path, error),
                })?;
        file.sync().map_err(|e| StoreError::sync(path, e))?;
        file.drop_cache()
            .map_err(|e| StoreError::io("drop from memory", path, e))?;
        if file.len().map_err(|e| StoreError::io("measure", path, e))? == 0 {
            // redb would take an empty file for a new one.
            return Err(StoreError::corrupt(path, "the file is empty"));
        }
        let backend = FileBackend::held(file);
        let open = || Ok(self.builder().create_with_backend(backend.clone())?);
        let database = self.guard(open)?;
        Ok((OpenTables(Some(database)), backend))
    }

    /// Runs a look into the file. A damaged one can make redb panic; that is one more way to be
    /// unreadable.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], or what the operating system says.
    pub(super) fn guard<T>(
        &self,
        look: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(look))
            .map_err(|_| StoreError::corrupt(&self.path, "redb cannot make sense of the file"))?
            .map_err(|e| StoreError::redb("read", &self.path, e))
    }

    /// Size of the file.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn bytes(&self) -> std::io::Result<u64> {
        self.files.open(&self.path, OpenMode::Existing)?.len()
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }
}

/// All tables, so that readers never find one missing, and the first rows.
fn fill_new(database: &Database) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    {
        txn.open_table(REQUEST_LOG)?;
        let offsets = txn.open_table(CONSUMER_OFFSETS)?;
        txn.open_table(CONSUMER_STATE)?;
        txn.open_table(REPLIES)?;
        txn.open_table(DEAD_LETTERS)?;
        txn.open_table(DEAD_LETTER_KEYS)?;
        txn.open_table(ID_FILTERS)?;
        let first_ids: IdTable<'_> = TableDefinition::new("request_idempotency.1");
        txn.open_table(first_ids)?;
        let (key_0, key_1) = host::random_uuid().as_u64_pair();
        let mut metadata = txn.open_table(METADATA)?;
        for (name, value) in [
            (meta::FORMAT_VERSION, u64::from(FORMAT_VERSION)),
            (meta::FIRST_SEQ, 1),
            (meta::LAST_SEQ, 0),
            (meta::SEALED_LSN, 0),
            (meta::FIRST_GENERATION, 1),
            (meta::LAST_GENERATION, 1),
            (meta::KEY_0, key_0),
            (meta::KEY_1, key_1),
        ] {
            metadata.insert(name, value)?;
        }
        protect(&offsets, &mut metadata)?;
    }
    txn.commit()?;
    Ok(())
}

/// A row of the metadata table; 0 when it is not there.
pub(super) fn metadata(
    table: &impl redb::ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, redb::StorageError> {
    Ok(table.get(name)?.map_or(0, |row| row.value()))
}

/// Writes the checksums that [`verify`] compares; the last thing in a transaction that changes
/// offsets or metadata. redb does not look at its own checksums when it reads, and a flipped bit in
/// these rows would make numbers be used twice, or requests be skipped.
pub(super) fn protect(
    offsets: &impl ReadableTable<&'static str, u64>,
    metadata: &mut Table<'_, &'static str, u64>,
) -> Result<(), redb::StorageError> {
    metadata.insert(meta::OFFSETS_CRC, rows_crc(offsets)?)?;
    let crc = rows_crc(metadata)?;
    metadata.insert(meta::METADATA_CRC, crc)?;
    Ok(())
}

/// Fails when a row of `metadata` or `consumer_offsets` is not what was written, or the log does
/// not end where it should.
pub(super) fn verify(database: &Database) -> Result<(), redb::Error> {
    let txn = redb::ReadableDatabase::begin_read(database)?;
    let rows = txn.open_table(METADATA)?;
    let corrupt = |what: &str| Err(redb::Error::Corrupted(what.to_owned()));
    if metadata(&rows, meta::METADATA_CRC)? != rows_crc(&rows)? {
        return corrupt("metadata: the rows do not match their checksum");
    }
    let offsets = txn.open_table(CONSUMER_OFFSETS)?;
    if metadata(&rows, meta::OFFSETS_CRC)? != rows_crc(&offsets)? {
        return corrupt("consumer_offsets: the rows do not match their checksum");
    }
    let log = txn.open_table(REQUEST_LOG)?;
    let last = log.last()?.map(|row| row.0.value());
    let last_seq = metadata(&rows, meta::LAST_SEQ)?;
    let is_empty = last_seq < metadata(&rows, meta::FIRST_SEQ)?.max(1);
    // What is trimmed may be there still, or never have come.
    let fits = last == Some(last_seq) || is_empty && last.is_none_or(|last| last < last_seq);
    if !fits {
        return corrupt("request_log: the last block is not the one that metadata names");
    }
    Ok(())
}

/// CRC32C of names and numbers, each name behind its length; without that of the metadata itself.
fn rows_crc(table: &impl ReadableTable<&'static str, u64>) -> Result<u64, redb::StorageError> {
    let mut crc = 0;
    for row in table.iter()? {
        let (name, number) = row?;
        let name = name.value();
        if name != meta::METADATA_CRC {
            crc = crc32c::crc32c_append(crc, &(name.len() as u32).to_le_bytes());
            crc = crc32c::crc32c_append(crc, name.as_bytes());
            crc = crc32c::crc32c_append(crc, &number.value().to_le_bytes());
        }
    }
    Ok(u64::from(crc))
}
