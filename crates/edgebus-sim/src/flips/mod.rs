//! `edgebus-sim flips`: one bit of a store turns over, again and again; nothing wrong is delivered,
//! nothing is deleted, and somebody says where it is.
//!
//! In reading order: [`memory`] files that are thrown away; [`stored`] the store and what it
//! acknowledged; [`mod@look`] reading everything; [`figures`] what came of it; this module: one flip after the other, and the figures.
//!
//! Each flip is met by `check`, by opening, by reading all that was acknowledged, by using the store,
//! and by reading it once more: damage must not spread. A repair has to put it right, byte by byte.

mod figures;
mod look;
mod memory;
mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use edgebus::files::Files;
use edgebus::store::check::{Finding, Repair, Severity, Watch, check};
use edgebus::{Code, RequestStore, Seq, StoreError, host};

use crate::processes::Failure;
use crate::rng::SimRng;
use crate::say::{self, out};
use crate::sizes;
pub use figures::{Figures, Kind, Outcome, Violation};
use look::{Seen, look, use_it};
use memory::{Image, Memory};
use stored::{Acked, REQUESTS_MIN, build, open, orders};
pub use stored::{DIR, config};

/// A store is copied for every flip, so it is not large.
const REQUESTS_MAX: usize = 1_000_000;

/// `edgebus-sim flips …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many bits turn over, each in a whole store
    #[arg(long, default_value_t = 10_000, value_parser = sizes::count::<u64>)]
    pub flips: u64,
    /// What follows from it: the store and the bits
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The requests: a file with a JSON object a line [default: made up]
    #[arg(long, value_name = "FILE")]
    pub orders: Option<PathBuf>,
    /// How many requests are stored
    #[arg(long, default_value_t = 600, value_parser = |text: &str| sizes::between(text, REQUESTS_MIN, REQUESTS_MAX))]
    pub requests: usize,
}

/// Turns bits over, and prints what became of it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let text = match &options.orders {
        Some(path) => Some(stored::read(path, options.requests)?),
        None => None,
    };
    let mut command = format!("flips --flips {} --seed {}", options.flips, options.seed);
    command += &format!(" --requests {}", options.requests);
    if let Some(path) = &options.orders {
        command += &format!(" --orders {}", say::word(path));
    }
    out!("edgebus-sim {command}");
    let begun = Instant::now();
    let figures = flips(
        options.flips,
        options.seed,
        text.as_deref(),
        options.requests,
    );
    say::all(&figures);
    out!(
        "seed {}, {:.1} s; again: edgebus-sim {command}",
        options.seed,
        begun.elapsed().as_secs_f64()
    );
    match figures.violations.len() {
        0 => Ok(()),
        count => Err(Failure::Violated(count)),
    }
}

/// The files of a store with that many requests, some of everything in it.
pub fn sample(seed: u64, requests: usize) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut rng = SimRng::seeded(seed);
    let mut chance = rng.fork();
    let _simulated = host::simulate(move || chance.bits());
    let made = orders(None, requests, &mut rng);
    build(made, &mut rng).0
}

/// Makes a store and turns one bit of it over, so many times.
pub fn flips(count: u64, seed: u64, text: Option<&str>, requests: usize) -> Figures {
    let mut rng = SimRng::seeded(seed);
    let mut chance = rng.fork();
    let _simulated = host::simulate(move || chance.bits());
    let made = orders(text, requests, &mut rng);
    let (image, acked) = build(made, &mut rng);
    let mut figures = Figures {
        bytes: image.values().map(|bytes| bytes.len() as u64).sum(),
        ..Figures::default()
    };
    let sound = Checked::of(&Memory::with(&image));
    if !sound.findings.is_empty() {
        let what = format!("the store is not sound before: {:?}", sound.findings);
        figures.violations.push(Violation::new(Kind::Other, what));
    }
    figures.bytes_in_use = sound.in_use.iter().map(|used| used.bytes).sum();
    // The panics that are caught are told as outcomes; redb's would fill the screen.
    let hook = std::panic::take_hook();
    let said = Arc::new(Mutex::new(String::new()));
    let saying = said.clone();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut said) = saying.lock() {
            *said = panic.to_string();
        }
    }));
    for _ in 0..count {
        let bit = Bit::random(&image, &sound, &mut rng);
        let place = sound.what_is_at(&bit);
        let one = || one_flip(&image, &acked, &bit, &mut rng.fork());
        let outcome = match catch_unwind(AssertUnwindSafe(one)) {
            Ok(Ok((outcome, healed))) => {
                figures.healed += u64::from(healed);
                match outcome {
                    Outcome::Harmless if place != UNUSED => Outcome::Silent,
                    outcome => outcome,
                }
            }
            Ok(Err(what)) => {
                let place = format_args!("{bit} ({place})");
                figures.violations.push(what.at(place));
                continue;
            }
            Err(_) => {
                let said = said.lock().map(|said| said.clone()).unwrap_or_default();
                let panic = Violation::new(Kind::Panic, format!("{bit} ({place}): {said}"));
                figures.violations.push(panic);
                continue;
            }
        };
        if outcome == Outcome::Silent {
            let what = format!("{bit} ({place}): nobody says anything");
            figures.violations.push(Violation::new(Kind::Other, what));
        }
        *figures.outcomes.entry((outcome, place)).or_default() += 1;
    }
    std::panic::set_hook(hook);
    figures.flips = count;
    figures
}

