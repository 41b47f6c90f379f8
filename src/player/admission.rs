//! Asking the hooks whether a player may watch, before anything is asked or given on its behalf.

use crate::hooks::{Admission, Hooks, Viewer};
use crate::http::head::{RequestHead, host_name};
use crate::http::query::without_spbhid;
use crate::server::exchange::Exchange;
use crate::stream::url::StreamUrl;
use std::sync::Arc;

/// Asks whether a live viewer may watch. Blocks for the hooks. The viewer watches until its exchange ends, however that
/// is. `None` when the request has been answered: it was refused, or the client has left.
pub fn live(hooks: &Hooks, exchange: Exchange, stream: &StreamUrl) -> Option<Exchange> {
    if !hooks.is_on() {
        return Some(exchange);
    }
    let id = client_id(hooks, &exchange.record.id.to_string());
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

/// The id that hooks know a viewer by: the proxy's name, and the number in the id that the log has.
pub fn client_id(hooks: &Hooks, id: &str) -> String {
    let number = id.rsplit('-').next().unwrap_or(id);
    format!("{}-{number}", hooks.name())
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
