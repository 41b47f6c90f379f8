//! Segments, initialization sections and keys: relayed from the origin of their session, or shared.

use crate::cache::guard::FillGuard;
use crate::cache::reader::EntryReader;
use crate::http::Headers;
use crate::http::query::own_session;
use crate::player::context::PlayerContext;
use crate::player::fetch::{
    FetchOptions, FetchOutcome, FetchRequest, Fetched, MAX_BUFFERED_BODY, fetch, keep,
};
use crate::player::hls::playlist::playlist;
use crate::player::hls::rewrite::ENCODED_IN_ID;
use crate::player::hls::{cached, filling, send};
use crate::player::live_relay::LiveRelay;
use crate::player::public_hosts::PublicHosts;
use crate::player::reach::is_for_players;
use crate::player::redirect::Redirect;
use crate::player::relay::{Piece, relay};
use crate::player::request::MediaRequest;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use percent_encoding::utf8_percent_encode;

/// Answers a request for a segment, an initialization section or a key.
pub fn segment(context: &PlayerContext, exchange: Exchange, request: &MediaRequest) {
    let Some(asking) = cached::answer(context, exchange, request) else {
        return;
    };
    let cached::Asking {
        mut exchange,
        fill,
        wait,
    } = asking;
    let mut headers = context.forwarding.to_origin(
        &exchange.head,
        exchange.peer().ip(),
        exchange.scheme(),
        false,
    );
    if fill.is_some() {
        // Others may not understand the encodings that this player does.
        headers.remove("accept-encoding");
        // The range is the whole, or the request would not share.
        headers.remove("range");
    }
    let public_host = context
        .forwarding
        .public_host(&exchange.head.headers, exchange.peer().ip());
    let cancel = match &fill {
        Some(fill) => fill.cancel(),
        None => exchange.cancel().clone(),
    };
    let fetch_request = FetchRequest {
        media: request,
        headers: &headers,
        head_only: exchange.is_head(),
        cancel: &cancel,
        options: FetchOptions {
            first: epochs_origin(context, request),
            ..FetchOptions::default()
        },
    };
    let outcome = fetch(context, &mut exchange, &fetch_request);
    drop(wait); // the head is here, and the player may be slow
    match outcome {
        FetchOutcome::Fetched(fetched)
            if matches!(fetched.response.status, 200 | 206)
                && is_playlist_type(&fetched.response.headers) =>
        {
            // A playlist is known by its type, too (RFC 8216 section 4): it is asked for as one.
            drop((fetched, fill));
            as_playlist(context, exchange, request);
        }
        FetchOutcome::Fetched(mut fetched) => {
            let response = &fetched.response;
            if !is_for_players(response.status, &response.headers, exchange.head.path()) {
                drop(fill); // others ask for themselves, and are told the same
                exchange.record.detail = Some("the origin's answer is no media".to_owned());
                return exchange.problem(404, "There is no media here.");
            }
            if let Some(id) = exchange.head.query().and_then(own_session) {
                let (host, public) = (exchange.head.host.as_deref(), context.public_url.as_ref());
                let proto = context.forwarding.proto(
                    &exchange.head.headers,
                    exchange.peer().ip(),
                    exchange.scheme(),
                );
                let hosts = PublicHosts::new(host, public_host.as_deref())
                    .and(public)
                    .by(&proto);
                let id = utf8_percent_encode(&id, ENCODED_IN_ID).to_string();
                let id = request.with_viewer(&id);
                let redirect = Redirect {
                    hosts: &hosts,
                    way_up: public.and_then(|url| url.way_up(exchange.head.path())),
                    session: Some(&id),
                };
                redirect.bring_back(&mut fetched.response, &fetched.address);
            }
            let path = || StreamUrl::of_request(None, exchange.head.path(), None);
            let Some(stream) = request.stream.clone().or_else(path) else {
                return exchange.problem(400, "This URL names no stream.");
            };
            match fill {
                Some(fill) => share_segment(context, exchange, fill, &stream, fetched),
                None => relay_segment(context, exchange, &stream, fetched, None),
            }
        }
        FetchOutcome::Buffered(answer) => {
            filling::not_found(context, fill, &answer);
            answer.answer(exchange);
        }
        FetchOutcome::Failed(failure) => {
            filling::failure(context, fill, &failure);
            failure.answer(exchange);
        }
        FetchOutcome::Refused(failure) => {
            drop(fill); // the refusal is this player's own
            failure.answer(exchange);
        }
        FetchOutcome::Left if fill.is_some() && !exchange.cancel().is_cancelled() => {
            // Another one's request was faster: its answer is in memory.
            drop(fill);
            segment(context, exchange, request);
        }
        FetchOutcome::Left => exchange.abandon("the client left while its segment was looked for"),
    }
}

