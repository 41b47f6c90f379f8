//! Tests that need the machine for themselves: thousands of connections, scarce descriptors and threads, readers that
//! stall, and a minute of everything. They run one after the other, whatever the number of test threads.

#[path = "../common/mod.rs"]
mod common;

mod allocations;
mod idle;
mod live_crowd;
mod scarce;
mod slow_readers;
mod soak;
mod unknown_names;
mod upgrade;
