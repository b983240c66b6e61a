//! Places among the connections: who has one, how many each may have, and who goes when too many
//! have not said who they are.
//!
//! Invariants: no count is ever above its limit. A place is free again when what holds it is
//! dropped, however the connection ends. Somebody who says nothing keeps nobody out: with as many
//! newcomers as there may be, the one that has waited longest goes, of those who send the most.

use edgebus_core::{Code, Refusal};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::config::Limits;
use crate::access::{Identity, Proof};

/// Connections at a time of which it is not known yet who they are.
const NEWCOMERS_MAX: usize = 256;
/// When somebody may try again who found no place, in milliseconds.
const RETRY_MS: u64 = 1000;

/// Where connections are counted as coming from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Origin {
    /// An address; of IPv6 the network, as one machine has all addresses of its network.
    Address(IpAddr),
    /// A user of this machine, by number.
    User(u32),
    /// This process, which is not counted by origin.
    SameProcess,
}

impl Origin {
    /// Where a socket comes from.
    pub(super) fn of(address: SocketAddr) -> Self {
        Self::Address(match address.ip().to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => {
                let network = u128::from(ip) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            ip => ip,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(ip)) if !ip.is_loopback() => write!(f, "{ip}/64"),
            Self::Address(ip) => ip.fmt(f),
            Self::User(uid) => write!(f, "user {uid}"),
            Self::SameProcess => f.write_str("this process"),
        }
    }
}

/// Which limit somebody met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    Total,
    Address,
    Identity,
}

/// All places of a server.
#[derive(Debug)]
pub(super) struct Places {
    total_max: usize,
    per_origin_max: usize,
    per_identity_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    origins: HashMap<Origin, usize>,
    identities: HashMap<Arc<str>, usize>,
    newcomers: BTreeMap<u64, Newcomer>,
    last: u64,
}

/// Somebody of whom it is not known yet who it is.
#[derive(Debug)]
struct Newcomer {
    origin: Origin,
    out: oneshot::Sender<()>,
}

/// A place among the connections, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    origin: Origin,
    since: Instant,
    identity: Option<Arc<str>>,
    /// Its number among the newcomers, and how it hears that it has to go.
    newcomer: Option<(u64, oneshot::Receiver<()>)>,
}

impl Places {
    /// Places for so many.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            total_max: limits.connections_max,
            per_origin_max: limits.connections_per_address_max,
            per_identity_max: limits.connections_per_identity_max,
            taken: Mutex::default(),
        }
    }

    /// A place for somebody who comes, if there is one: as a newcomer, until [`Seat::settle`].
    ///
    /// # Errors
    /// [`Code::TooManyConnections`], and which limit was met.
    pub(super) fn take(self: &Arc<Self>, origin: Origin) -> Result<Seat, (Full, Refusal)> {
        let mut taken = self.taken.lock();
        if taken.total >= self.total_max {
            let max = self.total_max;
            let full = format!("the server has {max} connections, as many as it takes: try again");
            return Err((Full::Total, refusal(full)));
        }
        if origin != Origin::SameProcess && !add(&mut taken.origins, origin, self.per_origin_max) {
            let full = format!(
                "{origin} has {} connections, as many as one address may have: close some, or try again",
                self.per_origin_max
            );
            return Err((Full::Address, refusal(full)));
        }
        taken.total += 1;
        let newcomer = taken.add_newcomer(origin);
        drop(taken);
        Ok(Seat {
            places: self.clone(),
            origin,
            since: Instant::now(),
            identity: None,
            newcomer: Some(newcomer),
        })
    }

    /// How many are taken, and how many of them by newcomers.
    pub(super) fn figures(&self) -> (u64, u64) {
        let taken = self.taken.lock();
        (taken.total as u64, taken.newcomers.len() as u64)
    }
}

impl Taken {
    fn add_newcomer(&mut self, origin: Origin) -> (u64, oneshot::Receiver<()>) {
        if self.newcomers.len() >= NEWCOMERS_MAX {
            self.send_one_away();
        }
        self.last += 1;
        let (out, told) = oneshot::channel();
        self.newcomers.insert(self.last, Newcomer { origin, out });
        (self.last, told)
    }

    /// The one that has waited longest, of the origin that has the most.
    fn send_one_away(&mut self) {
        let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
        for newcomer in self.newcomers.values() {
            *counts.entry(newcomer.origin).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let of_most = |newcomer: &Newcomer| most.is_some_and(|(o, _)| o == newcomer.origin);
        let mut all = self.newcomers.iter();
        let oldest = all.find(|(_, n)| of_most(n)).map(|(number, _)| *number);
        if let Some(gone) = oldest.and_then(|number| self.newcomers.remove(&number)) {
            // It may be ending by itself.
            let _ = gone.out.send(());
        }
    }
}

impl Seat {
    /// When it was taken.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// It is known who has the place: a newcomer no more.
    ///
    /// # Errors
    /// [`Code::TooManyConnections`]: the identity has as many as it may have.
    pub(super) fn settle(&mut self, identity: &Identity) -> Result<(), Refusal> {
        let mut taken = self.places.taken.lock();
        if let Some((number, _)) = self.newcomer.take() {
            taken.newcomers.remove(&number);
        }
        // Nobody is held to account for those who proved nothing.
        let proven = !matches!(identity.proof(), Proof::None | Proof::SameProcess);
        if proven && self.identity.is_none() {
            let name: Arc<str> = identity.name().into();
            let max = self.places.per_identity_max;
            if !add(&mut taken.identities, name.clone(), max) {
                return Err(refusal(format!(
                    "{name} has {max} connections, as many as one identity may have: close some, or try again"
                )));
            }
            self.identity = Some(name);
        }
        Ok(())
    }

