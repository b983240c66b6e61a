//! `edgebus-sim ready`: how soon a server serves again after `kill -9`, with much in its store.
//!
//! Counted is the whole way of a client: from the start of the process until a new request has its
//! receipt. Times are figures, not verdicts; that nothing acknowledged is gone is one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use edgebus::{Client, Message, RequestId, Topic};

use super::crash::{any_seed, folder, keep_if_wrong};
use super::figures::{middle_and_most, verdict};
use super::server::{Server, Setup};
use super::{Failure, binary, interrupt, tools};
use crate::rng::SimRng;
use crate::say::out;
use crate::sizes;

/// Bytes of each payload; random, so that they take what they say.
const PAYLOAD_BYTES: usize = 2_000;
/// The largest store, in MiB.
const MIB_MAX: u64 = 1024 * 1024;
/// Requests sent at a time.
const BATCH: u64 = 256;
/// How long a server runs under load before it is killed again.
const LIFE_MAX: Duration = Duration::from_millis(1_500);

/// `edgebus-sim ready …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How much the data folder is to take before the first kill, in MiB
    #[arg(long, default_value_t = 1024, value_parser = |text: &str| sizes::between(text, 1, MIB_MAX))]
    pub mib: u64,
    /// How often the server is killed and started
    #[arg(long, default_value_t = 10, value_parser = sizes::count::<u32>)]
    pub starts: u32,
    /// What follows from it: contents, and when the server is killed [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Fills, kills, starts, and prints how long that takes.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let Options { mib, starts, .. } = options;
    let again = binary::again(options.binary.as_deref());
    out!("edgebus-sim ready --mib {mib} --starts {starts} --seed {seed}{again}");
    let folder = folder()?;
    let mut setup = Setup::new(&binary, folder.path());
    let mut measured = interrupt::run(measure(&mut setup, options, seed))?;
    let mib = measured.bytes / (1024 * 1024);
    out!("  {:<24} {mib} MiB", "data folder");
    out!("  {:<24} {}", "requests acked", measured.acked);
    let ready = middle_and_most(&mut measured.ready);
    out!("  {:<24} {ready}", "listens after");
    let served = middle_and_most(&mut measured.served);
    out!("  {:<24} {served}", "first receipt after");
    keep_if_wrong(folder, measured.lost);
    verdict(measured.lost)
}

#[derive(Debug, Default)]
struct Measured {
    bytes: u64,
    acked: u64,
    lost: usize,
    ready: Vec<Duration>,
    served: Vec<Duration>,
}

/// A client that fills the store.
struct Filler {
    client: Client,
    topic: Topic,
    rng: SimRng,
    sent: u64,
    /// The highest place that a receipt named.
    acked: u64,
}

async fn measure(setup: &mut Setup, options: &Options, seed: u64) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let mut server = setup.start().await?;
    let mut filler = Filler::connect(server.url(), seed).await?;
    while tools::bytes_on_disk(&setup.data)? < options.mib * 1024 * 1024 {
        for _ in 0..32 {
            filler.fill().await?;
        }
    }
    measured.bytes = tools::bytes_on_disk(&setup.data)?;
    for _ in 0..options.starts {
        // In the middle of what it is doing then.
        let life = LIFE_MAX.mul_f64(filler.rng.fraction());
        let until = tokio::time::Instant::now() + life;
        while tokio::time::timeout_at(until, filler.fill()).await.is_ok() {}
        server.kill()?;
        let begun = Instant::now();
        server = setup.start().await?;
        measured.ready.push(server.ready_after());
        measured.lost += filler.come_back(&server).await?;
        measured.served.push(begun.elapsed());
    }
    measured.acked = filler.acked;
    server.stop()?;
    Ok(measured)
}

impl Filler {
    async fn connect(url: &str, seed: u64) -> Result<Self, Failure> {
        let client = Client::connect(url).await;
        Ok(Self {
            client: client.map_err(|e| Failure::broken("the server takes nobody", e))?,
            topic: "orders.created".parse().expect("is sound"),
            rng: SimRng::seeded(seed),
            sent: 0,
            acked: 0,
        })
    }

    fn next(&mut self) -> Message {
        let mut payload = vec![0; PAYLOAD_BYTES];
        self.rng.fill(&mut payload);
        self.sent += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.sent.to_be_bytes());
        Message::new(RequestId::from_bytes(id), self.topic.clone(), payload)
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let batch = (0..BATCH).map(|_| self.next()).collect();
        for result in self.client.send_batch(batch).await {
            match result {
                Ok(receipt) => self.acked = self.acked.max(receipt.seq.0),
                Err(error) => return Err(Failure::broken("a request", error)),
            }
        }
        Ok(())
    }

    /// Connects to a server that has just begun and sends it one request. How many acknowledged
    /// requests are gone.
    async fn come_back(&mut self, server: &Server) -> Result<usize, Failure> {
        let client = Client::connect(server.url()).await;
        self.client = client.map_err(|e| Failure::broken("the server takes nobody", e))?;
        let message = self.next();
        let sent = self.client.send_message(message).await;
        let receipt = sent.map_err(|e| Failure::broken("the first request", e))?;
        // Places are given out once: a new request behind all that was acknowledged.
        let lost = (self.acked + 1).saturating_sub(receipt.seq.0);
        self.acked = self.acked.max(receipt.seq.0);
        Ok(lost as usize)
    }
}
