//! `edgebus publish`: tells whoever listens; stored only when asked for.

use std::ffi::OsString;

use edgebus::{ClientConfig, Kind, Message, RequestId, Topic};
use serde_json::json;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, ReceiptObject, say};
use crate::{payload, remote, values};

/// What can be typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Says on stderr how many subscribers it was handed to. With --persist it is stored first, prints its
receipt, and named subscriptions get it also later.

Example:
  edgebus publish prices.changed '{\"item\":7,\"price\":3}'")]
pub(crate) struct Options {
    /// What it is about, for example prices.changed
    topic: Topic,
    /// The content; `-`, or none, for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<OsString>,
    /// Store it, for subscriptions that have a name
    #[arg(long)]
    persist: bool,
    /// Only for the client with this name (see sub --client)
    #[arg(long, value_name = "CLIENT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    to: Option<String>,
    /// A header that travels along. Can be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = values::header)]
    headers: Vec<(String, String)>,
    /// Its id, to be able to store it again without storing it twice; a new one if not given
    #[arg(long, value_name = "UUID", requires = "persist")]
    id: Option<RequestId>,
}

/// `edgebus publish …`.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let payload = payload::read(options.payload)?;
    let id = options.id.unwrap_or_else(edgebus::new_request_id);
    let mut message = Message::new(id, options.topic, payload)
        .kind(Kind::Notification)
        .target(options.to.unwrap_or_default());
    message.headers = options.headers;
    let printed = remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        if options.persist {
            let receipt = client.publish_persisted(message).await?;
            return Ok::<_, CliError>(match global.json {
                true => output::line(&ReceiptObject::from(&receipt)),
                false => output::text(&output::receipt_text(&receipt)),
            });
        }
        let reached = client.publish_message(message).await?;
        Ok(match global.json {
            true => output::line(&json!({ "subscribers": reached })),
            false => {
                say!("edgebus: {}", reached_text(reached));
                Ok(())
            }
        })
    })?;
    // It is told, whether or not anybody reads so.
    printed.or_else(CliError::unless_unread)
}

fn reached_text(reached: u64) -> String {
    match reached {
        0 => "nobody listens".to_owned(),
        1 => "handed to 1 subscriber".to_owned(),
        _ => format!("handed to {reached} subscribers"),
    }
}
