//! Clients and origins that send what they should not.

mod bodies;
mod heads;
mod origins;
