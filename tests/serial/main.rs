//! Tests that need the machine for themselves: thousands of connections, scarce descriptors and threads, readers that
//! stall, and a minute of everything. They run one after the other, whatever the number of test threads.

#[path = "../common/mod.rs"]
mod common;

mod idle;
mod scarce;
mod slow_readers;
mod soak;
mod unknown_names;
mod upgrade;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test of this binary runs, and holds the others off until the guard is dropped. Each test begins
/// with this call: Cargo has no way to ask for one test thread for one binary only.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
