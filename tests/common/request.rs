//! Requests as a scripted origin got them.

use super::head::{self, Headers};
use std::net::SocketAddr;

/// A request as the origin got it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    pub peer: SocketAddr,
    /// Which connection of this origin it came over, counted from 0.
    pub connection: usize,
    /// Which request of its connection it is, counted from 0.
    pub nth: usize,
    /// The head, byte for byte.
    pub raw: Vec<u8>,
}

impl Request {
    /// The target without its query.
    pub fn path(&self) -> &str {
        head::path_of(&self.target)
    }

    /// The target's query, without the `?`.
    pub fn query(&self) -> &str {
        head::query_of(&self.target)
    }

    /// The value of a query parameter, as it is written.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        head::query_value(self.query(), name)
    }

    /// Reads a request's head.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(
        raw: Vec<u8>,
        peer: SocketAddr,
        connection: usize,
        nth: usize,
    ) -> Result<Request, String> {
        let (first, headers) = head::parse(&raw)?;
        let mut words = first.split(' ').map(str::to_owned);
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(version), None) => Ok(Request {
                method,
                target,
                version,
                headers,
                peer,
                connection,
                nth,
                raw,
            }),
            _ => Err(format!("bad request line {first:?}")),
        }
    }
}
