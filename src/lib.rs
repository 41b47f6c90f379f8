//! srs-stream-proxy: one binary in front of several SRS origins.
//!
//! The way of a request, each room knowing only the next:
//!
//! ```text
//! client ─► door ─► tiny_http ─► accept loop ─► worker ─► route ─► balancer ─► origin client ─► relay
//! ```

mod api;
pub mod app;
mod balancer;
mod cache;
mod channel;
pub mod config;
mod files;
mod http;
pub mod lab;
mod listener;
mod locate;
pub mod logging;
pub mod media;
mod metrics;
mod player;
pub mod runtime;
mod server;
mod stream;
mod upstream;
