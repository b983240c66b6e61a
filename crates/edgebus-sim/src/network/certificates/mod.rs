//! `edgebus-sim certificates`: tills with certificates send all day, while strangers come, somebody
//! is dismissed, and every certificate there is gets replaced in a server that runs.
//!
//! Judged: a request of a good till that fails or hangs, an acknowledged one that is not in the log at
//! the end, a stranger who is let in or refused for another reason than the true one, somebody
//! dismissed who goes on. Printed: how long each change took to count, and how long good tills waited.

mod guests;
mod papers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{descriptors, shown};
use crate::history::{Death, Event, Terms};
use crate::processes::figures::{Figures, judge, verdict};
use crate::processes::load::notes::Notes;
use crate::processes::server::{Server, Setup};
use crate::processes::{Failure, binary, ending, interrupt};
use crate::say::{self, err, out};
use crate::sizes;
use guests::{Day, Papers, Stranger};
use papers::{Authority, ServerFiles};

/// Descriptors of both ends beside those of the tills, and those of one that moves to new papers.
const DESCRIPTORS_BESIDE: u64 = 1_000;
const DESCRIPTORS_OF_TILL: u64 = 4;
/// Most tills there are.
const TILLS_MAX: usize = 100_000;

/// `edgebus-sim certificates …`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many good tills send
    #[arg(long, default_value_t = 10, value_parser = |text: &str| sizes::between(text, 1, TILLS_MAX))]
    pub tills: usize,
    /// How long they send between two changes
    #[arg(long, default_value_t = 3.0, value_parser = sizes::seconds)]
    pub seconds: f64,
    /// The edgebus to try [default: the one of this workspace, built if need be]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// Replaces, dismisses, checks, and prints what it was.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<(), Failure> {
    let binary = binary::find(options.binary.as_deref())?;
    descriptors::need(DESCRIPTORS_BESIDE + DESCRIPTORS_OF_TILL * options.tills as u64)?;
    let again = binary::again(options.binary.as_deref());
    out!(
        "edgebus-sim certificates --tills {} --seconds {}{again}",
        options.tills,
        options.seconds
    );
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("edgebus-sim-").tempdir();
    let folder = folder.map_err(|e| Failure::broken("a folder", e))?;
    let wrong = interrupt::run(certificates(&binary, folder.path(), options))?;
    out!("  {:<24} {:.1} s", "took", begun.elapsed().as_secs_f64());
    verdict(wrong)
}

/// The whole day; how much was wrong.
async fn certificates(binary: &Path, folder: &Path, options: &Options) -> Result<usize, Failure> {
    let mut setup = Setup::new(binary, folder);
    setup.listen = setup.listen.replace("tcp://", "tls://");
    let host = setup.listen.trim_start_matches("tls://");
    let host = host
        .rsplit_once(':')
        .map_or(host, |(host, _)| host)
        .to_owned();
    let old = Authority::new(binary, &folder.join("old"), &host)?;
    let files = ServerFiles::new(folder.join("server"))?;
    files.show(&old.pair("server"))?;
    files.trust(&[&old])?;
    setup.config = files.config();
    let notes = Notes::new(Terms::default());
    notes.started();
    let server = setup.start().await?;
    let shop = Shop {
        binary,
        folder,
        host: &host,
        old,
        files,
        server: &server,
        notes: notes.clone(),
        pause: Duration::from_secs_f64(options.seconds),
    };
    let mut wrong = shop.day(options.tills).await?;
    server.stop()?;
    notes.died(Death::Shutdown);
    wrong += complain(log_is_calm(&setup.log)?);
    let last = ending::read(&setup)?;
    notes.recorder().note(Event::Final(Box::new(last)));
    let history = notes.recorder().finish();
    say::all(&Figures::of(&history));
    Ok(wrong + judge(&history, "certificates").len())
}

/// Says what is wrong; how much it was.
fn complain(wrong: Vec<String>) -> usize {
    for what in wrong.iter().take(20) {
        err!("VIOLATION {what}");
    }
    wrong.len()
}

/// Files that were replaced in the right order are never found fault with.
fn log_is_calm(log: &Path) -> Result<Vec<String>, Failure> {
    let log = std::fs::read_to_string(log).map_err(|e| Failure::broken(log.display(), e))?;
    let bad = log.lines().filter(|line| line.contains("ERROR"));
    Ok(bad.map(|line| format!("the log says {line}")).collect())
}

struct Shop<'a> {
    binary: &'a Path,
    folder: &'a Path,
    host: &'a str,
    old: Authority,
    files: ServerFiles,
    server: &'a Server,
    notes: Notes,
    pause: Duration,
}

