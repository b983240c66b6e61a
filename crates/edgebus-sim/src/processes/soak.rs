//! `edgebus-sim soak`: steady load with retention, and readers who are too slow for it.
//!
//! The store's file must stay below three times what lives in it, and the server's memory and
//! descriptors must not grow. Growth is a straight line through the second half, in which retention
//! has begun to remove what the first half brought.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use edgebus::consumer::ConsumerConfig;
use edgebus::query::LogQuery;
use edgebus::{Client, ConsumeConfig, Refusal, Seq, Subscription};
use rustix::process::Pid;
use tokio::task::JoinSet;

use super::crash::{any_seed, folder, keep_if_wrong};
use super::figures::{Figures, judge, verdict};
use super::load::notes::Notes;
use super::load::{Load, Plan};
use super::server::{Server, Setup};
use super::{Failure, binary, ending, interrupt};
use crate::history::{History, Retention, Terms};
use crate::say::{self, err, out};
use crate::sizes;

const MIB: f64 = 1024.0 * 1024.0;
/// Between two looks at the server.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How slow the slow ones are.
const SLOW: Duration = Duration::from_millis(250);
/// Between two notifications.
const NEWS_EVERY: Duration = Duration::from_millis(20);
/// How large the file may be for what lives in it.
const FILE_PER_LIVE_MAX: f64 = 3.0;
/// What memory may grow in the second half: caches and pools that fill, not more.
const MEMORY_GROWTH_MAX_MIB: f64 = 24.0;
/// What descriptors may grow in the second half: files of the journal come and go.
const DESCRIPTORS_GROWTH_MAX: f64 = 8.0;
/// Samples of the second half without which nothing can be said about growth.
const SAMPLES_MIN: usize = 20;
/// How long it takes for those, with some to spare, and how long it may be at most.
const MINUTES_MIN: f64 = 1.0;
const MINUTES_MAX: f64 = 100_000.0;

/// Bytes of an id in the tables: key and value. Ids outlive their requests, and so live too.
const ID_BYTES: f64 = 44.0;
/// How much is kept for each minute, and at most: as much as a third of the time brings.
const KEPT_MIB_A_MINUTE: f64 = 8.0;
const KEPT_MIB_MAX: f64 = 64.0;

/// `edgebus-sim soak …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long
    #[arg(long, default_value_t = 5.0, value_parser = |text: &str| sizes::between(text, MINUTES_MIN, MINUTES_MAX))]
    pub minutes: f64,
    /// What follows from it: requests and their fates [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Loads, looks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let binary = binary::find(options.binary.as_deref())?;
    let seed = options.seed.unwrap_or_else(any_seed);
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim soak --minutes {} --seed {seed}{again}",
        options.minutes
    );
    let folder = folder()?;
    let mut setup = Setup::new(&binary, folder.path());
    setup.config = config(options.minutes);
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let (history, samples) = interrupt::run(soak(&mut setup, time, seed))?;
    let mut violations = judge(&history, &format!("soak-{seed}")).len();
    let grown = tell(&samples);
    for what in grown.iter().flatten() {
        err!("VIOLATION {what}");
        violations += 1;
    }
    say::all(&Figures::of(&history));
    keep_if_wrong(folder, violations);
    verdict(violations)?;
    grown.map(drop).ok_or_else(|| {
        Failure::CannotRun(format!(
            "{} looks at the server are too few to say anything about growth",
            samples.len()
        ))
    })
}

/// Little is kept, so that it is soon full, and a slow consumer is overtaken.
fn config(minutes: f64) -> String {
    let kept = (minutes * KEPT_MIB_A_MINUTE).clamp(4.0, KEPT_MIB_MAX) as u64;
    format!(
        "[store]\nretention_bytes = \"{kept}MiB\"\nseal_bytes = \"1MiB\"\nseal_after = \"2s\"\n\
         ids_per_generation = 10000\ncache_bytes = \"8MiB\"\n"
    )
}

