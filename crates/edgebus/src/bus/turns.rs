//! Whose turn it is: everyone gets as much as the others, whoever wants more waits for it.
//!
//! Turns go to owners first, then to the parties of an owner, so that many connections of one
//! client count as one client. Each has an account of what it was given; whoever was given least
//! goes first. Somebody who wanted nothing for a while begins where the others are, so nothing is
//! saved up, and goes before those who are there already: what wants one thing gets it at once,
//! however much others want (start-time fair queuing: Goyal, Vin, Cheng 1996).
//!
//! Invariant: an owner is in its order once, unless it is being served or wants nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Owners that want nothing and are remembered all the same.
const OWNERS_IDLE_MAX: usize = 1024;

/// Somebody who takes turns.
pub(super) trait Party {
    /// Whose party it is.
    fn account(&self) -> &Account;
}

/// What a party was given.
#[derive(Debug)]
pub(super) struct Account {
    owner: Arc<str>,
    served: AtomicU64,
}

impl Account {
    /// Nothing yet.
    pub(super) fn of(owner: Arc<str>) -> Self {
        Self {
            owner,
            served: AtomicU64::new(0),
        }
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> &Arc<str> {
        &self.owner
    }
}

/// Everyone who waits for a turn.
#[derive(Debug)]
pub(super) struct Turns<P> {
    owners: HashMap<Arc<str>, Owner<P>>,
    order: Order<Arc<str>>,
    /// With how many owners it is looked which can be forgotten: twice as many as were left.
    sweep_at: usize,
}

#[derive(Debug)]
struct Owner<P> {
    served: u64,
    order: Order<Arc<P>>,
    in_service: bool,
}

/// Who is next: by what was given until it came, then by how long it had wanted nothing.
#[derive(Debug)]
struct Order<T> {
    /// Up to where everyone who waits was served.
    at: u64,
    last: u64,
    waiting: BTreeMap<(u64, u64, u64), T>,
}

impl<P> Default for Turns<P> {
    fn default() -> Self {
        Self {
            owners: HashMap::new(),
            order: Order::default(),
            sweep_at: OWNERS_IDLE_MAX,
        }
    }
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            at: 0,
            last: 0,
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> Order<T> {
    fn wait(&mut self, who: T, served: u64) {
        self.last += 1;
        // Who is new has not waited for long.
        let before = if served == 0 { self.at } else { served };
        self.waiting
            .insert((self.at.max(served), before, self.last), who);
    }

    fn next(&mut self) -> Option<T> {
        let ((from, _, _), who) = self.waiting.pop_first()?;
        self.at = from;
        Some(who)
    }
}

impl<P: Party> Turns<P> {
    /// Somebody wants something. It must not wait already, nor be in service.
    pub(super) fn wait(&mut self, party: Arc<P>) {
        let Account {
            owner: name,
            served,
        } = party.account();
        let served = served.load(Ordering::Relaxed);
        let name = name.clone();
        let owner = self.owners.entry(name.clone()).or_insert_with(|| Owner {
            served: 0,
            order: Order::default(),
            in_service: false,
        });
        let first = owner.order.waiting.is_empty();
        owner.order.wait(party, served);
        if first && !owner.in_service {
            self.order.wait(name, owner.served);
        }
    }

    /// Whose turn it is, until [`Turns::served`] is told.
    pub(super) fn next(&mut self) -> Option<Arc<P>> {
        let name = self.order.next()?;
        let owner = self.owners.get_mut(&name)?;
        owner.in_service = true;
        owner.order.next()
    }

    /// The turn is over, and this is what was given.
    pub(super) fn served(&mut self, party: &Arc<P>, cost: u64, wants_more: bool) {
        let account = party.account();
        let Some(owner) = self.owners.get_mut(&account.owner) else {
            return;
        };
        let until = account.served.load(Ordering::Relaxed).max(owner.order.at) + cost;
        account.served.store(until, Ordering::Relaxed);
        if wants_more {
            owner.order.wait(party.clone(), until);
        }
        owner.served = owner.served.max(self.order.at) + cost;
        owner.in_service = false;
        if !owner.order.waiting.is_empty() {
            self.order.wait(account.owner.clone(), owner.served);
        } else if self.owners.len() > self.sweep_at {
            self.sweep();
        }
    }

    /// Forgets owners that want nothing and are behind nobody. Looks at all of them, so it is done
    /// only when there are many more than the last time.
    fn sweep(&mut self) {
        // Where nobody waits nobody is behind.
        let at = match self.order.waiting.is_empty() {
            true => u64::MAX,
            false => self.order.at,
        };
        let wanted = |owner: &Owner<P>| owner.in_service || !owner.order.waiting.is_empty();
        self.owners
            .retain(|_, owner| wanted(owner) || owner.served > at);
        self.sweep_at = OWNERS_IDLE_MAX.max(2 * self.owners.len());
    }

