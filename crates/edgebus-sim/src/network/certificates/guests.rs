//! Who comes: tills that are good and send all the time, and strangers who are to be refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgebus::{Client, Code, ConnectError, ConnectionState, SendError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::papers::Pair;
use crate::history::Client as Who;
use crate::network::request;
use crate::processes::load::notes::Notes;

/// What takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);
const SEND_EVERY: Duration = Duration::from_millis(10);
const COME_EVERY: Duration = Duration::from_millis(100);

/// With what a client comes.
#[derive(Clone, Debug)]
pub(super) struct Papers {
    pub(super) url: String,
    /// Whose server it takes.
    pub(super) ca: PathBuf,
    pub(super) pair: Option<Pair>,
}

impl Papers {
    /// Connects, and comes back whenever the connection is lost.
    pub(super) async fn connect(&self) -> Result<Client, ConnectError> {
        self.connect_and(true).await
    }

    /// Connects, and tells why the connection was lost.
    pub(super) async fn connect_once(&self) -> Result<Client, ConnectError> {
        self.connect_and(false).await
    }

    async fn connect_and(&self, reconnect: bool) -> Result<Client, ConnectError> {
        let mut builder = Client::builder(&self.url).ca(&self.ca).reconnect(reconnect);
        if let Some(Pair { certificate, key }) = &self.pair {
            builder = builder.certificate(certificate, key);
        }
        match tokio::time::timeout(HANGS_AFTER, builder.connect()).await {
            Ok(ended) => ended,
            Err(_) => Err(ConnectError::Unreachable {
                url: self.url.clone(),
                reason: format!("it hangs for {HANGS_AFTER:?}"),
            }),
        }
    }
}

/// What a till noticed.
#[derive(Debug, Default)]
pub(super) struct Day {
    pub(super) sends: Vec<Duration>,
    /// How often it came with other papers.
    pub(super) moves: usize,
    /// What went wrong; nothing may.
    pub(super) wrong: Vec<String>,
}

/// A good till: sends one after the other, and goes on with other papers when it is given some.
/// Ends when nobody holds the other end of its papers.
pub(super) async fn till(mut papers: watch::Receiver<Papers>, notes: Notes) -> Day {
    let mut day = Day::default();
    let first = papers.borrow_and_update().clone();
    let mut client = match first.connect().await {
        Ok(client) => client,
        Err(error) => {
            day.wrong.push(format!("a good till: {error}"));
            return day;
        }
    };
    let who = Who(notes.recorder().call().0);
    let mut turns = interval(SEND_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match papers.has_changed() {
            Err(_) => break,
            Ok(false) => {}
            Ok(true) => {
                let next = papers.borrow_and_update().clone();
                match next.connect().await {
                    Ok(next) => {
                        client.drain().await;
                        client = next;
                        day.moves += 1;
                    }
                    Err(error) => day.wrong.push(format!("with its new papers: {error}")),
                }
            }
        }
        let begun = Instant::now();
        match send(&client, who, &notes).await {
            Ok(()) => day.sends.push(begun.elapsed()),
            Err(Some(error)) => day.wrong.push(format!("a good till's request: {error}")),
            Err(None) => day.wrong.push("a good till's request hangs".into()),
        }
    }
    client.drain().await;
    day
}

/// One send; `None` when it hangs.
async fn send(client: &Client, who: Who, notes: &Notes) -> Result<(), Option<SendError>> {
    let Ok(message) = request("orders.created", vec![b'o'; 200]) else {
        return Ok(());
    };
    let call = notes.sends(who, &message);
    match tokio::time::timeout(HANGS_AFTER, client.send_message(message)).await {
        Ok(ended) => {
            notes.sent(call, &ended);
            ended.map(drop).map_err(Some)
        }
        Err(_) => {
            notes.given_up(call);
            Err(None)
        }
    }
}

/// Who is to be refused, and what has to be said of it.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    pub(super) what: &'static str,
    pub(super) papers: Papers,
    /// In the refusal's message.
    pub(super) word: &'static str,
}

impl Stranger {
    /// Comes once; what is wrong with how it was received.
    pub(super) async fn comes(&self) -> Result<(), String> {
        let Self { what, word, .. } = self;
        match self.papers.connect().await {
            Ok(_) => Err(format!("{what} is let in")),
            Err(ConnectError::Refused(refusal))
                if refusal.code == Code::Unauthenticated && refusal.message.contains(word) =>
            {
                Ok(())
            }
            Err(other) => Err(format!("{what} is told: {other}")),
        }
    }

    /// Comes again and again; how often it was refused as it should be, and what was wrong.
    pub(super) async fn keeps_coming(self, end: watch::Receiver<bool>) -> (usize, Vec<String>) {
        let (mut refused, mut wrong) = (0, Vec::new());
        let mut turns = interval(COME_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*end.borrow() {
            turns.tick().await;
            match self.comes().await {
                Ok(()) => refused += 1,
                Err(what) => wrong.push(what),
            }
        }
        (refused, wrong)
    }
}

/// A client that was good when it came, and does not come back: sends until it is cut. How long that
/// took; it has to be told why.
pub(super) async fn until_cut(
    client: &Client,
    notes: &Notes,
    word: &str,
) -> Result<Duration, String> {
    let who = Who(notes.recorder().call().0);
    let begun = Instant::now();
    let mut turns = interval(SEND_EVERY);
    while begun.elapsed() < HANGS_AFTER {
        turns.tick().await;
        if let ConnectionState::Closed { reason } = client.state() {
            let named = reason.code == Code::Unauthenticated && reason.message.contains(word);
            return match named {
                true => Ok(begun.elapsed()),
                false => Err(format!("it is told: {reason}")),
            };
        }
        if let Err(None) = send(client, who, notes).await {
            return Err("its request hangs".into());
        }
    }
    Err(format!("it still sends after {HANGS_AFTER:?}"))
}

/// Comes until it is let in; how long that took.
pub(super) async fn until_let_in(papers: &Papers) -> Result<Duration, String> {
    let begun = Instant::now();
    let mut turns = interval(COME_EVERY);
    loop {
        turns.tick().await;
        match papers.connect().await {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > HANGS_AFTER => return Err(error.to_string()),
            Err(_) => {}
        }
    }
}

/// A file for the certificates of several authorities, which a client takes servers of.
pub(super) fn trusted(folder: &Path) -> PathBuf {
    folder.join("trusted.pem")
}
