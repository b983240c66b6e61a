//! What the connections of a flood do.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edgebus_core::Seq;
use edgebus_core::consumer::ConsumerConfig;
use edgebus_core::query::{LogQuery, Query};
use edgebus_core::session::ClientSession;
use edgebus_core::stream::{Consume, Open};
use edgebus_core::wire::FRAME_BYTES_MAX;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::network::raw::{Goodbye, Raw};

/// The topic of what those ask for that never read.
pub(super) const LARGE_TOPIC: &str = "flood.large";
/// One that breaks the rules and lives this long is never cut.
const NEVER_CUT: Duration = Duration::from_secs(90);
/// So many connect at a time.
const CONNECTING_MAX: usize = 100;

/// Something that many do at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Scenario {
    /// Connections that say Hello and then nothing
    Idle,
    /// Connection attempts that never say Hello
    Silent,
    /// A byte of a frame each second
    Slow,
    /// Half a frame, and nothing more
    Half,
    /// The largest frame announced and little of it sent; and frames of 4 GiB
    Announce,
    /// Questions and streams without end, and nothing is read
    Deaf,
    /// All of them at once
    All,
}

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    idle: usize,
    each: usize,
    attempts_a_second: usize,
}

impl Sizes {
    /// The full size times this.
    pub(super) fn of(scale: f64) -> Self {
        let times = |count: f64| ((count * scale) as usize).max(1);
        Self {
            idle: times(10_000.0),
            each: times(1_000.0),
            attempts_a_second: times(200.0),
        }
    }

    /// Most connections at a time, at each end.
    pub(super) fn connections_max(&self) -> u64 {
        // Attempts live for 5 s at most.
        (self.idle + 4 * self.each + 6 * self.attempts_a_second) as u64
    }
}

/// What became of the connections.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) opened: usize,
    /// How often the server ended one, by its word.
    pub(super) goodbyes: BTreeMap<Goodbye, usize>,
    /// The longest life of one that broke the rules.
    pub(super) longest: Option<Duration>,
    pub(super) wrong: Vec<String>,
}

impl Lives {
    fn take(&mut self, other: Self) {
        self.opened += other.opened;
        for (goodbye, count) in other.goodbyes {
            *self.goodbyes.entry(goodbye).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
        self.wrong.extend(other.wrong);
    }

    /// One that broke the rules was cut.
    fn cut(goodbye: Goodbye, lived: Duration) -> Self {
        Self {
            opened: 1,
            goodbyes: BTreeMap::from([(goodbye, 1)]),
            longest: Some(lived),
            wrong: Vec::new(),
        }
    }

    fn wrong(what: String) -> Self {
        Self {
            wrong: vec![what],
            ..Self::default()
        }
    }
}

impl Scenario {
    pub(super) const ALL: [Self; 7] = [
        Self::Idle,
        Self::Silent,
        Self::Slow,
        Self::Half,
        Self::Announce,
        Self::Deaf,
        Self::All,
    ];

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Idle => "idle connections",
            Self::Silent => "connection attempts without Hello",
            Self::Slow => "a byte of a frame each second",
            Self::Half => "half a frame and nothing more",
            Self::Announce => "large frames announced",
            Self::Deaf => "questions without end, nothing read",
            Self::All => "all at once",
        }
    }

    /// Floods until some moment, and until whoever broke the rules was cut.
    pub(super) async fn run(self, to: SocketAddr, until: Instant, sizes: &Sizes) -> Lives {
        if self != Self::All {
            return self.alone(to, until, *sizes).await;
        }
        let mut all = JoinSet::new();
        for one in Self::ALL.into_iter().filter(|one| *one != Self::All) {
            all.spawn(one.alone(to, until, *sizes));
        }
        gather(all).await
    }

    /// One kind, from an address of its own.
    async fn alone(self, to: SocketAddr, until: Instant, sizes: Sizes) -> Lives {
        let from = Ipv4Addr::new(127, 9, self as u8, 1);
        match self {
            Self::Idle | Self::All => idle(from, to, until, sizes.idle).await,
            Self::Silent => silent(from, to, until, sizes.attempts_a_second).await,
            Self::Slow => many(sizes.each, move || slow(from, to)).await,
            Self::Half => many(sizes.each, move || half(from, to)).await,
            Self::Announce => {
                let announced = many(sizes.each, move || announce(from, to));
                let (mut lives, huge) = tokio::join!(announced, huge(from, to, until));
                lives.take(huge);
                lives
            }
            Self::Deaf => deaf(from, to, sizes.each).await,
        }
    }
}

