//! What a lab origin answers: the media, the API and the odd habits of SRS.

use super::content::LabContent;
use super::flv::FlvMuxer;
use super::hls::{master, parse_name};
use super::identity::Identity;
use super::position::Position;
use super::sessions::HlsSessions;
use super::stream::{LEAST, LabStream, page};
use super::ts::TsMuxer;
use super::viewer::play;
use crate::http::head::{Rejection, RequestHead};
use crate::http::query::{query_value, without_param};
use crate::server::answers::versions;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::server::server::RequestHandler;
use crossbeam_channel::Sender;
use log::Level;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

const METHODS: &str = "GET, HEAD, OPTIONS";
/// How long `/lab/stop` lasts, unless it is told.
const AWAY: Duration = Duration::from_secs(20);
/// The longest that it can be told.
const LONGEST_AWAY: u64 = 3600;
/// While a viewer is held it is looked this often whether it still is there; its leaving wakes it anyway.
const HOLD: Duration = Duration::from_secs(60);

/// The handlers of a lab origin, and what they share.
pub struct LabHandler {
    pub identity: Identity,
    pub content: LabContent,
    /// What HLS numbers are counted from.
    pub first_segment: u64,
    pub streams: Vec<LabStream>,
    pub sessions: HlsSessions,
    /// Where `/lab/stop` is told, with how long the origin is to be away.
    pub stop: Sender<Duration>,
    /// How loud requests for media are logged. Those for the API come each second, and are quiet.
    pub level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Flv,
    Ts,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy)]
enum Route<'s> {
    /// A live stream; nobody may publish it.
    Live(Format, Option<&'s LabStream>),
    Playlist(&'s LabStream),
    Segment(&'s LabStream, u64),
    Streams,
    StreamsWithoutSlash,
    Versions,
    Stop,
    Nothing,
}

impl Route<'_> {
    fn methods(self) -> &'static str {
        match self {
            Self::Stop => "POST",
            _ => METHODS,
        }
    }
}

