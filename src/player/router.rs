//! The stream server's router: by its path and query a request is for a playlist, a segment, a live stream or a file.

use crate::http::head::{Rejection, RequestHead};
use crate::http::query::own_session;
use crate::player::context::PlayerContext;
use crate::player::request::MediaRequest;
use crate::player::route::{Route, is_hls_file, route};
use crate::player::{admission, hls, live, pages, reach};
use crate::server::answers::versions;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::server::server::RequestHandler;
use crate::stream::url::StreamUrl;
use std::sync::Arc;

const METHODS: &str = "GET, HEAD, OPTIONS";
/// Names of headers that an answer to a preflight repeats.
const MAX_ASKED_HEADERS: usize = 64;

/// The stream server: answers players.
pub struct Router {
    context: Arc<PlayerContext>,
}

impl Router {
    /// A router whose handlers use that context.
    pub fn new(context: PlayerContext) -> Self {
        let context = Arc::new(context);
        Self { context }
    }
}

impl RequestHandler for Router {
    fn is_long(&self, head: &RequestHead) -> bool {
        let is_live = || self.route(head).0 == Route::Live;
        matches!(head.method.as_str(), "GET" | "HEAD")
            && route(&head.target) == Route::Live
            && is_live()
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
        let (route, stream) = self.route(&exchange.head);
        exchange.record.kind = route.kind();
        match exchange.head.method.as_str() {
            "GET" | "HEAD" => {}
            "OPTIONS" => return preflight(exchange),
            _ => {
                let head = ResponseHead::new(405).with("Allow", METHODS);
                return exchange.problem_with(head, "Use GET, HEAD or OPTIONS.");
            }
        }
        match route {
            Route::Versions => versions(exchange),
            Route::LiveList => {
                let PlayerContext {
                    live_list,
                    locator,
                    stats,
                    ..
                } = &*self.context;
                live_list.answer(exchange, locator, stats);
            }
            Route::File => pages::file(&self.context.files, exchange),
            Route::Playlist | Route::Segment | Route::Live => self.media(route, exchange, stream),
        }
    }

    fn answer_now(&self, exchange: Exchange) -> Option<Exchange> {
        self.hls_now(exchange)
    }
}

impl Router {
    fn hls_now(&self, mut exchange: Exchange) -> Option<Exchange> {
        let route = route(&exchange.head.target);
        let is_get = matches!(exchange.head.method.as_str(), "GET" | "HEAD");
        let context = &*self.context;
        if !is_get
            || !matches!(route, Route::Playlist | Route::Segment)
            || context.forwarding.is_loop(&exchange.head.headers)
        {
            return Some(exchange);
        }
        let whole = exchange.head.clone();
        let viewer = admission::take_viewer(&context.hooks, &mut exchange);
        let Some(request) = self.parse(route, &exchange) else {
            exchange.head = whole;
            return Some(exchange);
        };
        exchange.record.kind = route.kind();
        let Some(request) = self.known_viewer(&mut exchange, request, viewer.as_deref()) else {
            exchange.head = whole;
            return Some(exchange); // a hook is to be asked: not on the connection's own thread
        };
        let back = hls::answer_now(context, exchange, &request);
        back.map(|mut exchange| {
            (exchange.head, exchange.record.watch) = (whole, None);
            exchange
        })
    }

    /// The request with the session of its viewer; `None` where that is none that may watch.
    fn known_viewer(
        &self,
        exchange: &mut Exchange,
        mut request: Arc<MediaRequest>,
        name: Option<&str>,
    ) -> Option<Arc<MediaRequest>> {
        if self.context.hooks.is_on() {
            let viewing = admission::known(&self.context.hooks, exchange, &request, name)?;
            Arc::make_mut(&mut request).viewing = Some(viewing);
        }
        Some(request)
    }

