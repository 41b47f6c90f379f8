//! The System API: heartbeats, origins and streams for operators, who may speak to it, metrics.

mod access;
mod console;
mod guard;
mod metrics;
mod operators;
mod register;
mod static_origins;
