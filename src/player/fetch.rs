//! Asking origins for one request until one has an answer for the player.

use crate::balancer::Candidate;
use crate::http::Fields;
use crate::locate::{Finder, Step, Wanted};
use crate::runtime::cancel::Lifeline;
use crate::server::exchange::Exchange;
use crate::server::failure::Failure;
use crate::stream::url::StreamUrl;
use crate::upstream::{OriginClient, OriginError, OriginRequest, OriginResponse};
use log::debug;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// An answer that is kept while others are asked has at most this many bytes; of a longer one the
/// status alone is.
pub(super) const KEPT_BODY: u64 = 64 * 1024;

/// What is asked for.
pub struct Question<'a> {
    pub stream: Option<&'a StreamUrl>,
    pub wanted: Wanted,
    /// The stream's own playlist or live URL, whose 404 says that the stream is not there.
    pub own: bool,
    pub live: bool,
    pub head_only: bool,
    /// Path and query for the origin.
    pub target: &'a str,
    pub fields: &'a Fields,
    /// Of whoever waits for the answer: one player, or all who share it.
    pub lifeline: &'a Arc<Lifeline>,
}

/// What came of it.
pub enum Outcome {
    /// An origin's answer, for the player.
    Answered(Candidate, OriginResponse),
    /// The answer of one that has not got it, when nobody has.
    Kept(Kept),
    /// No origin's answer: a status of ours.
    Failed(Failure),
    /// The player has left.
    Left,
}

/// A 404 or 5xx that was read whole: put aside while others were asked, or to be shared.
pub struct Kept {
    pub status: u16,
    pub fields: Fields,
    /// The announced length in bytes, which HEAD wants to know.
    pub length: Option<u64>,
    pub body: Vec<u8>,
}

fn failure(
    status: u16,
    message: &'static str,
    retry: Option<u32>,
    note: Option<String>,
) -> Outcome {
    Outcome::Failed(Failure {
        status,
        message,
        retry_after: retry,
        note,
    })
}

/// Asks for it, at one origin after the other as design.md's rules say.
pub fn ask(
    finder: &Finder,
    client: &OriginClient,
    exchange: &mut Exchange,
    question: &Question<'_>,
) -> Outcome {
    let lifeline = question.lifeline;
    let arrived = exchange.record.since;
    let mut search = finder
        .search(question.stream, question.wanted, lifeline)
        .since(arrived);
    let mut kept: Option<Kept> = None;
    let mut worst: Option<OriginError> = None;
    loop {
        let step = search.step();
        exchange.record.pick = Some(search.outcome(&step));
        let (candidate, patience) = match step {
            Step::Ask(candidate, patience) => (candidate, patience),
            Step::Left => return Outcome::Left,
            Step::NoOrigin => {
                let message = "No media server is known here yet. Try again in a moment.";
                return failure(503, message, Some(5), None);
            }
            Step::NotFound => {
                let message = "Nobody publishes this stream. Try again when it is live.";
                return failure(404, message, Some(1), None);
            }
            Step::Exhausted => return end(kept, worst),
        };
        let Some(address) = candidate.origin.http_address() else {
            continue;
        };
        exchange.record.origin = Some(address.to_string());
        match client.send(request(question, address, patience), lifeline) {
            Ok(response) => match response.status {
                200 => {
                    search.served(&candidate, question.own);
                    return Outcome::Answered(candidate, response);
                }
                404 if search.not_there(&candidate, question.own) => {
                    if kept.as_ref().is_none_or(|kept| kept.status != 404) {
                        kept = Some(keep(response));
                    }
                }
                500.. if search.is_try() => {
                    kept.get_or_insert_with(|| keep(response));
                }
                _ => return Outcome::Answered(candidate, response),
            },
            Err(OriginError::Left) => return Outcome::Left,
            Err(error @ OriginError::Closed(_)) => {
                let message = "The media server refused this request.";
                return failure(502, message, None, Some(error.to_string()));
            }
            Err(error) => {
                debug!("{}: {error}", exchange.record.id);
                match error {
                    OriginError::Connect(..) => search.unreachable(&candidate),
                    OriginError::Timeout(_) if !search.too_slow(&candidate, patience) => {
                        let message = "The media server did not answer in time. Try again.";
                        return failure(504, message, None, Some(error.to_string()));
                    }
                    _ => {}
                }
                exchange.record.note = Some(error.to_string());
                if !matches!(worst, Some(OriginError::Timeout(_))) {
                    worst = Some(error);
                }
            }
        }
    }
}

fn request<'a>(
    question: &'a Question<'_>,
    address: std::net::SocketAddr,
    patience: Option<Duration>,
) -> OriginRequest<'a> {
    OriginRequest {
        address,
        head_only: question.head_only,
        target: question.target,
        fields: question.fields,
        live: question.live,
        patience,
    }
}

fn end(kept: Option<Kept>, worst: Option<OriginError>) -> Outcome {
    match (kept, worst) {
        (Some(kept), _) => Outcome::Kept(kept),
        (None, Some(OriginError::Timeout(_))) => failure(
            504,
            "No media server answered in time. Try again.",
            Some(1),
            None,
        ),
        (None, _) => failure(
            502,
            "No media server can be reached. Try again.",
            Some(1),
            None,
        ),
    }
}

/// Reads an answer whole; of one that is broken or too long the body is dropped.
pub(super) fn keep(response: OriginResponse) -> Kept {
    let OriginResponse {
        status,
        fields,
        length,
        body,
    } = response;
    let mut bytes = Vec::new();
    let whole = body.take(KEPT_BODY + 1).read_to_end(&mut bytes);
    let whole = whole.is_ok_and(|length| length as u64 <= KEPT_BODY);
    if !whole {
        bytes = Vec::new();
    }
    Kept {
        status,
        fields,
        length,
        body: bytes,
    }
}