const UNUSED: &str = "unused";

/// A bit of a file.
#[derive(Clone, Debug)]
struct Bit {
    file: PathBuf,
    at: u64,
}

impl fmt::Display for Bit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} byte {} bit {}",
            self.file.display(),
            self.at / 8,
            self.at % 8
        )
    }
}

impl Bit {
    /// Any bit of the journal, the tables and VERSION; half of them among those of the tables that
    /// count, as most of that file is free pages.
    fn random(image: &Image, sound: &Checked, rng: &mut SimRng) -> Self {
        let is_tables = |used: &&InUse| used.file.ends_with("store.redb");
        if rng.chance(0.5) {
            let used = sound.in_use.iter().filter(is_tables);
            return Self::of(used.map(|used| (&used.file, used.at, used.bytes)), rng);
        }
        let is_version = |path: &&PathBuf| path.ends_with("VERSION");
        let alone = rng.chance(0.02);
        let files = image.iter().filter(|(path, _)| !alone || is_version(path));
        let counts =
            |path: &Path| !path.ends_with("LOCK") && !path.to_string_lossy().contains("spare-");
        let files = files.filter(|(path, _)| counts(path));
        Self::of(
            files.map(|(path, bytes)| (path, 0, bytes.len() as u64)),
            rng,
        )
    }

    /// Any bit of these parts of files: path, first byte, bytes.
    fn of<'a>(
        parts: impl Iterator<Item = (&'a PathBuf, u64, u64)> + Clone,
        rng: &mut SimRng,
    ) -> Self {
        let all: u64 = parts.clone().map(|(_, _, bytes)| bytes * 8).sum();
        let mut at = rng.below(all);
        for (path, first, bytes) in parts {
            if at < bytes * 8 {
                return Self {
                    file: path.clone(),
                    at: first * 8 + at,
                };
            }
            at -= bytes * 8;
        }
        unreachable!("the bit is within the sum of all")
    }
}

/// What `check` says.
#[derive(Default)]
struct Checked {
    findings: Vec<Finding>,
    in_use: Vec<InUse>,
}

struct InUse {
    file: PathBuf,
    at: u64,
    bytes: u64,
    what: String,
}

impl Watch for Checked {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn in_use(&mut self, file: &Path, at: u64, bytes: u64, what: &str) {
        self.in_use.push(InUse {
            file: file.to_owned(),
            at,
            bytes,
            what: what.to_owned(),
        });
    }
}

impl Checked {
    fn of(memory: &Memory) -> Self {
        let mut checked = Self::default();
        let files: Arc<dyn Files> = Arc::new(memory.clone());
        match check(Path::new(DIR), &files, &mut checked) {
            Ok(_) => {}
            // A format that nobody knows is a place, too; anything else is no answer.
            Err(error) => assert_eq!(error.code(), Code::NewerFormat, "{error}"),
        }
        checked
    }

    fn what_is_at(&self, bit: &Bit) -> String {
        let holds = |used: &&InUse| {
            used.file == bit.file && (used.at..used.at + used.bytes).contains(&(bit.at / 8))
        };
        // Whether the file was closed in order is of no account: every start finds it open.
        if bit.file.ends_with("store.redb") && bit.at == 9 * 8 + 1 {
            return UNUSED.to_owned();
        }
        let found = self.in_use.iter().find(holds);
        found.map_or(UNUSED.to_owned(), |used| used.what.clone())
    }

    fn has_damage(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity == Severity::Damage)
    }
}

