//! The stream server: by its path a request is a playlist, a segment, a live stream or a file.

pub mod fetch;
pub mod hls;
pub mod live;
mod relay;

use crate::cache::HlsCache;
use crate::files::{FileRequest, Files};
use crate::http::Headers;
use crate::http::head::{Rejection, RequestHead};
use crate::http::query::query_value;
use crate::locate::OriginLocator;
use crate::player::live::LiveStream;
use crate::runtime::pool::Pool;
use crate::server::exchange::{Exchange, ResponseHead};
use crate::server::server::Service;
use crate::server::{send_file, versions};
use crate::stream::stats::StreamStats;
use crate::upstream::OriginClient;
use crate::upstream::forwarding::Forwarding;
use crate::upstream::forwarding::to_player;
use std::borrow::Cow;
use std::sync::Arc;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// What the stream server's handlers share.
pub struct PlayerContext {
    pub locator: Arc<OriginLocator>,
    pub client: Arc<OriginClient>,
    pub forwarding: Forwarding,
    pub viewers: Arc<StreamStats>,
    pub cache: Arc<HlsCache>,
    pub files: Files,
    pub live: Arc<Pool<Box<LiveStream>>>,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Versions,
    Playlist,
    /// A media file, an initialization section or a key of an HLS session.
    Segment,
    Live,
    File,
}

impl Route {
    /// In a word, for the metrics.
    fn kind(self) -> &'static str {
        match self {
            Self::Versions => "api",
            Self::Playlist => "playlist",
            Self::Segment => "segment",
            Self::Live => "live",
            Self::File => "file",
        }
    }
}

/// The route of a target, path and query.
pub fn route(target: &str) -> Route {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if path == "/api/v1/versions" {
        return Route::Versions;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is = |one: &&str| extension.eq_ignore_ascii_case(one);
    if is(&"m3u8") {
        Route::Playlist
    } else if query.is_some_and(|query| query_value(query, "spbhid").is_some()) {
        Route::Segment
    } else if ["flv", "ts", "aac", "mp3"].iter().any(is) {
        Route::Live
    } else {
        Route::File
    }
}

impl Service for PlayerContext {
    fn is_long(&self, method: &str, target: &str) -> bool {
        matches!(method, "GET" | "HEAD") && route(target) == Route::Live
    }

    fn methods(&self, _: &str) -> &'static str {
        METHODS
    }

    fn admit_body(&self, head: &RequestHead) -> Result<(), Rejection> {
        Err(match head.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Rejection {
                status: 413,
                message: "No request here has a body.",
            },
            _ => Rejection {
                status: 405,
                message: "Use GET, HEAD or OPTIONS.",
            },
        })
    }

    fn handle(&self, mut exchange: Exchange) {
        let route = route(&exchange.head.target);
        exchange.record.kind = route.kind();
        match exchange.head.method.as_str() {
            "GET" | "HEAD" => {}
            "OPTIONS" => return preflight(exchange),
            _ => {
                let head = ResponseHead::new(405).with("Allow", METHODS);
                return exchange.problem_with(head, "Use GET, HEAD or OPTIONS.");
            }
        }
        let asks_origin = matches!(route, Route::Playlist | Route::Segment | Route::Live);
        if asks_origin && self.forwarding.is_loop(&exchange.head.fields) {
            let message = "This request has been here before: an origin's address leads back here.";
            return exchange.problem(508, message);
        }
        match route {
            Route::Versions => versions(exchange),
            Route::Playlist => hls::playlist(self, exchange),
            Route::Segment => hls::segment(self, exchange),
            Route::Live => live::live(self, exchange),
            Route::File => self.file(exchange),
        }
    }
}

impl PlayerContext {
    fn file(&self, exchange: Exchange) {
        let line = |name| one_line(&exchange.head.fields, name);
        let (if_none_match, if_modified_since) = (line("if-none-match"), line("if-modified-since"));
        let (range, if_range) = (line("range"), line("if-range"));
        let request = FileRequest {
            method_is_head: exchange.is_head(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: if_modified_since.as_deref(),
            range: range.as_deref(),
            if_range: if_range.as_deref(),
        };
        let answer = self.files.answer(&exchange.head.target, &request);
        send_file(exchange, answer);
    }
}

/// All lines of a header as one (RFC 9110 section 5.2). What is no text makes a condition that does not
/// hold; without it, another would be decided on.
fn one_line<'a>(fields: &'a Headers, name: &'a str) -> Option<Cow<'a, str>> {
    let mut lines = fields.all(name).map(String::from_utf8_lossy);
    let first = lines.next()?;
    Some(lines.fold(first, |joined, line| joined + ", " + line))
}

/// Any page may ask for anything here (the headers say so); a page of another network, too, where its
/// browser asks for that.
fn preflight(exchange: Exchange) {
    let mut head = ResponseHead::new(200).with("Allow", METHODS);
    let asked = exchange
        .head
        .fields
        .one("access-control-request-private-network");
    if asked.is_some_and(|value| value.eq_ignore_ascii_case(b"true")) {
        head = head.with("Access-Control-Allow-Private-Network", "true");
    }
    exchange.answer(head, b"");
}

/// Sends an answer that was put aside while others were asked.
fn kept(exchange: Exchange, answer: fetch::BufferedResponse) {
    let fields = to_player(&answer.fields);
    let head = ResponseHead {
        status: answer.status,
        fields,
        length: answer.length,
    };
    if !exchange.is_head() {
        exchange.answer(head, &answer.body);
    } else if let Ok(out) = exchange.start(&head) {
        // An error is the client's leaving, which is in the record.
        let _ = out.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_header_are_joined() {
        let of = |lines: &[&[u8]]| {
            let fields = Headers::of(lines.iter().map(|line| ("If-None-Match", *line)));
            one_line(&fields, "if-none-match").map(Cow::into_owned)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"\"a,b\""]).as_deref(), Some("\"a,b\""));
        assert_eq!(of(&[b"\"a\"", b"\"b\""]).as_deref(), Some("\"a\", \"b\""));
        assert_eq!(of(&[b"\"\xff\""]).as_deref(), Some("\"\u{fffd}\""));
    }

    #[test]
    fn routes() {
        for (target, expected) in [
            ("/api/v1/versions", Route::Versions),
            ("/api/v1/versions?x", Route::Versions),
            ("/live/a.m3u8", Route::Playlist),
            ("/live/a.M3U8?spbhid=x", Route::Playlist),
            ("/live/a-1.ts?spbhid=x", Route::Segment),
            ("/live/init.mp4?a=b&spbhid=x", Route::Segment),
            ("/live/a.key?spbhid=x", Route::Segment),
            ("/live/a.ts", Route::Live),
            ("/live/a.flv?token=.m3u8", Route::Live),
            ("/live/a.aac", Route::Live),
            ("/live/a.mp3", Route::Live),
            ("/live/a.mp4", Route::File),
            ("/live.ts/a", Route::File),
            ("/a.ts/", Route::File),
            ("/", Route::File),
            ("*", Route::File),
        ] {
            assert_eq!(route(target), expected, "{target}");
        }
    }
}
