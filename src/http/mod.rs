//! HTTP messages as plain values: request heads, header lines and query strings. No I/O.

pub mod chunked;
pub mod head;
#[cfg(test)]
mod head_tests;
mod headers;
pub mod host;
mod memo;
mod method;
pub mod query;

pub use headers::Headers;
pub use memo::Memo;
pub use method::Method;
