//! A store made of a backup, in a folder of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use edgebus::files::{Files, RealFiles};
use edgebus::store::backup::{BackupFile, Identity, Restored};
use serde_json::json;

use super::{bar, seconds};
use crate::error::CliError;
use crate::output::{self, say};

/// What to make a store of, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The restored store is another store than the one the backup was taken of, and has a new id: clients that
knew the old one see that, and what they have undecided is unknown to them (they may ask again with its
id). With --same-identity it is the very one, as after a restart. That is right only when the old store
never runs again: what it was told after the backup is gone, and numbers are given a second time.

Example:
  edgebus restore /backup/shop-7.edgebus /srv/edgebus/data")]
pub(crate) struct Options {
    /// The backup
    file: PathBuf,
    /// The data folder to be made; it must be missing or empty
    dir: PathBuf,
    /// Keep the id of the store: only when the old one never runs again
    #[arg(long)]
    same_identity: bool,
}

/// `edgebus restore`.
pub(crate) fn run(options: &Options, json: bool) -> Result<(), CliError> {
    let started = Instant::now();
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let verifying = bar("verifying");
    let backup = BackupFile::open(&*files, &options.file, |at, of| {
        verifying.set_length(of);
        verifying.set_position(at);
    });
    verifying.finish_and_clear();
    let backup = backup?;
    let identity = match options.same_identity {
        true => Identity::Same,
        false => Identity::New,
    };
    let writing = bar("restoring");
    let progress = |at, of| {
        writing.set_length(of);
        writing.set_position(at);
    };
    let restored =
        edgebus::store::backup::restore(&files, &backup, &options.dir, identity, progress);
    writing.finish_and_clear();
    let restored = restored?;
    match identity {
        Identity::New => say!(
            "edgebus: the store has a new id; clients of the old one take it for another store, and what they have undecided is unknown to them"
        ),
        Identity::Same => say!(
            "edgebus: the store has the id of the old one, which must never run again; what that was told after lsn {} is gone",
            restored.lsn
        ),
    }
    print(options, &restored, started, json)
}

fn print(
    options: &Options,
    restored: &Restored,
    started: Instant,
    json: bool,
) -> Result<(), CliError> {
    let store_id = uuid::Uuid::from_bytes(restored.store_id);
    let printed = match json {
        true => output::line(&json!({
            "data": options.dir.display().to_string(),
            "store_id": store_id.to_string(),
            "same_identity": options.same_identity,
            "lsn": restored.lsn.0,
            "first_seq": restored.first_seq.0,
            "last_seq": restored.last_seq.0,
            "requests": restored.requests,
            "ids": restored.ids,
            "replies": restored.replies,
            "dead_letters": restored.dead_letters,
            "consumers": restored.consumers,
            "seconds": seconds(started),
        })),
        false => output::text(&format!(
            "{}: store {store_id} at lsn {}, {} requests (up to seq {}), {} ids, {} replies, {} dead letters, {} consumers; {:.1} s",
            options.dir.display(),
            restored.lsn,
            restored.requests,
            restored.last_seq,
            restored.ids,
            restored.replies,
            restored.dead_letters,
            restored.consumers,
            started.elapsed().as_secs_f64(),
        )),
    };
    printed.or_else(CliError::unless_unread)
}
