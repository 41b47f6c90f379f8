//! Clients and origins that send what they should not.

mod bodies;
mod connections;
mod half_heads;
mod heads;
mod origins;
mod tls;
