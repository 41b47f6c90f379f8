//! What we say to an origin, and what it answers, by ureq. This room does not know who asked.

mod client;
mod connection;
pub mod forwarding;
mod response;
mod tls;

pub use client::{OriginClient, OriginError, OriginRequest, OriginTimes, UpstreamObserver};
pub use response::{OriginBody, OriginResponse};
pub use tls::{OriginTls, OriginTrust, TrustError};
