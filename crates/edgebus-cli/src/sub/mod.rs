//! `edgebus sub`: prints notifications as they come, one a line.
//!
//! In reading order: this module listens, and says when the connection was lost and is back;
//! [`feed`] where notifications come from; [`printer`] how they look.
//!
//! Invariant: what a named subscription prints is acked after it was printed, so it may be
//! printed twice when the connection or the process is lost in between, and never not at all.

mod feed;
mod printer;

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use edgebus::{Client, ClientConfig, ConnectionState, ConsumerName, Subscription, TopicPattern};

use crate::args::Global;
use crate::error::{CliError, INTERRUPTED};
use crate::output::say;
use crate::reconnect::{Change, Watch, may_come_back, say_back, say_lost};
use crate::remote;
use feed::{Acks, Came, Feed};
use printer::Printer;

/// What can be typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Goes on until it is interrupted, and connects again when the connection is lost. What is published
while nobody listens is missed.

With --name it prints only what is published with --persist, and misses none of it: what comes while
nobody uses the name waits. A name belongs to the client that used it first (--client). Two at a time
under one name share what comes.

Examples:
  edgebus sub 'prices.*'
  edgebus sub 'prices.*' 'stock.>' --name shelf-labels --json")]
pub(crate) struct Options {
    /// Topics to listen to, for example prices.* or sensors.>
    #[arg(value_name = "PATTERN", required = true, num_args = 1..)]
    patterns: Vec<TopicPattern>,
    /// A name to come back under: what was published with --persist meanwhile waits for it
    #[arg(long, value_name = "NAME")]
    name: Option<ConsumerName>,
    /// End after so many notifications
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Most notifications that may wait to be printed; more are missed and counted, or with --name
    /// wait at the server
    #[arg(long, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=Subscription::BUFFER_MAX as i64))]
    buffer: u32,
    /// The name of this client, for publish --to
    #[arg(long, value_name = "CLIENT", default_value = remote::CLIENT_NAME,
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    client: String,
}

/// `edgebus sub …`.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    remote::runtime()?.block_on(async {
        let mut interrupted = pin!(remote::interrupted());
        let config = ClientConfig::default().name(options.client.as_str());
        let client = tokio::select! {
            client = remote::connect_lasting(global, config.give_up_after(None)) => client?,
            () = &mut interrupted => return Err(CliError::silent(INTERRUPTED)),
        };
        let mut listener = Listener {
            printer: Printer::new(options.count, global.json),
            acks: Acks::default(),
            watch: Watch::over(&client),
            told: false,
            client,
            options,
        };
        let listened = tokio::select! {
            listened = listener.listen() => listened,
            () = &mut interrupted => Ok(()),
        };
        listener.finish().await;
        listened
    })
}

struct Listener {
    options: Options,
    client: Client,
    watch: Watch,
    /// That the connection is lost was said.
    told: bool,
    printer: Printer,
    acks: Acks,
}

/// How long to wait before listening is tried again; longer each time.
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Listener {
    async fn listen(&mut self) -> Result<(), CliError> {
        let mut wait = AGAIN_MIN;
        loop {
            let why = match Feed::open(&self.client, &self.options).await {
                Ok(mut feed) => {
                    match std::mem::take(&mut self.told) {
                        true => self.say_back(),
                        false => self.say_ready(),
                    }
                    wait = AGAIN_MIN;
                    match self.print_all(&mut feed).await? {
                        ControlFlow::Break(()) => return Ok(()),
                        ControlFlow::Continue(why) => why,
                    }
                }
                Err(refusal) => Some(refusal),
            };
            let is_over = matches!(self.client.state(), ConnectionState::Closed { .. });
            match why {
                Some(refusal) if is_over || !may_come_back(&refusal) => return Err(refusal.into()),
                why => self.say_lost(why.as_ref()),
            }
            // The connection may be there: it is this alone that the server does not give now.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// Prints until enough is printed, or until no more comes; then says why.
    async fn print_all(
        &mut self,
        feed: &mut Feed,
    ) -> Result<ControlFlow<(), Option<edgebus::Refusal>>, CliError> {
        loop {
            let came = tokio::select! {
                // That the connection is lost is said before what follows from it.
                biased;
                change = self.watch.next() => {
                    self.changed(change);
                    continue;
                }
                came = feed.next() => came,
            };
            let enough = match came {
                Came::Live(entry) => self.printer.message(&entry)?,
                Came::Lease(delivered) => {
                    let enough = match self.acks.is_known(&delivered) {
                        true => ControlFlow::Continue(()),
                        false => self.printer.message(delivered.entry())?,
                    };
                    self.acks.ack(delivered);
                    enough
                }
                Came::Lagged(missed) => self.printer.lagged(missed)?,
                Came::Interrupted => {
                    self.say_lost(None);
                    self.say_back();
                    ControlFlow::Continue(())
                }
                Came::End(why) => return Ok(ControlFlow::Continue(why)),
            };
            if enough.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Lost(why) => self.say_lost(why.as_ref()),
            // A live subscription is back when it says so, at the place where something is missing.
            Change::Back if self.options.name.is_some() => self.say_back(),
            // How it ended is told by the feed.
            Change::Back | Change::Over(_) => {}
        }
    }

    fn say_lost(&mut self, why: Option<&edgebus::Refusal>) {
        if !std::mem::replace(&mut self.told, true) {
            say_lost(why);
        }
    }

    fn say_back(&mut self) {
        self.told = false;
        match &self.options.name {
            None => say_back("what was published meanwhile was missed"),
            Some(_) => say_back("nothing that was stored is missed"),
        }
    }

    fn say_ready(&self) {
        let patterns = self.options.patterns.iter().map(TopicPattern::as_str);
        let patterns = patterns.collect::<Vec<_>>().join(" ");
        say!("edgebus: listening to {patterns}");
    }

    /// What was printed is acked, as far as that can be.
    async fn finish(&mut self) {
        if self.options.name.is_some() {
            self.acks.finish(&self.client).await;
        }
    }
}
