//! Playlists for a viewer that has a session: what is shared by all has a placeholder in its URIs, which each viewer's own
//! id replaces.

use crate::hooks::Hooks;
use crate::hooks::session::Session;
use crate::http::Headers;
use crate::http::head::RequestHead;
use crate::player::context::PlayerContext;
use crate::player::hls::reload::lasting_target;
use crate::player::hls::syntax::{
    Piece, attributes, is_master, is_tag, lines, split_bom, tag_value, uri_of_line,
};
use crate::player::request::{MediaRequest, Viewing};
use crate::player::route::{is_playlist, without_parameters};
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::session::session_id;
use crate::stream::url::StreamUrl;
use memchr::memmem;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Variants and renditions of a master playlist that a session may ask for.
const MAX_VARIANTS: usize = 60;
/// Longest `hls_ctx` that is one; SRS's have 8 characters.
const MAX_CONTEXT: usize = 64;
/// What tells caches in front that others must not have an answer, or how long they may.
const ABOUT_CACHING: [&str; 4] = ["cache-control", "expires", "etag", "last-modified"];

/// Answers with a playlist whose URIs may have the placeholder.
pub fn answer(
    context: &PlayerContext,
    exchange: Exchange,
    request: &MediaRequest,
    head: ResponseHead,
    body: &[u8],
) {
    let Some(viewing) = &request.viewing else {
        return exchange.answer(head, body);
    };
    let body = of_viewer(&context.hooks, &exchange.head, request, viewing, body);
    viewing.session.set_served();
    let head = ResponseHead {
        headers: private(head.headers),
        ..head
    };
    exchange.answer(head.with("Cache-Control", "private, no-store"), &body);
}

fn private(mut headers: Headers) -> Headers {
    for name in ABOUT_CACHING {
        headers.remove(name);
    }
    headers
}

/// The playlist as its viewer gets it. What it tells of the session is noted.
fn of_viewer(
    hooks: &Hooks,
    head: &RequestHead,
    request: &MediaRequest,
    viewing: &Viewing,
    body: &[u8],
) -> Vec<u8> {
    let session = &viewing.session;
    let path = without_parameters(head.path());
    let by_path = StreamUrl::of_request(head.host.as_deref(), path, head.query());
    let Some(stream) = by_path.as_ref().or(request.stream.as_ref()) else {
        return body.to_vec();
    };
    learn_contexts(hooks, session, stream, body);
    if is_master(body) {
        allow_variants(hooks, session, head, body);
        hooks.sessions.share(session);
    } else {
        if let Some(target) = target_duration(body) {
            session.set_target(target);
        }
        hooks.sessions.share(session);
        if !viewing.is_named {
            let stream = request.stream.as_ref().unwrap_or(stream);
            return own_master(&request.target, stream, session).into_bytes();
        }
    }
    with_id(
        body,
        hooks.placeholder().as_bytes(),
        session.id().as_bytes(),
    )
}

/// A player loads a media playlist again and again by the URL that it has: where that has no session's name, it gets a
/// master playlist first whose only variant is the same with one. So does SRS.
fn own_master(target: &str, stream: &StreamUrl, session: &Session) -> String {
    let target = lasting_target(target);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let file = path.rsplit('/').next().unwrap_or_default();
    let (spbhid, spbhs) = (session_id(stream), session.id());
    let and = if query.is_empty() { "" } else { "&" };
    format!(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n./{file}?{query}{and}spbhid={spbhid}&spbhs={spbhs}\n"
    )
}

/// The body with the id wherever the placeholder stands; both are of one length.
fn with_id(body: &[u8], placeholder: &[u8], id: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    for at in memmem::find_iter(body, placeholder) {
        out[at..at + placeholder.len()].copy_from_slice(id);
    }
    out
}

