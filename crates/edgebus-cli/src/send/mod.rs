//! `edgebus send`: stores one request, or each line of a file as one.
//!
//! In reading order: this module sends one request; [`file`] the loop that sends many;
//! [`input`] lines out of a file; [`line`] a request out of a line; [`report`] what is said about
//! them.

mod file;
mod input;
mod line;
mod report;

use bytes::Bytes;
use edgebus::{Client, ClientConfig, Message, Receipt, RequestId, SendError, Topic};

use crate::args::{Global, SendOptions};
use crate::error::CliError;
use crate::output::{self, ReceiptObject, say};
use crate::payload;
use crate::remote;
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
    if let Some(path) = &options.file {
        return file::run(path, template, &options, config, global);
    }
    let payload = payload::read(options.payload)?;
    let id = options.id.unwrap_or_else(edgebus::new_request_id);
    let message = template.message(id, payload);
    remote::runtime()?.block_on(async {
        let client = remote::connect(global, config).await?;
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
    let interrupted = remote::interrupted();
    let pending = client.enqueue(message).await?;
    tokio::select! {
        outcome = pending => Ok(outcome?),
        () = interrupted => {
            let reason = "interrupted before the answer came".to_owned();
            Err(SendError::Unknown { request_id, reason }.into())
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
