//! HLS: playlists are read whole and rewritten, segments are relayed from the origin of their session.

mod offer;
mod rewrite;
mod serve;
mod session;

use crate::balancer::Candidate;
use crate::cache::FillGuard;
use crate::cache::freshness::{NOT_FOUND_TIME, PLAYLIST_TIME, directive, is_plain};
use crate::cache::key::Key;
use crate::http::Headers;
use crate::http::head::RequestHead;
use crate::http::query::{query_value, without_spbhid};
use crate::locate::Wanted;
use crate::player::PlayerContext;
use crate::player::fetch::{FetchOutcome, FetchRequest, MAX_BUFFERED_BODY, fetch, keep};

use crate::player::hls::rewrite::{is_master, is_playlist, only_variant, rewrite};

use crate::player::hls::serve::{Joined, join};
use crate::player::hls::session::stream_of;
use crate::player::kept;
use crate::player::live::{NO_STREAM, is_own};
use crate::player::relay::{Piece, relay};
use crate::runtime::cancel::CancelToken;
use crate::server::exchange::{Exchange, ResponseHead};
use crate::server::failure::Failure;
use crate::stream::session::session_id;
use crate::stream::url::StreamUrl;
use crate::upstream::forwarding::to_player;
use crate::upstream::{OriginRequest, OriginResponse};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Largest playlist that an origin may send, in bytes.
const MAX_PLAYLIST: u64 = 1024 * 1024;

/// What a changed body makes untrue (RFC 9110 section 14.3, RFC 9530).
const ABOUT_THE_BYTES: [&str; 5] = [
    "accept-ranges",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
];

/// Answers a request for a playlist.
pub fn playlist(context: &PlayerContext, exchange: Exchange) {
    let head = &exchange.head;
    let by_url = StreamUrl::of_request(head.host.as_deref(), head.path(), head.query());
    let session = head.query().and_then(|query| query_value(query, "spbhid"));
    // A variant belongs to the session that it was listed in.
    let balancer = &**context.locator.balancer();
    let by_session = session.as_deref().and_then(|id| stream_of(id, balancer));
    let Some(stream) = by_session.or(by_url) else {
        return exchange.problem(400, NO_STREAM);
    };
    let session = session_id(&stream);
    let player = player(&exchange);
    let key = (context.cache.is_on() && is_plain(head)).then(|| Key::playlist(&stream, head));
    let (mut exchange, fill) = match part(context, exchange, key, Some(player)) {
        Some(part) => part,
        None => return,
    };
    let head = &exchange.head;
    let target = without_spbhid(&head.target).into_owned();
    let fields = context
        .forwarding
        .to_origin(head, exchange.peer().ip(), true);
    let cancel = cancel(&exchange, fill.as_ref());
    let request = FetchRequest {
        stream: Some(&stream),
        wanted: Wanted::Stream,
        own: is_own(&stream, head.path()),
        live: false,
        head_only: false,
        target: &target,
        fields: &fields,
        cancel: &cancel,
    };
    let (origin, response) = match fetch(&context.locator, &context.client, &mut exchange, &request)
    {
        FetchOutcome::Answered(origin, response) => (origin, response),
        FetchOutcome::BufferedResponse(answer) => {
            offer::not_found(context, fill, &answer);
            return kept(exchange, answer);
        }
        FetchOutcome::Failed(failure) => {
            offer::failure(context, fill, &failure);
            return failure.answer(exchange);
        }
        FetchOutcome::Left => {
            return exchange.abandon("the client left while its stream was looked for");
        }
    };
    let path = exchange.head.path();
    let answer = read(response).and_then(|read| follow(context, path, &origin, &request, read));
    let answer = answer.and_then(|read| {
        let time = playlist_time(&read);
        if read.is_playlist() {
            let head = &exchange.head;
            balancer.playlist_served(&stream, head.host.as_deref(), head.path());
        }
        let (head, body) = for_player(read, exchange.head.host.as_deref(), &session)?;
        Ok((head, body, time))
    });
    match answer {
        Ok((head, body, time)) => {
            let address = exchange.record.origin.clone().unwrap_or_default();
            if let Some(fill) = fill {
                offer::playlist(context, fill, (&origin, &address), &head, &body, time);
            }
            // Who asks for SRS's master has no `hls_ctx` yet, and would be taken for two players once it has.
            let player = (!is_master(&body)).then_some(player);
            let meter = context.viewers.touch(&stream, &origin.id, &address, player);
            meter.add(body.len() as u64);
            exchange.answer(head, &body);
        }
        Err(failure) => {
            offer::failure(context, fill, &failure);
            failure.answer(exchange);
        }
    }
}

/// An answer that was read whole.
struct Whole {
    status: u16,
    fields: Headers,
    body: Vec<u8>,
    /// It was asked for in the place of what came first.
    followed: bool,
}

