//! Asking origins for one request until one has an answer for the player.

use crate::balancer::Candidate;
use crate::balancer::origin::OriginState;
use crate::http::Headers;
use crate::locate::{LookupRequest, NextAttempt, Outcome, Verdict, Wanted};
use crate::media::format::Format;
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
    /// How long the player may be held for a publisher, where that is not `PROXY_STREAM_WAIT`: zero where there is
    /// something else to answer it with. No origin is asked then whose API misses the stream.
    pub hold: Option<Duration>,
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
    /// An origin took the request and closed without a head: its refusal of this player, and of nobody else.
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
    let media = request.media;
    let wanted = match media.route {
        Route::Segment => Wanted::Segment,
        Route::Live => Wanted::Live(format(&media.target)),
        _ => Wanted::Playlist,
    };
    if let Some(fetched) = from_first(context, log, request) {
        return fetched;
    }
    let options = &request.options;
    let mut lookup = context.locator.lookup(LookupRequest {
        stream: media.stream.as_ref(),
        wanted,
        is_own_url: media.is_own_url,
        arrived: log.since,
        hold: options.hold,
        patient: options.blocks.is_some(),
        cancel: request.cancel,
    });
    let mut kept = Kept::default();
    loop {
        let next = lookup.next();
        log.pick = Some(lookup.word());
        let (candidate, timeout) = match next {
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
            NextAttempt::Exhausted => return kept.end(),
        };
        let Some(address) = candidate.origin.http_address() else {
            lookup.report(Outcome::Failed);
            continue;
        };
        log.origin = Some(address.to_string());
        let answer = context.client.send(
            origin_request(request, &candidate, address, timeout),
            request.cancel,
        );
        let response = match answer {
            Ok(response) => response,
            Err(OriginError::Left) => return FetchOutcome::Left,
            Err(error) => {
                debug!("{error}");
                log.detail = Some(error.to_string());
                match lookup.failed(&error) {
                    Verdict::TryNext | Verdict::TryOneOther => kept.error(error),
                    Verdict::Refused => {
                        log.pick = Some("refused");
                        return FetchOutcome::Refused(Failure {
                            status: 403,
                            message: "The media server refused this player.",
                            retry_after: None,
                            detail: None,
                        });
                    }
                    Verdict::Deliver => {
                        let message = "The media server did not answer in time. Try again.";
                        return failure(504, message, None, None);
                    }
                }
                continue;
            }
        };
        match lookup.report(Outcome::Answered(response.status)) {
            Verdict::TryNext => kept.response(response, false),
            Verdict::TryOneOther => kept.response(response, true),
            Verdict::Deliver | Verdict::Refused => {
                return FetchOutcome::Fetched(Fetched {
                    origin: candidate,
                    address: address.to_string(),
                    response,
                });
            }
        }
    }
}

/// The format of a live stream, as its path tells; `None` where its extension is not a format's.
fn format(target: &str) -> Option<Format> {
    let path = target.split('?').next().unwrap_or_default();
    Format::from_extension(path.rsplit_once('.')?.1)
}

fn origin_request<'a>(
    request: &'a FetchRequest<'_>,
    candidate: &'a Candidate,
    address: std::net::SocketAddr,
    timeout: Option<Duration>,
) -> OriginRequest<'a> {
    OriginRequest {
        address,
        secured_by: candidate.origin.secured_by(),
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
    let asked = origin_request(request, &origin, address, None);
    let answer = context.client.send(asked, request.cancel);
    match answer {
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

/// What has come of the origins that were asked, for the case that no other has an answer.
#[derive(Default)]
struct Kept {
    response: Option<BufferedResponse>,
    /// The response is of an origin that has the stream: no guess's 404 replaces it.
    is_final: bool,
    worst: Option<OriginError>,
}

impl Kept {
    fn response(&mut self, response: OriginResponse, is_final: bool) {
        let is_better =
            response.status == 404 && self.response.as_ref().is_none_or(|kept| kept.status != 404);
        if is_final || !self.is_final && (self.response.is_none() || is_better) {
            self.response = Some(keep(response));
            self.is_final = is_final;
        }
    }

    fn error(&mut self, error: OriginError) {
        if !matches!(self.worst, Some(OriginError::Timeout(_))) {
            self.worst = Some(error);
        }
    }

    fn end(self) -> FetchOutcome {
        if let Some(response) = self.response {
            return FetchOutcome::Buffered(response);
        }
        let (status, message) = match self.worst {
            Some(OriginError::Timeout(_)) => (504, "No media server answered in time. Try again."),
            Some(OriginError::Closed(_)) => {
                // Without an API that lists the stream nobody knows whether this was a refusal. Others ask anew.
                return FetchOutcome::Refused(Failure {
                    status: 502,
                    message: "No media server answered this request. Try again.",
                    retry_after: Some(1),
                    detail: None,
                });
            }
            _ => (502, "No media server can be reached. Try again."),
        };
        failure(status, message, Some(1), None)
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
