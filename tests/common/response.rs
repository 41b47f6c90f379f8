//! Responses as the client got them.

use super::body::BodyEnd;
use super::head::{self, Headers};

/// A response's head.
#[derive(Clone, Debug)]
pub struct Head {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    pub raw: Vec<u8>,
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub head: Head,
    pub body: Vec<u8>,
    pub end: BodyEnd,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn headers(&self) -> &Headers {
        &self.head.headers
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }
}

impl Head {
    /// Reads a response's head.
    ///
    /// # Panics
    /// When it is malformed.
    #[track_caller]
    pub(super) fn parse(raw: Vec<u8>) -> Head {
        let (first, headers) = head::parse(&raw).unwrap_or_else(|e| panic!("{e}"));
        let mut words = first.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        assert!(
            version == "HTTP/1.1" || version == "HTTP/1.0",
            "bad status line {first:?}"
        );
        let status = words
            .next()
            .filter(|s| s.len() == 3)
            .and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("bad status line {first:?}"));
        let reason = words.next().unwrap_or_default().to_owned();
        Head {
            version,
            status,
            reason,
            headers,
            raw,
        }
    }
}
