//! `edgebus send`: stores one request, or each line of a file as one.
//!
//! In reading order: this module sends one request; [`file`] the loop that sends many;
//! [`input`] lines out of a file; [`line`] a request out of a line; [`report`] what is said about
//! them.

mod file;
mod input;
mod line;
mod report;

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use bytes::Bytes;
use edgebus::{ClientConfig, Code, Message, Receipt, Refusal, RequestId, SendError, Topic};

use crate::args::{Global, SendOptions};
use crate::error::CliError;
use crate::output::{self, ReceiptObject};
use crate::remote;

/// Most bytes taken from standard input as one payload; far above what a server takes.
const STDIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

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
    let payload = payload(options.payload)?;
    let id = options.id.unwrap_or_else(edgebus::new_request_id);
    let message = template.message(id, payload);
    let receipt = remote::runtime()?.block_on(send_one(message, config, global))?;
    let printed = match global.json {
        true => output::line(&ReceiptObject::from(&receipt)),
        false => output::text(&output::receipt_text(&receipt)),
    };
    // It is stored, whether or not anybody reads the receipt.
    printed.or_else(CliError::unless_unread)
}

async fn send_one(
    message: Message,
    config: ClientConfig,
    global: &Global,
) -> Result<Receipt, CliError> {
    let request_id = message.id;
    let client = remote::connect(global, config).await?;
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

/// The payload as it was typed, or as it comes from standard input.
fn payload(typed: Option<OsString>) -> Result<Vec<u8>, CliError> {
    let mut stdin = std::io::stdin().lock();
    let asked_for = typed.is_some();
    match typed {
        Some(text) if text != "-" => return Ok(text.into_vec()),
        None if stdin.is_terminal() => {
            return Err(CliError::usage(
                "there is no payload: give one, pipe one in, or give - to type one",
            ));
        }
        _ => {}
    }
    let mut payload = Vec::new();
    let read = stdin
        .by_ref()
        .take(STDIN_BYTES_MAX + 1)
        .read_to_end(&mut payload);
    read.map_err(|e| CliError::io("read", Path::new("standard input"), e))?;
    if payload.is_empty() && !asked_for {
        return Err(CliError::usage(
            "there is no payload: standard input is empty; give - to store an empty one all the same",
        ));
    }
    if payload.len() as u64 > STDIN_BYTES_MAX {
        let message = format!(
            "the payload on standard input is over {STDIN_BYTES_MAX} bytes: send a reference instead"
        );
        return Err(Refusal::new(Code::PayloadTooLarge, message).into());
    }
    Ok(payload)
}
