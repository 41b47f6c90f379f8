//! Finding the playlist that a player is to get: from the stream's origin, from an old one, or what went out last.

use crate::balancer::Candidate;
use crate::http::Headers;
use crate::http::query::query_value;
use crate::player::context::PlayerContext;
use crate::player::fetch::{
    BufferedResponse, FetchOptions, FetchOutcome, FetchRequest, Fetched, fetch,
};
use crate::player::hls::last::{LastKey, LastPlaylist};
use crate::player::hls::reading::{Answer, PlaylistAnswer, read};
use crate::player::hls::reload;
use crate::player::hls::syntax::{is_master, only_variant};
use crate::player::hls::timeline::media::MediaPlaylist;
use crate::player::hls::timeline::write::write;
use crate::player::hls::timeline::{Seen, Step, Timeline};
use crate::player::public_hosts::PublicHosts;
use crate::player::redirect::Redirect;
use crate::player::request::MediaRequest;
use crate::player::route::without_parameters;
use crate::runtime::cancel::CancelToken;
use crate::server::exchange::Exchange;
use crate::server::failure::Failure;
use crate::stream::session::session_id;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginRequest;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An origin that publishes a stream has no playlist before its first segment: it is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often an origin is asked once more for what does not fit the playlists before.
const MAX_TURNS: u32 = 2;

/// What is looked for, and for whom.
pub struct Search<'a> {
    pub request: &'a MediaRequest,
    /// The header lines for origins.
    pub headers: &'a Headers,
    pub hosts: &'a PublicHosts<'a>,
    pub cancel: &'a Arc<CancelToken>,
    /// What went out last for this request.
    pub last: LastKey,
}

/// A playlist for the player, before its URIs are rewritten.
pub struct Found {
    /// The stream that the playlist turned out to be of.
    pub stream: StreamUrl,
    pub origin: Candidate,
    pub address: String,
    pub answer: PlaylistAnswer,
    /// The tag of the timeline's epoch.
    pub epoch: Option<String>,
    /// Until when it makes sense to a player, where it is a live one.
    pub until: Option<Instant>,
}

/// What came of looking.
pub enum Outcome {
    Found(Box<Found>),
    /// What went out last, again.
    Last(Arc<LastPlaylist>),
    /// An origin's answer that is no playlist, and whose body is still to be read.
    Other(Fetched),
    /// As of a fetch.
    Buffered(BufferedResponse),
    Failed(Failure),
    Refused(Failure),
    Left,
}

/// One attempt's result.
enum Attempt {
    Done(Outcome),
    /// The origin publishes the stream, and has no playlist of it yet; with its answer, where there is one.
    NotYet(Candidate, Option<Box<Fetched>>),
    /// What came does not fit what went out before; ask for the whole.
    Again,
    /// Nobody has it under this stream's name.
    Missing(Outcome),
}

/// Looks for the playlist. Blocks for origins; where one has the stream and no playlist yet, a player is held as it is for
/// a publisher.
pub fn find(context: &PlayerContext, exchange: &mut Exchange, search: &Search<'_>) -> Outcome {
    let path = exchange.head.path().to_owned();
    let mut media = search.request.clone();
    let mut other = variant_stream(exchange, search.request);
    if let (Some(by_path), Some(session)) = (&other, &media.stream) {
        let timelines = &context.hls.timelines;
        if timelines.of(session, &path).is_none() && timelines.of(by_path, &path).is_some() {
            media = of_stream(&media, by_path);
            other = None;
        }
    }
    let wait = context.locator.wait();
    let mut held_until = None;
    let mut turns = 0;
    loop {
        let last = context.hls.last.get(search.last, Instant::now());
        // A player that has something else to get is not held: neither by a session whose origin may not have it.
        let unheld = last.is_some() || other.is_some();
        let attempt = attempt(context, exchange, search, &media, &path, unheld, turns > 0);
        let (origin, answer) = match attempt {
            Attempt::Done(outcome) => return outcome,
            Attempt::Again if turns < MAX_TURNS => {
                turns += 1;
                continue;
            }
            Attempt::Again => return last.map_or_else(moving, Outcome::Last),
            Attempt::Missing(outcome) => match other.take() {
                Some(by_path) => {
                    media = of_stream(&media, &by_path);
                    continue;
                }
                None => return last.map_or(outcome, Outcome::Last),
            },
            Attempt::NotYet(origin, answer) => (origin, answer),
        };
        if let Some(found) = from_old_origin(context, search, &media, &path, &origin) {
            return found;
        }
        if let Some(last) = last {
            return Outcome::Last(last);
        }
        let now = Instant::now();
        let until = *held_until.get_or_insert(now + wait);
        if now >= until {
            return match answer {
                Some(answer) => Outcome::Other(*answer),
                None => moving(),
            };
        }
        if search.cancel.wait(ASK_AGAIN.min(until - now)) {
            return Outcome::Left;
        }
    }
}

