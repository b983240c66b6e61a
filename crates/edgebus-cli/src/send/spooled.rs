//! Sends one request past a spool: to the server if it is there, and else to this machine's disk.
//!
//! Invariant: what is printed is on the disk that it names.

use std::pin::pin;
use std::time::Duration;

use edgebus::{Accepted, ClientConfig, Code, Message, Refusal, SendError, SpoolingClient, Topic};
use tokio::time::Instant;

use crate::args::Global;
use crate::error::{CliError, INTERRUPTED};
use crate::output::{self, ReceiptObject, SpooledObject, say};
use crate::spooling::{self, Folder};
use crate::{remote, takers};

/// How long a command may last, from its start, for what was spooled before to be forwarded first.
/// Less than others wait for the folder.
const BACKLOG_WITHIN: Duration = Duration::from_secs(4);
/// A server that says nothing for three of these is taken for lost.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Sends it.
pub(super) fn run(
    message: Message,
    folder: &Folder,
    config: ClientConfig,
    global: &Global,
) -> Result<(), CliError> {
    let runtime = remote::runtime()?;
    let ended = runtime.block_on(async {
        let until = Instant::now() + BACKLOG_WITHIN;
        let within = spooling::SERVER_WITHIN;
        let config = config.heartbeat(HEARTBEAT);
        let client = spooling::connect(folder, within, config, global).await?;
        let dead = client.dead();
        let topic = message.topic.clone();
        let sent = send_one(message, &client, until).await;
        let printed = match &sent {
            Ok(accepted) => tell(accepted, &topic, &client, folder, global).await,
            Err(_) => Ok(()),
        };
        spooling::say_dead(client.dead(), dead, &folder.dir);
        spooling::end(client).await;
        sent.and(printed)
    });
    spooling::end_runtime(runtime);
    ended
}

async fn send_one(
    message: Message,
    client: &SpoolingClient,
    until: Instant,
) -> Result<Accepted, CliError> {
    let request_id = message.id;
    let mut interrupted = pin!(remote::interrupted());
    tokio::select! {
        () = spooling::forward(client, until) => {}
        () = &mut interrupted => {
            let reason = "interrupted before it was sent: it is neither stored nor spooled";
            let refusal = Refusal::new(Code::Disconnected, reason);
            return Err(CliError::with_status(refusal, INTERRUPTED).about(request_id));
        }
    }
    let pending = client.enqueue(message).await?;
    tokio::select! {
        outcome = pending => Ok(outcome?),
        () = &mut interrupted => {
            let reason = "interrupted before the answer came".to_owned();
            Err(SendError::Unknown { request_id, reason }.into())
        }
    }
}

async fn tell(
    accepted: &Accepted,
    topic: &Topic,
    client: &SpoolingClient,
    folder: &Folder,
    global: &Global,
) -> Result<(), CliError> {
    let printed = match (accepted, global.json) {
        (Accepted::Stored(receipt), true) => output::line(&ReceiptObject::from(receipt)),
        (Accepted::Stored(receipt), false) => output::text(&output::receipt_text(receipt)),
        (Accepted::Spooled(spooled), true) => output::line(&SpooledObject::from(spooled)),
        (Accepted::Spooled(spooled), false) => output::text(&output::spooled_text(spooled)),
        _ => Ok(()),
    };
    // It is on a disk, whether or not anybody reads so.
    printed.or_else(CliError::unless_unread)?;
    match accepted {
        Accepted::Stored(receipt) if !receipt.duplicate => {
            if let Some(hint) = takers::none_takes(client.client(), topic).await {
                say!("edgebus: {hint}");
            }
        }
        Accepted::Spooled(_) => {
            let url = global.server.clone().unwrap_or_default();
            let why = match spooling::is_connected(client) {
                true => format!(" for the server at {url}"),
                false => format!(": {}", spooling::why_away(client, &url)),
            };
            let waiting = spooling::wait_text(client.waiting());
            say!("edgebus: {waiting} in {}{why}", folder.dir.display());
        }
        _ => {}
    }
    Ok(())
}
