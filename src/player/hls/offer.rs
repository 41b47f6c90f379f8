//! What a leader offers to those who wait with it, and to those who come later.

use crate::balancer::Candidate;
use crate::cache::Lead;
use crate::cache::entry::{Keep, Shared};
use crate::cache::freshness::{MAX_SEGMENT, NOT_FOUND_TIME, SEGMENT_TIME, Said, age, said};
use crate::cache::reader::Seat;
use crate::player::Site;
use crate::player::fetch::Kept;
use crate::player::hls::serve::pin;
use crate::server::exchange::ResponseHead;
use crate::server::failure::Failure;
use crate::upstream::OriginResponse;
use crate::upstream::forwarding::to_player;
use std::time::{Duration, Instant};

/// Offers a playlist as it goes to players, from that origin at that address, for `time`; without a time
/// it is the leader's alone.
pub fn playlist(
    site: &Site,
    lead: Lead,
    (origin, address): (&Candidate, &str),
    head: &ResponseHead,
    body: &[u8],
    time: Option<Duration>,
) {
    if head.status == 200 {
        lead.came_from(&origin.id);
    }
    let Some(time) = time else {
        lead.alone();
        return;
    };
    let now = Instant::now();
    let shared = Shared {
        status: head.status,
        fields: head.fields.clone(),
        length: body.len() as u64,
        origin: Some(origin.id.clone()),
        address: address.to_owned(),
        pin: pin(site, lead.stream()),
        came: now,
        age: age(&head.fields),
        keep: Keep::Until(now + time),
    };
    lead.whole(shared, body, now + time);
}

/// Offers an answer that was read whole, where it is a 404; any other status is the leader's alone.
pub fn not_found(site: &Site, lead: Option<Lead>, answer: &Kept) {
    let Some(lead) = lead else { return };
    let time = match answer.status {
        404 => said(&answer.fields).at_most(NOT_FOUND_TIME),
        _ => None,
    };
    let Some(time) = time else {
        lead.alone();
        return;
    };
    let now = Instant::now();
    let shared = Shared {
        status: answer.status,
        fields: to_player(&answer.fields),
        length: answer.body.len() as u64,
        origin: None,
        address: String::new(),
        pin: pin(site, lead.stream()),
        came: now,
        age: age(&answer.fields),
        keep: Keep::Until(now + time),
    };
    lead.whole(shared, &answer.body, now + time);
}

/// Tells those who wait that there is no answer. Only a 404 is kept, and not where the player was held
/// for a publisher for longer than that: whoever comes then is to be held as well.
pub fn failure(site: &Site, lead: Option<Lead>, failure: &Failure) {
    let Some(lead) = lead else { return };
    let time = NOT_FOUND_TIME.saturating_sub(site.finder.wait());
    let keep = failure.status == 404 && !time.is_zero();
    let until = keep.then(|| Instant::now() + time);
    let pin = pin(site, lead.stream());
    lead.fail(failure.clone(), pin, until);
}

/// Offers a segment, where others may have it: gives the leader's seat, to read it from.
///
/// # Errors
/// The response, which is the leader's alone, and the seat to keep while it is relayed.
pub fn segment(
    site: &Site,
    lead: Lead,
    (origin, address): (&Candidate, &str),
    response: OriginResponse,
) -> Result<Seat, Box<(OriginResponse, Seat)>> {
    let said = said(&response.fields);
    let length = response.length.filter(|length| *length <= MAX_SEGMENT);
    let (Some(length), 200, true) = (length, response.status, said != Said::Private) else {
        return Err(Box::new((response, lead.alone())));
    };
    let came = Instant::now();
    let shared = Shared {
        status: response.status,
        fields: to_player(&response.fields),
        length,
        origin: Some(origin.id.clone()),
        address: address.to_owned(),
        pin: pin(site, lead.stream()),
        came,
        age: age(&response.fields),
        keep: match said {
            Said::For(time) => Keep::Until(came + time),
            _ => Keep::AfterTheEnd(SEGMENT_TIME),
        },
    };
    let OriginResponse {
        status,
        fields,
        length,
        body,
    } = response;
    lead.pump(shared, body).map_err(|back| {
        let (body, seat) = *back;
        let response = OriginResponse {
            status,
            fields,
            length,
            body,
        };
        Box::new((response, seat))
    })
}