    /// Waits until the place is needed for somebody else; for ever once it is known who has it.
    /// Cancel-safe.
    pub(super) async fn pushed_out(&mut self) {
        if let Some((_, out)) = &mut self.newcomer
            && out.await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.total -= 1;
        if self.origin != Origin::SameProcess {
            remove(&mut taken.origins, &self.origin);
        }
        if let Some(identity) = &self.identity {
            remove(&mut taken.identities, identity);
        }
        if let Some((number, _)) = &self.newcomer {
            taken.newcomers.remove(number);
        }
    }
}

/// Why a newcomer had to go.
pub(super) fn pushed_out() -> Refusal {
    refusal("too many connect at the same time: try again")
}

fn refusal(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::TooManyConnections, message).retry_after_ms(RETRY_MS)
}

/// Counts one more, if that is within the limit.
fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    if max == 0 {
        return false;
    }
    let count = counts.entry(key).or_default();
    let fits = *count < max;
    *count += usize::from(fits);
    fits
}

fn remove<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn places(total: usize, address: usize, identity: usize) -> Arc<Places> {
        Arc::new(Places::new(&Limits {
            connections_max: total,
            connections_per_address_max: address,
            connections_per_identity_max: identity,
            ..Limits::default()
        }))
    }

    fn from(text: &str) -> Origin {
        Origin::of(SocketAddr::new(text.parse().expect("address"), 1))
    }

    fn take(places: &Arc<Places>, address: &str) -> Seat {
        places.take(from(address)).expect("a place")
    }

    fn full(places: &Arc<Places>, address: &str) -> Full {
        let (full, refusal) = places.take(from(address)).expect_err("full");
        assert_eq!(refusal.code, Code::TooManyConnections);
        assert!(refusal.retry_after_ms.is_some());
        full
    }

    #[test]
    fn each_limit_is_kept_and_named_and_places_come_back() {
        let places = places(3, 2, 1);
        let first = take(&places, "10.0.0.1");
        let second = take(&places, "10.0.0.1");
        assert_eq!(full(&places, "10.0.0.1"), Full::Address);
        let third = take(&places, "10.0.0.2");
        assert_eq!(full(&places, "10.0.0.3"), Full::Total);
        drop(first);
        let fourth = take(&places, "10.0.0.1");
        assert_eq!(places.figures(), (3, 3));
        drop((second, third, fourth));
        let taken = places.taken.lock();
        assert!(taken.origins.is_empty() && taken.newcomers.is_empty() && taken.total == 0);
    }

    #[test]
    fn identity_has_no_more_connections_than_it_may() {
        let places = places(9, 9, 1);
        let till = Identity::named("till-7", Proof::Token).expect("name");
        let mut first = take(&places, "10.0.0.1");
        let mut second = take(&places, "10.0.0.2");
        first.settle(&till).expect("the first");
        first.settle(&till).expect("counted once");
        let refusal = second.settle(&till).expect_err("the second");
        assert!(refusal.message.starts_with("till-7 has 1 connections"));
        drop(first);
        second.settle(&till).expect("free again");
        // Those who proved nothing are no identity.
        for _ in 0..2 {
            let mut seat = take(&places, "10.0.0.3");
            seat.settle(&Identity::anonymous()).expect("nobody");
        }
        drop(second);
        assert!(places.taken.lock().identities.is_empty());
    }

    #[test]
    fn networks_of_ipv6_are_one_origin_and_mapped_addresses_are_their_own() {
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:2"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
        assert_eq!(from("::ffff:10.0.0.1"), from("10.0.0.1"));
        assert_eq!(from("::1").to_string(), "::1");
        assert_eq!(from("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn silent_crowd_keeps_no_newcomer_out_and_goes_oldest_first() {
        let places = places(usize::MAX, usize::MAX, 1);
        let mut lone = take(&places, "10.0.0.2");
        let mut crowd: Vec<Seat> = (0..NEWCOMERS_MAX + 9)
            .map(|_| take(&places, "10.0.0.1"))
            .collect();
        let gone = |seat: &mut Seat| seat.pushed_out().now_or_never().is_some();
        let out: Vec<bool> = crowd.iter_mut().map(gone).collect();
        let pushed = out.iter().filter(|out| **out).count();
        assert_eq!(pushed, 10);
        assert!(out[..10].iter().all(|out| *out), "the oldest");
        // It was there before all of them.
        assert!(!gone(&mut lone));
        lone.settle(&Identity::anonymous()).expect("known");
        assert!(!gone(&mut lone));
        assert_eq!(places.figures().1 as usize, NEWCOMERS_MAX - 1);
    }
}
