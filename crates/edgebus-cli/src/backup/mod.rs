//! `edgebus backup` and `edgebus restore`: a store as one file, and back.
//!
//! [`target`] is the file that is written; [`restore`] makes a store of one.
//!
//! Invariant: a backup has its name only when all of it is on disk and was read again.

mod restore;
mod target;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Instant;

use edgebus::files::RealFiles;
use edgebus::store::backup::{BackupContents, BackupFile};
use edgebus::{Code, Refusal};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::args::{FolderOptions, Global};
use crate::error::{CliError, INTERRUPTED};
use crate::output::{self, say};
use crate::remote;
use crate::source::Source;
use target::Target;

pub(crate) use restore::Options as RestoreOptions;
pub(crate) use restore::run as restore;

/// What to take a backup of, and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds every payload and the keys that fingerprints are made with: keep it as you keep the data
folder. Nobody but you can read it (mode 0600). Over a server it takes the rights admin, replay and
dead-letters on every topic.

Examples:
  edgebus backup /backup/shop-7.edgebus
  edgebus backup - | ssh vault 'cat > shop-7.edgebus'")]
pub(crate) struct Options {
    /// The file to be made, which must not be there; `-` for standard output
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) folder: FolderOptions,
}

/// `edgebus backup`.
pub(crate) fn run(options: &Options, global: &Global) -> Result<(), CliError> {
    let started = Instant::now();
    let mut target = Target::create(&options.file)?;
    let bar = bar("copying");
    let bytes = remote::runtime()?.block_on(async {
        let mut interrupted = pin!(remote::interrupted());
        tokio::select! {
            biased;
            copied = copy(options, global, &mut target, &bar) => copied,
            () = &mut interrupted => Err(CliError::silent(INTERRUPTED)),
        }
    });
    bar.finish_and_clear();
    let bytes = bytes?;
    let Some(written) = target.finish()? else {
        // Standard output is taken.
        say!("edgebus: {} written", HumanBytes(bytes));
        return Ok(());
    };
    let bar = self::bar("reading again");
    let backup = BackupFile::open(&RealFiles, written.path(), |at, of| {
        bar.set_length(of);
        bar.set_position(at);
    });
    bar.finish_and_clear();
    let contents = backup?.contents();
    written.publish()?;
    print(options, &contents, started, global)
}

async fn copy(
    options: &Options,
    global: &Global,
    target: &mut Target,
    bar: &ProgressBar,
) -> Result<u64, CliError> {
    let mut source = Source::open(&options.folder, global).await?;
    let mut last = None;
    loop {
        let part = source.backup_part(last.as_ref()).await;
        let part = part.map_err(|refusal| match (refusal.code, &last) {
            (Code::BadQuery, None) => {
                let what = format!(
                    "{}: the server may be older than backups; update it, or stop it and name its folder with --data",
                    refusal.message
                );
                Refusal::new(Code::BadQuery, what)
            }
            _ => refusal,
        })?;
        target.write(&part.bytes)?;
        let bytes = part.offset + part.bytes.len() as u64;
        bar.set_length(part.estimate_bytes.max(bytes));
        bar.set_position(bytes);
        if part.done {
            return Ok(bytes);
        }
        last = Some(part);
    }
}

fn print(
    options: &Options,
    contents: &BackupContents,
    started: Instant,
    global: &Global,
) -> Result<(), CliError> {
    let requests = contents.last_seq.0 + 1 - contents.first_seq.0;
    let store_id = uuid::Uuid::from_bytes(contents.store_id);
    let printed = match global.json {
        true => output::line(&json!({
            "file": options.file.display().to_string(),
            "bytes": contents.bytes,
            "store_id": store_id.to_string(),
            "lsn": contents.lsn.0,
            "first_seq": contents.first_seq.0,
            "last_seq": contents.last_seq.0,
            "requests": requests,
            "dead_letters": contents.dead_letters,
            "consumers": contents.consumers,
            "seconds": seconds(started),
        })),
        false => output::text(&format!(
            "{}: store {store_id} at lsn {}, {requests} requests (up to seq {}), {} dead letters, {} consumers; {} in {:.1} s",
            options.file.display(),
            contents.lsn,
            contents.last_seq,
            contents.dead_letters,
            contents.consumers,
            HumanBytes(contents.bytes),
            started.elapsed().as_secs_f64(),
        )),
    };
    printed.or_else(CliError::unless_unread)
}

/// How long it took, to the millisecond.
fn seconds(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// A bar over bytes, on a terminal.
fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template =
        "{prefix} [{bar:30}] {bytes} of about {total_bytes}, {bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar
            .with_style(style.progress_chars("=> "))
            .with_prefix(what),
        Err(_) => bar,
    }
}
