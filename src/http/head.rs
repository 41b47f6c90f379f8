//! A request's head: read under limits, refused when doubtful, kept in a plain form.

use crate::http::{Headers, Memo, Method};
use std::net::Ipv6Addr;
use std::ops::Range;

/// Largest head, request line and all lines of it, in bytes.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most header lines.
pub const MAX_LINES: usize = 100;
/// Longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;
/// Longest method, in bytes; the longest registered one has 17.
const MAX_METHOD: usize = 32;
/// Longest host with its port, in bytes: a DNS name has at most 253 (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 262;

/// The HTTP version of a request; any other is a 505.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// A request's head after all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Any token: the handlers know the methods.
    pub method: Method,
    /// Path and query, ASCII only; `*` for `OPTIONS *`. An absolute-form target is its path here.
    pub target: String,
    pub version: Version,
    /// As the client wrote it, with its port, or the authority of an absolute-form target.
    pub host: Option<String>,
    /// All header lines, in order.
    pub headers: Headers,
    /// Whether the client wants the connection for another request (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Bytes of body that follow the head; 0 where they come in chunks.
    pub body: u64,
    /// Whether a body follows in chunks.
    pub chunked: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// What the log says of the request.
    pub labels: Memo,
    /// What the handler has made of the head.
    pub made: Memo,
}

impl RequestHead {
    /// The path of the target, without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The head without target, host and header lines: what is left is how to answer.
    pub fn without_lines(&self) -> Self {
        Self {
            method: self.method.clone(),
            target: String::new(),
            host: None,
            headers: Headers::default(),
            labels: Memo::default(),
            made: Memo::default(),
            ..*self
        }
    }

    /// The query of the target, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// Why a request is not served: the status, and a line for the person who sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub status: u16,
    pub message: &'static str,
}

const fn rejection(status: u16, message: &'static str) -> Rejection {
    Rejection { status, message }
}

/// A body in chunks where none is read.
pub const LENGTH_REQUIRED: Rejection = rejection(411, "Send the body with a Content-Length.");
/// The head was not whole in time.
pub const TOO_SLOW: Rejection = rejection(408, "The request head did not arrive in time.");
const BAD_FRAMING: Rejection = rejection(400, "The request's body has a doubtful length.");
const BAD_HOST: Rejection = rejection(400, "The request needs one valid Host header.");
const BAD_TARGET: Rejection = rejection(400, "The request's target is not a path.");
const TARGET_TOO_LONG: Rejection = rejection(414, "The request's URL is longer than 8 KiB.");
const HEAD_TOO_LARGE: Rejection = rejection(431, "The request head is larger than 32 KiB.");

/// Bytes of empty lines before a head; RFC 9112 section 2.2 lets a server skip them.
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count()
}

