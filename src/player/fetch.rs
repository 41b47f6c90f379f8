//! Asking origins for one request until one has an answer for the player.

use crate::balancer::Candidate;
use crate::balancer::origin::OriginState;
use crate::http::Headers;
use crate::locate::{NextAttempt, Wanted};
use crate::player::context::PlayerContext;
use crate::player::request::MediaRequest;
use crate::player::route::Route;
use crate::runtime::cancel::CancelToken;
use crate::server::exchange::Exchange;
use crate::server::failure::Failure;
use crate::server::response::ResponseHead;
use crate::stream::origin_id::OriginId;
use crate::upstream::forwarding::to_player;
use crate::upstream::{OriginError, OriginRequest, OriginResponse};
use log::debug;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer that is kept while others are asked has at most this many bytes; of a longer one the
/// status alone is.
pub const MAX_BUFFERED_BODY: u64 = 64 * 1024;

/// A request as it goes to origins, one after the other.
pub struct FetchRequest<'a> {
    pub media: &'a MediaRequest,
    /// The header lines for the origin.
    pub headers: &'a Headers,
    /// Ask for the head alone, or drop the connection after it.
    pub head_only: bool,
    /// Of those who wait for the answer: one player, or all who share it.
    pub cancel: &'a Arc<CancelToken>,
    pub options: FetchOptions,
}

/// What is special about a request to origins.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// The player is not held for a publisher: there is something else to answer it with.
    pub unheld: bool,
    /// How long an origin may rightly hold its answer back, where that is more than the response timeout.
    pub blocks: Option<Duration>,
    /// The id of the origin to ask first: what is asked for is a file of that one's.
    pub first: Option<OriginId>,
}

/// An origin's answer, and where it came from.
pub struct Fetched {
    pub origin: Candidate,
    /// `address:port` of the origin's HTTP endpoint, for logs and statistics.
    pub address: String,
    pub response: OriginResponse,
}

/// What came of asking the origins.
pub enum FetchOutcome {
    /// An answer for the player, whose body is still to be read.
    Fetched(Fetched),
    /// The 404 or 5xx of an origin that has not got the stream, when no other has it either.
    Buffered(BufferedResponse),
    /// No origin's answer: a status of ours.
    Failed(Failure),
    /// The origin took the request and closed without a head: its refusal of this player, and of nobody else.
    Refused(Failure),
    /// The player has left.
    Left,
}

/// A 404 or 5xx that was read whole: put aside while others were asked, or to be shared.
pub struct BufferedResponse {
    pub status: u16,
    pub headers: Headers,
    /// The announced length in bytes, which HEAD wants to know.
    pub length: Option<u64>,
    pub body: Vec<u8>,
}

impl BufferedResponse {
    /// Sends the answer to the player.
    pub fn answer(self, exchange: Exchange) {
        let head = ResponseHead {
            status: self.status,
            headers: to_player(&self.headers),
            length: self.length,
            ..ResponseHead::default()
        };
        if !exchange.is_head() {
            exchange.answer(head, &self.body);
        } else if let Ok(out) = exchange.start(&head) {
            // An error is the client's leaving, which is in the record.
            let _ = out.finish();
        }
    }
}

fn failure(
    status: u16,
    message: &'static str,
    retry: Option<u32>,
    detail: Option<String>,
) -> FetchOutcome {
    FetchOutcome::Failed(Failure {
        status,
        message,
        retry_after: retry,
        detail,
    })
}

/// What the access record says of how an origin was looked for.
#[derive(Debug)]
pub struct FetchLog {
    /// When the request came: its player is held for a publisher from then on.
    pub since: Instant,
    /// How the last origin was found, in a word for the metrics.
    pub pick: Option<&'static str>,
    /// `address:port` of the origin that was asked last.
    pub origin: Option<String>,
    /// What went wrong last.
    pub detail: Option<String>,
}

impl FetchLog {
    /// Nothing has been asked for a request that came at that moment.
    pub fn since(since: Instant) -> Self {
        Self {
            since,
            pick: None,
            origin: None,
            detail: None,
        }
    }
}

/// As [`fetch_logging`] for an exchange, whose record tells of it.
pub fn fetch(
    context: &PlayerContext,
    exchange: &mut Exchange,
    request: &FetchRequest<'_>,
) -> FetchOutcome {
    let record = &mut exchange.record;
    let mut log = FetchLog::since(record.since);
    let outcome = fetch_logging(context, &mut log, request, None);
    record.pick = log.pick;
    record.origin = log.origin.map(Into::into).or(record.origin.take());
    record.detail = log.detail.or(record.detail.take());
    outcome
}