async fn gather(mut all: JoinSet<Lives>) -> Lives {
    let mut lives = Lives::default();
    while let Some(one) = all.join_next().await {
        match one {
            Ok(one) => lives.take(one),
            Err(error) => lives.wrong.push(format!("the flood itself: {error}")),
        }
    }
    lives
}

/// So many of one kind at the same time, not all of them connecting at once.
async fn many<F>(count: usize, one: impl Fn() -> F) -> Lives
where
    F: Future<Output = io::Result<Opened>> + Send + 'static,
{
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (connecting, one) = (connecting.clone(), one());
        all.spawn(async move {
            let opened = {
                let _turn = connecting.acquire().await;
                one.await
            };
            match opened {
                Ok(opened) => opened.until_cut().await,
                // A server may take nobody more.
                Err(error) => refused(&error),
            }
        });
    }
    gather(all).await
}

fn refused(error: &io::Error) -> Lives {
    Lives {
        goodbyes: BTreeMap::from([(Goodbye::Told(format!("at connecting: {error}")), 1)]),
        ..Lives::default()
    }
}

/// One that has begun to break the rules.
struct Opened {
    raw: Raw,
    begun: Instant,
    /// Said a byte each second from now on.
    drip: Vec<u8>,
}

impl Opened {
    async fn until_cut(self) -> Lives {
        let Self {
            mut raw,
            begun,
            drip,
        } = self;
        let mut drip = drip.into_iter();
        loop {
            let next = Instant::now() + Duration::from_secs(1);
            if let Ok(goodbye) = tokio::time::timeout_at(next, raw.goodbye()).await {
                return Lives::cut(goodbye, begun.elapsed());
            }
            if begun.elapsed() > NEVER_CUT {
                return Lives::wrong(format!("a connection was not cut in {NEVER_CUT:?}"));
            }
            if let Some(byte) = drip.next() {
                // It notices by reading that it was cut.
                let _ = raw.say(&[byte]).await;
            }
        }
    }
}

async fn idle(from: Ipv4Addr, to: SocketAddr, until: Instant, count: usize) -> Lives {
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let connecting = connecting.clone();
        all.spawn(async move {
            let opened = {
                let _turn = connecting.acquire().await;
                Raw::open(from, to).await
            };
            let mut raw = match opened {
                Ok(raw) => raw,
                Err(error) => return Lives::wrong(format!("an idle one is refused: {error}")),
            };
            match tokio::time::timeout_at(until, raw.goodbye()).await {
                Ok(goodbye) => Lives::wrong(format!("an idle one was cut: {goodbye:?}")),
                Err(_) => Lives {
                    opened: 1,
                    ..Lives::default()
                },
            }
        });
    }
    gather(all).await
}

async fn silent(from: Ipv4Addr, to: SocketAddr, until: Instant, a_second: usize) -> Lives {
    let mut all = JoinSet::new();
    let mut turns = tokio::time::interval(Duration::from_secs(1) / a_second as u32);
    while Instant::now() < until {
        turns.tick().await;
        all.spawn(async move {
            match Raw::connect(from, to).await {
                Ok(raw) => opened(raw, Vec::new()).until_cut().await,
                Err(error) => refused(&error),
            }
        });
    }
    gather(all).await
}

fn opened(raw: Raw, drip: Vec<u8>) -> Opened {
    let begun = Instant::now();
    Opened { raw, begun, drip }
}

/// A frame of which only this much is said.
fn beginning(length: u32, bytes: usize) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.resize(bytes, b'x');
    frame
}

async fn slow(from: Ipv4Addr, to: SocketAddr) -> io::Result<Opened> {
    let raw = Raw::open(from, to).await?;
    Ok(opened(raw, beginning(5_000, 5_000)))
}

async fn half(from: Ipv4Addr, to: SocketAddr) -> io::Result<Opened> {
    let mut raw = Raw::open(from, to).await?;
    raw.say(&beginning(5_000, 2_500)).await?;
    Ok(opened(raw, Vec::new()))
}

async fn announce(from: Ipv4Addr, to: SocketAddr) -> io::Result<Opened> {
    let mut raw = Raw::open(from, to).await?;
    raw.say(&beginning(FRAME_BYTES_MAX as u32, 20_000)).await?;
    Ok(opened(raw, Vec::new()))
}

/// Frames of 4 GiB, one connection after the other.
async fn huge(from: Ipv4Addr, to: SocketAddr, until: Instant) -> Lives {
    let mut lives = Lives::default();
    while Instant::now() < until {
        lives.take(match Raw::open(from, to).await {
            Ok(mut raw) => {
                // It may be cut while it speaks.
                let _ = raw.say(&beginning(u32::MAX, 64)).await;
                opened(raw, Vec::new()).until_cut().await
            }
            Err(error) => refused(&error),
        });
        sleep_until(Instant::now() + Duration::from_millis(50)).await;
    }
    lives
}