/// The server at one moment.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    /// From the start of the load, in minutes.
    at: f64,
    memory_mib: f64,
    descriptors: f64,
    file_mib: f64,
    live_mib: f64,
}

async fn soak(
    setup: &mut Setup,
    time: Duration,
    seed: u64,
) -> Result<(History, Vec<Sample>), Failure> {
    let notes = Notes::new(Terms {
        retention: Retention::Any,
        drained: false,
    });
    notes.started();
    let server = setup.start().await?;
    let mut plan = Plan::new(seed);
    plan.pause_max = Duration::from_millis(60);
    let load = Load::start(&plan, server.url(), &notes);
    let mut others = JoinSet::new();
    for behaviour in [
        Slow::Consumer,
        Slow::Reader,
        Slow::Subscriber,
        Slow::Publisher,
    ] {
        others.spawn(behaviour.run(server.url().to_owned()));
    }
    let client = connect(server.url()).await?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < time {
        tokio::time::sleep(LOOKS_EVERY).await;
        samples.push(sample(&server, &client, begun.elapsed()).await?);
    }
    others.shutdown().await;
    let removed = client.consumer_remove(Slow::name()).await;
    removed.map_err(|e| Failure::broken("the slow consumer", e))?;
    let history = ending::end(load, server, setup).await?;
    Ok((history, samples))
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let client = Client::connect(url).await;
    client.map_err(|e| Failure::broken("the server takes nobody", e))
}

async fn sample(server: &Server, client: &Client, at: Duration) -> Result<Sample, Failure> {
    let stats = client.stats().await;
    let stats = stats.map_err(|e| Failure::broken("statistics", e))?;
    let failed = |e| Failure::broken("the server's process", e);
    let descriptors = std::fs::read_dir(proc_file(server.pid(), "fd")).map_err(failed)?;
    let status = std::fs::read_to_string(proc_file(server.pid(), "status")).map_err(failed)?;
    Ok(Sample {
        at: at.as_secs_f64() / 60.0,
        memory_mib: memory_kib(&status).unwrap_or(0.0) / 1024.0,
        descriptors: descriptors.count() as f64,
        file_mib: stats.store_file_bytes as f64 / MIB,
        live_mib: (stats.log_bytes as f64 + stats.last_seq as f64 * ID_BYTES) / MIB,
    })
}

fn proc_file(pid: Pid, name: &str) -> String {
    format!("/proc/{}/{name}", pid.as_raw_nonzero())
}

/// What is in memory, as `/proc/PID/status` has it.
fn memory_kib(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Prints the figures; what is wrong with them. `None` when there are too few to tell.
fn tell(samples: &[Sample]) -> Option<Vec<String>> {
    let second = &samples[samples.len() / 2..];
    if second.len() < SAMPLES_MIN {
        return None;
    }
    let most = |of: fn(&Sample) -> f64| second.iter().map(of).fold(0.0, f64::max);
    let minutes = second[second.len() - 1].at - second[0].at;
    let memory = slope(second, |sample| sample.memory_mib);
    let descriptors = slope(second, |sample| sample.descriptors);
    let ratio = most(|sample| sample.file_mib / sample.live_mib.max(1.0));
    let shown = |name: &str, most: f64, unit: &str, slope: f64| {
        out!("  {name:<24} at most {most:.1}{unit}, {slope:+.2}{unit} a minute");
    };
    shown("memory", most(|sample| sample.memory_mib), " MiB", memory);
    shown(
        "descriptors",
        most(|sample| sample.descriptors),
        "",
        descriptors,
    );
    out!(
        "  {:<24} at most {:.1} MiB for {:.1} MiB that live, {ratio:.2} times",
        "store file",
        most(|sample| sample.file_mib),
        most(|sample| sample.live_mib)
    );
    let mut wrong = Vec::new();
    if ratio >= FILE_PER_LIVE_MAX {
        wrong.push(format!(
            "the store's file is {ratio:.2} times what lives in it"
        ));
    }
    if memory * minutes > MEMORY_GROWTH_MAX_MIB {
        wrong.push(format!("memory grows by {memory:.2} MiB a minute"));
    }
    if descriptors * minutes > DESCRIPTORS_GROWTH_MAX {
        wrong.push(format!("descriptors grow by {descriptors:.2} a minute"));
    }
    Some(wrong)
}

/// The slope of the straight line that is nearest to the samples, a minute.
fn slope(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean_at = samples.iter().map(|sample| sample.at).sum::<f64>() / count;
    let mean = samples.iter().map(&of).sum::<f64>() / count;
    let (mut up, mut along) = (0.0, 0.0);
    for sample in samples {
        let at = sample.at - mean_at;
        up += at * (of(sample) - mean);
        along += at * at;
    }
    match along > 0.0 {
        true => up / along,
        false => 0.0,
    }
}

/// Those who are too slow, and one who does not care.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// Acknowledges so slowly that retention overtakes it.
    Consumer,
    /// Reads the log from its start, a message now and then.
    Reader,
    /// Listens, and does not read.
    Subscriber,
    /// Publishes for it.
    Publisher,
}

