//! What a leader offers to those who wait with it, and to those who come later.

use crate::balancer::Candidate;
use crate::cache::FillGuard;
use crate::cache::entry::{Retention, SharedHead};
use crate::cache::freshness::{
    CacheDirective, MAX_SEGMENT, NOT_FOUND_TIME, SEGMENT_TIME, age, directive,
};
use crate::cache::reader::EntryReader;
use crate::player::context::PlayerContext;
use crate::player::fetch::{BufferedResponse, Fetched};
use crate::player::hls::serve::pin;
use crate::server::failure::Failure;
use crate::server::response::ResponseHead;
use crate::upstream::OriginResponse;
use crate::upstream::forwarding::to_player;
use std::time::{Duration, Instant};

/// Offers a playlist as it goes to players, from that origin at that address, for `time`; without a time
/// it is the filler's alone.
pub fn playlist(
    context: &PlayerContext,
    fill: FillGuard,
    (origin, address): (&Candidate, &str),
    head: &ResponseHead,
    body: &[u8],
    time: Option<Duration>,
) {
    if head.status == 200 {
        fill.came_from(&origin.id);
    }
    let Some(time) = time else {
        fill.alone();
        return;
    };
    let now = Instant::now();
    let shared = SharedHead {
        status: head.status,
        headers: head.headers.clone(),
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

/// Offers an answer that was read whole, where it is a 404; any other status is the filler's alone.
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
        headers: to_player(&answer.headers),
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

/// Tells those who wait that there is no answer. Only a 404 is kept, and not where the player was held
/// for a publisher for longer than that: whoever comes then is to be held as well.
pub fn failure(context: &PlayerContext, fill: Option<FillGuard>, failure: &Failure) {
    let Some(fill) = fill else { return };
    let time = NOT_FOUND_TIME.saturating_sub(context.locator.wait());
    let keep = failure.status == 404 && !time.is_zero();
    let until = keep.then(|| Instant::now() + time);
    let pin = pin(context, fill.stream());
    fill.fail(failure.clone(), pin, until);
}

/// Offers a segment, where others may have it: gives the filler's reader, to read it from.
///
/// # Errors
/// What was fetched, which is the filler's alone, and the reader to keep while it is relayed.
pub fn segment(
    context: &PlayerContext,
    fill: FillGuard,
    fetched: Fetched,
) -> Result<EntryReader, Box<(Fetched, EntryReader)>> {
    let response = &fetched.response;
    let directive = directive(&response.headers);
    let length = response.length.filter(|length| *length <= MAX_SEGMENT);
    let (Some(length), 200, true) = (
        length,
        response.status,
        directive != CacheDirective::Private,
    ) else {
        return Err(Box::new((fetched, fill.alone())));
    };
    let came = Instant::now();
    let shared = SharedHead {
        status: response.status,
        headers: to_player(&response.headers),
        length,
        origin: Some(fetched.origin.id.clone()),
        address: fetched.address.clone(),
        pin: pin(context, fill.stream()),
        came,
        age: age(&response.headers),
        keep: match directive {
            CacheDirective::For(time) => Retention::Until(came + time),
            _ => Retention::AfterTheEnd(SEGMENT_TIME),
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