/// Turns the bit over and lets everybody meet it. A violation is the error.
fn one_flip(
    image: &Image,
    acked: &Acked,
    bit: &Bit,
    rng: &mut SimRng,
) -> Result<(Outcome, bool), Violation> {
    let mut damaged = image.clone();
    let bytes = damaged
        .get_mut(&bit.file)
        .ok_or_else(|| Violation::new(Kind::Other, "no such file"))?;
    bytes[(bit.at / 8) as usize] ^= 1 << (bit.at % 8);
    let memory = Memory::with(&damaged);
    let checked = Checked::of(&memory);
    if memory.image() != damaged {
        return Err(Violation::new(Kind::Deletion, "check changed the folder"));
    }
    let has_word = checked.has_damage() || !checked.findings.is_empty();
    let healed = is_healed(image, &damaged, &bit.file)?;
    let all = acked.log.len() as u64;
    let mut store = match open(&memory, config()) {
        Ok(store) => store,
        Err(error) => return Ok((refused(&error, &memory, &damaged)?, healed)),
    };
    let is_torn = store.torn_tail().is_some();
    // The last group holds the last request only.
    let last = if is_torn { all - 1 } else { all };
    if is_torn
        && !memory
            .image()
            .keys()
            .any(|path| path.to_string_lossy().contains("torn-"))
    {
        let what = "a tear was reported and its bytes are not kept";
        return Err(Violation::new(Kind::Deletion, what));
    }
    let mut seen = look(&store, acked, last);
    let seqs: Vec<u64> = (0..8).map(|_| 1 + rng.below(last)).collect();
    use_it(&mut store, acked, &seqs, last, &mut seen);
    drop(store);
    goes_on(&memory, acked, last, &mut seen)?;
    if let Some(worst) = seen.wrong.iter().min_by_key(|wrong| wrong.kind) {
        return Err(worst.clone());
    }
    if let Some(missing) = seen.missing.first()
        && !checked.has_damage()
    {
        let what = format!("not there, and nobody says so: {missing}");
        return Err(Violation::new(Kind::Deletion, what));
    }
    let outcome = match () {
        () if is_torn => Outcome::TakenForATear,
        () if !seen.missing.is_empty() => Outcome::MissedAndFoundByCheck,
        () if !seen.reported.is_empty() => Outcome::FoundByReading,
        () if has_word => Outcome::FoundByCheck,
        () => Outcome::Harmless,
    };
    Ok((outcome, healed))
}

/// Whether repairing the store turns the bit back. Anything else it does is a violation.
fn is_healed(sound: &Image, damaged: &Image, file: &Path) -> Result<bool, Violation> {
    let other = |what: String| Violation::new(Kind::Other, what);
    let memory = Memory::with(damaged);
    let files: Arc<dyn Files> = Arc::new(memory.clone());
    let repair = match Repair::plan(Path::new(DIR), &files, &mut Checked::default()) {
        Ok(repair) => repair,
        // Another format is not touched; that it is none is what the checksum said first.
        Err(error) => return Err(other(format!("no plan to repair it: {error}"))),
    };
    if memory.image() != *damaged {
        let what = "planning a repair changed the folder";
        return Err(Violation::new(Kind::Deletion, what));
    }
    if repair.patches().is_empty() {
        return Ok(false);
    }
    let kept = repair
        .apply()
        .map_err(|e| other(format!("not repaired: {e}")))?;
    let mut image = memory.image();
    let name = file.strip_prefix(DIR).unwrap_or(file);
    if image.get(&kept.join(name)) != damaged.get(file) {
        return Err(Violation::new(Kind::Deletion, "the original was not kept"));
    }
    image.retain(|path, _| !path.starts_with(&kept));
    match image == *sound {
        true => Ok(true),
        false => Err(other("repaired, and not as it was".to_owned())),
    }
}

/// A store that does not open names the place and is as it was found.
fn refused(error: &StoreError, memory: &Memory, damaged: &Image) -> Result<Outcome, Violation> {
    let text = error.to_string();
    let is_answer = matches!(
        error.code(),
        Code::Corrupt | Code::NewerFormat | Code::BadConfig
    );
    if !is_answer || !text.contains(DIR) {
        let what = format!("refused without a place: {text}");
        return Err(Violation::new(Kind::Other, what));
    }
    match memory.image() == *damaged {
        true => Ok(Outcome::RefusedToOpen),
        false => {
            let what = format!("refused, and the folder was changed: {text}");
            Err(Violation::new(Kind::Deletion, what))
        }
    }
}

/// Opens the store once more, after it was used: what could be read can be read.
fn goes_on(memory: &Memory, acked: &Acked, last: u64, seen: &mut Seen) -> Result<(), Violation> {
    let store: RequestStore = match open(memory, config()) {
        Ok(store) => store,
        Err(error) if error.code() == Code::Corrupt => {
            seen.reported.push(error.to_string());
            return Ok(());
        }
        Err(error) => {
            let what = format!("does not open again: {error}");
            return Err(Violation::new(Kind::Other, what));
        }
    };
    for seq in &seen.readable {
        match store.get_by_seq(Seq(*seq)) {
            Ok(Some(entry)) if look::is_right(&entry, *seq, acked) => {}
            found => {
                let kind = match found {
                    Ok(Some(_)) => Kind::WrongPayload,
                    Ok(None) | Err(_) => Kind::Deletion,
                };
                let found = found.map(|entry| entry.map(|entry| entry.seq()));
                let what = format!(
                    "seq {seq} of {last} could be read, and after the store was used it is {found:?}"
                );
                return Err(Violation::new(kind, what));
            }
        }
    }
    Ok(())
}
