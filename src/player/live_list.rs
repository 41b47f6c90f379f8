//! `GET /api/v1/live`: what a visitor of the player page may pick. Names only: no origin, no viewer, no address of anybody.

use crate::locate::OriginLocator;
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::stream::stats::StreamStats;
use crate::stream::url::{ApiMatch, DEFAULT_VHOST, StreamUrl};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Streams that are listed at most, the first ones by name.
const MAX_LISTED: usize = 500;
/// A list is given to all who ask for this long: what a stranger asks costs one list in that time.
const KEPT: Duration = Duration::from_secs(2);
/// What a stream's name cannot have as it is in a path (RFC 3986 section 3.3), and `%` itself.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The list of live streams: what the origins' APIs list, and what is being watched now.
pub struct LiveList {
    /// Off: the answer is a 404.
    on: bool,
    /// Where players reach this proxy, as its operator says; the page's links begin with this URL.
    public_url: Option<String>,
    kept: Mutex<Kept>,
}

/// The newest list, and whether somebody is making the next one.
#[derive(Default)]
struct Kept {
    list: Option<(Instant, Arc<Listed>)>,
    is_being_made: bool,
}

#[derive(Debug, Default)]
struct Listed {
    streams: BTreeSet<StreamUrl>,
    /// How many more there are.
    more: usize,
}

impl LiveList {
    /// A list that is given to everybody, or to nobody.
    pub fn new(on: bool, public_url: Option<String>) -> Self {
        Self {
            on,
            public_url,
            kept: Mutex::default(),
        }
    }

    /// Answers a request. Blocks for 500 ms at most while the APIs are asked.
    pub fn answer(&self, exchange: Exchange, locator: &OriginLocator, stats: &StreamStats) {
        let (status, body) = if self.on {
            let listed = self.listed(|| Listed::of(&locator.listed(), &watched(stats)));
            let host = exchange.head.host.as_deref();
            let entry = |stream: &StreamUrl| entry(stream, host);
            let streams: Vec<Value> = listed.streams.iter().map(entry).collect();
            let data =
                json!({"streams": streams, "more": listed.more, "public_url": self.public_url});
            (200, json!({"code": 0, "data": data}))
        } else {
            let message = "The list of live streams is turned off (PROXY_LIVE_LIST=off).";
            let data = json!({"public_url": self.public_url});
            (404, json!({"code": 404, "message": message, "data": data}))
        };
        let head = ResponseHead::new(status)
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store");
        exchange.answer(head, format!("{body}\n").as_bytes());
    }

    /// The list at hand, or a new one where that is too old. While one request makes it, the others get the old one.
    fn listed(&self, make: impl FnOnce() -> Listed) -> Arc<Listed> {
        let mut kept = self.kept.lock();
        if let Some((since, list)) = &kept.list
            && (since.elapsed() < KEPT || kept.is_being_made)
        {
            return list.clone();
        }
        kept.is_being_made = true;
        drop(kept);
        let _done = MakingEnds(&self.kept);
        let made = Arc::new(make());
        self.kept.lock().list = Some((Instant::now(), made.clone()));
        made
    }
}

/// Ends the making of a list, also where it panics.
struct MakingEnds<'a>(&'a Mutex<Kept>);

impl Drop for MakingEnds<'_> {
    fn drop(&mut self) {
        self.0.lock().is_being_made = false;
    }
}

impl Listed {
    /// Both together, each stream once: one that is watched under a host's name may be listed in the default vhost, where
    /// SRS serves it from.
    fn of(by_apis: &HashSet<StreamUrl>, watched: &[StreamUrl]) -> Self {
        let unlisted = |it: &&StreamUrl| it.api_match(by_apis) == ApiMatch::No;
        let mut listed = Self::default();
        for stream in by_apis.iter().chain(watched.iter().filter(unlisted)) {
            listed.streams.insert(stream.clone());
            if listed.streams.len() > MAX_LISTED {
                listed.streams.pop_last();
                listed.more += 1;
            }
        }
        listed
    }
}

fn watched(stats: &StreamStats) -> Vec<StreamUrl> {
    let watched = stats.streams().into_iter();
    let served = watched.filter(|it| it.viewers > 0);
    served.map(|it| it.url).collect()
}

/// A stream as a player at `host` asks for it: `path` without an extension, and the `query` that names its vhost where
/// the host does not.
fn entry(stream: &StreamUrl, host: Option<&str>) -> Value {
    let path = utf8_percent_encode(stream.app_stream(), NOT_IN_PATH).to_string();
    let by_host = StreamUrl::of_request(host, &format!("{path}.flv"), None);
    let is_plain = stream.vhost() == DEFAULT_VHOST || by_host.as_ref() == Some(stream);
    let query = match is_plain {
        true => String::new(),
        false => format!("vhost={}", stream.vhost()),
    };
    json!({"url": stream.as_str(), "path": path, "query": query})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(url: &str) -> StreamUrl {
        StreamUrl::parse(url).unwrap()
    }

    #[test]
    fn each_stream_is_listed_once_and_not_too_many() {
        let by_apis = HashSet::from([stream("__defaultVhost__/live/a"), stream("v.org/live/b")]);
        let watched = [
            stream("ts.example.com/live/a"), // of the default vhost
            stream("v.org/live/b"),
            stream("v.org/live/c"),
        ];
        let listed = Listed::of(&by_apis, &watched);
        let names: Vec<&str> = listed.streams.iter().map(StreamUrl::as_str).collect();
        assert_eq!(
            names,
            ["__defaultVhost__/live/a", "v.org/live/b", "v.org/live/c"]
        );
        let many = (0..MAX_LISTED + 7).map(|n| stream(&format!("v/live/{n}")));
        let listed = Listed::of(&many.collect(), &[]);
        assert_eq!((listed.streams.len(), listed.more), (MAX_LISTED, 7));
    }

    #[test]
    fn an_entry_is_what_a_player_asks_for() {
        for (url, host, path, query) in [
            ("__defaultVhost__/live/a", "proxy:1", "/live/a", ""),
            ("__defaultVhost__/live/a", "ts.example.com", "/live/a", ""),
            ("v.org/live/a", "v.org:18080", "/live/a", ""),
            ("v.org/live/a", "10.0.0.1", "/live/a", "vhost=v.org"),
            ("v.org/a?b/c d%", "v.org", "/a%3Fb/c%20d%25", ""),
        ] {
            let entry = entry(&stream(url), Some(host));
            assert_eq!(
                (&entry["path"], &entry["query"]),
                (&json!(path), &json!(query))
            );
            let query = entry["query"].as_str().filter(|it| !it.is_empty());
            let path = format!("{}.flv", entry["path"].as_str().unwrap());
            let asked = StreamUrl::of_request(Some(host), &path, query).unwrap();
            assert_eq!(asked.app_stream(), stream(url).app_stream());
        }
    }

    #[test]
    fn a_list_is_made_once_in_its_time() {
        let list = LiveList::new(true, None);
        list.listed(Listed::default);
        list.listed(|| panic!("the first one is still good"));
        list.kept.lock().list.as_mut().unwrap().0 -= KEPT;
        list.kept.lock().is_being_made = true;
        list.listed(|| panic!("somebody else makes it"));
        list.kept.lock().is_being_made = false;
        assert_eq!(
            list.listed(|| Listed {
                more: 3,
                ..Listed::default()
            })
            .more,
            3
        );
        assert!(!list.kept.lock().is_being_made);
    }
}
