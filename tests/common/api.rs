//! A scripted SRS HTTP API: `GET /api/v1/streams/`, paged as SRS pages it.

use super::answer::{Answer, Reply};
use super::origin::{Origin, Request};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One entry of the streams list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `/app/stream` for the default vhost, `vhost/app/stream` for another.
    pub url: String,
    /// `publish.active`: whether somebody publishes it now.
    pub active: bool,
}

/// What the API does instead of answering well.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It answers after so long.
    Slow(Duration),
    /// It never answers.
    Hangs,
    /// It closes without a head.
    Closes,
    /// It answers this status.
    Status(u16),
    /// It answers 200 with this body.
    Rubbish(Vec<u8>),
    /// It sends the head and most of the list, and never the rest.
    Stalls,
}

#[derive(Default)]
struct Shared {
    entries: Vec<Entry>,
    trouble: Option<Trouble>,
}

/// The API; its requests are at [`SrsApi::server`].
pub struct SrsApi {
    server: Box<Origin>,
    shared: Arc<Mutex<Shared>>,
}

impl SrsApi {
    /// Starts on a free port, without streams.
    pub fn start() -> SrsApi {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let server = Box::new(Origin::start());
        server.behave(super::origin::Manner::Srs);
        let state = Arc::clone(&shared);
        server.otherwise(move |request| answer(&state, request));
        SrsApi { server, shared }
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The server beneath: its requests, its connections, stopping and starting it.
    pub fn server(&self) -> &Origin {
        &self.server
    }

    /// Somebody publishes `url` now.
    pub fn publish(&self, url: &str) {
        self.set(url, true);
    }

    /// The publisher of `url` is gone; the entry stays a while, as in SRS.
    pub fn unpublish(&self, url: &str) {
        self.set(url, false);
    }

    /// The entry of `url` is gone.
    pub fn forget(&self, url: &str) {
        self.shared
            .lock()
            .expect("shared")
            .entries
            .retain(|e| e.url != url);
    }

    /// What goes wrong from now on; `None`: nothing.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.shared.lock().expect("shared").trouble = trouble;
    }

    /// How many times the list was asked for from its beginning.
    pub fn rounds(&self) -> usize {
        let first = |r: &Request| r.query_value("start").is_none_or(|s| s == "0");
        self.server
            .requests_for("/api/v1/streams/")
            .iter()
            .filter(|r| first(r))
            .count()
    }

    fn set(&self, url: &str, active: bool) {
        let mut shared = self.shared.lock().expect("shared");
        shared.entries.retain(|e| e.url != url);
        shared.entries.push(Entry {
            url: url.to_owned(),
            active,
        });
    }
}

fn answer(shared: &Mutex<Shared>, request: &Request) -> Answer {
    match request.path() {
        "/api/v1/streams/" => {}
        "/api/v1/streams" => {
            return Reply::new(302)
                .header("Location", "/api/v1/streams/")
                .into();
        }
        _ => return Reply::new(404).body(r#"{"code":404}"#).into(),
    }
    let shared = shared.lock().expect("shared");
    let list = Reply::ok("application/json", list(&shared.entries, request));
    match shared.trouble.clone() {
        None => list.into(),
        Some(Trouble::Slow(delay)) => list.after(delay).into(),
        Some(Trouble::Hangs) => Answer::Silence,
        Some(Trouble::Closes) => Answer::CloseWithoutHead,
        Some(Trouble::Status(status)) => Reply::new(status).into(),
        Some(Trouble::Rubbish(body)) => Reply::ok("application/json", body).into(),
        Some(Trouble::Stalls) => list.announce(1 << 20).into(),
    }
}

/// A page: `count` entries (10 unless asked for more) from `start` on.
fn list(entries: &[Entry], request: &Request) -> String {
    let number = |name| {
        request
            .query_value(name)
            .and_then(|v| v.parse::<usize>().ok())
    };
    let start = number("start").unwrap_or(0);
    let count = number("count").unwrap_or(10).max(10);
    let page = entries.iter().enumerate().skip(start).take(count);
    let streams: Vec<_> = page.map(|(n, entry)| describe(n, entry)).collect();
    json!({"code": 0, "server": "vid-1", "service": "1", "pid": "1", "streams": streams})
        .to_string()
}

/// The fields of a real entry. All but `url` and `publish.active` must not be trusted, so they mislead here:
/// they are the first requester's words in SRS, too.
fn describe(n: usize, entry: &Entry) -> serde_json::Value {
    json!({
        "id": format!("vid-{n}"), "name": "first.flv", "vhost": format!("vid-vhost{n}"), "app": "first",
        "tcUrl": "rtmp://push.example.com/first", "url": entry.url, "live_ms": 1, "clients": 1, "frames": 1,
        "send_bytes": 1, "recv_bytes": 1, "kbps": {"recv_30s": 1, "send_30s": 0},
        "publish": {"active": entry.active, "cid": "o1"}, "video": null, "audio": null,
    })
}
