//! Several proxies beside each other, with a Redis.

mod away;
mod timelines;
mod together;
