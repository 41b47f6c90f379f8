//! The `spbhid` on every URI of a playlist (RFC 8216) that comes back to this proxy, and nothing else changed.

use crate::player::hls::syntax::{Piece, attributes, is_tag, lines, split_bom};
use crate::player::hls::variables::{Resolved, Variables};
use crate::player::public_hosts::PublicHosts;
use crate::player::public_url::WayUp;
use memchr::{memchr, memchr_iter, memmem};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;

/// Largest rewritten playlist, in bytes. A playlist of one-letter URIs could grow a thousandfold otherwise; a day of
/// 2 s segments with dates and tokens stays below 10 MB.
pub const MAX_REWRITTEN: usize = 32 << 20;

const SESSION_PARAM: &[u8] = b"spbhid";
const VIEWER_PARAM: &[u8] = b"&spbhs=";

/// What a session id may not bring into a query as it is: an id may come from a request, and a quote or line break
/// in it would be the playlist's.
pub const ENCODED_IN_ID: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a playlist is rewritten by.
#[derive(Debug)]
pub struct Rewrite<'a> {
    /// Whose URIs are ours.
    pub hosts: &'a PublicHosts<'a>,
    /// The query of the playlist's URL as the player asked for it, which `EXT-X-DEFINE:QUERYPARAM` is about.
    pub query: Option<&'a str>,
    /// The id for segments, parts, keys and initialization sections. What is not fit for a query is
    /// percent-encoded.
    pub session: &'a str,
    /// The id for other playlists: players compare their URLs, so this one never has an epoch.
    pub playlists: &'a str,
    /// What stands for the viewer's session; `None` where viewers have none.
    pub viewer: Option<&'a str>,
    /// Where the proxy is below a path of another server: a URI such as `/live/a.m3u8`, which SRS writes, then becomes
    /// a relative one. `None` leaves such URIs as they are.
    pub way_up: Option<&'a WayUp<'a>>,
}

/// The playlist with `spbhid=<session>` as the last parameter of every URI that the proxy serves.
///
/// URIs are lines that are neither blank nor begin with `#`, and those attributes and values of tags that
/// [`carries_uri`] and [`is_uri_tag`] name. The proxy serves relative ones and those that [`PublicHosts`] knows.
/// Those with `http` get the player's scheme: [`PublicHosts::for_player`]. Other hosts, other schemes and bare fragments are left alone. A `spbhid` that a URI already has belongs to
/// another proxy between this one and the origin: it stays, before ours. All else stays byte for byte.
///
/// Variables are put into URIs of ours where they are known. Where a variable is the player's to put in, the URI
/// is left alone, unless the variable stands after the `?`: whose the URI is and where its query ends is certain
/// then.
///
/// `None` when the result would exceed [`MAX_REWRITTEN`].
pub fn rewrite(body: &[u8], how: &Rewrite<'_>) -> Option<Vec<u8>> {
    let encode = |id| Cow::from(utf8_percent_encode(id, ENCODED_IN_ID));
    let (session, playlists) = (encode(how.session), encode(how.playlists));
    // Nearly every URI has a line of its own and a tag before it.
    let uris = memchr_iter(b'\n', body).count() / 2 + 2;
    let growth = uris.saturating_mul(SESSION_PARAM.len() + "?=".len() + session.len());
    let mut rewriter = Rewriter {
        out: Vec::with_capacity(body.len().saturating_add(growth).min(MAX_REWRITTEN)),
        hosts: how.hosts,
        variables: Variables::new(how.query),
        way_up: how.way_up,
        viewer: how.viewer,
    };
    let (bom, text) = split_bom(body);
    rewriter.out.extend_from_slice(bom);
    for line in lines(text) {
        if rewriter.out.len() > MAX_REWRITTEN {
            return None;
        }
        if line.starts_with(b"#EXT") {
            let id = match is_tag(line, "#EXT-X-RENDITION-REPORT") {
                true => &playlists,
                false => &session,
            };
            rewriter.tag(line, id.as_bytes());
        } else {
            rewriter.spaced_uri(line, session.as_bytes());
        }
    }
    (rewriter.out.len() <= MAX_REWRITTEN).then_some(rewriter.out)
}

/// The URI with `spbhid=<id>` as its last parameter, before any fragment. `id` must be fit for a query.
pub fn with_session(uri: &[u8], id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(uri.len() + id.len() + 8);
    append_session(&mut out, uri, id.as_bytes(), None);
    out
}

