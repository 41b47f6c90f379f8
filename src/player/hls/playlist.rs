//! Playlists: read whole from the origin, rewritten, and shared for half a second.

use crate::balancer::Candidate;
use crate::cache::directive::directive;
use crate::cache::freshness::{NOT_FOUND_TIME, PLAYLIST_TIME};
use crate::cache::key::Key;
use crate::http::Headers;
use crate::http::query::query_value;
use crate::player::context::PlayerContext;
use crate::player::fetch::{FetchOutcome, FetchRequest, Fetched, fetch};
use crate::player::hls::cached;
use crate::player::hls::filling::{self, Sharing};
use crate::player::hls::public_hosts::PublicHosts;
use crate::player::hls::redirect::bring_back;
use crate::player::hls::rewrite::{Rewrite, rewrite};
use crate::player::hls::syntax::{is_master, is_playlist, only_variant};
use crate::player::request::MediaRequest;
use crate::server::exchange::Exchange;
use crate::server::failure::Failure;
use crate::server::response::ResponseHead;
use crate::stream::session::session_id;
use crate::upstream::forwarding::to_player;
use crate::upstream::{OriginRequest, OriginResponse};
use std::io::Read;

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
pub fn playlist(context: &PlayerContext, exchange: Exchange, request: &MediaRequest) {
    let Some(stream) = &request.stream else {
        return exchange.problem(400, "This URL names no stream.");
    };
    let session = session_id(stream);
    let public_host = context
        .forwarding
        .public_host(&exchange.head.headers, exchange.peer().ip());
    let key = (context.cache.is_on() && request.cacheable)
        .then(|| Key::playlist(stream, &exchange.head, public_host.as_deref()));
    let viewer = Some(request.viewer);
    let Some(asking) = cached::answer(context, exchange, key.as_ref(), request, viewer) else {
        return;
    };
    let cached::Asking {
        mut exchange,
        fill,
        wait,
    } = asking;
    let headers = context
        .forwarding
        .to_origin(&exchange.head, exchange.peer().ip(), true);
    let cancel = match &fill {
        Some(fill) => fill.cancel(),
        None => exchange.cancel().clone(),
    };
    let fetch_request = FetchRequest {
        media: request,
        headers: &headers,
        head_only: false,
        cancel: &cancel,
    };
    let fetched = match fetch(context, &mut exchange, &fetch_request) {
        FetchOutcome::Fetched(fetched) => fetched,
        FetchOutcome::Buffered(answer) => {
            filling::not_found(context, fill, &answer);
            return answer.answer(exchange);
        }
        FetchOutcome::Failed(failure) => {
            filling::failure(context, fill, &failure);
            return failure.answer(exchange);
        }
        FetchOutcome::Refused(failure) => {
            drop(fill); // the refusal is this player's own
            return failure.answer(exchange);
        }
        FetchOutcome::Left if fill.is_some() && !exchange.cancel().is_cancelled() => {
            // Another one's request was faster: its answer is in memory.
            drop(fill);
            return playlist(context, exchange, request);
        }
        FetchOutcome::Left => {
            return exchange.abandon("the client left while its stream was looked for");
        }
    };
    let Fetched {
        origin,
        address,
        mut response,
    } = fetched;
    let hosts = PublicHosts::new(exchange.head.host.as_deref(), public_host.as_deref());
    bring_back(&mut response, &hosts, &address, &session);
    let path = exchange.head.path();
    let answer =
        read(response).and_then(|read| follow(context, path, &origin, &fetch_request, read));
    let answer = answer.and_then(|read| {
        let sharing = sharing(&read);
        if read.is_playlist() {
            let head = &exchange.head;
            let balancer = context.locator.balancer();
            balancer.playlist_served(stream, head.host.as_deref(), head.path());
        }
        let how = Rewrite {
            hosts: &hosts,
            query: exchange.head.query(),
            session: &session,
            playlists: &session,
        };
        let (head, body) = for_player(read, &how)?;
        Ok((head, body, sharing))
    });
    drop(wait); // the answer is here, and the player may be slow
    match answer {
        Ok((head, body, sharing)) => {
            if let Some(fill) = fill {
                filling::playlist(context, fill, (&origin, &address), &head, &body, sharing);
            }
            // Who asks for SRS's master has no `hls_ctx` yet, and would be taken for two players once it has.
            let viewer = (!is_master(&body)).then_some(request.viewer);
            let meter = context.stats.touch(stream, &origin.id, &address, viewer);
            meter.add(body.len() as u64);
            exchange.answer(head, &body);
        }
        Err(failure) => {
            filling::failure(context, fill, &failure);
            failure.answer(exchange);
        }
    }
}

/// An answer that was read whole.
struct Whole {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    /// It was asked for in the place of what came first.
    followed: bool,
}

impl Whole {
    /// Whether it is a playlist that can be rewritten.
    fn is_playlist(&self) -> bool {
        self.status == 200 && self.headers.count("content-encoding") == 0 && is_playlist(&self.body)
    }
}

/// Reads an answer whole before anything of it is sent: half a playlist is a 502.
fn read(response: OriginResponse) -> Result<Whole, Failure> {
    let OriginResponse {
        status,
        headers,
        length,
        body,
    } = response;
    let mut bytes =
        Vec::with_capacity(usize::try_from(length.unwrap_or(0).min(64 * 1024)).unwrap_or(0));
    let broken = |note: String| Failure {
        status: 502,
        message: "The media server sent a broken playlist. Try again.",
        retry_after: None,
        detail: Some(note),
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
            headers,
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
    let asked_for_media = query_of(&request.media.target)
        .is_some_and(|query| query_value(query, "hls_ctx").is_some());
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
        headers: request.headers,
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
            detail: Some(format!("following the master playlist: {error}")),
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
fn for_player(read: Whole, how: &Rewrite<'_>) -> Result<(ResponseHead, Vec<u8>), Failure> {
    let mut head = ResponseHead {
        status: read.status,
        headers: to_player(&read.headers),
        length: None,
    };
    if !read.is_playlist() {
        return Ok((head, read.body));
    }
    for name in ABOUT_THE_BYTES {
        head.headers.remove(name);
    }
    match rewrite(&read.body, how) {
        Some(body) => Ok((head, body)),
        None => Err(Failure {
            status: 502,
            message: "The media server sent a playlist that is too large.",
            retry_after: None,
            detail: None,
        }),
    }
}

/// Whether others may have the same.
fn sharing(read: &Whole) -> Sharing {
    let limit = match read.status {
        200 if read.is_playlist() => PLAYLIST_TIME,
        404 => NOT_FOUND_TIME,
        _ => return Sharing::Own,
    };
    // A master playlist hands out sessions at many servers, in names that no one knows, and so does what was followed
    // from one.
    if read.followed || (read.status == 200 && is_master(&read.body)) {
        return Sharing::Never;
    }
    match directive(&read.headers).at_most(limit) {
        Some(time) => Sharing::For(time),
        None => Sharing::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::same_path;

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
