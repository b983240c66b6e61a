//! Has the server take what waits in a spool.
//!
//! Invariant: what waited before stays in the spool until the server has it, or has refused it for
//! good; without a server nothing is changed.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use edgebus::spool::Spool;
use edgebus::{Client, ClientConfig, Code, Refusal, SpoolingClient};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::{FlushOptions, PAGE, open, requests};
use crate::args::Global;
use crate::error::{CliError, INTERRUPTED, NO_CONNECTION, REFUSED, UNKNOWN};
use crate::output::{self, say};
use crate::remote;
use crate::spooling::{self, Folder};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How forwarding ended.
enum Ended {
    Empty,
    TimeOver,
    Interrupted,
}

/// `edgebus spool flush`.
pub(super) fn run(options: &FlushOptions, global: &Global) -> Result<(), CliError> {
    let dir = &options.folder.spool;
    let runtime = remote::runtime()?;
    let ended = runtime.block_on(async {
        let (waiting, dead) = {
            let spool = wait_for(dir).await?;
            (spool.waiting(), spool.dead())
        };
        if waiting == 0 && (dead == 0 || !options.dead) {
            return finish(dir, 0, (0, dead), Ended::Empty, global);
        }
        let until = Instant::now() + options.timeout;
        let within = CONNECT_WITHIN.min(options.timeout);
        let config = ClientConfig::default().connect_timeout(within);
        // Whether there is a server, before anything is changed.
        let url = global.server.clone().unwrap_or_default();
        let once = config.clone().reconnect(false);
        let once = remote::with_proof(once, &global.proof)?;
        drop(Client::connect_with(&url, once).await?);
        if options.dead {
            retry_dead(&mut wait_for(dir).await?)?;
        }
        let folder = Folder {
            dir: dir.clone(),
            bytes_max: None,
        };
        let client = spooling::connect(&folder, within, config, global).await?;
        let (count, dead) = (client.waiting(), client.dead());
        let ended = forward(&client, count, until).await;
        let (left, dead_now) = (client.waiting(), client.dead());
        let refused = dead_now.saturating_sub(dead);
        let connected = spooling::is_connected(&client);
        spooling::end(client).await;
        let forwarded = count.saturating_sub(left + refused);
        if !connected && left > 0 && matches!(ended, Ended::TimeOver) {
            print(forwarded, (left, dead_now), global)?;
            let waits = spooling::wait_text(left);
            let message = format!(
                "the server {url} went away; {waits} on in {}",
                dir.display()
            );
            let refusal = Refusal::new(Code::Disconnected, message);
            return Err(CliError::with_status(refusal, NO_CONNECTION));
        }
        finish(dir, forwarded, (left, dead_now), ended, global)
    });
    spooling::end_runtime(runtime);
    ended
}

/// Opens a spool that is there, waiting a while for whoever has it.
async fn wait_for(dir: &Path) -> Result<Spool, CliError> {
    let until = Instant::now() + spooling::FOLDER_WITHIN;
    loop {
        match open(dir) {
            Err(error) if error.is(Code::DataInUse) && Instant::now() < until => {}
            opened => return opened,
        }
        tokio::time::sleep(spooling::LOOK).await;
    }
}

/// Lets what no server would take wait once more, behind everything else.
fn retry_dead(spool: &mut Spool) -> Result<(), CliError> {
    let mut numbers = Vec::new();
    let mut after = 0;
    loop {
        let rows = spool.list(after, PAGE)?;
        let Some(last) = rows.last() else { break };
        after = last.number;
        numbers.extend(
            rows.iter()
                .filter(|row| super::is_dead(row))
                .map(|row| row.number),
        );
    }
    for page in numbers.chunks(PAGE) {
        spool.retry(page)?;
    }
    Ok(())
}

/// Waits until everything is forwarded, with a bar on a terminal.
async fn forward(client: &SpoolingClient, count: u64, until: Instant) -> Ended {
    let bar = bar(count);
    let mut interrupted = pin!(remote::interrupted());
    let mut flushed = pin!(client.flush());
    let ended = loop {
        tokio::select! {
            _ = &mut flushed => break Ended::Empty,
            () = &mut interrupted => break Ended::Interrupted,
            () = tokio::time::sleep_until(until) => break Ended::TimeOver,
            () = tokio::time::sleep(spooling::LOOK) => {
                bar.set_position(count.saturating_sub(client.waiting()));
            }
        }
    };
    bar.finish_and_clear();
    ended
}

fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(forwarded: u64, (waiting, dead): (u64, u64), global: &Global) -> Result<(), CliError> {
    let printed = match global.json {
        true => output::line(&json!({
            "forwarded": forwarded,
            "waiting": waiting,
            "dead": dead,
        })),
        false => output::text(&format!("forwarded {}", requests(forwarded))),
    };
    printed.or_else(CliError::unless_unread)
}

fn finish(
    dir: &Path,
    forwarded: u64,
    (waiting, dead): (u64, u64),
    ended: Ended,
    global: &Global,
) -> Result<(), CliError> {
    print(forwarded, (waiting, dead), global)?;
    let place = dir.display();
    if dead > 0 {
        say!(
            "edgebus: {} in {place} refused for good: see `edgebus spool ls --dead --spool {place}`; with \
             --dead they are tried again",
            requests(dead)
        );
    }
    match ended {
        Ended::Interrupted => {
            say!("edgebus: {} on in {place}", spooling::wait_text(waiting));
            Err(CliError::silent(INTERRUPTED))
        }
        Ended::TimeOver if waiting > 0 => {
            let waits = spooling::wait_text(waiting);
            let message = format!("the time is over; {waits} on in {place}: flush again");
            Err(CliError::with_status(
                Refusal::new(Code::Busy, message),
                UNKNOWN,
            ))
        }
        _ if dead > 0 => Err(CliError::silent(REFUSED)),
        _ => Ok(()),
    }
}