/// The stream that the request's own path names, where its session is another one's: a variant of another stream.
fn variant_stream(exchange: &Exchange, request: &MediaRequest) -> Option<StreamUrl> {
    let head = &exchange.head;
    let path = without_parameters(head.path());
    let by_path = StreamUrl::of_request(head.host.as_deref(), path, head.query())?;
    (request.stream.as_ref() != Some(&by_path)).then_some(by_path)
}

fn of_stream(media: &MediaRequest, stream: &StreamUrl) -> MediaRequest {
    MediaRequest {
        stream: Some(stream.clone()),
        is_own_url: true,
        ..media.clone()
    }
}

fn moving() -> Outcome {
    Outcome::Failed(Failure {
        status: 503,
        message: "The stream is moving. Try again in a moment.",
        retry_after: Some(1),
        detail: Some("the origin's playlists do not fit each other".to_owned()),
    })
}

/// Asks origins once. `whole` asks for a playlist that leaves nothing out.
fn attempt(
    context: &PlayerContext,
    exchange: &mut Exchange,
    search: &Search<'_>,
    media: &MediaRequest,
    path: &str,
    unheld: bool,
    whole: bool,
) -> Attempt {
    let Some(stream) = &media.stream else {
        return Attempt::Done(moving());
    };
    let timeline = context.hls.timelines.of(stream, path);
    let pinned = timeline
        .as_ref()
        .and_then(|_| context.locator.pinned(stream));
    let pinned = pinned.as_ref().map(|pinned| &*pinned.id);
    let target = reload::for_origin(&media.target, timeline.as_ref(), pinned, whole);
    let asked_media = MediaRequest {
        target: target.into_owned(),
        ..media.clone()
    };
    let fetch_request = FetchRequest {
        media: &asked_media,
        headers: search.headers,
        head_only: false,
        cancel: search.cancel,
        options: FetchOptions {
            hold: unheld.then_some(Duration::ZERO),
            blocks: reload::blocks(&asked_media.target, timeline.as_ref()),
            first: None,
        },
    };
    let asked = Instant::now();
    let mut fetched = match fetch(context, exchange, &fetch_request) {
        FetchOutcome::Fetched(fetched) => fetched,
        FetchOutcome::Buffered(answer) => return Attempt::Missing(Outcome::Buffered(answer)),
        FetchOutcome::Failed(failure) => return Attempt::Missing(Outcome::Failed(failure)),
        FetchOutcome::Refused(failure) => return Attempt::Done(Outcome::Refused(failure)),
        FetchOutcome::Left => return Attempt::Done(Outcome::Left),
    };
    let public = context.public_url.as_ref();
    let redirect = Redirect {
        hosts: search.hosts,
        way_up: public.and_then(|url| url.way_up(exchange.head.path())),
        session: Some(&media.with_viewer(&session_id(stream))),
    };
    redirect.bring_back(&mut fetched.response, &fetched.address);
    match fetched.response.status {
        // SRS lists a stream seconds before its first segment is there, and has no playlist meanwhile.
        404 if media.is_own_url => {
            return Attempt::NotYet(fetched.origin.clone(), Some(Box::new(fetched)));
        }
        404 | 500.. => return Attempt::Missing(Outcome::Other(fetched)),
        _ => {}
    }
    let Fetched {
        origin,
        address,
        response,
    } = fetched;
    let answer = match read(response, &context.hls.memory) {
        Ok(Answer::Playlist(answer)) => answer,
        Ok(Answer::Other(response)) => {
            return Attempt::Done(Outcome::Other(Fetched {
                origin,
                address,
                response,
            }));
        }
        Err(failure) => return Attempt::Missing(Outcome::Failed(failure)),
    };
    let answer = match follow(context, path, &origin, &fetch_request, answer) {
        Ok(answer) => answer,
        Err(failure) => return Attempt::Missing(Outcome::Failed(failure)),
    };
    place(context, (stream, path), origin, address, asked, answer)
}

