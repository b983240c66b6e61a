//! Panics of whatever runs in a simulated world: taken down, and not printed.
//!
//! A task's panic ends the task alone, and a panic in a step is caught by the product; but in a
//! world nothing may panic, unless a database finds its disk gone.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    /// `None`: this thread simulates nothing.
    static TAKEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Takes down this thread's panics from here on.
pub(super) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_taken = TAKEN.with_borrow_mut(|taken| match taken {
                Some(taken) => {
                    taken.push(describe(panic));
                    true
                }
                None => false,
            });
            if !is_taken {
                before(panic);
            }
        }));
    });
    TAKEN.set(Some(Vec::new()));
}

/// What panicked since [`begin`], each with its place.
pub(super) fn end() -> Vec<String> {
    TAKEN.take().unwrap_or_default()
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let payload = panic.payload();
    let what = match payload.downcast_ref::<String>() {
        Some(what) => what.as_str(),
        None => payload
            .downcast_ref::<&str>()
            .copied()
            .unwrap_or("something"),
    };
    // Machine paths tell nothing.
    let place = place
        .rsplit_once("/registry/src/")
        .map_or(&*place, |(_, rest)| rest);
    format!("{what} at {place}")
}
