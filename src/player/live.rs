//! Live streams: FLV, TS, AAC and MP3, relayed until either side ends.

use crate::http::query::without_spbhid;
use crate::locate::Wanted;
use crate::player::PlayerContext;
use crate::player::fetch::{FetchOutcome, FetchRequest, fetch};
use crate::player::kept;
use crate::player::relay::{Piece, relay};
use crate::runtime::pool::Pool;
use crate::server::exchange::Exchange;
use crate::stream::stats::Viewer;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginResponse;
use std::sync::Arc;

/// Stack of a thread that relays a live stream, in bytes.
const STACK: usize = 128 * 1024;

/// A live stream that an origin has begun to send. It runs on a thread of its own: searching, asking
/// and parsing leave 30 KB of touched stack and freed scraps behind, which would be held for hours.
pub struct LiveStream {
    exchange: Exchange,
    response: OriginResponse,
    viewer: Viewer,
}

impl LiveStream {
    /// The threads for live streams, as many as there may be streams.
    pub fn threads(most: usize) -> Arc<Pool<Box<Self>>> {
        Pool::new("stream", most, STACK, |stream: Box<Self>| stream.run())
    }

    fn run(self: Box<Self>) {
        relay(
            self.exchange,
            self.response,
            Piece::Live,
            &self.viewer.meter,
        );
    }
}

/// What a URL that names no stream is answered.
pub const NO_STREAM: &str = "This URL names no stream. Try /app/stream.flv, .ts or .m3u8.";

/// Answers a request for a live stream.
pub fn live(context: &PlayerContext, mut exchange: Exchange) {
    let head = &exchange.head;
    let Some(stream) = StreamUrl::of_request(head.host.as_deref(), head.path(), head.query())
    else {
        return exchange.problem(400, NO_STREAM);
    };
    let target = without_spbhid(&head.target).into_owned();
    let fields = context
        .forwarding
        .to_origin(head, exchange.peer().ip(), false);
    let cancel = exchange.cancel().clone();
    let request = FetchRequest {
        stream: Some(&stream),
        wanted: Wanted::Stream,
        own: is_own(&stream, head.path()),
        live: true,
        head_only: exchange.is_head(),
        target: &target,
        fields: &fields,
        cancel: &cancel,
    };
    match fetch(&context.locator, &context.client, &mut exchange, &request) {
        FetchOutcome::Answered(origin, response)
            if response.status == 200 && !exchange.is_head() =>
        {
            let address = exchange.record.origin.clone().unwrap_or_default();
            let viewer = context.viewers.live(&stream, &origin.id, &address);
            exchange.forget_request();
            let stream = Box::new(LiveStream {
                exchange,
                response,
                viewer,
            });
            if let Err(stream) = context.live.run(stream) {
                stream.run(); // no thread to be had: on this one, then
            }
        }
        FetchOutcome::Answered(origin, response) => {
            let address = exchange.record.origin.clone().unwrap_or_default();
            let meter = context.viewers.touch(&stream, &origin.id, &address, None);
            relay(exchange, response, Piece::Live, &meter);
        }
        FetchOutcome::BufferedResponse(answer) => kept(exchange, answer),
        FetchOutcome::Failed(failure) => failure.answer(exchange),
        FetchOutcome::Left => exchange.abandon("the client left while its stream was looked for"),
    }
}

/// Whether the path is the plain one of the stream, so that its 404 is about the stream and not about
/// an odd way of asking for it.
pub fn is_own(stream: &StreamUrl, path: &str) -> bool {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    stem == stream.app_stream()
}
