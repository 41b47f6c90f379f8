//! Asking the hooks whether a player may watch, before anything is asked or given on its behalf.

use crate::hooks::session::SessionUse;
use crate::hooks::sessions::{Known, Sessions};
use crate::hooks::{Admission, Hooks, Viewer};
use crate::http::head::{RequestHead, host_name};
use crate::http::query::{query_value, split_viewer, without_spbhid};
use crate::player::request::{MediaRequest, Viewing};
use crate::player::route::{Route, without_parameters};
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::url::StreamUrl;
use std::borrow::Cow;
use std::sync::Arc;

/// Asks whether a live viewer may watch. Blocks for the hooks. The viewer watches until its exchange ends, however that
/// is. `None` when the request has been answered: it was refused, or the client has left.
pub fn live(hooks: &Hooks, exchange: Exchange, stream: &StreamUrl) -> Option<Exchange> {
    if !hooks.is_on() {
        return Some(exchange);
    }
    let id = hooks.client_id(&exchange.record.id.to_string());
    let viewer = viewer(&exchange, stream, id);
    let mut exchange = exchange;
    match hooks.admit(viewer, exchange.cancel()) {
        Admission::Allowed(watch) => {
            exchange.record.watch = Some(Arc::new(watch));
            Some(exchange)
        }
        Admission::Refused(why) => {
            refuse(exchange, why);
            None
        }
        Admission::Left => {
            exchange.abandon("the client left while a hook was asked");
            None
        }
    }
}

/// Takes the viewer's session, a `spbhs` that this proxy has put there, out of a request's target: no origin gets it, and
/// it is part of no key. Returns the session's name.
pub fn take_viewer(hooks: &Hooks, exchange: &mut Exchange) -> Option<String> {
    if !hooks.is_on() {
        return None;
    }
    let (target, name) = split_viewer(&exchange.head.target)?;
    let name = name.to_owned();
    exchange.head = Arc::new(RequestHead {
        target,
        ..(*exchange.head).clone()
    });
    Some(name)
}

/// The session of an HLS request, where it is one that may watch. Asks no hook, and does not block.
pub fn known(
    hooks: &Hooks,
    exchange: &mut Exchange,
    request: &MediaRequest,
    name: Option<&str>,
) -> Option<Viewing> {
    match find(hooks, &exchange.head, request, name) {
        Known::Session(session) => Some(attach(hooks, exchange, session, true)),
        Known::Refused | Known::No => None,
    }
}

/// Lets an HLS request in: one whose session may watch, or the first playlist of a new viewer that the hooks allow.
/// Blocks for the hooks. `None` when the request has been answered.
pub fn hls(
    hooks: &Hooks,
    mut exchange: Exchange,
    request: &MediaRequest,
    name: Option<&str>,
) -> Option<(Exchange, Viewing)> {
    let found = match find(hooks, &exchange.head, request, name) {
        Known::No => find_elsewhere(hooks, &exchange.head, request, name),
        found => found,
    };
    match found {
        Known::Session(session) => {
            let viewing = attach(hooks, &mut exchange, session, true);
            Some((exchange, viewing))
        }
        Known::Refused => {
            refuse(exchange, "an operator has ended this session".to_owned());
            None
        }
        Known::No if request.route == Route::Playlist => {
            new_session(hooks, exchange, request, name)
        }
        Known::No => {
            refuse(exchange, "no session that may watch".to_owned());
            None
        }
    }
}

/// Looks for the session by the name that this proxy has given, then by SRS's.
fn find(hooks: &Hooks, head: &RequestHead, request: &MediaRequest, name: Option<&str>) -> Known {
    let stream = match request.route {
        Route::Playlist => stream_of_path(head, request),
        _ => None,
    };
    let found = name.map_or(Known::No, |name| hooks.sessions.find(name, stream.as_ref()));
    match (found, context(head)) {
        (Known::No, Some(context)) => hooks.sessions.find(&context, stream.as_ref()),
        (found, _) => found,
    }
}

/// Looks for a session that another proxy has left in the shared Redis.
fn find_elsewhere(
    hooks: &Hooks,
    head: &RequestHead,
    request: &MediaRequest,
    name: Option<&str>,
) -> Known {
    let context = context(head);
    for name in name.into_iter().chain(context.as_deref()) {
        hooks.adopt(name);
    }
    find(hooks, head, request, name)
}

/// SRS's session.
fn context(head: &RequestHead) -> Option<Cow<'_, str>> {
    head.query().and_then(|query| query_value(query, "hls_ctx"))
}

/// The stream that a playlist's own path names: its `spbhid` is whatever the player writes.
fn stream_of_path(head: &RequestHead, request: &MediaRequest) -> Option<StreamUrl> {
    let path = without_parameters(head.path());
    let by_path = StreamUrl::of_request(head.host.as_deref(), path, head.query());
    by_path.or_else(|| request.stream.clone())
}

fn new_session(
    hooks: &Hooks,
    mut exchange: Exchange,
    request: &MediaRequest,
    name: Option<&str>,
) -> Option<(Exchange, Viewing)> {
    let Some(stream) = stream_of_path(&exchange.head, request) else {
        exchange.problem(400, "This URL names no stream.");
        return None;
    };
    let Some(_place) = hooks.take_place() else {
        exchange.record.detail = Some("too many wait for the hooks".to_owned());
        let head = ResponseHead::new(503).with("Retry-After", "1");
        exchange.problem_with(
            head,
            "Too many players come at once. Try again in a moment.",
        );
        return None;
    };
    let number = hooks.sessions.next_number();
    let viewer = viewer(&exchange, &stream, format!("{}-h{number}", hooks.name()));
    match hooks.admit(viewer.clone(), exchange.cancel()) {
        Admission::Allowed(watch) => {
            // The player comes with that name again, though its session is gone (a restart).
            let context = context(&exchange.head).map(Cow::into_owned);
            let name = name.or(context.as_deref());
            let name = name.filter(|name| Sessions::is_name(name));
            let session = hooks.sessions.enter(number, viewer, watch, name);
            let viewing = attach(hooks, &mut exchange, session, name.is_some());
            Some((exchange, viewing))
        }
        Admission::Refused(why) => {
            refuse(exchange, why);
            None
        }
        Admission::Left => {
            exchange.abandon("the client left while a hook was asked");
            None
        }
    }
}

/// The session is in use until the exchange ends.
fn attach(hooks: &Hooks, exchange: &mut Exchange, session: SessionUse, is_named: bool) -> Viewing {
    hooks.sessions.share(session.session());
    let viewing = Viewing {
        session: session.session().clone(),
        is_named,
    };
    exchange.record.watch = Some(Arc::new(session));
    viewing
}

fn refuse(mut exchange: Exchange, why: String) {
    exchange.record.detail = Some(why);
    exchange.problem(403, "You may not watch this stream.");
}

fn viewer(exchange: &Exchange, stream: &StreamUrl, client_id: String) -> Viewer {
    let head = &*exchange.head;
    Viewer {
        client_id,
        ip: exchange.record.labels.viewer,
        stream: stream.clone(),
        host: host_name(head.host.as_deref().unwrap_or_default()).to_owned(),
        param: param(head),
        page_url: Viewer::page(head.headers.text("referer")),
    }
}

/// The query as SRS tells it, without what this proxy has put into it.
fn param(head: &RequestHead) -> String {
    let target = without_spbhid(&head.target);
    match target.split_once('?') {
        Some((_, query)) if !query.is_empty() => format!("?{query}"),
        _ => String::new(),
    }
}
