//! srs-stream-proxy: one binary in front of several SRS origins.
//!
//! The way of a request, each room knowing only the next:
//!
//! ```text
//! client ─► door ─► tiny_http ─► accept loop ─► worker ─► route ─► balancer ─► origin client ─► relay
//! ```

pub mod api;
pub mod balancer;
pub mod config;
pub mod demo;
pub mod door;
pub mod front;
pub mod http;
pub mod lifeline;
pub mod logging;
pub mod metrics;
pub mod origin;
pub mod pool;
pub mod proxy;
pub mod stream;
pub mod sys;
pub mod threads;