impl LabHandler {
    fn route(&self, target: &str) -> Route<'_> {
        let path = path_of(target);
        match &*path {
            "/api/v1/streams/" => return Route::Streams,
            "/api/v1/streams" => return Route::StreamsWithoutSlash,
            "/api/v1/versions" | "/api/v1/versions/" => return Route::Versions,
            "/lab/stop" => return Route::Stop,
            _ => {}
        }
        let (app, file) = match path.trim_start_matches('/').split_once('/') {
            Some((app, file)) => (app, file),
            None => ("", &*path),
        };
        let published = |name: &str| {
            self.streams
                .iter()
                .find(|it| app == "live" && it.name == name)
        };
        match file.rsplit_once('.') {
            Some((name, "flv")) => Route::Live(Format::Flv, published(name)),
            Some((name, "m3u8")) => published(name).map_or(Route::Nothing, Route::Playlist),
            Some((name, "ts")) => match (published(name), parse_name(file)) {
                (Some(stream), _) => Route::Live(Format::Ts, Some(stream)),
                (None, Some((name, sequence))) => match published(name) {
                    Some(stream) => Route::Segment(stream, sequence),
                    None => Route::Nothing,
                },
                (None, None) => Route::Live(Format::Ts, None),
            },
            _ => Route::Nothing,
        }
    }

    fn live(&self, exchange: Exchange, format: Format, stream: Option<&LabStream>) {
        let Some(stream) = stream else {
            // SRS waits for a publisher, for as long as the viewer does.
            while !exchange.cancel().wait(HOLD) {}
            return exchange.abandon("nobody publishes this; held until the viewer left");
        };
        let kind = match format {
            Format::Flv => "video/x-flv",
            Format::Ts => "video/MP2T",
        };
        let head = response(&exchange, 200).with("Content-Type", kind);
        let Ok(mut out) = exchange.start(&head) else {
            return;
        };
        if !out.wants_body() {
            // What remains undone is the client's connection, which has its record.
            return drop(out.finish());
        }
        let clip = self.content.clip;
        let played = match format {
            Format::Flv => play(FlvMuxer::new(clip), clip, stream, &mut out),
            Format::Ts => play(TsMuxer::new(clip), clip, stream, &mut out),
        };
        // Dropped unfinished, without a last chunk: so SRS ends a stream.
        if let Err(error) = played {
            out.break_off(&format!("sending to the viewer: {error}"));
        }
    }

    fn playlist(&self, exchange: Exchange, stream: &LabStream) {
        let query = exchange.head.query().unwrap_or_default();
        let session = query_value(query, SESSION);
        let known = session.filter(|id| self.sessions.knows(id, &stream.name, Instant::now()));
        let text = match known {
            Some(id) => self.content.hls.playlist(
                SystemTime::now().into(),
                self.first_segment,
                &stream.name,
                &format!("?{SESSION}={id}"),
            ),
            None => {
                let id = self.sessions.begin(&stream.name, Instant::now());
                let rest = without_param(query, SESSION);
                let rest = rest.map_or(String::new(), |rest| format!("&{rest}"));
                master(&format!("/live/{}.m3u8?{SESSION}={id}{rest}", stream.name))
            }
        };
        let kind = "application/vnd.apple.mpegurl";
        let head = response(&exchange, 200).with("Content-Type", kind);
        stream.sent(text.len());
        exchange.answer(head, text.as_bytes());
    }

    fn segment(&self, exchange: Exchange, stream: &LabStream, sequence: u64) {
        if let Some(id) = query_value(exchange.head.query().unwrap_or_default(), SESSION) {
            // Segments need no session; one that they name is in use.
            let _ = self.sessions.knows(&id, &stream.name, Instant::now());
        }
        let now = Position::from(SystemTime::now());
        match self
            .content
            .hls
            .segment(now, sequence.saturating_add(self.first_segment))
        {
            Some(bytes) => {
                let head = response(&exchange, 200).with("Content-Type", "video/MP2T");
                stream.sent(bytes.len());
                exchange.answer(head, &bytes);
            }
            None => not_found(exchange, "This segment is gone, or not there yet."),
        }
    }

    fn streams(&self, exchange: Exchange) {
        let query = exchange.head.query().unwrap_or_default();
        let number = |name| query_value(query, name).and_then(|value| value.parse().ok());
        let (start, count) = (number("start"), number("count"));
        let page = page(
            &self.streams,
            self.content.clip,
            &self.identity,
            start.unwrap_or(0),
            count.unwrap_or(LEAST),
        );
        let head = response(&exchange, 200).with("Content-Type", "application/json");
        exchange.answer(head, page.to_string().as_bytes());
    }

    /// The lab's own call: everything that SRS's end would do to its viewers, for a while.
    fn stop(&self, exchange: Exchange) {
        if exchange.head.headers.count("origin") > 0 {
            return exchange.problem(403, "Not from a web page.");
        }
        let given = query_value(exchange.head.query().unwrap_or_default(), "seconds");
        let seconds = match given.as_deref().map(str::parse) {
            None => AWAY.as_secs(),
            Some(Ok(seconds)) if (1..=LONGEST_AWAY).contains(&seconds) => seconds,
            Some(_) => {
                return exchange.problem(400, "seconds: a number from 1 to 3600.");
            }
        };
        if self.stop.is_full() {
            return exchange.problem(409, "It is stopping already.");
        }
        let text = format!(
            "{} stops now and comes back in {seconds} s.\n",
            self.identity.device
        );
        let head = ResponseHead::new(200).with("Content-Type", "text/plain; charset=utf-8");
        // First the answer: the stop would cut this connection too.
        exchange.answer(head, text.as_bytes());
        // Full, when another one was faster: the origin stops all the same.
        let _ = self.stop.try_send(Duration::from_secs(seconds));
    }
}

/// The parameter that names an HLS session.
const SESSION: &str = "hls_ctx";

fn path_of(target: &str) -> Cow<'_, str> {
    let path = target.split('?').next().unwrap_or_default();
    percent_decode_str(path).decode_utf8_lossy()
}

/// A response's head with what SRS adds for a web page.
fn response(exchange: &Exchange, status: u16) -> ResponseHead {
    let head = ResponseHead::new(status);
    if exchange.head.headers.count("origin") == 0 {
        return head;
    }
    head.with("Access-Control-Allow-Origin", "*")
        .with("Access-Control-Allow-Methods", "GET, POST, HEAD, PUT, DELETE, OPTIONS")
        .with("Access-Control-Expose-Headers", "Server,range,Content-Length,Content-Range")
        .with(
            "Access-Control-Allow-Headers",
            "origin,range,accept-encoding,referer,Cache-Control,X-Proxy-Authorization,X-Requested-With,Content-Type",
        )
}

fn not_found(exchange: Exchange, message: &str) {
    let head = response(&exchange, 404);
    exchange.problem_with(head, message);
}

