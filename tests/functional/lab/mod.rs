//! The lab origin and the demo.

mod demo;
mod failover;
mod origin;
