//! `edgebus send`: stores one request, or each line of a file as one.
//!
//! In reading order: this module sends one request; [`file`] the loop that sends many;
//! [`input`] lines out of a file; [`line`] a request out of a line; [`outlet`] where they go;
//! [`report`] what is said about them; [`spooled`] one request past a spool.

mod file;
mod input;
mod line;
mod outlet;
mod report;
mod spooled;

use std::pin::pin;

use bytes::Bytes;
use edgebus::{Client, ClientConfig, Message, Receipt, RequestId, SendError, Topic};

use crate::args::{Global, SendOptions};
use crate::error::CliError;
use crate::output::{self, ReceiptObject, say};
use crate::payload;
use crate::reconnect::{GIVE_UP_AFTER, Watch};
use crate::remote;
use crate::spooling::Folder;
use crate::takers;

/// `edgebus send …`.
pub(crate) fn run(mut options: SendOptions, global: &Global) -> Result<(), CliError> {
    let template = Template {
        topic: options.topic.clone(),
        headers: std::mem::take(&mut options.headers),
        expires_ms: options
            .expires
            .map_or(0, |expires| expires.as_millis() as u64),
    };
    let config = ClientConfig::default().window(options.window as usize);
    let spool = options.spool.take().map(|dir| Folder {
        dir,
        bytes_max: options.spool_bytes_max,
    });
    if let Some(path) = &options.file {
        return file::run(path, template, &options, config, spool.as_ref(), global);
    }
    let payload = payload::read(options.payload)?;
    let id = options.id.unwrap_or_else(edgebus::new_request_id);
    let message = template.message(id, payload);
    if let Some(folder) = &spool {
        return spooled::run(message, folder, config, global);
    }
    remote::runtime()?.block_on(async {
        let config = config.give_up_after(Some(GIVE_UP_AFTER));
        let client = remote::connect_lasting(global, config).await?;
        let receipt = send_one(message, &client).await?;
        let printed = match global.json {
            true => output::line(&ReceiptObject::from(&receipt)),
            false => output::text(&output::receipt_text(&receipt)),
        };
        // It is stored, whether or not anybody reads the receipt.
        printed.or_else(CliError::unless_unread)?;
        if !receipt.duplicate
            && let Some(hint) = takers::none_takes(&client, &options.topic).await
        {
            say!("edgebus: {hint}");
        }
        Ok(())
    })
}

async fn send_one(message: Message, client: &Client) -> Result<Receipt, CliError> {
    let request_id = message.id;
    let mut interrupted = pin!(remote::interrupted());
    let mut watch = Watch::over(client);
    let mut pending = client.enqueue(message).await?;
    loop {
        tokio::select! {
            outcome = &mut pending => return Ok(outcome?),
            // What there is to know of an end for good is in the outcome.
            _ = watch.say_next() => {}
            () = &mut interrupted => {
                let reason = "interrupted before the answer came".to_owned();
                return Err(SendError::Unknown { request_id, reason }.into());
            }
        }
    }
}

/// What all requests of one command have in common.
#[derive(Clone, Debug)]
struct Template {
    topic: Topic,
    headers: Vec<(String, String)>,
    expires_ms: u64,
}

impl Template {
    fn message(&self, id: RequestId, payload: impl Into<Bytes>) -> Message {
        let mut message = Message::new(id, self.topic.clone(), payload).expires_ms(self.expires_ms);
        message.headers.clone_from(&self.headers);
        message
    }
}
