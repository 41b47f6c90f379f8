//! HLS playlists (RFC 8216): the `spbhid` on every URI that comes back to this proxy, and nothing else changed.
//!
//! Works on bytes, for titles and comments are in whatever encoding their author liked.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Largest rewritten playlist, in bytes. A playlist of one-letter URIs could grow a thousandfold otherwise; a day of
/// 2 s segments stays well below.
pub const MAX_REWRITTEN: usize = 8 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";
const SESSION_PARAM: &[u8] = b"spbhid";

/// What a session id may not bring into a query as it is: an id may come from a request, and a quote or line break
/// in it would be the playlist's.
const ENCODED_IN_ID: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Whether the body is a playlist: `#EXTM3U` and no more in its first word, a BOM before it or not.
pub fn is_playlist(body: &[u8]) -> bool {
    let (_, text) = split_bom(body);
    text.strip_prefix(b"#EXTM3U")
        .is_some_and(|rest| rest.first().is_none_or(|b| b" \t\r\n".contains(b)))
}

/// Whether the playlist is a master playlist: one that lists variants (RFC 8216 section 4.3.4).
pub fn is_master(body: &[u8]) -> bool {
    lines(split_bom(body).1).any(|line| line.starts_with(b"#EXT-X-STREAM-INF:"))
}

/// The URI of the only variant of a master playlist, as it is written; `None` for media playlists, and for several
/// variants.
pub fn only_variant(body: &[u8]) -> Option<&[u8]> {
    if !is_master(body) {
        return None;
    }
    let mut uris = lines(split_bom(body).1)
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let only = uris.next()?;
    uris.next().is_none().then_some(only)
}

/// The playlist with `spbhid=<session>` as the last parameter of every URI that the proxy serves.
///
/// URIs are lines that are neither blank nor begin with `#`, and the attributes of tags that are called exactly
/// `URI`. The proxy serves relative ones and those whose host and port are the request's: `request_host` is its
/// `Host`. Other hosts, other schemes and bare fragments are left alone. A `spbhid` that a URI already has is
/// replaced; all else stays byte for byte.
///
/// `session` is text: what is not fit for a query is percent-encoded. `None` when the result would exceed
/// [`MAX_REWRITTEN`].
pub fn rewrite(body: &[u8], request_host: Option<&str>, session: &str) -> Option<Vec<u8>> {
    let id: Cow<'_, str> = utf8_percent_encode(session, ENCODED_IN_ID).into();
    // Nearly every URI has a line of its own and a tag before it.
    let uris = body.iter().filter(|b| **b == b'\n').count() / 2 + 2;
    let growth = uris.saturating_mul(SESSION_PARAM.len() + "?=".len() + id.len());
    let mut rewriter = Rewriter {
        out: Vec::with_capacity(body.len().saturating_add(growth).min(MAX_REWRITTEN)),
        host: request_host.map(|host| Authority::of(host.as_bytes())),
        id: id.as_bytes(),
    };
    let (bom, text) = split_bom(body);
    rewriter.out.extend_from_slice(bom);
    for line in lines(text) {
        if line.starts_with(b"#EXT") {
            rewriter.tag(line);
        } else {
            rewriter.spaced_uri(line);
        }
    }
    (rewriter.out.len() <= MAX_REWRITTEN).then_some(rewriter.out)
}

fn split_bom(body: &[u8]) -> (&[u8], &[u8]) {
    body.split_at(if body.starts_with(BOM) { BOM.len() } else { 0 })
}

/// The lines with their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|b| *b == b'\n')
}

struct Rewriter<'a> {
    out: Vec<u8>,
    host: Option<Authority<'a>>,
    id: &'a [u8],
}