impl RequestHandler for LabHandler {
    fn is_long(&self, head: &RequestHead) -> bool {
        let is_live = matches!(self.route(&head.target), Route::Live(..));
        is_live && matches!(head.method.as_str(), "GET" | "HEAD")
    }

    fn methods(&self, target: &str) -> &'static str {
        self.route(target).methods()
    }

    fn admit_body(&self, _: &RequestHead) -> Result<(), Rejection> {
        Err(Rejection {
            status: 413,
            message: "No request here has a body.",
        })
    }

    fn handle(&self, mut exchange: Exchange) {
        exchange.record.level = self.level;
        let target = exchange.head.target.clone();
        if target.contains("..") {
            return exchange.abandon("SRS closes on a URL with two dots");
        }
        let route = self.route(&target);
        let method = exchange.head.method.as_str();
        if method == "OPTIONS" {
            let head = response(&exchange, 200);
            return exchange.answer(head, b"");
        }
        if !route.methods().split(", ").any(|one| one == method) {
            let head = response(&exchange, 405).with("Allow", route.methods());
            return exchange.problem_with(head, &format!("Use {} here.", route.methods()));
        }
        if matches!(route, Route::Streams | Route::Versions) {
            exchange.record.level = Level::Debug;
        }
        match route {
            Route::Live(format, stream) => self.live(exchange, format, stream),
            Route::Playlist(stream) => self.playlist(exchange, stream),
            Route::Segment(stream, sequence) => self.segment(exchange, stream, sequence),
            Route::Streams => self.streams(exchange),
            Route::StreamsWithoutSlash => {
                let query = target
                    .split_once('?')
                    .map_or(String::new(), |(_, query)| format!("?{query}"));
                let head =
                    response(&exchange, 302).with("Location", format!("/api/v1/streams/{query}"));
                exchange.answer(head, b"");
            }
            Route::Versions => versions(exchange),
            Route::Stop => self.stop(exchange),
            Route::Nothing => not_found(
                exchange,
                "There is nothing here. Streams are at /live/NAME.flv, .ts and .m3u8; their names at /api/v1/streams/.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(names: &[&str]) -> LabHandler {
        LabHandler {
            identity: Identity::new("lab", 8080),
            content: LabContent::embedded().unwrap(),
            first_segment: 0,
            streams: names.iter().map(|name| LabStream::new(name)).collect(),
            sessions: HlsSessions::default(),
            stop: crossbeam_channel::bounded(1).0,
            level: Level::Info,
        }
    }

    fn told(route: Route<'_>) -> String {
        let name = |stream: &LabStream| stream.name.clone();
        match route {
            Route::Live(format, stream) => {
                format!("{format:?} {}", stream.map_or("held".to_owned(), name))
            }
            Route::Playlist(stream) => format!("playlist {}", stream.name),
            Route::Segment(stream, sequence) => format!("segment {} {sequence}", stream.name),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn routes() {
        let handler = handler(&["demo", "cam-7", "x.y"]);
        for (target, expected) in [
            ("/live/demo.flv", "Flv demo"),
            ("/live/demo.flv?token=1", "Flv demo"),
            ("/live/%64emo.ts", "Ts demo"),
            ("/live/x.y.flv", "Flv x.y"),
            ("/live/none.flv", "Flv held"),
            ("/live/none.ts", "Ts held"),
            ("/other/demo.flv", "Flv held"),
            ("/demo.flv", "Flv held"),
            ("/live/demo.m3u8?hls_ctx=1", "playlist demo"),
            ("/live/none.m3u8", "Nothing"),
            ("/other/demo.m3u8", "Nothing"),
            ("/live/demo-12.ts?hls_ctx=1", "segment demo 12"),
            ("/live/cam-7.ts", "Ts cam-7"),
            ("/live/cam-7-8.ts", "segment cam-7 8"),
            ("/live/none-12.ts", "Nothing"),
            ("/api/v1/streams/?count=2", "Streams"),
            ("/api/v1/streams", "StreamsWithoutSlash"),
            ("/api/v1/versions", "Versions"),
            ("/lab/stop?seconds=3", "Stop"),
            ("/", "Nothing"),
            ("*", "Nothing"),
        ] {
            assert_eq!(told(handler.route(target)), expected, "{target}");
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if let Ok(head) = crate::http::head::parse(head.as_bytes()) {
                let is_long = expected.starts_with(['F', 'T']);
                assert_eq!(handler.is_long(&head), is_long, "{target}");
            }
        }
    }
}
