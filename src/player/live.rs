//! Live streams: FLV, TS, AAC and MP3, relayed until either side ends.

use crate::player::context::PlayerContext;
use crate::player::fetch::{FetchOutcome, FetchRequest, Fetched, fetch};
use crate::player::relay::{Piece, relay};
use crate::player::request::MediaRequest;
use crate::runtime::pool::Pool;
use crate::server::exchange::Exchange;
use crate::stream::stats::Viewer;
use crate::upstream::OriginResponse;
use std::sync::Arc;

/// Stack of a thread that relays a live stream, in bytes.
const STACK: usize = 128 * 1024;

/// A live stream that an origin has begun to send to one viewer. It runs on a thread of its own: looking for the
/// origin, asking it and parsing its head leave 30 KB of touched stack and freed scraps behind, which would be held
/// for hours.
pub struct LiveRelay {
    exchange: Exchange,
    response: OriginResponse,
    viewer: Viewer,
}

impl LiveRelay {
    /// The threads that relay live streams, at most `max` of them.
    pub fn threads(max: usize) -> Arc<Pool<Box<Self>>> {
        Pool::new("stream", max, STACK, |relay: Box<Self>| relay.run())
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

/// Answers a request for a live stream.
pub fn live(context: &PlayerContext, mut exchange: Exchange, request: &MediaRequest) {
    let Some(stream) = &request.stream else {
        return exchange.problem(400, "This URL names no stream.");
    };
    let headers = context
        .forwarding
        .to_origin(&exchange.head, exchange.peer().ip(), false);
    let cancel = exchange.cancel().clone();
    let fetch_request = FetchRequest {
        media: request,
        headers: &headers,
        head_only: exchange.is_head(),
        cancel: &cancel,
    };
    match fetch(context, &mut exchange, &fetch_request) {
        FetchOutcome::Fetched(fetched) if fetched.response.status == 200 && !exchange.is_head() => {
            let Fetched {
                origin,
                address,
                response,
            } = fetched;
            let viewer = context.stats.live(stream, &origin.id, &address);
            exchange.forget_request();
            let relay = Box::new(LiveRelay {
                exchange,
                response,
                viewer,
            });
            if let Err(relay) = context.live.run(relay) {
                relay.run(); // no thread to be had: on this one, then
            }
        }
        FetchOutcome::Fetched(fetched) => {
            let Fetched {
                origin,
                address,
                response,
            } = fetched;
            let meter = context.stats.touch(stream, &origin.id, &address, None);
            relay(exchange, response, Piece::Live, &meter);
        }
        FetchOutcome::Buffered(answer) => answer.answer(exchange),
        FetchOutcome::Failed(failure) => failure.answer(exchange),
        FetchOutcome::Left => exchange.abandon("the client left while its stream was looked for"),
    }
}
