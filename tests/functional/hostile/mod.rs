//! Clients and origins that send what they should not.

mod bodies;
mod connections;
mod heads;
mod origins;
