//! What the library asks of the process it runs in, beside files and time: chance, and threads for
//! what may block. A simulator takes both into its hands, for one thread.
//!
//! Invariant: nothing in this crate draws random numbers or hands work to other threads of a
//! runtime but through here, so that a simulated run can be repeated from its seed.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use tokio::task::JoinError;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static DRAW: RefCell<Option<Box<dyn FnMut() -> u64>>> = const { RefCell::new(None) };
}

/// This thread simulates for as long as this lives.
#[derive(Debug)]
pub struct Simulated(PhantomData<*const ()>);

/// Has this thread draw all its random numbers from `draw`, and do what may block by itself, until
/// what it returns is dropped. For simulators: identifiers and keys are then no secret.
#[must_use]
pub fn simulate(draw: impl FnMut() -> u64 + 'static) -> Simulated {
    DRAW.with_borrow_mut(|drawn| *drawn = Some(Box::new(draw)));
    SIMULATED.set(true);
    Simulated(PhantomData)
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(false);
        DRAW.with_borrow_mut(|draw| *draw = None);
    }
}

/// 128 random bits, 122 of them by chance: those of a version 4 UUID.
pub(crate) fn random_uuid() -> uuid::Uuid {
    if !SIMULATED.get() {
        return uuid::Uuid::new_v4();
    }
    let bits = u128::from(random_bits()) << 64 | u128::from(random_bits());
    uuid::Builder::from_random_bytes(bits.to_le_bytes()).into_uuid()
}

/// 64 random bits.
pub(crate) fn random_bits() -> u64 {
    if !SIMULATED.get() {
        return uuid::Uuid::new_v4().as_u64_pair().1;
    }
    DRAW.with_borrow_mut(|draw| draw.as_mut().map_or(0, |draw| draw()))
}

/// Does something that may block where it holds up nobody.
///
/// # Errors
/// It panicked, or the runtime ends.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if SIMULATED.get() {
        // As a task of its own: it comes later, and its panic is told like that of a thread.
        return tokio::spawn(async move { work() }).await;
    }
    tokio::task::spawn_blocking(work).await
}