impl Rewriter<'_> {
    /// A tag's line: its attribute list, `NAME=value` or `NAME="value"` between commas (RFC 8216 section 4.2).
    fn tag(&mut self, line: &[u8]) {
        let colon = line.iter().position(|b| *b == b':');
        let Some(colon) = colon.filter(|colon| &line[..*colon] != b"#EXTINF") else {
            return self.out.extend_from_slice(line);
        };
        let (name, mut rest) = line.split_at(colon + 1);
        self.out.extend_from_slice(name);
        while let Some(end) = rest.iter().position(|b| b"=,".contains(b)) {
            let (name, after) = rest.split_at(end);
            self.out.extend_from_slice(&rest[..=end]);
            rest = &after[1..];
            if after[0] == b',' {
                continue;
            }
            let spaces = rest.len() - rest.trim_ascii_start().len();
            let (spaces, value) = rest.split_at(spaces);
            self.out.extend_from_slice(spaces);
            rest = value;
            let mut closer = b',';
            if let Some(quoted) = value.strip_prefix(b"\"") {
                if !quoted.contains(&b'"') {
                    break;
                }
                closer = b'"';
                self.out.push(b'"');
                rest = quoted;
            }
            let end = rest.iter().position(|b| *b == closer).unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            if name.trim_ascii() == b"URI" {
                self.spaced_uri(value);
            } else {
                self.out.extend_from_slice(value);
            }
            rest = after;
        }
        self.out.extend_from_slice(rest);
    }

    /// A URI with the white space around it, if it is one.
    fn spaced_uri(&mut self, text: &[u8]) {
        let start = text.len() - text.trim_ascii_start().len();
        let (before, text) = text.split_at(start);
        let (uri, after) = text.split_at(text.trim_ascii_end().len());
        self.out.extend_from_slice(before);
        // Past the bound the result is thrown away: nothing more has to grow.
        if self.out.len() <= MAX_REWRITTEN && self.serves(uri) {
            self.own_uri(uri);
        } else {
            self.out.extend_from_slice(uri);
        }
        self.out.extend_from_slice(after);
    }

    fn own_uri(&mut self, uri: &[u8]) {
        let fragment = uri.iter().position(|b| *b == b'#').unwrap_or(uri.len());
        let (uri, fragment) = uri.split_at(fragment);
        let query = uri.iter().position(|b| *b == b'?').unwrap_or(uri.len());
        let (path, query) = uri.split_at(query);
        self.out.extend_from_slice(path);
        self.out.push(b'?');
        let query = query.strip_prefix(b"?").unwrap_or_default();
        if !query.is_empty() {
            for param in query
                .split(|b| *b == b'&')
                .filter(|param| !is_session(param))
            {
                self.out.extend_from_slice(param);
                self.out.push(b'&');
            }
        }
        self.out.extend_from_slice(SESSION_PARAM);
        self.out.push(b'=');
        self.out.extend_from_slice(self.id);
        self.out.extend_from_slice(fragment);
    }

    /// Whether a request for the URI comes to this proxy.
    fn serves(&self, uri: &[u8]) -> bool {
        if uri.is_empty() || uri.starts_with(b"#") {
            return false;
        }
        let (default_ports, rest): (&[&[u8]], &[u8]) = match split_scheme(uri) {
            None if !uri.starts_with(b"//") => return true,
            None => (&[b"80", b"443"], uri),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http") => (&[b"80"], rest),
            // A TLS server in front of the proxy.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"https") => (&[b"443"], rest),
            Some(_) => return false,
        };
        let (Some(rest), Some(host)) = (rest.strip_prefix(b"//"), &self.host) else {
            return false;
        };
        // Browsers take a backslash for a slash.
        let end = rest.iter().position(|b| b"/?#\\".contains(b));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let userinfo = authority
            .iter()
            .rposition(|b| *b == b'@')
            .map_or(0, |at| at + 1);
        Authority::of(&authority[userinfo..]).is(host, default_ports)
    }
}

fn is_session(param: &[u8]) -> bool {
    param
        .strip_prefix(SESSION_PARAM)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

/// Scheme and rest of a URI that has one (RFC 3986 section 3.1).
fn split_scheme(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = uri.iter().position(|b| b":/?#".contains(b))?;
    let (scheme, rest) = uri.split_at(colon);
    let named = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    rest.strip_prefix(b":")
        .filter(|_| named)
        .map(|rest| (scheme, rest))
}

/// Host and port of a URI or of a `Host` header.
struct Authority<'a> {
    host: &'a [u8],
    port: Option<&'a [u8]>,
}

impl<'a> Authority<'a> {
    fn of(text: &'a [u8]) -> Self {
        let colon = text
            .iter()
            .rposition(|b| b":]".contains(b))
            .filter(|at| text[*at] == b':');
        let (host, port) = text.split_at(colon.unwrap_or(text.len()));
        Authority {
            host: host.strip_suffix(b".").unwrap_or(host),
            port: port.get(1..).filter(|port| !port.is_empty()),
        }
    }

    /// Whether both are the same place, a missing port being one of `default_ports`.
    fn is(&self, other: &Authority<'_>, default_ports: &[&[u8]]) -> bool {
        let same_port = match (self.port, other.port) {
            (Some(port), None) | (None, Some(port)) => default_ports.contains(&port),
            (port, other) => port == other,
        };
        same_port && self.host.eq_ignore_ascii_case(other.host)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
