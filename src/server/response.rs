//! A response's head: what a handler says of it, and how it goes on the wire.

use crate::http::Headers;
use crate::listener::RequestId;
use crate::server::profile::{SERVER, ServerProfile, reason};
use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A response's head as a handler wants it.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    /// End-to-end header lines; framing, `Date`, `Server` and the server's own are added.
    pub headers: Headers,
    /// The body's length in bytes, where it is known.
    pub length: Option<u64>,
    /// Header lines that other responses have too: they are sent before `headers`, and copied for none of them.
    pub shared: Option<Arc<Headers>>,
    /// The `Age` line, in seconds (RFC 9111 section 5.1).
    pub age: Option<Duration>,
}

impl ResponseHead {
    /// A head with that status and no headers.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// The same with one more header line.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }
}

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    Length,
    Chunked,
    UntilClose,
}

/// A response's head, on the wire.
pub(super) fn head_bytes(
    profile: ServerProfile,
    id: &RequestId,
    head: &ResponseHead,
    framing: Framing,
    connection: &str,
) -> Vec<u8> {
    let status = head.status;
    let date = httpdate::HttpDate::from(SystemTime::now());
    let mut bytes = Vec::with_capacity(768);
    // Writing to a Vec cannot fail.
    let _ = write!(
        bytes,
        "HTTP/1.1 {status} {}\r\nServer: {SERVER}\r\nDate: {date}\r\nX-Request-Id: {id}\r\n{}{connection}",
        reason(status),
        profile_headers(profile, head),
    );
    let shared = head.shared.iter().flat_map(|headers| headers.iter());
    for (name, value) in shared.chain(head.headers.iter()) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    if let Some(age) = head.age {
        let _ = write!(bytes, "Age: {}\r\n", age.as_secs());
    }
    // RFC 9110 section 8.6: none with 1xx and 204; with 304 it would be the 200's, which we know only
    // where the origin said it.
    match head.length {
        Some(length) if status >= 200 && status != 204 && (status != 304 || length > 0) => {
            let _ = write!(bytes, "Content-Length: {length}\r\n");
        }
        None if framing == Framing::Chunked => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The profile's header lines, without the one that the head has itself.
fn profile_headers(profile: ServerProfile, head: &ResponseHead) -> Cow<'static, str> {
    const OWN: &str = "Access-Control-Allow-Headers";
    if head.headers.count(OWN) == 0 {
        return profile.headers().into();
    }
    let lines = profile.headers().split_inclusive("\r\n");
    lines
        .filter(|line| !line.starts_with(OWN))
        .collect::<String>()
        .into()
}

/// A whole error response that ends its connection, on the wire.
pub(super) fn error_bytes(
    profile: ServerProfile,
    id: &RequestId,
    mut head: ResponseHead,
    message: &str,
    without_body: bool,
) -> Vec<u8> {
    let (kind, body) = profile.error(head.status, message);
    head.length = Some(body.len() as u64);
    let head = head.with("Content-Type", kind);
    let close = "Connection: close\r\n";
    let mut bytes = head_bytes(profile, id, &head, Framing::Length, close);
    if !without_body {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}
