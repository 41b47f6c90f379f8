//! Answering players from what is shared.

use crate::cache::Lookup;
use crate::cache::guard::FillGuard;
use crate::cache::head::{EntryHead, FailedFetch, SharedHead};
use crate::cache::key::Key;
use crate::cache::reader::{EntryReader, Waited};
use crate::player::context::PlayerContext;
use crate::player::hls::send::{self, SharedAnswer};
use crate::player::request::MediaRequest;
use crate::player::route::Route;
use crate::player::waits::OriginWait;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use log::debug;
use std::ops::ControlFlow;

/// A request that finds an outdated answer again and again, for its stream moves all the time, goes on its own after so
/// many.
const MAX_TURNS: usize = 3;
/// A request that has to ask an origin.
pub struct Asking {
    pub exchange: Exchange,
    /// The request asks for all who wait with it; `None` where it asks for itself alone.
    pub fill: Option<FillGuard>,
    /// Counts the request among those that wait for its origin, until the response head is there.
    pub wait: OriginWait,
}

/// Answers a request at once, where its answer is complete in memory and is what the stream's origin would give now.
/// Asks no origin and waits for nobody but the client. Returns the exchange where its answer is not in memory.
pub fn answer_now(
    context: &PlayerContext,
    exchange: Exchange,
    request: &MediaRequest,
) -> Option<Exchange> {
    let Some((key, reader)) = hit(context, request) else {
        return Some(exchange);
    };
    let Waited::Head(head) = reader.head() else {
        return Some(exchange);
    };
    let pin = pin(context, key.stream());
    match found(context, exchange, key, &reader, head, pin, request) {
        ControlFlow::Break(()) => None,
        ControlFlow::Continue(exchange) => Some(exchange),
    }
}

fn hit<'a>(context: &PlayerContext, request: &'a MediaRequest) -> Option<(&'a Key, EntryReader)> {
    let key = request.key.as_ref()?;
    Some((key, context.cache.hit(key)?))
}

/// Answers a request from what is shared, waiting for an answer that is on its way.
///
/// `None` when the request has been answered; else it has to ask an origin.
pub fn answer(
    context: &PlayerContext,
    mut exchange: Exchange,
    request: &MediaRequest,
) -> Option<Asking> {
    let key = request.key.as_ref().filter(|_| request.cacheable);
    let mut wait = None;
    for _ in 0..MAX_TURNS {
        let Some(key) = key else {
            break;
        };
        let pin = pin(context, key.stream());
        let reader = match context.cache.enter(key, pin.clone(), exchange.cancel()) {
            Lookup::Hit(reader) | Lookup::Wait(reader) => reader,
            Lookup::Alone => break,
            Lookup::Full => return too_many(exchange),
            Lookup::Fill(fill) => return ask(context, exchange, request, Some(fill), wait),
        };
        if !reader.came_whole() {
            debug!("{} waits for a shared fetch", exchange.record.id);
            wait = wait.or_else(|| begin_wait(context, request));
            if wait.is_none() {
                return too_many(exchange);
            }
        }
        let head = match reader.head() {
            Waited::Head(head) => head,
            Waited::Left => {
                exchange.abandon("the client left while a shared answer was waited for");
                return None;
            }
            Waited::Hung(attempt) => {
                debug!(
                    "{} asks once more: the origin is silent",
                    exchange.record.id
                );
                let fill = context.cache.attempt(key, reader, attempt, pin);
                return ask(context, exchange, request, Some(fill), wait);
            }
        };
        if matches!(head, EntryHead::Alone) {
            break;
        }
        wait = None; // the answer is here, and the player may be slow
        exchange = match found(context, exchange, key, &reader, head, pin, request) {
            ControlFlow::Break(()) => return None,
            ControlFlow::Continue(exchange) => exchange,
        };
    }
    ask(context, exchange, request, None, wait)
}

