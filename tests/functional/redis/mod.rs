//! Several proxies beside each other, with a Redis.

mod addresses;
mod away;
mod timelines;
mod together;
