//! Target `backups`: a backup's file, read through and restored.
//!
//! Promises: no panic; a file that is taken is restored to a store that opens with what the file says,
//! or refused by name.

use std::path::Path;
use std::sync::Arc;

use edgebus::files::{Files, OpenMode};
use edgebus::store::backup::{BackupFile, Identity, restore};
use edgebus::{RequestStore, Seq, StoreConfig};

use super::mend;
use crate::{SimClock, SimDisk};

/// Target `backups`.
pub(super) fn backups(data: &[u8]) {
    look(data);
    let mut mended = data.to_vec();
    mend::backup(&mut mended);
    look(&mended);
}

fn look(data: &[u8]) {
    let disk = SimDisk::new(0);
    let (file, folder) = (Path::new("/backup"), Path::new("/restored"));
    let written = disk.open(file, OpenMode::Truncate).expect("there is room");
    written.write_at(data, 0).expect("there is room");
    disk.sync_all();
    let Ok(backup) = BackupFile::open(&disk, file, |_, _| {}) else {
        return;
    };
    let files: Arc<dyn Files> = Arc::new(disk.this_boot());
    let Ok(restored) = restore(&files, &backup, folder, Identity::Same, |_, _| {}) else {
        return;
    };
    let clock = Arc::new(SimClock::new(1_760_000_000_000));
    let store = RequestStore::open_with(folder, StoreConfig::default(), files, clock);
    let store = store.expect("what was restored opens");
    assert_eq!(store.reader().last_seq(), restored.last_seq);
    let read = store.replay_from(Seq(1)).map_while(Result::ok).count() as u64;
    assert!(read <= restored.requests, "more than was said");
}
