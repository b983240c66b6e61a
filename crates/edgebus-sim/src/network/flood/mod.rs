//! `edgebus-sim flood`: thousands of connections that do nothing, or say half of something, or never
//! read, and what honest clients notice.
//!
//! Judged: an honest request or connection that is refused or hangs, an acknowledged request that is
//! not in the log at the end, an idle connection that is cut, one that breaks the rules and is not.
//! Printed: how long honest clients waited before and during, how long the others lived, what memory
//! and how many descriptors the server had.

mod scenario;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use edgebus::Client;
use tokio::time::Instant as Moment;

use super::honest::{self, Noticed};
use super::{Usage, descriptors, request, shown};
use crate::history::{Client as Who, Death, Event, Terms};
use crate::processes::figures::{Figures, judge, verdict};
use crate::processes::load::notes::Notes;
use crate::processes::server::{Server, Setup};
use crate::processes::{Failure, binary, ending, interrupt};
use crate::say::{self, err, out};
use crate::sizes;
pub use scenario::Scenario;
use scenario::{Lives, Sizes};

/// Descriptors of both ends beside the connections.
const DESCRIPTORS_BESIDE: u64 = 500;
/// Large requests, which those that never read ask for again and again.
const LARGE: usize = 60;
const LARGE_BYTES: usize = 500_000;
/// A connection of each kind at least, and more than any system allows.
const SCALE_MIN: f64 = 0.001;
const SCALE_MAX: f64 = 1_000.0;

/// `edgebus-sim flood …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many of everything: 1 is 10,000 idle connections and 1,000 of each other kind
    #[arg(long, default_value_t = 1.0, value_parser = |text: &str| sizes::between(text, SCALE_MIN, SCALE_MAX))]
    pub scale: f64,
    /// How long each scenario goes on at least; those that break the rules may live longer
    #[arg(long, default_value_t = 15.0, value_parser = sizes::seconds)]
    pub seconds: f64,
    /// How long honest clients are measured alone before each
    #[arg(long, default_value_t = 5.0, value_parser = sizes::seconds)]
    pub base_seconds: f64,
    /// Only these
    #[arg(long, value_enum)]
    pub scenario: Vec<Scenario>,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Floods, checks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let binary = binary::find(options.binary.as_deref())?;
    let sizes = Sizes::of(options.scale);
    descriptors::need(sizes.connections_max() + DESCRIPTORS_BESIDE)?;
    out!("edgebus-sim {}", again(options));
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("edgebus-sim-").tempdir();
    let folder = folder.map_err(|e| Failure::broken("a folder", e))?;
    let mut setup = Setup::new(&binary, folder.path());
    setup.config = "log = \"error\"\n".into();
    let wrong = interrupt::run(flood(&mut setup, options, &sizes))?;
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    verdict(wrong)
}

/// What has to be typed for the same again.
fn again(options: &Options) -> String {
    let mut command = format!(
        "flood --scale {} --seconds {} --base-seconds {}",
        options.scale, options.seconds, options.base_seconds
    );
    for scenario in &options.scenario {
        if let Some(value) = scenario.to_possible_value() {
            command += &format!(" --scenario {}", value.get_name());
        }
    }
    command + &binary::again(options.binary.as_deref())
}

/// All scenarios, one after the other, on one server; how much was wrong.
async fn flood(setup: &mut Setup, options: &Options, sizes: &Sizes) -> Result<usize, Failure> {
    let notes = Notes::new(Terms::default());
    notes.started();
    let server = setup.start().await?;
    store_large(&server, &notes).await?;
    let chosen = match options.scenario.as_slice() {
        [] => &Scenario::ALL[..],
        some => some,
    };
    let mut wrong = 0;
    for scenario in chosen {
        wrong += one(*scenario, &server, &notes, options, sizes).await?;
    }
    let calm = Usage::of(server.pid());
    out!(
        "  at the end {} MiB, {} descriptors",
        calm.memory_mib,
        calm.descriptors
    );
    server.stop()?;
    notes.died(Death::Shutdown);
    let mut last = ending::read(setup)?;
    // Those of the flood are not in the history.
    last.consumers.clear();
    notes.recorder().note(Event::Final(Box::new(last)));
    let history = notes.recorder().finish();
    say::all(&Figures::of(&history));
    Ok(wrong + judge(&history, "flood").len())
}

/// What those that never read will ask for.
async fn store_large(server: &Server, notes: &Notes) -> Result<(), Failure> {
    let client = Client::connect(server.url()).await;
    let client = client.map_err(|e| Failure::broken("the server takes nobody", e))?;
    for _ in 0..LARGE {
        let message = request(scenario::LARGE_TOPIC, vec![b'l'; LARGE_BYTES])?;
        let call = notes.sends(Who(notes.recorder().call().0), &message);
        let ended = client.send_message(message).await;
        notes.sent(call, &ended);
        ended.map_err(|e| Failure::broken("a large request", e))?;
    }
    Ok(())
}

/// One scenario; how much was wrong.
async fn one(
    scenario: Scenario,
    server: &Server,
    notes: &Notes,
    options: &Options,
    sizes: &Sizes,
) -> Result<usize, Failure> {
    let (url, pid) = (server.url(), server.pid());
    let calm = Usage::of(pid);
    let alone = Moment::now() + Duration::from_secs_f64(options.base_seconds);
    let before = honest::work(url, pid, notes, alone).await?;
    let until = Moment::now() + Duration::from_secs_f64(options.seconds);
    let address = honest::address_of(url)?;
    let flood = scenario.run(address, until, sizes);
    let (during, lives) = tokio::join!(honest::work(url, pid, notes, until), flood);
    let during = during?;
    report(scenario, calm, before, during, lives)
}

fn report(
    scenario: Scenario,
    calm: Usage,
    mut before: Noticed,
    mut during: Noticed,
    lives: Lives,
) -> Result<usize, Failure> {
    out!("{} ({} connections)", scenario.words(), lives.opened);
    out!("  sends  before {}", shown(&mut before.sends));
    out!("         during {}", shown(&mut during.sends));
    out!("  visits before {}", shown(&mut before.visits));
    out!("         during {}", shown(&mut during.visits));
    out!(
        "  server {} MiB, {} descriptors; before {} and {}",
        during.usage.memory_mib,
        during.usage.descriptors,
        calm.memory_mib,
        calm.descriptors
    );
    for (goodbye, count) in &lives.goodbyes {
        out!("  cut    {count} {goodbye:?}");
    }
    if let Some(longest) = lives.longest {
        out!("  cut    the last after {:.1} s", longest.as_secs_f64());
    }
    let mut wrong = before.wrong;
    wrong.extend(during.wrong);
    wrong.extend(lives.wrong);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for what in &wrong {
        *kinds.entry(what).or_default() += 1;
    }
    for (what, times) in kinds.iter().take(20) {
        err!("VIOLATION {times} times: {what}");
    }
    Ok(wrong.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_is_to_be_typed_again_says_all_that_was() {
        let options = Options {
            scale: 0.2,
            seconds: 5.0,
            base_seconds: 2.0,
            scenario: vec![Scenario::Idle, Scenario::Deaf],
            binary: Some("/opt/edge bus".into()),
        };
        assert_eq!(
            again(&options),
            "flood --scale 0.2 --seconds 5 --base-seconds 2 --scenario idle --scenario deaf --binary '/opt/edge bus'"
        );
    }
}