impl Whole {
    /// Whether it is a playlist that can be rewritten.
    fn is_playlist(&self) -> bool {
        self.status == 200 && self.fields.count("content-encoding") == 0 && is_playlist(&self.body)
    }
}

/// Reads an answer whole before anything of it is sent: half a playlist is a 502.
fn read(response: OriginResponse) -> Result<Whole, Failure> {
    let OriginResponse {
        status,
        fields,
        length,
        body,
    } = response;
    let mut bytes =
        Vec::with_capacity(usize::try_from(length.unwrap_or(0).min(64 * 1024)).unwrap_or(0));
    let broken = |note: String| Failure {
        status: 502,
        message: "The media server sent a broken playlist. Try again.",
        retry_after: None,
        note: Some(note),
    };
    match body
        .at_once()
        .take(MAX_PLAYLIST + 1)
        .read_to_end(&mut bytes)
    {
        Ok(read) if read as u64 > MAX_PLAYLIST => {
            Err(broken("the playlist is larger than 1 MiB".to_owned()))
        }
        Ok(_) => Ok(Whole {
            status,
            fields,
            body: bytes,
            followed: false,
        }),
        Err(error) => Err(broken(format!("reading the playlist: {error}"))),
    }
}

/// SRS answers a media playlist's request whose `hls_ctx` it does not know (after a restart, or a move
/// to another origin) with a master playlist, which a player that asked for media cannot use. Its only
/// URI is the same path with a new context: it is asked for, once, in the player's place.
fn follow(
    context: &PlayerContext,
    path: &str,
    origin: &Candidate,
    request: &FetchRequest<'_>,
    read_first: Whole,
) -> Result<Whole, Failure> {
    let asked_for_media =
        query_of(request.target).is_some_and(|query| query_value(query, "hls_ctx").is_some());
    if !asked_for_media || !read_first.is_playlist() || !is_master(&read_first.body) {
        return Ok(read_first);
    }
    let uri = only_variant(&read_first.body).and_then(|uri| std::str::from_utf8(uri).ok());
    let Some(target) = uri.and_then(|uri| same_path(path, uri)) else {
        return Ok(read_first);
    };
    let Some(address) = origin.origin.http_address() else {
        return Ok(read_first);
    };
    let again = OriginRequest {
        address,
        head_only: false,
        target: &target,
        fields: request.fields,
        live: false,
        timeout: None,
    };
    match context.client.send(again, request.cancel) {
        Ok(response) => read(response).map(|read| Whole {
            followed: true,
            ..read
        }),
        Err(error) => Err(Failure {
            status: 502,
            message: "The media server sent no media playlist. Try again.",
            retry_after: None,
            note: Some(format!("following the master playlist: {error}")),
        }),
    }
}