    /// The media that a request asks for; of an HLS request once, for the connection's thread and for the worker, and
    /// for later requests with the same head.
    fn parse(&self, route: Route, exchange: &Exchange) -> Option<Arc<MediaRequest>> {
        if let Some(request) = exchange.head.made.get() {
            return Some(request);
        }
        let request = Arc::new(MediaRequest::parse(&self.context, route, exchange)?);
        if route != Route::Live && request.is_lasting {
            exchange.head.made.set(request.clone());
        }
        Some(request)
    }

    /// The route of a request, and the stream whose file it asks for where its session's query was dropped on the way.
    #[inline(never)]
    fn route(&self, head: &RequestHead) -> (Route, Option<StreamUrl>) {
        let route = route(&head.target);
        let hls = &self.context.hls;
        let stream = match route {
            Route::Live => hls.stream_of_file(head, true),
            Route::File if is_hls_file(head.path()) => {
                let stream = || hls.stream_of_file(head, false);
                (!self.context.files.has(&head.target))
                    .then(stream)
                    .flatten()
            }
            _ => None,
        };
        match stream {
            Some(stream) => (Route::Segment, Some(stream)),
            None => (route, None),
        }
    }

    fn media(&self, route: Route, mut exchange: Exchange, stream: Option<StreamUrl>) {
        let context = &self.context;
        let viewer = admission::take_viewer(&context.hooks, &mut exchange);
        if context.forwarding.is_loop(&exchange.head.headers) {
            let message = "This request has been here before: an origin's address leads back here.";
            return exchange.problem(508, message);
        }
        let Some(mut request) = self.parse(route, &exchange) else {
            return exchange.problem(
                400,
                "This URL names no stream. Try /app/stream.flv, .ts or .m3u8.",
            );
        };
        if let Some(stream) = stream {
            // The query with the session was dropped on the way.
            request = Arc::new(request.as_file_of(context, &exchange, stream));
        }
        let session = exchange.head.query().and_then(own_session).is_some();
        if session && reach::is_private(exchange.head.path()) {
            return exchange.problem(404, "There is no media here.");
        }
        if route == Route::Segment && request.stream.is_none() {
            let message = "This session is not known here. Load the playlist again.";
            return exchange.problem(404, message);
        }
        if context.hooks.is_on() && matches!(route, Route::Playlist | Route::Segment) {
            let admitted = admission::hls(&context.hooks, exchange, &request, viewer.as_deref());
            let Some((back, viewing)) = admitted else {
                return;
            };
            exchange = back;
            Arc::make_mut(&mut request).viewing = Some(viewing);
        }
        match route {
            Route::Playlist => hls::playlist(context, exchange, &request),
            Route::Segment => hls::segment(context, exchange, &request),
            // Its name was a file's when it came, and the playlist has left it out since.
            _ if !exchange.take_permit() => {
                let head = ResponseHead::new(503).with("Retry-After", "2");
                let message = "All places for streams are taken. Try again in a moment.";
                exchange.problem_with(head, message);
            }
            _ => live::live(context, exchange, &request),
        }
    }
}

/// Whether it is a name that a header may have (RFC 9110 section 5.1).
fn is_header_name(name: &[u8]) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(is_token)
}

/// Any page may ask for anything here (the headers say so); a page of another network, too, where its
/// browser asks for that.
fn preflight(exchange: Exchange) {
    let mut head = ResponseHead::new(200).with("Allow", METHODS);
    let asked = exchange
        .head
        .headers
        .one("access-control-request-private-network");
    if asked.is_some_and(|value| value.eq_ignore_ascii_case(b"true")) {
        head = head.with("Access-Control-Allow-Private-Network", "true");
    }
    // The wildcard does not stand for Authorization (Fetch standard, CORS-preflight fetch).
    let wanted = exchange
        .head
        .headers
        .tokens("access-control-request-headers")
        .filter(|name| is_header_name(name))
        .take(MAX_ASKED_HEADERS);
    let names: Vec<&[u8]> = [&b"*"[..], b"Authorization"]
        .into_iter()
        .chain(wanted)
        .collect();
    if names.len() > 2 {
        head = head.with("Access-Control-Allow-Headers", names.join(&b", "[..]));
    }
    exchange.answer(head, b"");
}
