//! Viewers one by one: live connections, and where there are hooks, HLS sessions. Listing and ending them.

use crate::hooks::{Hooks, Viewer};
use crate::http::query::query_value;
use crate::stream::clients::Clients;
use crate::stream::url::StreamUrl;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::SystemTime;

/// Viewers that are listed at most.
const MAX_LISTED: usize = 1000;

/// The viewers of this proxy.
pub struct Viewers<'a> {
    pub live: &'a Clients,
    pub hooks: &'a Hooks,
}

/// A viewer, whatever it watches by.
struct Row {
    /// The id in the log; an HLS session, which is many requests, has that of the hooks.
    id: String,
    viewer: Viewer,
    kind: &'static str,
    since: SystemTime,
    bytes: u64,
    bits_per_second: u64,
}

impl Viewers<'_> {
    /// The answer to `GET /api/v1/clients`: those of `stream` where the query names one, the first comers first, `count`
    /// of them from `start` on. `clients` is SRS's form; `data` has what the console shows.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub fn list(&self, query: &str) -> Result<Value, &'static str> {
        let stream = match query_value(query, "stream").map(|url| StreamUrl::parse(&url)) {
            Some(None) => return Err("stream: not vhost/app/stream."),
            stream => stream.flatten(),
        };
        let start = number(query, "start")?.unwrap_or(0);
        let count = number(query, "count")?.unwrap_or(MAX_LISTED);
        let rows = self.rows(stream.as_ref());
        let page = rows.iter().skip(start).take(count.min(MAX_LISTED));
        let page: Vec<&Row> = page.collect();
        let more = rows.len().saturating_sub(start).saturating_sub(page.len());
        Ok(json!({
            "code": 0,
            "server": self.hooks.name(),
            "service": self.hooks.service_id(),
            "pid": std::process::id().to_string(),
            "clients": page.iter().map(|row| row.of_srs()).collect::<Vec<_>>(),
            "data": {
                "clients": page.iter().map(|row| row.of_console()).collect::<Vec<_>>(),
                "more": more,
            },
        }))
    }

    /// Ends a viewer, by its id in the log or by the `client_id` of the hooks; an HLS session is refused for a minute.
    /// Returns its address; `None` where there is no such viewer.
    pub fn end(&self, id: &str) -> Option<IpAddr> {
        let is_own = |live: &str| live == id || self.hooks.client_id(live) == id;
        let session = || self.hooks.sessions.kick(id).map(|viewer| viewer.ip);
        self.live.end(is_own).or_else(session)
    }

    fn rows(&self, stream: Option<&StreamUrl>) -> Vec<Row> {
        let live = self.live.of(stream).into_iter().map(|client| Row {
            kind: "flv-play", // SRS calls TS, AAC and MP3 so, too
            viewer: Viewer {
                client_id: self.hooks.client_id(&client.id),
                ip: client.address,
                stream: client.stream,
                host: String::new(),
                param: String::new(),
                page_url: String::new(),
            },
            id: client.id,
            since: client.since,
            bytes: client.bytes,
            bits_per_second: client.bits_per_second,
        });
        let sessions = self.hooks.sessions.views(stream).into_iter();
        let hls = sessions.map(|session| Row {
            id: session.viewer.client_id.clone(),
            viewer: session.viewer,
            kind: "hls-play",
            since: session.since,
            bytes: session.bytes,
            bits_per_second: session.bits_per_second,
        });
        let mut rows: Vec<Row> = live.chain(hls).collect();
        rows.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.id.cmp(&b.id)));
        rows
    }
}

impl Row {
    fn of_srs(&self) -> Value {
        let viewer = &self.viewer;
        let alive = self.since.elapsed().unwrap_or_default().as_secs_f64();
        json!({
            "id": viewer.client_id,
            "vhost": viewer.stream.vhost(),
            "stream": viewer.stream_id(),
            "ip": viewer.ip,
            "pageUrl": viewer.page_url,
            "url": viewer.stream_url(),
            "name": viewer.app_and_name().1,
            "type": self.kind,
            "publish": false,
            "alive": (alive * 100.0).round() / 100.0,
            "send_bytes": self.bytes,
            "recv_bytes": 0,
            "kbps": {"recv_30s": 0, "send_30s": self.bits_per_second / 1000},
        })
    }

    fn of_console(&self) -> Value {
        json!({
            "id": self.id,
            "client_id": self.viewer.client_id,
            "type": self.kind,
            "address": self.viewer.ip,
            "url": self.viewer.stream.as_str(),
            "since": humantime::format_rfc3339_seconds(self.since).to_string(),
            "bytes": self.bytes,
            "kbps": self.bits_per_second / 1000,
        })
    }
}

fn number(query: &str, name: &str) -> Result<Option<usize>, &'static str> {
    let value = query_value(query, name).filter(|value| !value.is_empty());
    let digits = |value: &str| value.bytes().all(|b| b.is_ascii_digit());
    match value {
        None => Ok(None),
        Some(value) if digits(&value) => Ok(Some(value.parse().unwrap_or(usize::MAX))),
        Some(_) => Err("start and count are numbers."),
    }
}