/// The contexts that an origin has put into the playlist are names of the session from now on.
fn learn_contexts(hooks: &Hooks, session: &Arc<Session>, stream: &StreamUrl, body: &[u8]) {
    const NAME: &[u8] = b"hls_ctx=";
    let mut last: &[u8] = b"";
    for at in memmem::find_iter(body, NAME) {
        let value = &body[at + NAME.len()..];
        let is_plain = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let value = &value[..value.iter().take_while(is_plain).count()];
        if value != last && (1..=MAX_CONTEXT).contains(&value.len()) {
            last = value;
            let name = String::from_utf8_lossy(value);
            hooks.sessions.learn(session, &name, stream);
        }
    }
}

/// The playlists that a master playlist lists are the session's, also those of other streams.
fn allow_variants(hooks: &Hooks, session: &Arc<Session>, head: &RequestHead, body: &[u8]) {
    // The host stands for the proxy's own: whose a URI is has been decided when the playlist was rewritten.
    let Ok(base) = Url::parse(&format!("http://h{}", head.path())) else {
        return;
    };
    let text = std::str::from_utf8(split_bom(body).1).unwrap_or_default();
    let uris = lines(text.as_bytes()).flat_map(uris_of_line);
    for uri in uris.take(MAX_VARIANTS) {
        let uri = std::str::from_utf8(uri)
            .ok()
            .and_then(|uri| base.join(uri).ok());
        let Some(uri) = uri.filter(|uri| is_playlist(uri.path())) else {
            continue;
        };
        let path = without_parameters(uri.path());
        let stream = StreamUrl::of_request(head.host.as_deref(), path, uri.query());
        if let Some(stream) = stream {
            hooks.sessions.allow(session, session.id(), &stream);
        }
    }
}

/// The URIs of a line: the line itself, or a tag's attributes.
fn uris_of_line(line: &[u8]) -> Vec<&[u8]> {
    if let Some(uri) = uri_of_line(line) {
        return vec![uri];
    }
    if !is_tag(line, "#EXT-X-MEDIA") && !is_tag(line, "#EXT-X-I-FRAME-STREAM-INF") {
        return Vec::new();
    }
    let uri = |piece| match piece {
        Piece::Value { name, value, .. } if name == b"URI" => Some(value),
        _ => None,
    };
    attributes(line).filter_map(uri).collect()
}

/// The target duration of a media playlist (RFC 8216 section 4.3.3.1), in whole seconds.
fn target_duration(body: &[u8]) -> Option<Duration> {
    let value = |line| tag_value(line, "#EXT-X-TARGETDURATION");
    let value = lines(split_bom(body).1).find_map(value)?;
    let seconds: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_becomes_the_id_and_nothing_else_changes() {
        let body = with_id(b"a?s=PPP&t=P\nPPPPP\nPP", b"PPP", b"123");
        assert_eq!(body, b"a?s=123&t=P\n123PP\nPP");
    }

    #[test]
    fn a_target_duration_is_read_where_there_is_one() {
        for (text, seconds) in [
            ("#EXTM3U\n#EXT-X-TARGETDURATION:3\n", Some(3)),
            ("#EXTM3U\r\n#EXT-X-TARGETDURATION: 10 \r\n", Some(10)),
            ("#EXTM3U\n", None),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:x\n", None),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:-1\n", None),
        ] {
            let seconds = seconds.map(Duration::from_secs);
            assert_eq!(target_duration(text.as_bytes()), seconds, "{text:?}");
        }
    }

    #[test]
    fn variants_and_renditions_have_uris() {
        let uris = |line: &'static str| uris_of_line(line.as_bytes());
        assert_eq!(uris("a.m3u8?x\n"), [b"a.m3u8?x"]);
        let line = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"b.m3u8\"\n";
        assert_eq!(uris(line), [b"b.m3u8"]);
        assert!(uris("#EXT-X-STREAM-INF:BANDWIDTH=1,URI=\"c\"\n").is_empty());
        assert!(uris("#EXTINF:2,URI=\"c\"\n").is_empty());
    }
}
