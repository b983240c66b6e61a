//! One direction of a connection: bytes that are under way, each piece with the time at which it
//! arrives.
//!
//! Invariants: bytes arrive in the order in which they were sent, each at most once; what waits is
//! bounded, so that a reader who does not read stops the writer. Nothing here knows what bytes mean.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::rng::SimRng;

/// How many bytes may be under way or wait to be read: as many as a socket's buffers hold.
const WINDOW_BYTES: usize = 128 * 1024;

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order, behind all that was sent.
    Closed,
    /// At once; what is under way is lost.
    Reset,
}

/// Bytes under way in one direction.
#[derive(Debug)]
pub(super) struct Pipe {
    pieces: VecDeque<(Instant, Vec<u8>, usize)>,
    waiting_bytes: usize,
    /// When the last piece arrives: none overtakes another.
    last_due: Instant,
    latency: Duration,
    /// Pieces are cut and joined anywhere.
    choppy: bool,
    /// What is sent is lost, and nobody is told.
    silent: bool,
    end: Option<(Instant, End)>,
    /// Bytes that were sent so far.
    pub(super) sent_bytes: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What reading found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes(usize),
    /// Nothing before then.
    NotBefore(Instant),
    Nothing,
    Ended(End),
}

impl Pipe {
    pub(super) fn new(latency: Duration, choppy: bool) -> Self {
        Self {
            pieces: VecDeque::new(),
            waiting_bytes: 0,
            last_due: Instant::now(),
            latency,
            choppy,
            silent: false,
            end: None,
            sent_bytes: 0,
            reader: None,
            writer: None,
        }
    }

    /// Sends as much of the bytes as there is room for; 0 when there is none.
    pub(super) fn send(&mut self, bytes: &[u8], rng: &mut SimRng) -> usize {
        let mut count = bytes.len().min(WINDOW_BYTES - self.waiting_bytes);
        if count == 0 {
            return 0;
        }
        if self.choppy && rng.chance(0.3) {
            count = 1 + rng.below(count as u64) as usize;
        }
        self.sent_bytes += count as u64;
        if self.silent {
            // They fill the sender's buffer, as nobody acknowledges them.
            self.waiting_bytes += count;
            return count;
        }
        let mut latency = self.latency;
        if self.choppy && !latency.is_zero() {
            latency += latency.mul_f64(rng.fraction());
        }
        let due = (Instant::now() + latency).max(self.last_due);
        self.last_due = due;
        self.waiting_bytes += count;
        self.pieces.push_back((due, bytes[..count].to_vec(), 0));
        self.wake_reader();
        count
    }

    /// Turns over a bit of what was sent last.
    pub(super) fn flip(&mut self, rng: &mut SimRng) -> bool {
        let Some((_, bytes, _)) = self.pieces.back_mut() else {
            return false;
        };
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << rng.below(8);
        true
    }

    /// Takes what has arrived, as much as fits.
    pub(super) fn receive(&mut self, room: &mut [u8], rng: &mut SimRng) -> Found {
        let now = Instant::now();
        if let Some((at, End::Reset)) = self.end
            && at <= now
        {
            return Found::Ended(End::Reset);
        }
        let mut taken = 0;
        let most = match self.choppy && rng.chance(0.3) && !room.is_empty() {
            true => 1 + rng.below(room.len() as u64) as usize,
            false => room.len(),
        };
        while taken < most
            && let Some((due, bytes, from)) = self.pieces.front_mut()
            && *due <= now
        {
            let count = (bytes.len() - *from).min(most - taken);
            room[taken..taken + count].copy_from_slice(&bytes[*from..*from + count]);
            taken += count;
            *from += count;
            if *from == bytes.len() {
                self.pieces.pop_front();
            }
        }
        if taken > 0 {
            self.waiting_bytes -= taken;
            self.wake_writer();
            return Found::Bytes(taken);
        }
        let due = self.pieces.front().map(|(due, ..)| *due);
        match (due, self.end) {
            (None, Some((at, end))) if at <= now => Found::Ended(end),
            (due, end) => {
                let next = due.into_iter().chain(end.map(|(at, _)| at)).min();
                next.map_or(Found::Nothing, Found::NotBefore)
            }
        }
    }

    /// Whether the sender knows that it can send nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some_and(|(at, _)| at <= Instant::now())
    }

    /// Nothing more is sent: the reader finds out when all has arrived.
    pub(super) fn close(&mut self) {
        let at = (Instant::now() + self.latency).max(self.last_due);
        self.end_at(at, End::Closed);
    }

    /// It ends some time from now, unless it has ended before.
    pub(super) fn reset_in(&mut self, time: Duration) {
        self.end_at(Instant::now() + time, End::Reset);
    }

    fn end_at(&mut self, at: Instant, end: End) {
        let is_first = match self.end {
            None => true,
            Some((before, End::Closed)) => end == End::Reset || at < before,
            Some((before, End::Reset)) => end == End::Reset && at < before,
        };
        if is_first {
            self.end = Some((at, end));
            self.wake_reader();
            self.wake_writer();
        }
    }

    /// From here on what is sent is lost, and nobody is told.
    pub(super) fn silence(&mut self) {
        self.silent = true;
    }

    /// What is sent from here on arrives later.
    pub(super) fn stall(&mut self, time: Duration) {
        self.last_due = self.last_due.max(Instant::now() + time);
    }

    pub(super) fn latency(&self) -> Duration {
        self.latency
    }

    pub(super) fn reader_waits(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }

    pub(super) fn writer_waits(&mut self, waker: &Waker) {
        self.writer = Some(waker.clone());
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}
