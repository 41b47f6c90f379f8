//! Playlists: found, rewritten, and shared for half a second.

use crate::cache::directive::directive;
use crate::cache::freshness::PLAYLIST_TIME;
use crate::cache::guard::FillGuard;
use crate::http::Headers;
use crate::player::context::PlayerContext;
use crate::player::fetch::{Fetched, MAX_BUFFERED_BODY, keep};
use crate::player::hls::cached;
use crate::player::hls::filling::{self, Sharing};
use crate::player::hls::finding::{Found, Outcome, Search, find};
use crate::player::hls::last::LastPlaylist;
use crate::player::hls::personal;
use crate::player::hls::reload::lasting_target;
use crate::player::hls::rewrite::{Rewrite, rewrite};
use crate::player::hls::syntax::is_master;
use crate::player::public_hosts::PublicHosts;
use crate::player::relay::{Piece, relay};
use crate::player::request::MediaRequest;
use crate::player::route::without_parameters;
use crate::server::exchange::Exchange;
use crate::server::failure::Failure;
use crate::server::response::ResponseHead;
use crate::stream::session::{session_id, session_id_in};
use crate::stream::url::StreamUrl;
use crate::upstream::forwarding::to_player;

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
    let peer = exchange.peer().ip();
    let public_host = context.forwarding.public_host(&exchange.head.headers, peer);
    let Some(asking) = cached::answer(context, exchange, request) else {
        return;
    };
    let cached::Asking {
        mut exchange,
        fill,
        wait,
    } = asking;
    let scheme = exchange.scheme();
    let headers = context
        .forwarding
        .to_origin(&exchange.head, peer, scheme, true);
    let proto = context
        .forwarding
        .proto(&exchange.head.headers, peer, scheme);
    let cancel = match &fill {
        Some(fill) => fill.cancel(),
        None => exchange.cancel().clone(),
    };
    let host = exchange.head.host.clone();
    let hosts = PublicHosts::new(host.as_deref(), public_host.as_deref());
    let hosts = hosts.and(context.public_url.as_ref()).by(&proto);
    let personal = ["authorization", "cookie", "referer", "origin"];
    let personal = personal.map(|name| exchange.head.headers.one(name));
    let lasting = lasting_target(&request.target);
    let last = (stream, &lasting, &host, &public_host, &proto, personal);
    let search = Search {
        request,
        headers: &headers,
        hosts: &hosts,
        cancel: &cancel,
        last: context.hls.last.key(&last),
    };
    let outcome = find(context, &mut exchange, &search);
    drop(wait); // the answer is here, and the player may be slow
    match outcome {
        Outcome::Found(found) => answer(context, exchange, fill, &search, *found),
        Outcome::Last(last) => again(context, exchange, fill, request, &last),
        Outcome::Other(fetched) => other(context, exchange, fill, request, fetched),
        Outcome::Buffered(answer) => {
            filling::not_found(context, fill, &answer);
            answer.answer(exchange);
        }
        Outcome::Failed(failure) => {
            filling::failure(context, fill, &failure);
            failure.answer(exchange);
        }
        Outcome::Refused(failure) => {
            drop(fill); // the refusal is this player's own
            failure.answer(exchange);
        }
        Outcome::Left if fill.is_some() && !exchange.cancel().is_cancelled() => {
            // Another one's request was faster: its answer is in memory.
            drop(fill);
            playlist(context, exchange, request);
        }
        Outcome::Left => exchange.abandon("the client left while its stream was looked for"),
    }
}

