//! The process: its settings, its log, its end.

mod ending;
mod log;
mod packages;
mod scheduling;
mod start;
mod stuck_log;
pub mod upgrade;
