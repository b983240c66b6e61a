//! `edgebus-sim fuzz`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::run::{Until, run};
use super::{TARGETS, Target, corpus, named};

/// Give decoders bytes that nobody meant
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long, shared out among the targets
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
    /// Only this one; all by default
    #[arg(long, value_parser = target)]
    target: Option<&'static Target>,
    /// What the inputs follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the inputs are, a folder a target
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Where to keep an input that breaks something
    #[arg(long, value_name = "DIR", default_value = "fuzz/artifacts")]
    artifacts: PathBuf,
    /// Write what real encoders write to the corpus, and do nothing else
    #[arg(long)]
    write_corpus: bool,
    /// Give a target this input once, and do nothing else
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

fn target(name: &str) -> Result<&'static Target, String> {
    named(name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// Runs it. Exit status: 0 nothing broke, 1 something did, 2 files that cannot be read or written.
pub fn fuzz(options: &Options) -> ExitCode {
    match try_fuzz(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("fuzz: {what}");
            ExitCode::from(2)
        }
    }
}

/// How many targets broke a promise.
fn try_fuzz(options: &Options) -> Result<usize, String> {
    let folder = options.corpus.clone().unwrap_or_else(corpus::folder);
    let targets = match &options.target {
        Some(target) => std::slice::from_ref(*target),
        None => TARGETS,
    };
    if options.write_corpus {
        for target in targets {
            let files = corpus::write(&folder, target).map_err(|error| error.to_string())?;
            println!("{:8} {files} files", target.name);
        }
        return Ok(0);
    }
    let time = Duration::from_secs(options.seconds) / targets.len() as u32;
    let mut broken = 0;
    for target in targets {
        broken += usize::from(!one(target, &folder, time, options)?);
    }
    println!(
        "seed {}, {} targets, {broken} broken; most memory held {} MiB",
        options.seed,
        targets.len(),
        memory_mib_max()
    );
    Ok(broken)
}

/// Whether the target kept its promises.
fn one(
    target: &Target,
    folder: &std::path::Path,
    time: Duration,
    options: &Options,
) -> Result<bool, String> {
    let name = target.name;
    let (inputs, until) = match &options.input {
        Some(path) => {
            let input = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            (vec![input], Until::Executions(1))
        }
        None => {
            let inputs = corpus::read(folder, target);
            (inputs.map_err(|e| e.to_string())?, Until::Time(time))
        }
    };
    let outcome = run(target, &inputs, options.seed, until);
    println!(
        "{name:8} {:>9} executions of {} inputs and changes to them, slowest {:.1} ms",
        outcome.executions,
        inputs.len(),
        outcome.slowest.as_secs_f64() * 1000.0
    );
    let Some((input, what)) = outcome.broken else {
        return Ok(true);
    };
    let path = corpus::keep(&options.artifacts, target, &input)
        .map_err(|e| format!("{name} broke ({what}), and the input cannot be kept: {e}"))?;
    println!(
        "{name}: BROKEN: {what}\n{name}: again: cargo run -p edgebus-sim -- fuzz --target {name} --input {}",
        path.display()
    );
    Ok(false)
}

/// The most memory this process ever held, in MiB; 0 where the system does not say.
fn memory_mib_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib / 1024)
}
