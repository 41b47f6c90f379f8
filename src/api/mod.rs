//! The System API: for origins, which register, and for operators, who look and drain.

mod clients;
mod guard;
pub mod heartbeat;
mod operators;
mod views;

pub use guard::Guard;
pub use operators::{Operators, PlayerStats};
