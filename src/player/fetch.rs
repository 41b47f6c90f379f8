//! Asking origins for one request until one has an answer for the player.

use crate::balancer::Candidate;
use crate::http::Headers;
use crate::locate::{NextAttempt, OriginLocator, Wanted};
use crate::runtime::cancel::CancelToken;
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
pub(super) const MAX_BUFFERED_BODY: u64 = 64 * 1024;

/// What is asked for.
pub struct FetchRequest<'a> {
    pub stream: Option<&'a StreamUrl>,
    pub wanted: Wanted,
    /// The stream's own playlist or live URL, whose 404 says that the stream is not there.
    pub own: bool,
    pub live: bool,
    pub head_only: bool,
    /// Path and query for the origin.
    pub target: &'a str,
    pub fields: &'a Headers,
    /// Of whoever waits for the answer: one player, or all who share it.
    pub cancel: &'a Arc<CancelToken>,
}

/// What came of it.
pub enum FetchOutcome {
    /// An origin's answer, for the player.
    Answered(Candidate, OriginResponse),
    /// The answer of one that has not got it, when nobody has.
    BufferedResponse(BufferedResponse),
    /// No origin's answer: a status of ours.
    Failed(Failure),
    /// The player has left.
    Left,
}

/// A 404 or 5xx that was read whole: put aside while others were asked, or to be shared.
pub struct BufferedResponse {
    pub status: u16,
    pub fields: Headers,
    /// The announced length in bytes, which HEAD wants to know.
    pub length: Option<u64>,
    pub body: Vec<u8>,
}

fn failure(
    status: u16,
    message: &'static str,
    retry: Option<u32>,
    note: Option<String>,
) -> FetchOutcome {
    FetchOutcome::Failed(Failure {
        status,
        message,
        retry_after: retry,
        note,
    })
}

/// Asks for it, at one origin after the other as design.md's rules say.
pub fn fetch(
    locator: &OriginLocator,
    client: &OriginClient,
    exchange: &mut Exchange,
    request: &FetchRequest<'_>,
) -> FetchOutcome {
    let cancel = request.cancel;
    let arrived = exchange.record.since;
    let mut search = locator
        .search(request.stream, request.wanted, cancel)
        .since(arrived);
    let mut kept: Option<BufferedResponse> = None;
    let mut worst: Option<OriginError> = None;
    loop {
        let step = search.step();
        exchange.record.pick = Some(search.outcome(&step));
        let (candidate, timeout) = match step {
            NextAttempt::Ask(candidate, timeout) => (candidate, timeout),
            NextAttempt::Left => return FetchOutcome::Left,
            NextAttempt::NoOrigin => {
                let message = "No media server is known here yet. Try again in a moment.";
                return failure(503, message, Some(5), None);
            }
            NextAttempt::NotFound => {
                let message = "Nobody publishes this stream. Try again when it is live.";
                return failure(404, message, Some(1), None);
            }
            NextAttempt::Exhausted => return end(kept, worst),
        };
        let Some(address) = candidate.origin.http_address() else {
            continue;
        };
        exchange.record.origin = Some(address.to_string());
        match client.send(origin_request(request, address, timeout), cancel) {
            Ok(response) => match response.status {
                200 => {
                    search.served(&candidate, request.own);
                    return FetchOutcome::Answered(candidate, response);
                }
                404 if search.not_there(&candidate, request.own) => {
                    if kept.as_ref().is_none_or(|kept| kept.status != 404) {
                        kept = Some(keep(response));
                    }
                }
                500.. if search.is_try() => {
                    kept.get_or_insert_with(|| keep(response));
                }
                _ => return FetchOutcome::Answered(candidate, response),
            },
            Err(OriginError::Left) => return FetchOutcome::Left,
            Err(error @ OriginError::Closed(_)) => {
                let message = "The media server refused this request.";
                return failure(502, message, None, Some(error.to_string()));
            }
            Err(error) => {
                debug!("{}: {error}", exchange.record.id);
                match error {
                    OriginError::Connect(..) => search.unreachable(&candidate),
                    OriginError::Timeout(_) if !search.too_slow(&candidate, timeout) => {
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

fn origin_request<'a>(
    request: &'a FetchRequest<'_>,
    address: std::net::SocketAddr,
    timeout: Option<Duration>,
) -> OriginRequest<'a> {
    OriginRequest {
        address,
        head_only: request.head_only,
        target: request.target,
        fields: request.fields,
        live: request.live,
        timeout,
    }
}

fn end(kept: Option<BufferedResponse>, worst: Option<OriginError>) -> FetchOutcome {
    match (kept, worst) {
        (Some(kept), _) => FetchOutcome::BufferedResponse(kept),
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
pub(super) fn keep(response: OriginResponse) -> BufferedResponse {
    let OriginResponse {
        status,
        fields,
        length,
        body,
    } = response;
    let mut bytes = Vec::new();
    let whole = body.take(MAX_BUFFERED_BODY + 1).read_to_end(&mut bytes);
    let whole = whole.is_ok_and(|length| length as u64 <= MAX_BUFFERED_BODY);
    if !whole {
        bytes = Vec::new();
    }
    BufferedResponse {
        status,
        fields,
        length,
        body: bytes,
    }
}
