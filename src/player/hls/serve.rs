//! Giving players what is shared.

use crate::cache::entry::{EntryHead, OriginId, SharedHead};
use crate::cache::key::Key;
use crate::cache::reader::{EntryReader, Next};
use crate::cache::{FillGuard, Lookup};
use crate::player::context::PlayerContext;
use crate::server::body::ResponseBody;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::stats::ByteCounter;
use crate::stream::url::StreamUrl;
use log::debug;
use std::io;
use std::sync::Arc;

/// A request that finds an old answer again and again, for its stream moves all the time, goes on its
/// own after so many.
const MAX_TURNS: usize = 3;
/// What the log has for the origin of an answer that was in memory.
const MEMORY: &str = "memory";

/// What is left to do for a request.
pub enum Joined {
    /// It is answered.
    Answered,
    /// It has to ask the origin, for all.
    Fill(Exchange, FillGuard),
    /// It has to ask the origin for itself.
    Alone(Exchange),
}

/// A request's part in a shared fetch: to lead, or to go on its own, which it does without a key.
/// `None` when it has been answered.
pub fn part(
    context: &PlayerContext,
    exchange: Exchange,
    key: Option<Key>,
    player: Option<u64>,
) -> Option<(Exchange, Option<FillGuard>)> {
    let Some(key) = key else {
        return Some((exchange, None));
    };
    match join(context, exchange, &key, player) {
        Joined::Answered => None,
        Joined::Fill(exchange, fill) => Some((exchange, Some(fill))),
        Joined::Alone(exchange) => Some((exchange, None)),
    }
}

/// Answers a request from what is shared, or says what is left to do. `player` tells viewers apart,
/// where it can.
pub fn join(
    context: &PlayerContext,
    mut exchange: Exchange,
    key: &Key,
    player: Option<u64>,
) -> Joined {
    let mut turns = 0;
    while turns < MAX_TURNS {
        let pin = pin(context, key.stream());
        let reader = match context.cache.enter(key, pin.clone(), exchange.cancel()) {
            Lookup::FillGuard(fill) => return Joined::Fill(exchange, fill),
            Lookup::Wait(reader) => reader,
        };
        if !reader.came_whole() {
            debug!("{} waits for a shared fetch", exchange.record.id);
        }
        let Some(head) = reader.head() else {
            exchange.abandon("the client left while a shared answer was waited for");
            return Joined::Answered;
        };
        match head {
            EntryHead::Alone => return Joined::Alone(exchange),
            EntryHead::Shared(shared) => {
                if is_current(context, key.stream(), &reader, &shared, pin) {
                    context.cache.count(&reader);
                    note(&mut exchange, &reader, &shared);
                    send(
                        context,
                        exchange,
                        &reader,
                        &shared,
                        key.stream(),
                        player,
                        true,
                    );
                    return Joined::Answered;
                }
                context.cache.forget(key, &reader);
                turns += 1;
            }
            EntryHead::Failed(failed) => {
                let kept = reader.came_whole();
                if kept && failed.pin != pin {
                    context.cache.forget(key, &reader);
                    turns += 1;
                    continue;
                }
                // The filler came first, and was held for its own time. This player has time left.
                let waited = failed.failure.status == 404;
                if waited && !kept && exchange.record.elapsed() < context.locator.wait() {
                    continue;
                }
                context.cache.count(&reader);
                failed.failure.clone().answer(exchange);
                return Joined::Answered;
            }
        }
    }
    Joined::Alone(exchange)
}

/// Sends the filler its own answer, which comes in for all.
pub fn fill(context: &PlayerContext, exchange: Exchange, reader: &EntryReader, stream: &StreamUrl) {
    match reader.head() {
        Some(EntryHead::Shared(shared)) => {
            send(context, exchange, reader, &shared, stream, None, false)
        }
        _ => exchange.abandon("the client left while its segment was asked for"),
    }
}

/// The origin that a stream is pinned to.
pub fn pin(context: &PlayerContext, stream: &StreamUrl) -> Option<OriginId> {
    context
        .locator
        .balancer()
        .pinned(stream)
        .map(|pinned| pinned.id)
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

fn note(exchange: &mut Exchange, reader: &EntryReader, shared: &SharedHead) {
    let record = &mut exchange.record;
    if reader.came_whole() {
        record.origin = Some(MEMORY.to_owned());
        return;
    }
    if !shared.address.is_empty() {
        record.origin = Some(shared.address.clone());
    }
    record.detail = Some("shared".to_owned());
}

fn send(
    context: &PlayerContext,
    exchange: Exchange,
    reader: &EntryReader,
    shared: &SharedHead,
    stream: &StreamUrl,
    player: Option<u64>,
    aged: bool,
) {
    let mut head = ResponseHead {
        status: shared.status,
        headers: shared.headers.clone(),
        length: Some(shared.length),
    };
    if aged {
        let age = shared.age + shared.came.elapsed();
        head.headers.remove("age");
        head = head.with("Age", age.as_secs().to_string());
    }
    let meter = shared
        .origin
        .as_ref()
        .map(|origin| context.stats.touch(stream, origin, &shared.address, player));
    let mut batch = Vec::new();
    let mut behind = reader.ready(0, &mut batch);
    let mut out = match exchange.start_with(&head, &rest(&batch, behind)) {
        Ok(out) => out,
        Err(_) => return, // the record says why
    };
    let mut at = out.record().bytes;
    count(&meter, at);
    loop {
        behind = match reader.next(at, &mut batch) {
            Next::Bytes(behind) => behind,
            Next::End => {
                // An error is the client's leaving at the very end; the record has its bytes.
                let _ = out.finish();
                return;
            }
            Next::Broken(why) => return out.break_off(&format!("the origin broke off: {why}")),
            Next::Left => return out.break_off("the client left"),
        };
        let sent = write(&mut out, &rest(&batch, behind), &meter);
        at = out.record().bytes;
        if let Err(error) = sent {
            return out.break_off(&format!("the client went: {error}"));
        }
    }
}

/// The blocks as parts, without what is behind in the first one.
fn rest(batch: &[Arc<[u8]>], behind: usize) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = batch.iter().map(|block| &**block).collect();
    if let Some(first) = parts.first_mut() {
        *first = &first[behind..];
    }
    parts
}

fn write(out: &mut ResponseBody, parts: &[&[u8]], meter: &Option<ByteCounter>) -> io::Result<()> {
    let before = out.record().bytes;
    let sent = out.write_parts(parts);
    count(meter, out.record().bytes - before);
    sent
}

fn count(meter: &Option<ByteCounter>, bytes: u64) {
    if let Some(meter) = meter {
        meter.add(bytes);
    }
}
