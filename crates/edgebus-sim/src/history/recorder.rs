//! Takes down what happens, from as many places as there are.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::{Operation, Outcome};
use super::{Call, Client, Event, History, Noted, Place, Terms, Worker};

/// Events of one run that may not be more: a place is 32 bits.
const EVENTS_MAX: usize = u32::MAX as usize;

/// Takes down a run. Clones write into the same history, in the order in which they get to it.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    calls: AtomicU32,
    workers: AtomicU32,
    history: Mutex<History>,
}

impl Recorder {
    /// With this time, from the start of the run.
    pub fn new(terms: Terms, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let history = History {
            terms,
            noted: Vec::new(),
        };
        Self {
            shared: Arc::new(Shared {
                now: Box::new(now),
                calls: AtomicU32::new(0),
                workers: AtomicU32::new(0),
                history: Mutex::new(history),
            }),
        }
    }

    /// With real time, from now on.
    pub fn in_real_time(terms: Terms) -> Self {
        let start = Instant::now();
        Self::new(terms, move || start.elapsed())
    }

    /// A number for a call, used once.
    pub fn call(&self) -> Call {
        Call(self.shared.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a stream, used once.
    pub fn worker(&self) -> Worker {
        Worker(self.shared.workers.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes an event.
    ///
    /// # Panics
    /// After four thousand million events.
    pub fn note(&self, event: Event) -> Place {
        self.with(|history| {
            let place = history.noted.len();
            assert!(place < EVENTS_MAX, "a history holds no more");
            let at = (self.shared.now)();
            history.noted.push(Noted { at, event });
            Place(place as u32)
        })
    }

    /// Notes how a call ended.
    pub fn told(&self, call: Call, outcome: Outcome) -> Place {
        self.note(Event::Told { call, outcome })
    }

    /// Notes that an operator asks, before it does.
    pub fn operating(&self, client: Client, what: Operation) -> Call {
        let call = self.call();
        self.note(Event::Operating { call, client, what });
        call
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.with(|history| history.noted.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at what was noted so far.
    pub fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        self.with(|history| look(history))
    }

    /// Changes what the run allows.
    pub fn set_terms(&self, terms: Terms) {
        self.with(|history| history.terms = terms);
    }

    /// What was noted; clones note into an empty history from here on.
    pub fn finish(&self) -> History {
        self.with(std::mem::take)
    }

    fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        // Whoever panicked did so between two events.
        let history = self.shared.history.lock();
        work(&mut history.unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} events)", self.len())
    }
}
