//! Loads beside storing: requests that are answered, messages that are consumed, the log replayed.

use std::time::Instant;

use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::delivery::{ConsumeConfig, Handled, Handler, Messages};
use edgebus::{Client, LogQuery, MessageBus, Refusal, Seq, TopicPattern};
use tokio::task::JoinSet;

use super::Options;
use super::load::{Load, MessageMaker, Target};
use crate::error::CliError;

/// Requests stored before consuming or replaying is measured.
const STORED: usize = 1_000_000;
/// Of them at a time.
const BATCH: usize = 1024;
/// Messages that a worker may hold.
const CREDIT: u32 = 16 * 1024;

/// Asks for as long as the options say, with as many requests waiting as the window; each answer
/// counts.
pub(super) async fn request(target: &Target, options: &Options) -> Result<Load, CliError> {
    let maker = MessageMaker::new(options);
    let mut load = Load::new();
    let mut asking = JoinSet::new();
    let start = Instant::now();
    loop {
        while asking.len() < options.window as usize && start.elapsed() < options.time {
            let (target, message) = (target.clone(), maker.message());
            asking.spawn(async move {
                let sent = Instant::now();
                let answered = match target {
                    Target::Client(client) => client.request_message(message).await,
                    Target::Bus(bus) => bus.request_message(message).await,
                };
                (sent, answered)
            });
        }
        let Some(answered) = asking.join_next().await else {
            break;
        };
        let (sent, answered) = answered.map_err(|e| failed(&e.to_string()))?;
        answered.map_err(|e| e.to_refusal())?;
        load.record(sent, 1);
    }
    load.elapsed = start.elapsed();
    Ok(load)
}

/// Answers each request with its own payload.
pub(super) async fn answer(target: &Target) -> Result<Handler, CliError> {
    let (name, pattern) = ("bench-answers".parse()?, all()?);
    let config = ConsumeConfig::new(name)
        .config(ConsumerConfig::responder(all()?))
        .credit(1024)
        .concurrency(1024);
    let echo = |message: edgebus::delivery::Incoming| async move {
        Handled::Reply(Reply::new(message.payload()))
    };
    Ok(match target {
        Target::Client(client) => client.handle(pattern, config, echo).await?,
        Target::Bus(bus) => bus.handle(pattern, config, echo).await?,
    })
}

/// Consumes what was stored before, acknowledging each message.
pub(super) async fn consume(target: &Target, options: &Options) -> Result<Load, CliError> {
    store(target, options).await?;
    let config = ConsumeConfig::new("bench-consumes".parse()?)
        .config(ConsumerConfig::listener(all()?).max_in_flight(CREDIT))
        .credit(CREDIT);
    let mut load = Load::new();
    let start = Instant::now();
    let mut messages: Messages = match target {
        Target::Client(client) => client.consumer(config).await?,
        Target::Bus(bus) => bus.consumer(config).await?,
    };
    let mut last = None;
    while load.acked < STORED as u64 {
        let Some(message) = messages.next().await else {
            return Err(failed("the messages ended").into());
        };
        let message = message?;
        load.acked += 1;
        if load.acked == STORED as u64 {
            last = Some(message);
        } else {
            message.ack();
        }
    }
    // The last one is on disk, and so is all before it.
    if let Some(last) = last {
        last.ack_durable().await?;
    }
    load.elapsed = start.elapsed();
    Ok(load)
}

/// Reads everything that was stored before.
pub(super) async fn replay(target: &Target, options: &Options) -> Result<Load, CliError> {
    store(target, options).await?;
    let mut load = Load::new();
    let start = Instant::now();
    match target {
        Target::Client(client) => {
            let mut replay = client.replay(LogQuery::from(Seq(1)));
            while let Some(entry) = replay.next().await {
                load.acked += u64::from(entry?.seq() > Seq(0));
            }
        }
        Target::Bus(bus) => {
            for entry in bus.replay(Seq(1)) {
                load.acked += u64::from(entry?.seq() > Seq(0));
            }
        }
    }
    load.elapsed = start.elapsed();
    Ok(load)
}

async fn store(target: &Target, options: &Options) -> Result<(), CliError> {
    let maker = MessageMaker::new(options);
    for _ in 0..STORED / BATCH + 1 {
        let batch = (0..BATCH).map(|_| maker.message()).collect();
        for stored in target.send_batch(batch).await {
            stored?;
        }
    }
    Ok(())
}

fn all() -> Result<TopicPattern, Refusal> {
    "bench.>".parse()
}

fn failed(what: &str) -> Refusal {
    Refusal::new(edgebus::Code::Disconnected, what)
}

impl Clone for Target {
    fn clone(&self) -> Self {
        match self {
            Self::Client(client) => Self::Client(Client::clone(client)),
            Self::Bus(bus) => Self::Bus(MessageBus::clone(bus)),
        }
    }
}
