//! What the end-to-end tests stand on: the real proxy binary, scripted origins, a client that reads
//! every byte strictly, and the tools (ffmpeg, nginx, curl) that real players and origins are made of.
//!
//! Each test binary uses a part of it, hence the one `allow`.
#![allow(dead_code)]

pub mod answer;
pub mod api;
pub mod body;
pub mod browser;
pub mod client;
mod connection;
pub mod deaf;
pub mod fetch;
pub mod flv;
pub mod head;
pub mod hls;
pub mod hooks;
pub mod hostile;
pub mod lab;
pub mod live;
pub mod media;
pub mod nginx;
pub mod origin;
pub mod player;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod request;
pub mod response;
pub mod shared;
pub mod srs;
pub mod tls;
pub mod tools;
pub mod wait;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Waits until no other test of this binary has the machine, and holds the others off until the guard is dropped. In the
/// binaries `serial` and `browser` each test begins with this call: Cargo has no way to ask for one test thread for one
/// binary only.
pub fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a test waits for what must come soon. The machine may be slow and shared: a test that needs
/// to tell "at once" from "at a timeout" sets that timeout far above this.
pub const SOON: Duration = Duration::from_secs(10);

/// What the contract gives a second (an origin connection that must go, an end that must be seen):
/// the second, and room for a noisy machine.
pub const ABOUT_A_SECOND: Duration = Duration::from_secs(3);