impl Slow {
    fn name() -> edgebus::ConsumerName {
        "slow".parse().expect("is sound")
    }

    /// Goes on until it is aborted, or is refused; nobody depends on it.
    async fn run(self, url: String) {
        if let Ok(client) = Client::connect(&url).await {
            let _ = self.work(&client).await;
        }
    }

    async fn work(self, client: &Client) -> Result<(), Refusal> {
        match self {
            Self::Consumer => {
                let config = ConsumerConfig::listener(">".parse()?).ack_wait_ms(600_000);
                let config = ConsumeConfig::new(Self::name()).config(config).credit(8);
                let mut messages = client.consumer(config).await?;
                while let Some(message) = messages.next().await {
                    tokio::time::sleep(SLOW).await;
                    message?.ack();
                }
            }
            Self::Reader => loop {
                let mut replay = client.replay(LogQuery::from(Seq(1)));
                while let Some(entry) = replay.next().await {
                    entry?;
                    tokio::time::sleep(SLOW / 25).await;
                }
                tokio::time::sleep(SLOW).await;
            },
            Self::Subscriber => {
                let _unread = client
                    .subscribe(Subscription::to("live.>".parse()?))
                    .await?;
                std::future::pending::<()>().await;
            }
            Self::Publisher => loop {
                client.publish("live.prices", vec![b'x'; 2_000]).await?;
                tokio::time::sleep(NEWS_EVERY).await;
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(memory_a_minute: f64, file: f64) -> Vec<Sample> {
        let sample = |second: u32| {
            let at = f64::from(second) / 60.0;
            Sample {
                at,
                memory_mib: 50.0 + memory_a_minute * at + f64::from(second % 3),
                descriptors: 30.0,
                file_mib: file,
                live_mib: 16.0,
            }
        };
        (0..600).map(sample).collect()
    }

    #[test]
    fn memory_that_grows_is_found_out_and_noise_is_not() {
        assert_eq!(tell(&samples(0.0, 20.0)), Some(Vec::new()));
        let found = tell(&samples(10.0, 20.0)).expect("enough");
        assert!(found.len() == 1 && found[0].contains("memory"), "{found:?}");
        let rising = slope(&samples(10.0, 20.0), |sample| sample.memory_mib);
        assert!((rising - 10.0).abs() < 0.1, "{rising}");
    }

    #[test]
    fn file_that_is_too_large_for_what_lives_in_it_is_found_out() {
        let found = tell(&samples(0.0, 49.0)).expect("enough");
        assert!(found.len() == 1 && found[0].contains("file"), "{found:?}");
        assert_eq!(tell(&samples(0.0, 49.0)[..10]), None, "too short");
    }

    #[test]
    fn memory_is_read_from_what_the_system_says() {
        let status = "Name:\tedgebus\nVmPeak:\t 9 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(memory_kib(status), Some(2048.0));
        assert_eq!(memory_kib("Name:\tedgebus\n"), None);
    }
}