/// Asks one origin after the other, as [`OriginLocator`](crate::locate::OriginLocator) orders them, until one has an
/// answer for the player. Blocks; ends at once when the cancel token is cancelled.
///
/// `head_timeout` is the most time that one origin gets for its head, where that is less than the settings'.
pub fn fetch_logging(
    context: &PlayerContext,
    log: &mut FetchLog,
    request: &FetchRequest<'_>,
    head_timeout: Option<Duration>,
) -> FetchOutcome {
    let (cancel, own) = (request.cancel, request.media.is_own_url);
    let wanted = match request.media.route {
        Route::Segment => Wanted::Segment,
        _ => Wanted::Stream,
    };
    let mut search = context
        .locator
        .search(request.media.stream.as_ref(), wanted, cancel)
        .since(log.since);
    if request.options.unheld {
        search = search.unheld();
    }
    if let Some(fetched) = from_first(context, log, request) {
        return fetched;
    }
    let mut kept: Option<BufferedResponse> = None;
    let mut worst: Option<OriginError> = None;
    loop {
        let step = search.step();
        log.pick = Some(search.outcome(&step));
        let (candidate, timeout) = match step {
            NextAttempt::Ask(candidate, timeout) => {
                let times = [timeout, head_timeout];
                (candidate, times.into_iter().flatten().min())
            }
            NextAttempt::Left => return FetchOutcome::Left,
            NextAttempt::NoOrigin => {
                let message = "No media server is known here yet. Try again in a moment.";
                return failure(503, message, Some(5), None);
            }
            NextAttempt::NotFound => {
                let message = "Nobody publishes this stream. Try again when it is live.";
                // Who was asked in vain before is at no fault, and the time was spent on waiting for a publisher.
                (log.origin, log.detail) = (None, None);
                let held = log.since.elapsed().as_secs_f64();
                let detail = format!("no origin has the stream, held for {held:.1} s");
                return failure(404, message, Some(1), Some(detail));
            }
            NextAttempt::Exhausted => return end(kept, worst),
        };
        let Some(address) = candidate.origin.http_address() else {
            continue;
        };
        log.origin = Some(address.to_string());
        let fetched = |origin, response| {
            FetchOutcome::Fetched(Fetched {
                origin,
                address: address.to_string(),
                response,
            })
        };
        match context
            .client
            .send(origin_request(request, address, timeout), cancel)
        {
            Ok(response) => match response.status {
                200 => {
                    search.served(&candidate, own);
                    return fetched(candidate, response);
                }
                404 if search.not_there(&candidate, own) => {
                    if kept.as_ref().is_none_or(|kept| kept.status != 404) {
                        kept = Some(keep(response));
                    }
                }
                500.. if search.is_try() => {
                    kept.get_or_insert_with(|| keep(response));
                }
                _ => return fetched(candidate, response),
            },
            Err(OriginError::Left) => return FetchOutcome::Left,
            Err(error @ OriginError::Closed(_)) => {
                return FetchOutcome::Refused(Failure {
                    status: 502,
                    message: "The media server refused this request.",
                    retry_after: None,
                    detail: Some(error.to_string()),
                });
            }
            Err(error) => {
                debug!("{error}");
                match error {
                    OriginError::Connect(..) => search.unreachable(&candidate),
                    OriginError::Timeout(_) if !search.too_slow(&candidate, timeout) => {
                        let message = "The media server did not answer in time. Try again.";
                        return failure(504, message, None, Some(error.to_string()));
                    }
                    _ => {}
                }
                log.detail = Some(error.to_string());
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
        target: &request.media.target,
        headers: request.headers,
        live: request.media.route == Route::Live,
        timeout,
        blocks: request.options.blocks,
    }
}

/// The answer of the origin that is to be asked first, where that one is there and has what is asked for.
fn from_first(
    context: &PlayerContext,
    log: &mut FetchLog,
    request: &FetchRequest<'_>,
) -> Option<FetchOutcome> {
    let first = request.options.first.as_ref()?;
    let candidates = context.locator.balancer().candidates();
    let alive = |it: &Candidate| it.id == *first && it.state != OriginState::Suspect;
    let origin = candidates.into_iter().find(alive)?;
    let address = origin.origin.http_address()?;
    let asked = origin_request(request, address, None);
    match context.client.send(asked, request.cancel) {
        Ok(response) if response.status < 400 || response.status == 416 => {
            log.origin = Some(address.to_string());
            Some(FetchOutcome::Fetched(Fetched {
                origin,
                address: address.to_string(),
                response,
            }))
        }
        Err(OriginError::Left) => Some(FetchOutcome::Left),
        _ => None,
    }
}

fn end(kept: Option<BufferedResponse>, worst: Option<OriginError>) -> FetchOutcome {
    match (kept, worst) {
        (Some(kept), _) => FetchOutcome::Buffered(kept),
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
pub fn keep(response: OriginResponse) -> BufferedResponse {
    let OriginResponse {
        status,
        headers,
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
        headers,
        length,
        body: bytes,
    }
}
