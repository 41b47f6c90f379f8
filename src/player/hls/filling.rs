//! What the filler of a shared answer gives to those who wait with it, and to those who come later.

use crate::balancer::Candidate;
use crate::cache::directive::{CacheDirective, age, directive};
use crate::cache::freshness::{
    MAX_SEGMENT, NOT_FOUND_TIME, PLAYLIST_TIME, SEGMENT_TIME, time_limit,
};
use crate::cache::guard::FillGuard;
use crate::cache::head::{Retention, SharedHead};
use crate::cache::reader::EntryReader;
use crate::http::Headers;
use crate::player::context::PlayerContext;
use crate::player::fetch::{BufferedResponse, Fetched};
use crate::player::hls::cached::pin;
use crate::server::failure::Failure;
use crate::server::response::ResponseHead;
use crate::upstream::OriginResponse;
use crate::upstream::forwarding::to_player;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether others may have a playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// They may, for this long.
    For(Duration),
    /// Answers of this name are each player's own: a master playlist, `Set-Cookie`, `private`.
    Never,
}

/// Gives a playlist, as it goes to players, to all who wait. `moves` says that the stream is where its playlist came
/// from.
pub fn playlist(
    context: &PlayerContext,
    fill: FillGuard,
    (origin, address): (&Candidate, &str),
    head: &ResponseHead,
    body: &[u8],
    sharing: Sharing,
    moves: bool,
) {
    if moves && head.status == 200 {
        fill.came_from(&origin.id);
    }
    let time = match sharing {
        Sharing::For(time) => time,
        Sharing::Never => return drop(fill.never_shared()),
    };
    let now = Instant::now();
    let shared = SharedHead {
        status: head.status,
        headers: without_age(head.headers.clone()),
        length: body.len() as u64,
        origin: Some(origin.id.clone()),
        address: address.to_owned(),
        pin: pin(context, fill.stream()),
        came: now,
        age: age(&head.headers),
        keep: Retention::Until(now + time),
    };
    fill.whole(shared, body, now + time);
}

/// Gives what went out last once more, which comes from no origin now, to all who wait.
pub fn last(context: &PlayerContext, fill: FillGuard, head: &ResponseHead, body: &[u8]) {
    let now = Instant::now();
    let shared = SharedHead {
        status: head.status,
        headers: without_age(head.headers.clone()),
        length: body.len() as u64,
        origin: None,
        address: String::new(),
        pin: pin(context, fill.stream()),
        came: now,
        age: Duration::ZERO,
        keep: Retention::Until(now + PLAYLIST_TIME),
    };
    fill.whole(shared, body, now + PLAYLIST_TIME);
}

/// Gives a 404 that was read whole to all who wait; an answer of any other status is the filler's own.
pub fn not_found(context: &PlayerContext, fill: Option<FillGuard>, answer: &BufferedResponse) {
    let Some(fill) = fill else { return };
    let time = match answer.status {
        404 => directive(&answer.headers).at_most(NOT_FOUND_TIME),
        _ => None,
    };
    let Some(time) = time else {
        fill.alone();
        return;
    };
    let now = Instant::now();
    let shared = SharedHead {
        status: answer.status,
        headers: without_age(to_player(&answer.headers)),
        length: answer.body.len() as u64,
        origin: None,
        address: String::new(),
        pin: pin(context, fill.stream()),
        came: now,
        age: age(&answer.headers),
        keep: Retention::Until(now + time),
    };
    fill.whole(shared, &answer.body, now + time);
}

/// Tells those who wait that there is no answer. A 404 alone is kept for later requests, and not where players are held
/// for a publisher for longer than a 404 is kept: whoever comes then is to be held as well.
pub fn failure(context: &PlayerContext, fill: Option<FillGuard>, failure: &Failure) {
    let Some(fill) = fill else { return };
    let time = NOT_FOUND_TIME.saturating_sub(context.locator.wait());
    let keep = failure.status == 404 && !time.is_zero();
    let until = keep.then(|| Instant::now() + time);
    let pin = pin(context, fill.stream());
    fill.fail(failure.clone(), pin, until);
}

/// Has a segment brought in for all who may have it. Returns the filler's reader, to answer the filler from.
///
/// # Errors
/// What was fetched, where it is the filler's own, and the reader to hold while it is relayed.
pub fn segment(
    context: &PlayerContext,
    fill: FillGuard,
    path: &str,
    fetched: Fetched,
) -> Result<EntryReader, Box<(Fetched, Option<EntryReader>)>> {
    let response = &fetched.response;
    if response.status != 200 {
        return Err(Box::new((fetched, fill.alone())));
    }
    let directive = directive(&response.headers);
    let length = response.length.filter(|length| *length <= MAX_SEGMENT);
    let (Some(length), false) = (length, directive == CacheDirective::Private) else {
        return Err(Box::new((fetched, fill.never_shared())));
    };
    let came = Instant::now();
    let limit = time_limit(path).unwrap_or(Duration::MAX);
    let shared = SharedHead {
        status: response.status,
        headers: without_age(to_player(&response.headers)),
        length,
        origin: Some(fetched.origin.id.clone()),
        address: fetched.address.clone(),
        pin: pin(context, fill.stream()),
        came,
        age: age(&response.headers),
        keep: match directive {
            CacheDirective::For(time) => Retention::Until(came + time.min(limit)),
            _ => Retention::AfterTheEnd(SEGMENT_TIME.min(limit)),
        },
    };
    let OriginResponse {
        status,
        headers,
        length,
        body,
    } = fetched.response;
    let (origin, address) = (fetched.origin, fetched.address);
    fill.fill(shared, body).map_err(|back| {
        let (body, reader) = *back;
        let response = OriginResponse {
            status,
            headers,
            length,
            body,
        };
        let fetched = Fetched {
            origin,
            address,
            response,
        };
        Box::new((fetched, reader))
    })
}

/// The header lines that are the same in all responses; the age is not.
fn without_age(mut headers: Headers) -> Arc<Headers> {
    headers.remove("age");
    Arc::new(headers)
}
