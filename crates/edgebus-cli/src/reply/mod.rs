//! `edgebus reply`: runs a command on each message of a consumer; its output is the reply.
//!
//! In reading order: this module: what can be typed; [`name`] the consumer's name when none is
//! given; [`script`] how the command is run, and [`captured`] what it writes; [`link`] the
//! stream, and what is told of its connection; [`held`] the messages that are held; [`worker`] the loop
//! that gives them to the command; [`report`] what is told.
//!
//! Invariants: a message that is held is run once, however often the connection is lost and the
//! message delivered again. What became of it is told until the server has it on disk. Nothing is
//! charged for being stopped.

mod captured;
mod held;
mod link;
mod name;
mod report;
mod script;
mod worker;

use std::ffi::OsString;
use std::time::Duration;

use edgebus::{ConsumerName, TopicPattern};

use crate::args::Global;
use crate::consumer::{Mode, Settings};
use crate::error::{CliError, INTERRUPTED};
use crate::{remote, values};
use link::Post;
use script::Script;
use worker::Worker;

/// What can be typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The command gets the payload on standard input; what it writes to standard output is the reply,
byte for byte. Its exit status says what becomes of the message: 0 it is done; 65 it is not to be
tried again (a dead letter); anything else, or a signal: it is tried again later. What it writes to
standard error, the last 4 KiB, is kept as the reason. Its environment has EDGEBUS_REQUEST_ID, the
same for every attempt, EDGEBUS_TOPIC, EDGEBUS_ATTEMPT, EDGEBUS_SEQ and EDGEBUS_CONSUMER.

If CMD names an executable file, that file is run; otherwise CMD is a line for /bin/sh.

Without --consumer the name comes from the pattern: reply-orders.any for 'orders.*',
reply-sensors.all for 'sensors.>', with a hash behind it where that alone is ambiguous. If the
consumer is there, what is not typed stays as it is.

Stops when interrupted: takes nothing new and lets running commands end; a second interrupt kills
them, and their messages are given back uncharged. When the server goes away it waits for it.

Examples:
  edgebus reply 'orders.*' --exec ./handle-order --workers 4
  edgebus reply text.upper --exec 'tr a-z A-Z'")]
pub(crate) struct Options {
    /// Topics of the requests, for example orders.* or sensors.>
    pattern: TopicPattern,
    /// The command
    #[arg(long, value_name = "CMD", value_parser = clap::builder::OsStringValueParser::new())]
    exec: OsString,
    /// The consumer to work for; made if it is new
    #[arg(long, value_name = "NAME")]
    consumer: Option<ConsumerName>,
    /// Commands that run at a time
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// How long the command may take before it is ended and the message tried again
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::some_duration)]
    timeout: Duration,
    /// Whether the output is a reply, or the messages are only listened to
    #[arg(long, default_value = "responder")]
    mode: Mode,
    #[command(flatten)]
    settings: Settings,
}

/// `edgebus reply …`.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let prefix = match options.mode {
        Mode::Responder => "reply",
        Mode::Listener => "listen",
    };
    let consumer = match options.consumer {
        Some(consumer) => consumer,
        None => name::of(prefix, &options.pattern)?,
    };
    let post = Post {
        global: global.clone(),
        consumer,
        pattern: options.pattern,
        mode: options.mode,
        settings: options.settings,
        credit: u32::from(options.workers),
    };
    let script = Script::new(options.exec)?;
    remote::runtime()?.block_on(async {
        let worker = tokio::select! {
            started = Worker::start(post, script, options.workers, options.timeout) => started?,
            () = remote::interrupted() => return Err(CliError::silent(INTERRUPTED)),
        };
        worker.run().await
    })
}