/// The origin whose file is asked for, where the stream has moved since: names come again at another one.
fn epochs_origin(context: &PlayerContext, request: &MediaRequest) -> Option<OriginId> {
    let timelines = &context.hls.timelines;
    timelines.origin_of(request.stream.as_ref()?, request.epoch.as_deref())
}

/// Whether an answer says that it is a playlist.
pub fn is_playlist_type(headers: &Headers) -> bool {
    let value = headers.one("content-type").unwrap_or_default();
    let kind = value.split(|b| *b == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    let name = match kind.iter().position(|b| *b == b'/') {
        Some(slash) => &kind[slash + 1..],
        None => return false,
    };
    [&b"vnd.apple.mpegurl"[..], b"x-mpegurl", b"mpegurl"].contains(&name)
}

/// Answers with the playlist that a URL of another kind turned out to be.
pub fn as_playlist(context: &PlayerContext, exchange: Exchange, request: &MediaRequest) {
    let request = request.as_playlist(context, &exchange);
    playlist(context, exchange, &request);
}

/// Relays what an origin has begun to send to this player alone. `reader` is held until the relay ends.
fn relay_segment(
    context: &PlayerContext,
    mut exchange: Exchange,
    stream: &StreamUrl,
    fetched: Fetched,
    reader: Option<EntryReader>,
) {
    let Fetched {
        origin,
        address,
        response,
    } = fetched;
    if response.length.is_some() || exchange.is_head() {
        let meter = context.touch(stream, &origin.id, &address, None);
        relay(exchange, response, Piece::Segment, &meter);
        return drop(reader);
    }
    // No length: it may be a stream without an end (`/live/a.flv?spbhid=x`), which takes a stream's place and thread.
    if !exchange.take_permit() {
        let head = ResponseHead::new(503).with("Retry-After", "2");
        let message = "All places for streams are taken. Try again in a moment.";
        return exchange.problem_with(head, message);
    }
    let path = exchange.head.path();
    let is_stream = path
        .rsplit_once('.')
        .is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("flv"));
    let viewer = (is_stream && response.status == 200)
        .then(|| context.live_viewer(stream, &origin.id, &address))
        .map(|viewer| viewer.listed(exchange.client_tag()));
    let meter = match &viewer {
        Some(viewer) => viewer.meter.clone(),
        None => context.touch(stream, &origin.id, &address, None),
    };
    let relay = LiveRelay {
        exchange,
        response,
        meter,
        viewer,
        reader,
        connection: context.channels.count_connection(),
        news: None,
    };
    relay.start(&context.live);
}

/// Answers the request that fetches for all, and those who wait with it where they may have the same.
fn share_segment(
    context: &PlayerContext,
    exchange: Exchange,
    fill: FillGuard,
    stream: &StreamUrl,
    fetched: Fetched,
) {
    let response = &fetched.response;
    let is_short = response
        .length
        .is_none_or(|length| length <= MAX_BUFFERED_BODY);
    if response.status == 404 && is_short {
        let answer = keep(fetched.response);
        filling::not_found(context, Some(fill), &answer);
        return answer.answer(exchange);
    }
    match filling::segment(context, fill, exchange.head.path(), fetched) {
        Ok(reader) => send::fill(context, exchange, &reader, stream),
        Err(own) => {
            let (fetched, reader) = *own;
            relay_segment(context, exchange, stream, fetched, reader);
        }
    }
}