impl Shop<'_> {
    fn papers(&self, ca: PathBuf, pair: Option<papers::Pair>) -> Papers {
        Papers {
            url: self.server.url().to_owned(),
            ca,
            pair,
        }
    }

    /// Has the server read its files again.
    fn reload(&self) -> Result<(), Failure> {
        self.server.signal(Signal::HUP)
    }

    async fn day(&self, tills: usize) -> Result<usize, Failure> {
        let next = Authority::new(self.binary, &self.folder.join("next"), self.host)?;
        let both = guests::trusted(self.folder);
        papers::together(&[self.old.ca(), next.ca()], &both)?;

        let mut sending = JoinSet::new();
        let mut desks = Vec::new();
        for number in 0..tills {
            let pair = self.old.client(&format!("till-{number}"))?;
            let (desk, papers) = watch::channel(self.papers(both.clone(), Some(pair)));
            sending.spawn(guests::till(papers, self.notes.clone()));
            desks.push(desk);
        }
        let (end, ended) = watch::channel(false);
        let mut coming = JoinSet::new();
        for stranger in self.strangers(&both)? {
            let what = stranger.what;
            let ended = ended.clone();
            coming.spawn(async move { (what, stranger.keeps_coming(ended).await) });
        }

        let changes = self.changes(&next, &both, &desks).await;
        let _ = end.send(true);
        drop(desks);
        let mut wrong = changes?;
        let mut day = Day::default();
        while let Some(one) = sending.join_next().await {
            let one = one.map_err(|e| Failure::broken("a till", e))?;
            day.sends.extend(one.sends);
            day.moves += one.moves;
            wrong.extend(one.wrong);
        }
        out!("  {:<24} {}", "sends of good tills", shown(&mut day.sends));
        out!("  {:<24} {}", "moves to new papers", day.moves);
        while let Some(one) = coming.join_next().await {
            let (what, (refused, unlike)) = one.map_err(|e| Failure::broken("a stranger", e))?;
            out!("  {what:<24} refused {refused} times");
            wrong.extend(unlike);
        }
        if day.moves < tills {
            wrong.push(format!(
                "only {} of {tills} tills have new papers",
                day.moves
            ));
        }
        Ok(complain(wrong))
    }

    /// Those who are refused all day for the same reason.
    fn strangers(&self, both: &Path) -> Result<Vec<Stranger>, Failure> {
        let other = Authority::new(self.binary, &self.folder.join("other"), self.host)?;
        let stranger = |what, pair, word| Stranger {
            what,
            papers: self.papers(both.to_owned(), pair),
            word,
        };
        Ok(vec![
            stranger("without a certificate", None, "wants a certificate"),
            stranger("expired", Some(self.old.expired("late")?), "expired"),
            stranger("of another CA", Some(other.client("till-0")?), "another CA"),
        ])
    }

    /// One change after the other; what was wrong.
    async fn changes(
        &self,
        next: &Authority,
        both: &Path,
        desks: &[watch::Sender<Papers>],
    ) -> Result<Vec<String>, Failure> {
        let mut wrong = Vec::new();
        self.go_on().await;
        wrong.extend(self.dismiss(both).await?);
        self.go_on().await;

        // The server's own certificate, by the same authority.
        self.files.show(&self.old.server("server-2", self.host)?)?;
        self.reload()?;
        self.go_on().await;

        // A second authority beside the first: for clients, then for the server.
        self.files.trust(&[&self.old, next])?;
        self.reload()?;
        let first = self.papers(both.to_owned(), Some(next.client("first")?));
        wrong.extend(told(
            "clients of the next CA",
            guests::until_let_in(&first).await,
        ));
        self.files.show(&next.pair("server"))?;
        self.reload()?;
        let only = self.papers(next.ca(), Some(next.client("only")?));
        wrong.extend(told(
            "the server shows the next",
            guests::until_let_in(&only).await,
        ));
        self.go_on().await;

        // Everybody moves; then the first authority goes, and with it who stayed behind.
        let behind = self.papers(both.to_owned(), Some(self.old.client("behind")?));
        let stays = behind.connect_once().await;
        let stays = stays.map_err(|e| Failure::broken("one of the first CA", e))?;
        for (number, desk) in desks.iter().enumerate() {
            let pair = next.client(&format!("till-{number}"))?;
            desk.send_replace(self.papers(next.ca(), Some(pair)));
        }
        self.go_on().await;
        self.files.trust(&[next])?;
        self.reload()?;
        let cut = guests::until_cut(&stays, &self.notes, "another CA").await;
        wrong.extend(told("who stayed with the old CA is cut", cut));
        self.go_on().await;
        Ok(wrong)
    }

    /// Somebody who is at work, and is to be no more.
    async fn dismiss(&self, both: &Path) -> Result<Vec<String>, Failure> {
        let papers = self.papers(both.to_owned(), Some(self.old.client("dismissed")?));
        let client = papers.connect_once().await;
        let client = client.map_err(|e| Failure::broken("one to be dismissed", e))?;
        self.old.revoke("dismissed")?;
        self.files.trust(&[&self.old])?;
        self.reload()?;
        let cut = guests::until_cut(&client, &self.notes, "revoked").await;
        let mut wrong = told("revoked, and cut", cut);
        let again = Stranger {
            what: "revoked",
            papers,
            word: "revoked",
        };
        wrong.extend(again.comes().await.err());
        Ok(wrong)
    }

    async fn go_on(&self) {
        tokio::time::sleep(self.pause).await;
    }
}

/// Prints how long it took, or says what was wrong.
fn told(what: &str, took: Result<Duration, String>) -> Vec<String> {
    match took {
        Ok(took) => {
            out!("  {what:<24} after {:.2} s", took.as_secs_f64());
            Vec::new()
        }
        Err(wrong) => vec![format!("{what}: {wrong}")],
    }
}
