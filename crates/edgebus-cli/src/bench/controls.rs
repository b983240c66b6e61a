//! What the disk and redb do by themselves: the yardsticks.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use redb::{Database, ReadableTable, TableDefinition};

use super::Options;
use super::load::{Load, payload};
use crate::error::CliError;

const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One zero-filled file, one aligned write and one fdatasync a group: the limit.
pub(super) fn raw(options: &Options, dir: &Path) -> Result<(Load, u64), CliError> {
    std::fs::create_dir_all(dir).map_err(|e| CliError::io("create", dir, e))?;
    let path = dir.join("raw");
    let io = |e| CliError::io("write", &path, e);
    let file = std::fs::File::create(&path).map_err(io)?;
    let zeros = vec![0; 1024 * 1024];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    let group = payload((options.window * options.size) as usize);
    let mut block = group;
    block.resize(block.len().next_multiple_of(BLOCK), 0);
    let mut load = Load::new();
    let (start, mut at, mut syncs) = (Instant::now(), 0, 0);
    while start.elapsed() < options.time {
        let sent = Instant::now();
        if at + block.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&block, at).map_err(io)?;
        file.sync_data().map_err(io)?;
        at += block.len() as u64;
        syncs += 1;
        load.record(sent, u64::from(options.window));
    }
    load.elapsed = start.elapsed();
    Ok((load, syncs))
}

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const IDS: TableDefinition<'_, [u8; 16], u64> = TableDefinition::new("ids");

/// One row and one id a request in redb, one commit a group, ids of version 7.
pub(super) fn redb_rows(options: &Options, dir: &Path) -> Result<(Load, u64), CliError> {
    std::fs::create_dir_all(dir).map_err(|e| CliError::io("create", dir, e))?;
    redb_loop(options, &dir.join("rows.redb"))
        .map_err(|e| CliError::io("measure redb in", dir, std::io::Error::other(e.to_string())))
}

fn redb_loop(options: &Options, path: &Path) -> Result<(Load, u64), redb::Error> {
    let database = Database::builder()
        .set_cache_size(64 * 1024 * 1024)
        .create(path)?;
    let row = payload(options.size as usize);
    let mut load = Load::new();
    let (start, mut seq, mut commits) = (Instant::now(), 0, 0);
    while start.elapsed() < options.time {
        let sent = Instant::now();
        let txn = database.begin_write()?;
        {
            let mut rows = txn.open_table(ROWS)?;
            let mut ids = txn.open_table(IDS)?;
            for _ in 0..options.window {
                seq += 1;
                let id = *edgebus::new_request_id().as_bytes();
                if ids.get(id)?.is_none() {
                    rows.insert(seq, row.as_slice())?;
                    ids.insert(id, seq)?;
                }
            }
        }
        txn.commit()?;
        commits += 1;
        load.record(sent, u64::from(options.window));
    }
    load.elapsed = start.elapsed();
    Ok((load, commits))
}