/// Lets a request ask an origin, for all where it fills an entry.
fn ask(
    context: &PlayerContext,
    exchange: Exchange,
    request: &MediaRequest,
    fill: Option<FillGuard>,
    wait: Option<OriginWait>,
) -> Option<Asking> {
    match wait.or_else(|| begin_wait(context, request)) {
        Some(wait) => Some(Asking {
            exchange,
            fill,
            wait,
        }),
        None => too_many(exchange),
    }
}

fn begin_wait(context: &PlayerContext, request: &MediaRequest) -> Option<OriginWait> {
    let stream = request.stream.as_ref();
    let origin = stream.and_then(|stream| pin(context, stream));
    context.waits.begin(origin)
}

/// As many requests wait for this answer, or for its origin, as may: the workers that are left are for others.
fn too_many(mut exchange: Exchange) -> Option<Asking> {
    exchange.record.detail = Some("too many wait for this origin".to_owned());
    let head = ResponseHead::new(503).with("Retry-After", "1");
    exchange.problem_with(
        head,
        "The media server does not answer. Try again in a moment.",
    );
    None
}

/// Answers with what was found, where it is what the stream's origin would give now; else gives the exchange back, to
/// look again.
fn found(
    context: &PlayerContext,
    exchange: Exchange,
    key: &Key,
    reader: &EntryReader,
    head: EntryHead,
    pin: Option<OriginId>,
    request: &MediaRequest,
) -> ControlFlow<(), Exchange> {
    match head {
        EntryHead::Alone => return ControlFlow::Continue(exchange),
        EntryHead::Shared(shared) => {
            if !is_current(context, key.stream(), reader, &shared, pin) {
                context.cache.forget(key, reader);
                return ControlFlow::Continue(exchange);
            }
            context.cache.count(reader);
            let is_playlist = request.route == Route::Playlist;
            if is_playlist && shared.status == 200 && request.viewing.is_some() {
                send::personally(context, exchange, request, reader, &shared);
                return ControlFlow::Break(());
            }
            let answer = SharedAnswer {
                reader,
                head: &shared,
                stream: key.stream(),
                viewer: is_playlist.then_some(request.viewer),
                takes_ranges: !is_playlist,
                is_later: true,
            };
            answer.send(context, exchange);
        }
        EntryHead::Failed(failed) => {
            if !holds(context, &exchange, reader, &failed, pin) {
                if reader.came_whole() {
                    context.cache.forget(key, reader);
                }
                return ControlFlow::Continue(exchange);
            }
            context.cache.count(reader);
            failed.failure.clone().answer(exchange);
        }
    }
    ControlFlow::Break(())
}

/// Whether a failure is this request's answer, too.
fn holds(
    context: &PlayerContext,
    exchange: &Exchange,
    reader: &EntryReader,
    failed: &FailedFetch,
    pin: Option<OriginId>,
) -> bool {
    if reader.came_whole() {
        return failed.pin == pin;
    }
    // The filler came first, and was held for its own time. This player has time left.
    failed.failure.status != 404 || exchange.record.elapsed() >= context.locator.wait()
}

/// The origin that a stream is pinned to.
pub fn pin(context: &PlayerContext, stream: &StreamUrl) -> Option<OriginId> {
    context.locator.pinned(stream).map(|pinned| pinned.id)
}

/// Whether the stream's origin would give this answer now, too. `pin` is from when the request came.
fn is_current(
    context: &PlayerContext,
    stream: &StreamUrl,
    reader: &EntryReader,
    shared: &SharedHead,
    pin: Option<OriginId>,
) -> bool {
    // While the request waited the stream may have been found, or have moved.
    let pin = match reader.came_whole() {
        true => pin,
        false => self::pin(context, stream),
    };
    if shared.origin.is_some() && pin == shared.origin {
        return true;
    }
    // It was found elsewhere than at its pin: with the same pin it would be again, by the same origin.
    let known = |origin: &OriginId| {
        let candidates = context.locator.balancer().candidates();
        candidates.iter().any(|candidate| candidate.id == *origin)
    };
    pin == shared.pin && shared.origin.as_ref().is_none_or(known)
}
