//! What the proxy promises, room by room: each test starts the real binary among scripted or real origins, players and
//! Redis. One binary, since a touched helper then costs one link instead of one a file.
//!
//! `cargo test --test functional live::relay` runs one file's tests.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod files;
mod fixture;
mod hls;
mod hooks;
mod hostile;
mod house;
mod http;
mod lab;
mod live;
mod locate;
mod process;
mod readme;
mod redis;
