//! The load: requests in flight up to a window, and how long each took.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use edgebus::{Client, Message, MessageBus, Receipt, RequestId, SendError, Topic, new_request_id};
use hdrhistogram::Histogram;

use super::{Ids, Options, What, delivery};
use crate::error::CliError;

/// What a sender saw.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) acked: u64,
    pub(super) elapsed: Duration,
    /// Microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Load {
    pub(super) fn new() -> Self {
        const TEN_MINUTES_US: u64 = 600_000_000;
        let latency = Histogram::new_with_bounds(1, TEN_MINUTES_US, 3)
            .expect("these bounds and 3 significant digits are allowed");
        Self {
            acked: 0,
            elapsed: Duration::ZERO,
            latency,
        }
    }

    pub(super) fn record(&mut self, sent: Instant, count: u64) {
        self.acked += count;
        self.latency
            .saturating_record_n(sent.elapsed().as_micros() as u64, count);
    }
}

/// Where requests go.
pub(super) enum Target {
    Client(Client),
    Bus(MessageBus),
}

type Pending = Pin<Box<dyn Future<Output = Result<Receipt, SendError>> + Send>>;

impl Target {
    async fn enqueue(&self, message: Message) -> Result<Pending, SendError> {
        Ok(match self {
            Self::Client(client) => Box::pin(client.enqueue(message).await?),
            Self::Bus(bus) => Box::pin(bus.try_send_to_server(message)?),
        })
    }

    pub(super) async fn send_batch(
        &self,
        messages: Vec<Message>,
    ) -> Vec<Result<Receipt, SendError>> {
        match self {
            Self::Client(client) => client.send_batch(messages).await,
            Self::Bus(bus) => bus.send_batch(messages).await,
        }
    }
}

/// Sends for as long as the options say, then waits for what is in flight.
pub(super) async fn run(target: &Target, options: &Options) -> Result<Load, CliError> {
    match options.what {
        What::Send => send(target, options).await,
        What::Request => delivery::request(target, options).await,
        What::Consume => delivery::consume(target, options).await,
        What::Replay => delivery::replay(target, options).await,
    }
}

async fn send(target: &Target, options: &Options) -> Result<Load, CliError> {
    let maker = MessageMaker::new(options);
    let mut load = Load::new();
    let start = Instant::now();
    if options.batch {
        while start.elapsed() < options.time {
            let batch = (0..options.window).map(|_| maker.message()).collect();
            let sent = Instant::now();
            for result in target.send_batch(batch).await {
                result?;
            }
            load.record(sent, u64::from(options.window));
        }
    } else {
        let mut flying: VecDeque<(Instant, Pending)> = VecDeque::new();
        while start.elapsed() < options.time {
            while flying.len() < options.window as usize {
                flying.push_back((Instant::now(), target.enqueue(maker.message()).await?));
            }
            if let Some((sent, pending)) = flying.pop_front() {
                pending.await?;
                load.record(sent, 1);
            }
        }
        for (sent, pending) in flying {
            pending.await?;
            load.record(sent, 1);
        }
    }
    load.elapsed = start.elapsed();
    Ok(load)
}

/// Makes requests with fresh ids and one payload.
pub(super) struct MessageMaker {
    ids: Ids,
    topic: Topic,
    payload: bytes::Bytes,
}

impl MessageMaker {
    pub(super) fn new(options: &Options) -> Self {
        let topic = Topic::try_from("bench.orders").expect("a valid topic");
        Self {
            ids: options.ids,
            topic,
            payload: payload(options.size as usize).into(),
        }
    }

    pub(super) fn message(&self) -> Message {
        Message::new(self.id(), self.topic.clone(), self.payload.clone()).source("bench")
    }

    fn id(&self) -> RequestId {
        match self.ids {
            Ids::V7 => new_request_id(),
            Ids::V4 => RequestId::from_bytes(uuid::Uuid::new_v4().into_bytes()),
        }
    }
}

/// JSON like that of an order, of exactly that many bytes.
pub(super) fn payload(bytes: usize) -> Vec<u8> {
    let mut text = String::from("{\"lines\":[");
    let mut line = 0u64;
    while text.len() < bytes {
        line += 1;
        let price = line.wrapping_mul(2_654_435_761) % 10_000;
        text.push_str(&format!(
            "{{\"line\":{line},\"sku\":\"A-{price:05}\",\"cents\":{price}}},"
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}
