//! The backup that is being taken over a connection.
//!
//! Invariants: there is one at a time, so that what it holds in memory is bounded; it ends with the
//! connection on which it was begun, and when nobody asks for more of it.

use std::sync::Arc;
use std::time::Duration;

use edgebus_core::admin::BackupPart;
use edgebus_core::{Code, Refusal};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use crate::flag::Flag;
use crate::host;
use crate::store::backup::Backup;

/// How long a backup is kept for someone who asks for nothing.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Most bytes of one part.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backups {
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    last_id: u64,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    /// `None` while a part of it is made.
    backup: Option<Box<Backup>>,
    /// How many bytes were handed out.
    offset: u64,
    asked: Instant,
    /// Ends who watches the connection.
    _watched: oneshot::Sender<()>,
}

/// The next part of a backup, or the first one of a new one.
///
/// # Errors
/// [`Code::Busy`] while another one is taken; [`Code::NotFound`] for one that has ended; what the
/// store says.
pub(super) async fn part(
    shared: &Arc<Shared>,
    (id, offset): (u64, u64),
    bytes_max: usize,
    ending: Flag,
) -> Result<BackupPart, Refusal> {
    let (id, backup) = match id {
        0 => (begin(shared, ending)?, None),
        id => (id, Some(take(shared, id, offset)?)),
    };
    let made = {
        let shared = shared.clone();
        let bytes = bytes_max.clamp(1, PART_BYTES_MAX);
        host::blocking(move || {
            let mut backup = match backup {
                Some(backup) => backup,
                None => Box::new(shared.bus.backup()?),
            };
            let page = backup.next_page(bytes)?;
            Ok((page, backup))
        })
    };
    let made = match made.await {
        Ok(made) => made.map_err(|error: crate::store::StoreError| Refusal::from(&error)),
        Err(_) => Err(Refusal::new(Code::Corrupt, "taking the backup failed")),
    };
    let (page, backup) = made.inspect_err(|_| end(shared, id))?;
    let part = BackupPart {
        id,
        offset,
        done: page.done,
        estimate_bytes: backup.estimate_bytes(),
        bytes: page.bytes.into(),
    };
    match part.done {
        true => end(shared, id),
        false => put_back(shared, id, backup, part.bytes.len() as u64),
    }
    Ok(part)
}

/// Takes the only place there is.
fn begin(shared: &Arc<Shared>, ending: Flag) -> Result<u64, Refusal> {
    let (watched, over) = oneshot::channel();
    let id = {
        let mut slot = shared.backups.slot.lock();
        if slot.running.is_some() {
            let what = "another backup is being taken from this server: try again when it is done";
            return Err(Refusal::new(Code::Busy, what).retry_after_ms(5000));
        }
        slot.last_id += 1;
        slot.running = Some(Running {
            id: slot.last_id,
            backup: None,
            offset: 0,
            asked: Instant::now(),
            _watched: watched,
        });
        slot.last_id
    };
    tokio::spawn(watch(shared.clone(), id, ending, over));
    Ok(id)
}

fn take(shared: &Shared, id: u64, offset: u64) -> Result<Box<Backup>, Refusal> {
    let mut slot = shared.backups.slot.lock();
    let running = slot.running.as_mut().filter(|running| running.id == id);
    let Some(running) = running else {
        let what = "there is no such backup any more: it ends with its connection, and when nothing is asked of it for a minute; begin anew";
        return Err(Refusal::new(Code::NotFound, what));
    };
    if running.offset != offset {
        let what = format!(
            "the backup is at byte {}: its parts come in their order",
            running.offset
        );
        return Err(Refusal::new(Code::BadQuery, what));
    }
    running.asked = Instant::now();
    running.backup.take().ok_or_else(|| {
        let what = "a part of the backup is being made: ask for one at a time";
        Refusal::new(Code::Busy, what)
    })
}

fn put_back(shared: &Shared, id: u64, backup: Box<Backup>, bytes: u64) {
    let mut slot = shared.backups.slot.lock();
    if let Some(running) = slot.running.as_mut().filter(|running| running.id == id) {
        running.asked = Instant::now();
        running.offset += bytes;
        running.backup = Some(backup);
    }
}

fn end(shared: &Shared, id: u64) {
    let mut slot = shared.backups.slot.lock();
    let ended = slot.running.take_if(|running| running.id == id);
    // What it holds is freed outside the lock.
    drop(slot);
    drop(ended);
}

/// Ends a backup with its connection, or when nothing is asked of it.
async fn watch(shared: Arc<Shared>, id: u64, ending: Flag, mut over: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            biased;
            () = ending.raised() => return end(&shared, id),
            _ = &mut over => return,
            () = tokio::time::sleep(IDLE_MAX) => {
                let mut slot = shared.backups.slot.lock();
                let idle = |running: &mut Running| {
                    running.id == id && running.backup.is_some() && running.asked.elapsed() >= IDLE_MAX
                };
                let ended = slot.running.take_if(idle);
                drop(slot);
                drop(ended);
            }
        }
    }
}