fn query_of(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// The URI as a target, when it is the requested path with another query.
fn same_path(path: &str, uri: &str) -> Option<String> {
    let (own, query) = uri.split_once('?')?;
    let file = path.rsplit('/').next().unwrap_or_default();
    let fit = uri
        .bytes()
        .all(|byte| (0x21..0x7f).contains(&byte) && !b"\"<>#".contains(&byte));
    (fit && (own == path || own == file)).then(|| format!("{path}?{query}"))
}

/// What goes to the player: a playlist is rewritten, all else is as it came.
fn for_player(
    read: Whole,
    host: Option<&str>,
    session: &str,
) -> Result<(ResponseHead, Vec<u8>), Failure> {
    let mut head = ResponseHead {
        status: read.status,
        fields: to_player(&read.fields),
        length: None,
    };
    if !read.is_playlist() {
        return Ok((head, read.body));
    }
    for name in ABOUT_THE_BYTES {
        head.fields.remove(name);
    }
    match rewrite(&read.body, host, session) {
        Some(body) => Ok((head, body)),
        None => Err(Failure {
            status: 502,
            message: "The media server sent a playlist that is too large.",
            retry_after: None,
            note: None,
        }),
    }
}

/// For how long others may have the same; `None` where it is for one player only.
fn playlist_time(read: &Whole) -> Option<Duration> {
    let hands_out = || is_master(&read.body) && find(&read.body, b"hls_ctx=");
    match read.status {
        // SRS's master playlist hands out a session, and so does what is followed from one.
        200 if read.is_playlist() && !read.followed && !hands_out() => {
            directive(&read.fields).at_most(PLAYLIST_TIME)
        }
        404 => directive(&read.fields).at_most(NOT_FOUND_TIME),
        _ => None,
    }
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// A request's part in a shared fetch: to lead, or to go on its own, which it does without a key.
/// `None` when it has been answered.
fn part(
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
        Joined::FillGuard(exchange, fill) => Some((exchange, Some(fill))),
        Joined::Alone(exchange) => Some((exchange, None)),
    }
}

/// Of whoever waits for what is asked for: all, or this client alone.
fn cancel(exchange: &Exchange, fill: Option<&FillGuard>) -> Arc<CancelToken> {
    fill.map_or_else(|| exchange.cancel().clone(), FillGuard::cancel)
}

/// Answers a request for a segment, an initialization section or a key.
pub fn segment(context: &PlayerContext, exchange: Exchange) {
    let head: &RequestHead = &exchange.head;
    let id = head.query().and_then(|query| query_value(query, "spbhid"));
    let balancer = &**context.locator.balancer();
    let stream = id.as_deref().and_then(|id| stream_of(id, balancer));
    let key = match &stream {
        Some(stream) if context.cache.is_on() && is_plain(head) => Key::segment(stream, head),
        _ => None,
    };
    let (mut exchange, fill) = match part(context, exchange, key, None) {
        Some(part) => part,
        None => return,
    };
    let head: &RequestHead = &exchange.head;
    let target = without_spbhid(&head.target).into_owned();
    let mut fields = context
        .forwarding
        .to_origin(head, exchange.peer().ip(), false);
    if fill.is_some() {
        // Others may not understand the encodings that this player does.
        fields.remove("accept-encoding");
    }
    let cancel = cancel(&exchange, fill.as_ref());
    let request = FetchRequest {
        stream: stream.as_ref(),
        wanted: Wanted::Segment,
        own: false,
        live: false,
        head_only: exchange.is_head(),
        target: &target,
        fields: &fields,
        cancel: &cancel,
    };
    match fetch(&context.locator, &context.client, &mut exchange, &request) {
        FetchOutcome::Answered(origin, response) => {
            let path = StreamUrl::of_request(None, exchange.head.path(), None);
            let Some(stream) = stream.or(path) else {
                return exchange.problem(400, NO_STREAM);
            };
            match fill {
                Some(fill) => share_segment(context, exchange, fill, &stream, &origin, response),
                None => relay_segment(context, exchange, &stream, &origin, response),
            }
        }
        FetchOutcome::BufferedResponse(answer) => {
            offer::not_found(context, fill, &answer);
            kept(exchange, answer);
        }
        FetchOutcome::Failed(failure) => {
            offer::failure(context, fill, &failure);
            failure.answer(exchange);
        }
        FetchOutcome::Left => exchange.abandon("the client left while its segment was looked for"),
    }
}

fn relay_segment(
    context: &PlayerContext,
    exchange: Exchange,
    stream: &StreamUrl,
    origin: &Candidate,
    response: OriginResponse,
) {
    let address = exchange.record.origin.clone().unwrap_or_default();
    let meter = context.viewers.touch(stream, &origin.id, &address, None);
    relay(exchange, response, Piece::Segment, &meter);
}

/// Answers the filler, and all who wait with it where they may have the same.
fn share_segment(
    context: &PlayerContext,
    exchange: Exchange,
    fill: FillGuard,
    stream: &StreamUrl,
    origin: &Candidate,
    response: OriginResponse,
) {
    if response.status == 404
        && response
            .length
            .is_none_or(|length| length <= MAX_BUFFERED_BODY)
    {
        let answer = keep(response);
        offer::not_found(context, Some(fill), &answer);
        return kept(exchange, answer);
    }
    let address = exchange.record.origin.clone().unwrap_or_default();
    match offer::segment(context, fill, (origin, &address), response) {
        Ok(reader) => serve::fill(context, exchange, &reader, stream),
        Err(own) => {
            // Until the end its client's leaving cuts the origin's answer by this seat.
            let (response, _seat) = *own;
            relay_segment(context, exchange, stream, origin, response);
        }
    }
}

/// Who an HLS player seems to be: it has no connection of its own to be told by.
fn player(exchange: &Exchange) -> u64 {
    let mut hasher = DefaultHasher::new();
    exchange.peer().ip().hash(&mut hasher);
    let head = &exchange.head;
    head.fields.one("x-forwarded-for").hash(&mut hasher);
    head.fields.one("user-agent").hash(&mut hasher);
    head.query()
        .and_then(|query| query_value(query, "hls_ctx"))
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use crate::player::hls::same_path;

    #[test]
    fn only_the_same_path_is_followed() {
        let path = "/live/a.m3u8";
        assert_eq!(
            same_path(path, "/live/a.m3u8?hls_ctx=1").as_deref(),
            Some("/live/a.m3u8?hls_ctx=1")
        );
        assert_eq!(
            same_path(path, "a.m3u8?hls_ctx=1").as_deref(),
            Some("/live/a.m3u8?hls_ctx=1")
        );
        for other in [
            "/live/b.m3u8?hls_ctx=1",
            "b.m3u8?x",
            "/live/a.m3u8",
            "http://x/live/a.m3u8?x",
            "a.m3u8?a b",
            "a.m3u8?a#b",
        ] {
            assert_eq!(same_path(path, other), None, "{other}");
        }
    }
}
