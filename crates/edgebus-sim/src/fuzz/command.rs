//! `edgebus-sim fuzz`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::run::{self, Until};
use super::{TARGETS, Target, corpus, named};
use crate::processes::Failure;
use crate::say::{self, out};
use crate::sizes;

/// Give decoders bytes that nobody meant
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long, shared out among the targets
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = sizes::count::<u64>)]
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

/// Runs it.
///
/// # Errors
/// [`Failure::Violated`] with the number of targets that broke, and [`Failure::CannotRun`] when files cannot be read
/// or written.
pub fn run(options: &Options) -> Result<(), Failure> {
    match fuzz(options).map_err(Failure::CannotRun)? {
        0 => Ok(()),
        broken => Err(Failure::Violated(broken)),
    }
}

/// How many targets broke a promise.
fn fuzz(options: &Options) -> Result<usize, String> {
    let folder = options.corpus.clone().unwrap_or_else(corpus::folder);
    let targets = match &options.target {
        Some(target) => std::slice::from_ref(*target),
        None => TARGETS,
    };
    if options.write_corpus {
        for target in targets {
            let files = corpus::write(&folder, target).map_err(|error| error.to_string())?;
            out!("{:8} {files} files", target.name);
        }
        return Ok(0);
    }
    out!("edgebus-sim {}", again(options));
    if let Some(folder) = &options.corpus {
        need_inputs(folder, targets)?;
    }
    let time = Duration::from_secs(options.seconds) / targets.len() as u32;
    let mut broken = 0;
    for target in targets {
        broken += usize::from(!one(target, &folder, time, options)?);
    }
    out!(
        "seed {}, {} targets, {broken} broken; most memory held {} MiB",
        options.seed,
        targets.len(),
        memory_mib_max()
    );
    Ok(broken)
}

/// What has to be typed for the same again.
fn again(options: &Options) -> String {
    let mut command = format!("fuzz --seconds {} --seed {}", options.seconds, options.seed);
    if let Some(target) = options.target {
        command += &format!(" --target {}", target.name);
    }
    for (option, path) in [("corpus", &options.corpus), ("input", &options.input)] {
        if let Some(path) = path {
            command += &format!(" --{option} {}", say::word(path));
        }
    }
    command
}

/// A corpus that somebody named is there, and has inputs for a target at least; without any, what encoders write
/// would be taken in its place.
fn need_inputs(folder: &Path, targets: &[Target]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the corpus {}: {e}", folder.display());
    std::fs::read_dir(folder).map_err(failed)?;
    for target in targets {
        if corpus::has_any(folder, target).map_err(failed)? {
            return Ok(());
        }
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    Err(format!(
        "the corpus {} has no inputs for {}: those of a target are in a folder of its name",
        folder.display(),
        names.join(", ")
    ))
}

/// Whether the target kept its promises.
fn one(target: &Target, folder: &Path, time: Duration, options: &Options) -> Result<bool, String> {
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
    let outcome = run::run(target, &inputs, options.seed, until);
    out!(
        "{name:8} {:>9} executions of {} inputs and changes to them, slowest {:.1} ms",
        outcome.executions,
        inputs.len(),
        outcome.slowest.as_secs_f64() * 1000.0
    );
    let Some((input, what)) = outcome.broken else {
        return Ok(true);
    };
    out!("{name}: BROKEN: {what}");
    match corpus::keep(&options.artifacts, target, &input) {
        Ok(path) => out!(
            "{name}: again: edgebus-sim fuzz --target {name} --input {}",
            say::word(&path)
        ),
        // What was found stays found.
        Err(error) => out!("{name}: the input cannot be kept: {error}"),
    }
    Ok(false)
}

/// The most memory this process ever held, in MiB; 0 where the system does not say.
fn memory_mib_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib / 1024)
}
