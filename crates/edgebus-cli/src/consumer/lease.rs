//! A consumer's messages by hand: `next` leases them, and each lease is settled by its token.

use std::ffi::OsString;
use std::time::Duration;

use edgebus::admin::Delivery;
use edgebus::consumer::{LeaseToken, Reply, Settlement};
use edgebus::{ClientConfig, ConsumerName};
use serde::Serialize;
use serde_json::json;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Output, Row, payload_text};
use crate::{payload, remote, table, values};

#[derive(Debug, clap::Args)]
pub(crate) struct NextOptions {
    /// The consumer
    name: ConsumerName,
    /// Most messages to take
    #[arg(long, value_name = "MESSAGES", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    count: u32,
    /// They are done with being printed
    #[arg(long)]
    ack: bool,
    /// How long to wait for the first
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::duration)]
    wait: Duration,
}

/// A lease.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaseOptions {
    /// The consumer
    name: ConsumerName,
    /// The token that came with the message
    token: LeaseToken,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AckOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// The reply to it; `-` for standard input
    #[arg(long, value_name = "PAYLOAD", allow_hyphen_values = true)]
    reply: Option<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NakOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// Try again after this long [default: the next step of the consumer's backoff]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    delay: Option<Duration>,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TermOptions {
    #[command(flatten)]
    lease: LeaseOptions,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

/// A leased message as JSON.
#[derive(Serialize)]
struct LeaseRow<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    token: String,
    attempt: u32,
}

/// `edgebus consumer next`.
pub(super) fn next(options: &NextOptions, global: &Global) -> Result<(), CliError> {
    let deliveries = remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        let name = options.name.clone();
        let next = client.next(name, options.count, options.ack, options.wait);
        Ok::<_, CliError>(next.await?)
    })?;
    if global.json {
        let mut output = Output::new();
        for Delivery {
            token,
            attempt,
            entry,
        } in &deliveries
        {
            output.json(&LeaseRow {
                row: Row::new(entry)?,
                token: token.to_string(),
                attempt: *attempt,
            })?;
        }
        return output.flush();
    }
    let rows = deliveries.iter().map(|delivery| {
        let record = delivery.entry.record();
        [
            delivery.token.to_string(),
            delivery.attempt.to_string(),
            record.topic_str().to_owned(),
            payload_text(record.payload_bytes()),
        ]
    });
    table::print(["TOKEN", "ATTEMPT", "TOPIC", "PAYLOAD"], rows.collect())
}

/// `edgebus consumer ack`.
pub(super) fn ack(options: AckOptions, global: &Global) -> Result<(), CliError> {
    let settlement = match options.reply {
        Some(reply) => Settlement::Complete(Reply::new(payload::read(Some(reply))?)),
        None => Settlement::Ack,
    };
    settle(options.lease, settlement, "done", global)
}

/// `edgebus consumer nak`.
pub(super) fn nak(options: NakOptions, global: &Global) -> Result<(), CliError> {
    let settlement = Settlement::Nak {
        delay_ms: options.delay.map(values::millis),
        reason: options.reason,
    };
    settle(options.lease, settlement, "to be tried again", global)
}

/// `edgebus consumer term`.
pub(super) fn term(options: TermOptions, global: &Global) -> Result<(), CliError> {
    let reason = options.reason;
    let settlement = Settlement::Term { reason };
    settle(options.lease, settlement, "a dead letter", global)
}

/// `edgebus consumer extend`.
pub(super) fn extend(lease: LeaseOptions, global: &Global) -> Result<(), CliError> {
    settle(lease, Settlement::Extend, "yours for longer", global)
}

fn settle(
    lease: LeaseOptions,
    settlement: Settlement,
    now: &str,
    global: &Global,
) -> Result<(), CliError> {
    let LeaseOptions { name, token } = lease;
    let settled = match settlement {
        Settlement::Nak { .. } => "nak",
        Settlement::Term { .. } => "term",
        Settlement::Extend => "extend",
        _ => "ack",
    };
    remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        let settling = client.settle_by_name(name.clone(), token, settlement);
        Ok::<_, CliError>(settling.await?)
    })?;
    let printed = match global.json {
        true => output::line(&json!({
            "consumer": name.as_str(), "token": token.to_string(), "settled": settled,
        })),
        false => output::text(&format!("seq {} is {now}", token.seq)),
    };
    printed.or_else(CliError::unless_unread)
}