/// Those never read, so the system is asked whether they were cut.
async fn deaf(from: Ipv4Addr, to: SocketAddr, count: usize) -> Lives {
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut all = JoinSet::new();
    for number in 0..count {
        let connecting = connecting.clone();
        all.spawn(async move {
            let _turn = connecting.acquire().await;
            let mut raw = Raw::open(from, to).await?;
            let asked = everything(number);
            // What does not go out is no matter: the server does not read it.
            let _ = timeout(Duration::from_secs(2), raw.say(&asked)).await;
            let address = raw.stream.local_addr()?;
            Ok::<_, io::Error>((raw, address, Instant::now()))
        });
    }
    let (mut lives, mut open) = (Lives::default(), Vec::new());
    while let Some(one) = all.join_next().await {
        match one {
            Ok(Ok(one)) => open.push(one),
            Ok(Err(error)) => lives.take(refused(&error)),
            Err(error) => lives.wrong.push(format!("the flood itself: {error}")),
        }
    }
    let begun = Instant::now();
    while !open.is_empty() && begun.elapsed() < NEVER_CUT {
        sleep_until(Instant::now() + Duration::from_millis(500)).await;
        let held = match held(to) {
            Ok(held) => held,
            Err(error) => return Lives::wrong(format!("/proc/net/tcp: {error}")),
        };
        open.retain(|(_, address, since)| {
            let is_open = held.contains(address);
            if !is_open {
                lives.take(Lives::cut(Goodbye::Closed, since.elapsed()));
            }
            is_open
        });
    }
    let never = open.len();
    if never > 0 {
        let what = format!("{never} that never read were not cut in {NEVER_CUT:?}");
        lives.wrong.push(what);
    }
    lives
}

/// Pages and messages, far more than any buffer on the way takes.
fn everything(number: usize) -> Vec<u8> {
    let (mut session, _) = ClientSession::<(), ()>::open("deaf", "flood", None);
    let mut log = LogQuery::from(Seq(1));
    log.page_bytes = FRAME_BYTES_MAX;
    let name = format!("deaf-{}", number % 200);
    let mut bytes = Vec::new();
    if let (Ok(name), Ok(pattern)) = (name.parse(), LARGE_TOPIC.parse()) {
        let mut consume = Consume::new(name, 65_536);
        consume.config = Some(ConsumerConfig::listener(pattern).max_in_flight(1_000));
        let (_, open) = session.open_stream(&Open::Consume(consume), ());
        bytes.extend_from_slice(&crate::network::raw::bytes_of(&open));
    }
    for _ in 0..100 {
        let query = session.query(Query::Log(log.clone()), ());
        bytes.extend_from_slice(&crate::network::raw::bytes_of(&query));
    }
    bytes
}

/// Who has a connection that the server at this address still holds. What it has closed is not seen
/// at the other end as long as that reads nothing: the end of the stream waits behind the rest.
fn held(to: SocketAddr) -> io::Result<HashSet<SocketAddr>> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    Ok(held_in(&table, to))
}

/// The same, out of the kernel's table.
fn held_in(table: &str, to: SocketAddr) -> HashSet<SocketAddr> {
    const ESTABLISHED: &str = "01";
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (own, other, state) = (columns.next()?, columns.next()?, columns.next()?);
        let held = state == ESTABLISHED && address(own) == Some(to);
        held.then(|| address(other)).flatten()
    });
    rows.collect()
}

/// An address as the kernel writes it: `0100007F:1CF3` is 127.0.0.1:7411.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(
        Ipv4Addr::from(ip.to_ne_bytes()).into(),
        port,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_a_server_holds_are_read_from_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 0100007F:1CF3 0105097F:9BB5 01 00000000:00000000\n   \
                     1: 0100007F:1CF3 0105097F:9BB6 04 00000000:00000000\n   \
                     2: 0105097F:9BB7 0100007F:1CF3 01 00000000:00000000\n";
        let to = "127.0.0.1:7411".parse().expect("an address");
        let held = held_in(table, to);
        let expected = "127.9.5.1:39861".parse().expect("an address");
        assert_eq!(held, HashSet::from([expected]));
    }

    #[test]
    fn sizes_are_never_none() {
        let small = Sizes::of(0.000_1);
        assert_eq!((small.idle, small.each, small.attempts_a_second), (1, 1, 1));
        let full = Sizes::of(1.0);
        assert_eq!((full.idle, full.each), (10_000, 1_000));
        assert!(full.connections_max() > 14_000);
    }
}
