//! A request for media, parsed once: what every handler needs to know of it.

use crate::cache::freshness::{is_plain, may_take_stored};
use crate::cache::key::Key;
use crate::hooks::session::Session;
use crate::http::query::{own_session, query_value, without_spbhid};
use crate::player::context::PlayerContext;
use crate::player::hls::session::stream_of;
use crate::player::route::{Route, without_parameters};
use crate::server::exchange::Exchange;
use crate::stream::session::{split_epoch, stream_of_session};
use crate::stream::url::StreamUrl;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A request for a live stream, a playlist or a segment.
#[derive(Debug, Clone)]
pub struct MediaRequest {
    pub route: Route,
    /// The stream to look for: the one that the `spbhid` names, else (not for segments) the one that path, query and
    /// `Host` name. `None` only for a segment whose `spbhid` says nothing: any origin may have it.
    pub stream: Option<StreamUrl>,
    /// The epoch that the `spbhid` names: whose files these are, where the stream has moved.
    pub epoch: Option<String>,
    /// Path and query for the origin: without our `spbhid`.
    pub target: String,
    /// Whether the path is the plain one of the stream, so that its 404 is about the stream and not about an odd way
    /// of asking for it.
    pub is_own_url: bool,
    /// Whether other players may share the answer: a plain GET for the whole that says nothing of who asks.
    pub cacheable: bool,
    /// The name by which an answer in memory is found, also for HEAD and for a part; `None` where the request is
    /// no HLS or wants an answer of its own.
    pub key: Option<Key>,
    /// Whether the same head means the same request later, too. A session that another proxy has made may be known
    /// only later.
    pub is_lasting: bool,
    /// Tells HLS players apart, which have no connection of their own to be told by.
    pub viewer: u64,
    /// The viewer's session of an HLS request; `None` where there are no hooks.
    pub viewing: Option<Viewing>,
}

/// The session of the viewer that asks.
#[derive(Debug, Clone)]
pub struct Viewing {
    pub session: Arc<Session>,
    /// The request's URL has a name of the session: the player comes with it again.
    pub is_named: bool,
}

impl MediaRequest {
    /// The media that a request asks for. Asks the shared Redis for a foreign session id, and nobody else.
    ///
    /// `None` for a live stream or a playlist whose URL names no stream.
    pub fn parse(context: &PlayerContext, route: Route, exchange: &Exchange) -> Option<Self> {
        let head = &*exchange.head;
        let balancer = &**context.locator.balancer();
        let path = match route {
            Route::Playlist => without_parameters(head.path()),
            _ => head.path(),
        };
        let by_url = || StreamUrl::of_request(head.host.as_deref(), path, head.query());
        let session = || {
            let id = head.query().and_then(own_session);
            id.and_then(|id| stream_of(&id, balancer))
        };
        let epoch = || {
            let id = head.query().and_then(own_session)?;
            split_epoch(&id).1.map(str::to_owned)
        };
        let stream = match route {
            // A variant belongs to the session that it was listed in.
            Route::Playlist => Some(session().or_else(by_url)?),
            Route::Segment => session(),
            _ => Some(by_url()?),
        };
        let is_own_url =
            route != Route::Segment && stream.as_ref().is_some_and(|stream| is_own(stream, path));
        let foreign = |id: Cow<'_, str>| stream_of_session(&id).is_none();
        let key = stream
            .as_ref()
            .and_then(|stream| key(context, route, exchange, stream));
        Some(Self {
            route,
            stream,
            epoch: epoch(),
            key,
            is_lasting: !head.query().and_then(own_session).is_some_and(foreign),
            target: without_spbhid(&head.target).into_owned(),
            is_own_url,
            cacheable: is_plain(head),
            viewer: viewer(exchange),
            viewing: None,
        })
    }

    /// The value of a `spbhid` with that id, and the viewer's session after it where there is one: what goes into a URL
    /// for this viewer alone.
    pub fn with_viewer(&self, id: &str) -> String {
        match &self.viewing {
            Some(viewing) => format!("{id}&spbhs={}", viewing.session.id()),
            None => id.to_owned(),
        }
    }

    /// The same request for a file of that stream, which its URL does not name. It may be shared as any segment.
    pub fn as_file_of(
        &self,
        context: &PlayerContext,
        exchange: &Exchange,
        stream: StreamUrl,
    ) -> Self {
        Self {
            key: key(context, Route::Segment, exchange, &stream),
            stream: Some(stream),
            ..self.clone()
        }
    }

    /// The same request for what turned out to be a playlist, of the stream that the URL names where nothing else does.
    pub fn as_playlist(&self, context: &PlayerContext, exchange: &Exchange) -> Self {
        let head = &*exchange.head;
        let path = without_parameters(head.path());
        let by_url = || StreamUrl::of_request(head.host.as_deref(), path, head.query());
        let stream = self.stream.clone().or_else(by_url);
        let of = |stream| key(context, Route::Playlist, exchange, stream);
        Self {
            route: Route::Playlist,
            key: stream.as_ref().and_then(of),
            stream,
            ..self.clone()
        }
    }
}

fn key(
    context: &PlayerContext,
    route: Route,
    exchange: &Exchange,
    stream: &StreamUrl,
) -> Option<Key> {
    let head = &*exchange.head;
    if route == Route::Live || !context.cache.is_on() || !may_take_stored(head) {
        return None;
    }
    Some(match route {
        Route::Playlist => {
            let peer = exchange.peer().ip();
            let public = context.forwarding.public_host(&head.headers, peer);
            let proto = context
                .forwarding
                .proto(&head.headers, peer, exchange.scheme());
            Key::playlist(stream, head, public.as_deref(), &proto)
        }
        _ => Key::segment(stream, head),
    })
}

fn is_own(stream: &StreamUrl, path: &str) -> bool {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    stem == stream.app_stream()
}

/// A number that is the same for all requests of one HLS player, as far as its address, its program and SRS's
/// `hls_ctx` tell.
fn viewer(exchange: &Exchange) -> u64 {
    let mut hasher = DefaultHasher::new();
    exchange.record.labels.viewer.hash(&mut hasher);
    let head = &exchange.head;
    head.headers.one("user-agent").hash(&mut hasher);
    head.query()
        .and_then(|query| query_value(query, "hls_ctx"))
        .hash(&mut hasher);
    hasher.finish()
}