fn append_session(out: &mut Vec<u8>, uri: &[u8], id: &[u8], viewer: Option<&str>) {
    let fragment = memchr(b'#', uri).unwrap_or(uri.len());
    let (uri, fragment) = uri.split_at(fragment);
    out.extend_from_slice(uri);
    match memchr(b'?', uri) {
        None => out.push(b'?'),
        Some(at) if at + 1 < uri.len() => out.push(b'&'),
        Some(_) => {}
    }
    out.extend_from_slice(SESSION_PARAM);
    out.push(b'=');
    out.extend_from_slice(id);
    // SRS's own session tells the viewer.
    if let Some(viewer) = viewer
        && !has_context(uri)
    {
        out.extend_from_slice(VIEWER_PARAM);
        out.extend_from_slice(viewer.as_bytes());
    }
    out.extend_from_slice(fragment);
}

/// Whether the query of a URI has SRS's `hls_ctx`.
fn has_context(uri: &[u8]) -> bool {
    let mut params = uri.split(|byte| b"?&".contains(byte)).skip(1);
    params.any(|param| param.starts_with(b"hls_ctx="))
}

/// Whether the attribute holds a URI: `URI` in every tag that has one (keys, maps, renditions, parts, hints,
/// reports, session data, image and I-frame playlists), the steering manifest's `SERVER-URI`
/// (draft-pantos-hls-rfc8216bis section 4.4.6.6), and the two of an interstitial's date range (appendix D).
fn carries_uri(line: &[u8], attribute: &[u8]) -> bool {
    match attribute {
        b"URI" => true,
        b"SERVER-URI" => is_tag(line, "#EXT-X-CONTENT-STEERING"),
        b"X-ASSET-URI" | b"X-ASSET-LIST" => is_tag(line, "#EXT-X-DATERANGE"),
        _ => false,
    }
}

/// Whether the tag's whole value is a URI: the segment that will come next, of low-latency players before RFC
/// 8216bis had parts.
fn is_uri_tag(line: &[u8]) -> bool {
    is_tag(line, "#EXT-X-PREFETCH")
}

struct Rewriter<'a> {
    out: Vec<u8>,
    hosts: &'a PublicHosts<'a>,
    variables: Variables<'a>,
    /// Where URIs that begin at the top have to be relative.
    way_up: Option<&'a WayUp<'a>>,
    viewer: Option<&'a str>,
}

impl<'a> Rewriter<'a> {
    fn tag(&mut self, line: &'a [u8], id: &[u8]) {
        let colon = memchr(b':', line).map_or(line.len(), |at| at + 1);
        let (name, value) = line.split_at(colon);
        self.out.extend_from_slice(name);
        if is_uri_tag(line) {
            return self.spaced_uri(value, id);
        }
        if is_tag(line, "#EXT-X-DEFINE") {
            self.variables.define(value);
        }
        let named = || memmem::find(value, b"URI").or_else(|| memmem::find(value, b"X-ASSET-LIST"));
        let title = is_tag(line, "#EXTINF") || is_tag(line, "#EXTM3U");
        if title || named().is_none() {
            return self.out.extend_from_slice(value);
        }
        for piece in attributes(value) {
            match piece {
                Piece::Between(text) => self.out.extend_from_slice(text),
                Piece::Value { name, value, .. } if carries_uri(line, name) => {
                    self.spaced_uri(value, id);
                }
                Piece::Value { value, .. } => self.out.extend_from_slice(value),
            }
        }
    }

    /// A URI that the proxy serves.
    fn own_uri(&mut self, uri: &[u8], id: &[u8]) {
        let uri = self.hosts.for_player(uri);
        match self.way_up {
            Some(way_up) => append_session(&mut self.out, &way_up.relative(&uri), id, self.viewer),
            None => append_session(&mut self.out, &uri, id, self.viewer),
        }
    }

    /// A URI with the white space around it, if it is one.
    fn spaced_uri(&mut self, text: &[u8], id: &[u8]) {
        let start = text.len() - text.trim_ascii_start().len();
        let (before, text) = text.split_at(start);
        let (uri, after) = text.split_at(text.trim_ascii_end().len());
        self.out.extend_from_slice(before);
        // Past the bound the result is thrown away: nothing more has to grow.
        if self.out.len() > MAX_REWRITTEN {
            return;
        }
        match self.variables.resolve(uri) {
            Resolved::Plain if self.hosts.serves(uri) => self.own_uri(uri, id),
            Resolved::Whole(known) if self.hosts.serves(&known) => self.own_uri(&known, id),
            Resolved::Open(known, at)
                if known[..at].contains(&b'?')
                    && !known.contains(&b'#')
                    && self.hosts.serves(&known) =>
            {
                self.own_uri(&known, id);
            }
            _ => self.out.extend_from_slice(uri),
        }
        self.out.extend_from_slice(after);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