/// Answers with a playlist that an origin gave.
fn answer(
    context: &PlayerContext,
    exchange: Exchange,
    fill: Option<FillGuard>,
    search: &Search<'_>,
    found: Found,
) {
    let (request, stream) = (search.request, &found.stream);
    let playlists = session_id(stream);
    let public = context.public_url.as_ref();
    let way_up = public.and_then(|url| url.way_up(exchange.head.path()));
    let how = Rewrite {
        hosts: search.hosts,
        query: exchange.head.query(),
        session: &session_id_in(stream, found.epoch.as_deref()),
        playlists: &playlists,
        viewer: request
            .viewing
            .is_some()
            .then(|| context.hooks.placeholder()),
        way_up: way_up.as_ref(),
    };
    let Some(body) = rewrite(&found.answer.body, &how) else {
        let failure = Failure {
            status: 502,
            message: "The media server sent a playlist that is too large.",
            retry_after: None,
            detail: None,
        };
        filling::failure(context, fill, &failure);
        return failure.answer(exchange);
    };
    let balancer = context.locator.balancer();
    balancer.playlist_served(stream, exchange.head.host.as_deref(), exchange.head.path());
    let request_head = &exchange.head;
    let path = without_parameters(request_head.path());
    let by_url = StreamUrl::of_request(request_head.host.as_deref(), path, request_head.query());
    if let Some(by_url) = by_url {
        context.hls.directories.put(&by_url, stream);
    }
    let head = ResponseHead {
        status: 200,
        headers: for_player(&found.answer.headers),
        length: None,
        ..ResponseHead::default()
    };
    let is_master = is_master(&body);
    if let Some(fill) = fill {
        let sharing = sharing(&found, is_master);
        let from = (&found.origin, &*found.address);
        // A variant's stream moves by itself: its master's other answers are still what they were.
        let moves = request.stream.as_ref() == Some(stream);
        filling::playlist(context, fill, from, &head, &body, sharing, moves);
    }
    // Who asks for SRS's master has no `hls_ctx` yet, and would be taken for two players once it has.
    let viewer = (!is_master).then_some(request.viewer);
    let (origin, address) = (found.origin.id, found.address);
    let meter = context.touch(stream, &origin, &address, viewer);
    meter.add(body.len() as u64);
    match found.until {
        None => personal::answer(context, exchange, request, head, &body),
        Some(until) => {
            let last = LastPlaylist {
                headers: head.headers.clone(),
                body,
                origin,
                address,
                until,
            };
            personal::answer(context, exchange, request, head, &last.body);
            context.hls.last.put(search.last, last);
        }
    }
}

/// Answers with what went out last.
fn again(
    context: &PlayerContext,
    mut exchange: Exchange,
    fill: Option<FillGuard>,
    request: &MediaRequest,
    last: &LastPlaylist,
) {
    exchange.record.detail = Some("between two origins: the last playlist again".to_owned());
    let head = ResponseHead {
        status: 200,
        headers: last.headers.clone(),
        length: None,
        ..ResponseHead::default()
    };
    if let Some(fill) = fill {
        filling::last(context, fill, &head, &last.body);
    }
    if let Some(stream) = &request.stream {
        let viewer = Some(request.viewer);
        let meter = context.touch(stream, &last.origin, &last.address, viewer);
        meter.add(last.body.len() as u64);
    }
    personal::answer(context, exchange, request, head, &last.body);
}

/// Passes an answer on that is no playlist.
fn other(
    context: &PlayerContext,
    exchange: Exchange,
    fill: Option<FillGuard>,
    request: &MediaRequest,
    fetched: Fetched,
) {
    let response = &fetched.response;
    let is_short = response
        .length
        .is_none_or(|length| length <= MAX_BUFFERED_BODY);
    if response.status == 404 && is_short {
        let answer = keep(fetched.response);
        filling::not_found(context, fill, &answer);
        return answer.answer(exchange);
    }
    let _reader = fill.map(FillGuard::alone);
    let Some(stream) = &request.stream else {
        return exchange.problem(400, "This URL names no stream.");
    };
    let Fetched {
        origin,
        address,
        response,
    } = fetched;
    let meter = context.touch(stream, &origin.id, &address, Some(request.viewer));
    relay(exchange, response, Piece::Segment, &meter);
}

/// The header lines of a rewritten playlist.
fn for_player(origins: &Headers) -> Headers {
    let mut headers = to_player(origins);
    for name in ABOUT_THE_BYTES {
        headers.remove(name);
    }
    headers
}

/// Whether others may have the same.
fn sharing(found: &Found, is_master: bool) -> Sharing {
    // A master playlist hands out sessions at many servers, in names that no one knows, and so does what was followed
    // from one.
    if found.answer.followed || is_master {
        return Sharing::Never;
    }
    match directive(&found.answer.headers).at_most(PLAYLIST_TIME) {
        Some(time) => Sharing::For(time),
        None => Sharing::Never,
    }
}