/// Where the head that begins at 0 ends: the bytes up to and with its empty line. `from` is how far
/// an earlier call has looked, so that a head which trickles in is not searched again and again.
pub fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let next = at + found + 1;
        match bytes[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Whether an unfinished head is over a limit already.
pub fn over_limit(bytes: &[u8]) -> Option<Rejection> {
    let one_line = !bytes.iter().take(MAX_TARGET * 2).any(|byte| *byte == b'\n');
    if bytes.len() > MAX_TARGET + 64 && one_line {
        return Some(TARGET_TOO_LONG);
    }
    (bytes.len() > MAX_HEAD).then_some(HEAD_TOO_LARGE)
}

/// Reads one whole head, as [`end_of_head`] found it.
///
/// # Errors
/// A [`Rejection`] with the right status: 400 for what is doubtful, 414 and 431 for what is too
/// large, 417 for expectations that nobody here meets, 505 for other versions.
pub fn parse(bytes: &[u8]) -> Result<RequestHead, Rejection> {
    if bytes.len() > MAX_HEAD {
        return Err(over_limit(bytes).unwrap_or(HEAD_TOO_LARGE));
    }
    // Not on the stack: that of a connection's thread stays as large as it ever was.
    let mut lines = vec![httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        // Where the two views of its end differ, the rest would pass for another request.
        Ok(_) => return Err(rejection(400, "The request head is not whole.")),
        Err(error) => return Err(refuse_syntax(error, bytes)),
    }
    let version = match request.version {
        Some(1) => Version::Http11,
        _ => Version::Http10,
    };
    let method = request.method.unwrap_or_default();
    if method.len() > MAX_METHOD {
        // RFC 9112 section 3
        return Err(rejection(501, "No such method is known here."));
    }
    let raw_target = request.path.unwrap_or_default();
    if raw_target.len() > MAX_TARGET {
        return Err(TARGET_TOO_LONG);
    }
    let headers = Headers::of(request.headers.iter().map(|line| (line.name, line.value)));
    let (target, authority) = target_of(method, raw_target)?;
    let host = host_of(&headers, version, authority)?;
    let (body, chunked) = body_length(&headers, version)?;
    let expects_continue = match headers.one("expect") {
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => {
            (body > 0 || chunked) && version == Version::Http11
        }
        Some(_) => return Err(rejection(417, "Only Expect: 100-continue is understood.")),
    };
    Ok(RequestHead {
        method: Method::of(method),
        target,
        version,
        host,
        keep_alive: match version {
            Version::Http11 => !headers.has_token("connection", "close"),
            Version::Http10 => {
                headers.has_token("connection", "keep-alive")
                    && !headers.has_token("connection", "close")
            }
        },
        headers,
        body,
        chunked,
        expects_continue,
        labels: Memo::default(),
        made: Memo::default(),
    })
}

fn refuse_syntax(error: httparse::Error, bytes: &[u8]) -> Rejection {
    match error {
        httparse::Error::TooManyHeaders => {
            rejection(431, "The request head has more than 100 header lines.")
        }
        httparse::Error::HeaderName => rejection(400, "A header name is not valid."),
        httparse::Error::HeaderValue => rejection(400, "A header value is not valid."),
        httparse::Error::Version if names_another_version(bytes) => {
            rejection(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        }
        _ => rejection(400, "The request line is not valid."),
    }
}

/// Whether the request line ends in `HTTP/<digit>.<digit>` or `HTTP/<digit>`.
fn names_another_version(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some(b"1.0" | b"1.1") => false, // it is something before the version that is wrong
        Some([b'0'..=b'9'] | [b'0'..=b'9', b'.', b'0'..=b'9']) => true,
        _ => false,
    }
}

/// The target in origin form, and the authority when it came in absolute form.
fn target_of<'a>(method: &str, raw: &'a str) -> Result<(String, Option<&'a str>), Rejection> {
    if raw == "*" && method == "OPTIONS" {
        return Ok(("*".to_owned(), None));
    }
    let (path, authority) = if raw.starts_with('/') {
        (raw, None)
    } else {
        let rest = strip_scheme(raw).ok_or(BAD_TARGET)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (&rest[end..], Some(&rest[..end]))
    };
    if path.contains('#') {
        return Err(BAD_TARGET); // a fragment never leaves a client (RFC 9110 section 4.2.5)
    }
    let mut target = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    let path_end = path.find('?').unwrap_or(path.len());
    for (at, byte) in path.bytes().enumerate() {
        // What no URI may hold is escaped as browsers do (URL standard, percent-encode sets); all else
        // stays as it came.
        match byte {
            b'"' | b'<' | b'>' | 0x80.. => escape(&mut target, byte),
            b'`' if at < path_end => escape(&mut target, byte),
            _ => target.push(char::from(byte)),
        }
    }
    Ok((target, authority))
}

fn escape(target: &mut String, byte: u8) {
    target.push('%');
    target.push(hex(byte >> 4));
    target.push(hex(byte & 15));
}

fn hex(digit: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(digit & 15)])
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// The one host of the request (RFC 9112 section 3.2): the target's authority wins over `Host`.
fn host_of(
    headers: &Headers,
    version: Version,
    authority: Option<&str>,
) -> Result<Option<String>, Rejection> {
    let mut hosts = headers.all("host");
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(BAD_HOST),
        (None, None) if version == Version::Http11 => return Err(BAD_HOST),
        (host, None) => host.map(std::str::from_utf8).transpose(),
    };
    let host = host.map_err(|_| BAD_HOST)?;
    if [host, authority]
        .into_iter()
        .flatten()
        .any(|host| !is_host(host))
    {
        return Err(BAD_HOST);
    }
    Ok(authority.or(host).map(str::to_owned))
}

/// A registered name, an IPv4 address or a bracketed IPv6 one, with a port or without
/// (RFC 3986 section 3.2.2). No user name: that belongs to no Host header.
fn is_host(text: &str) -> bool {
    if text.len() > MAX_HOST {
        return false;
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            (None, port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            (Some(&text[..end]), &text[end..])
        }
    };
    let good_name = name.is_none_or(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte))
    });
    let good_port = match port.strip_prefix(':') {
        Some("") => true,
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    good_name && good_port
}

/// How many bytes of body follow, and whether they come in chunks (RFC 9112 section 6), or why that is not to be
/// trusted.
fn body_length(headers: &Headers, version: Version) -> Result<(u64, bool), Rejection> {
    let coding = headers.count("transfer-encoding");
    let mut lengths = headers.all("content-length");
    let length = match (lengths.next(), lengths.next()) {
        (_, Some(_)) => return Err(BAD_FRAMING),
        (length, None) => length,
    };
    if coding > 0 {
        let chunked = headers
            .one("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        if coding > 1 || length.is_some() || !chunked || version == Version::Http10 {
            return Err(BAD_FRAMING);
        }
        return Ok((0, true));
    }
    let Some(length) = length else {
        return Ok((0, false));
    };
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(BAD_FRAMING);
    }
    let digits = std::str::from_utf8(length).map_err(|_| BAD_FRAMING)?;
    // More than 64 bits can say is still only too much.
    Ok((digits.parse().unwrap_or(u64::MAX), false))
}

/// The name or address of a `Host` value, without port and brackets.
pub fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => &host[name_range(host)],
    }
}

fn name_range(host: &str) -> Range<usize> {
    0..host.find(':').unwrap_or(host.len())
}