/// Puts an origin's playlist on its timeline.
fn place(
    context: &PlayerContext,
    (stream, path): (&StreamUrl, &str),
    origin: Candidate,
    address: String,
    asked: Instant,
    mut answer: PlaylistAnswer,
) -> Attempt {
    let found = |answer, epoch, timeline: Option<&Timeline>| {
        Attempt::Done(Outcome::Found(Box::new(Found {
            stream: stream.clone(),
            origin: origin.clone(),
            address: address.clone(),
            answer,
            epoch,
            until: timeline.map(Timeline::lasts_until),
        })))
    };
    let Some(list) = MediaPlaylist::read(&answer.body) else {
        return found(answer, None, None);
    };
    let seen = Seen {
        origin: &origin.id,
        asked,
        now: Instant::now(),
    };
    let balancer = &**context.locator.balancer();
    match context
        .hls
        .timelines
        .take(balancer, (stream, path), &seen, &list)
    {
        Step::Untouched => found(answer, None, None),
        Step::Goes {
            timeline, mapping, ..
        } => {
            answer.body = write(&answer.body, &list, &mapping).into_owned();
            found(answer, mapping.tag, Some(&timeline))
        }
        Step::Outdated | Step::Skips => Attempt::Again,
        Step::Empty => Attempt::NotYet(origin, None),
    }
}

/// Between two origins: the old one's playlist, for as long as it answers and what it says makes sense. `new` is the
/// origin that has none yet.
fn from_old_origin(
    context: &PlayerContext,
    search: &Search<'_>,
    media: &MediaRequest,
    path: &str,
    new: &Candidate,
) -> Option<Outcome> {
    let stream = media.stream.as_ref()?;
    let timeline = context.hls.timelines.of(stream, path)?;
    let asked = Instant::now();
    if timeline.epoch.origin == new.id || asked >= timeline.lasts_until() {
        return None;
    }
    let candidates = context.locator.balancer().candidates();
    let old = candidates
        .into_iter()
        .find(|it| it.id == timeline.epoch.origin)?;
    let address = old.origin.http_address()?;
    let request = OriginRequest {
        address,
        secured_by: old.origin.secured_by(),
        head_only: false,
        // Nothing new will come there: it is asked for what there is.
        target: &reload::for_origin(&media.target, Some(&timeline), Some(""), true),
        headers: search.headers,
        live: false,
        timeout: Some(Duration::from_secs(1)),
        blocks: None,
    };
    let response = context.client.send(request, search.cancel).ok()?;
    let Ok(Answer::Playlist(answer)) = read(response, &context.hls.memory) else {
        return None;
    };
    let address = address.to_string();
    match place(context, (stream, path), old, address, asked, answer) {
        Attempt::Done(found @ Outcome::Found(_)) => Some(found),
        _ => None,
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
    first: PlaylistAnswer,
) -> Result<PlaylistAnswer, Failure> {
    let query = request.media.target.split_once('?').map(|(_, query)| query);
    let asked_for_media = query.is_some_and(|query| query_value(query, "hls_ctx").is_some());
    if !asked_for_media || !is_master(&first.body) {
        return Ok(first);
    }
    let uri = only_variant(&first.body).and_then(|uri| std::str::from_utf8(uri).ok());
    let Some(target) = uri.and_then(|uri| same_path(path, uri)) else {
        return Ok(first);
    };
    let Some(address) = origin.origin.http_address() else {
        return Ok(first);
    };
    let again = OriginRequest {
        address,
        secured_by: origin.origin.secured_by(),
        head_only: false,
        target: &target,
        headers: request.headers,
        live: false,
        timeout: None,
        blocks: None,
    };
    let failed = |detail| Failure {
        status: 502,
        message: "The media server sent no media playlist. Try again.",
        retry_after: None,
        detail: Some(detail),
    };
    let response = context.client.send(again, request.cancel);
    let response =
        response.map_err(|error| failed(format!("following the master playlist: {error}")))?;
    match read(response, &context.hls.memory)? {
        Answer::Playlist(mut answer) => {
            answer.followed = true;
            Ok(answer)
        }
        Answer::Other(response) => Err(failed(format!(
            "following the master playlist: a {} that is no playlist",
            response.status
        ))),
    }
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
