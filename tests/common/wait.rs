//! Waiting for an event, with a deadline.

use std::time::{Duration, Instant};

/// Polls `condition` until it holds.
///
/// # Panics
/// When it does not hold within `deadline`; the message says `what` was waited for.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || condition().then_some(()));
}

/// Polls `look` until it gives something, and gives that.
///
/// # Panics
/// When nothing came within `deadline`.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "waited {deadline:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