    /// Whose turn it would be, without giving it.
    pub(super) fn peek(&self) -> Option<&Arc<P>> {
        let (_, name) = self.order.waiting.first_key_value()?;
        let owner = self.owners.get(name)?;
        owner
            .order
            .waiting
            .first_key_value()
            .map(|(_, party)| party)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: u64 = 64;

    #[derive(Debug)]
    struct Somebody(Account, &'static str);

    impl Party for Somebody {
        fn account(&self) -> &Account {
            &self.0
        }
    }

    fn somebody(owner: &str, name: &'static str) -> Arc<Somebody> {
        Arc::new(Somebody(Account::of(owner.into()), name))
    }

    /// Serves so many turns to those who always want more; says who got them.
    fn serve(turns: &mut Turns<Somebody>, count: usize) -> Vec<&'static str> {
        let mut served = Vec::new();
        for _ in 0..count {
            let party = turns.next().expect("somebody waits");
            served.push(party.1);
            turns.served(&party, TURN, true);
        }
        served
    }

    /// How many turns go by until somebody who comes now is served.
    fn turns_until(turns: &mut Turns<Somebody>, name: &str) -> usize {
        (0..1000).take_while(|_| serve(turns, 1)[0] != name).count()
    }

    #[test]
    fn one_who_comes_goes_before_a_hundred_who_always_want_more() {
        let mut turns = Turns::default();
        for _ in 0..100 {
            turns.wait(somebody("hog", "hog"));
        }
        for ahead in 0..250 {
            serve(&mut turns, ahead);
            // Of the same owner, too.
            turns.wait(somebody("hog", "new"));
            assert!(turns_until(&mut turns, "new") <= 100);
            let lone = somebody("lone", "lone");
            turns.wait(lone.clone());
            assert_eq!(turns_until(&mut turns, "lone"), 0);
            turns.owners.remove("lone");
            turns.order.waiting.retain(|_, name| &**name != "lone");
        }
    }

    #[test]
    fn party_that_was_idle_goes_before_those_of_its_owner_who_were_served() {
        let mut turns = Turns::default();
        let idle = somebody("all", "idle");
        turns.wait(idle.clone());
        let first = turns.next().expect("waits");
        turns.served(&first, 1, false);
        for _ in 0..100 {
            turns.wait(somebody("all", "hog"));
        }
        serve(&mut turns, 777);
        turns.wait(idle);
        assert_eq!(turns_until(&mut turns, "idle"), 0);
    }

    #[test]
    fn owners_share_alike_however_many_parties_they_have() {
        let mut turns = Turns::default();
        for _ in 0..9 {
            turns.wait(somebody("many", "many"));
        }
        turns.wait(somebody("one", "one"));
        let served = serve(&mut turns, 100);
        assert_eq!(served.iter().filter(|name| **name == "one").count(), 50);
    }

    #[test]
    fn large_thing_is_given_at_once_and_paid_for_afterwards() {
        let mut turns = Turns::default();
        turns.wait(somebody("small", "small"));
        serve(&mut turns, 5);
        turns.wait(somebody("large", "large"));
        let large = turns.next().expect("waits");
        assert_eq!(large.1, "large");
        turns.served(&large, 10 * TURN, true);
        assert_eq!(serve(&mut turns, 9), ["small"; 9]);
    }

    #[test]
    fn owners_who_come_in_thousands_are_not_all_looked_at_each_time() {
        const OWNERS: usize = 50 * OWNERS_IDLE_MAX;
        let mut turns = Turns::default();
        for number in 0..OWNERS {
            turns.wait(somebody(&number.to_string(), "once"));
        }
        let mut sweeps = 0;
        for _ in 0..OWNERS {
            let party = turns.next().expect("waits");
            let before = turns.sweep_at;
            turns.served(&party, TURN, false);
            sweeps += usize::from(turns.sweep_at != before);
        }
        assert!(sweeps < 20, "{sweeps}");
    }

    #[test]
    fn who_would_be_next_is_next() {
        let mut turns = Turns::default();
        assert!(turns.peek().is_none());
        for number in 0..9 {
            turns.wait(somebody(&(number % 3).to_string(), "some"));
        }
        for _ in 0..50 {
            let peeked = turns.peek().expect("waits").clone();
            let party = turns.next().expect("waits");
            assert!(Arc::ptr_eq(&peeked, &party));
            turns.served(&party, TURN, true);
        }
    }

    #[test]
    fn owners_that_want_nothing_are_forgotten() {
        let mut turns = Turns::default();
        for number in 0..3 * OWNERS_IDLE_MAX {
            turns.wait(somebody(&number.to_string(), "once"));
            let party = turns.next().expect("waits");
            turns.served(&party, TURN, false);
        }
        assert!(turns.is_empty());
        assert!(turns.owners.len() <= OWNERS_IDLE_MAX + 1);
    }
}
