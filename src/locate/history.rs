//! What earlier attempts and relays have found out: news that is younger than what an API said, failures in a row, and
//! origins that serve more than their API lists. Time is handed in; nothing here asks anybody.

use crate::balancer::OriginId;
use crate::locate::wanted::Wanted;
use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// News voids what APIs said before it, and an API's word is believed for 2 s: after this time there is nothing left to void.
const NEWS_TIME: Duration = Duration::from_secs(10);
/// Streams with news that are remembered at most.
const MAX_NEWS: usize = 10_000;
/// Failures in a row, each of another stream, that make an origin suspect.
const STRIKES: usize = 3;
/// Origins that are remembered at most, as failing or as serving unlisted streams.
const MAX_ORIGINS: usize = 1024;
/// An origin that has served nothing unlisted for this long is no longer asked for unlisted streams at once.
const UNLISTED_TIME: Duration = Duration::from_secs(3600);
/// Findings that wait for the API's next word at most.
const MAX_FINDINGS: usize = 64;

/// What is remembered between look-ups. One for the process; each method holds the lock for a few table accesses.
#[derive(Debug, Default)]
pub(super) struct History {
    state: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    /// By stream: origins where it was seen to fail, and when.
    news: HashMap<StreamUrl, Vec<(OriginId, Instant)>>,
    /// By origin: the streams whose last requests failed, without an answer between.
    strikes: HashMap<OriginId, Vec<StreamUrl>>,
    /// By address, which outlives a restart, and kind of request: when something unlisted was served last.
    unlisted: HashMap<(SocketAddr, bool), Instant>,
    findings: Vec<Finding>,
}

/// An origin served a stream that its API had not listed. Whether the stream was published in that very moment, or the
/// origin serves more than it lists, the API's next answer tells.
#[derive(Debug, Clone)]
struct Finding {
    stream: StreamUrl,
    origin: OriginId,
    address: SocketAddr,
    live: bool,
    at: Instant,
}

fn is_live(wanted: Wanted) -> bool {
    matches!(wanted, Wanted::Live(_))
}

impl History {
    /// The stream failed at that origin just now: what its API said before is void.
    pub fn failed(&self, stream: &StreamUrl, origin: &OriginId, now: Instant) {
        let mut state = self.state.lock();
        if state.news.len() >= MAX_NEWS && !state.news.contains_key(stream) {
            let young = |at: &Instant| now.saturating_duration_since(*at) < NEWS_TIME;
            state
                .news
                .retain(|_, news| news.iter().any(|(_, at)| young(at)));
            if state.news.len() >= MAX_NEWS {
                state.news.clear(); // a crowd of failures: an old hit or two may be believed
            }
        }
        let news = state.news.entry(stream.clone()).or_default();
        news.retain(|(id, at)| id != origin && now.saturating_duration_since(*at) < NEWS_TIME);
        news.push((origin.clone(), now));
    }

    /// The origins where the stream failed within the last 10 s, and when.
    pub fn news(&self, stream: &StreamUrl, now: Instant) -> Vec<(OriginId, Instant)> {
        let state = self.state.lock();
        let Some(news) = state.news.get(stream) else {
            return Vec::new();
        };
        let young = |(_, at): &&(OriginId, Instant)| now.saturating_duration_since(*at) < NEWS_TIME;
        news.iter().filter(young).cloned().collect()
    }

    /// The origin closed, or was silent, for that stream. Gives whether it has now failed for three different streams
    /// in a row; the count begins anew then.
    pub fn strike(&self, origin: &OriginId, stream: &StreamUrl) -> bool {
        let mut state = self.state.lock();
        if state.strikes.len() >= MAX_ORIGINS && !state.strikes.contains_key(origin) {
            state.strikes.clear(); // ids of restarted origins pile up: they count anew
        }
        let streams = state.strikes.entry(origin.clone()).or_default();
        if !streams.contains(stream) {
            streams.push(stream.clone());
        }
        let out = streams.len() >= STRIKES;
        if out {
            state.strikes.remove(origin);
        }
        out
    }

    /// The origin sent a response head: it is in good health.
    pub fn answered(&self, origin: &OriginId) {
        self.state.lock().strikes.remove(origin);
    }

    /// The origin served a stream that its API had not listed.
    pub fn served_unlisted(
        &self,
        stream: &StreamUrl,
        (origin, address): (&OriginId, SocketAddr),
        wanted: Wanted,
        now: Instant,
    ) {
        let mut state = self.state.lock();
        if state.findings.len() >= MAX_FINDINGS {
            state.findings.remove(0);
        }
        state.findings.push(Finding {
            stream: stream.clone(),
            origin: origin.clone(),
            address,
            live: is_live(wanted),
            at: now,
        });
    }

    /// Decides over the findings whose origins have been asked since. `listed` says what an origin's API told of a
    /// stream in a round that began after a moment; `None` where there was no such round yet, or no answer.
    pub fn settle(&self, listed: impl Fn(&StreamUrl, &OriginId, Instant) -> Option<bool>) {
        let mut state = self.state.lock();
        if state.findings.is_empty() {
            return;
        }
        for finding in std::mem::take(&mut state.findings) {
            match listed(&finding.stream, &finding.origin, finding.at) {
                Some(true) => {} // it was published between the API's word and the request
                Some(false) => {
                    if state.unlisted.len() >= 2 * MAX_ORIGINS {
                        state.unlisted.clear();
                    }
                    let key = (finding.address, finding.live);
                    state.unlisted.insert(key, finding.at);
                }
                None => state.findings.push(finding),
            }
        }
    }

    /// Whether the origin at that address serves what its API does not list, in this kind of request. SRS answers
    /// playlists of ended streams for a while: that says nothing of its live streams.
    pub fn serves_unlisted(&self, address: SocketAddr, wanted: Wanted, now: Instant) -> bool {
        let state = self.state.lock();
        let last = state.unlisted.get(&(address, is_live(wanted)));
        last.is_some_and(|at| now.saturating_duration_since(*at) < UNLISTED_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
    }

    #[test]
    fn news_is_about_one_stream_at_one_origin_and_ages() {
        let (history, now) = (History::default(), Instant::now());
        history.failed(&stream("a"), &"o".into(), now);
        history.failed(&stream("a"), &"p".into(), now + SECOND);
        history.failed(&stream("a"), &"o".into(), now + SECOND * 2);
        let news = history.news(&stream("a"), now + SECOND * 3);
        assert_eq!(
            news,
            [("p".into(), now + SECOND), ("o".into(), now + SECOND * 2)]
        );
        assert!(history.news(&stream("b"), now).is_empty());
        assert_eq!(
            history.news(&stream("a"), now + NEWS_TIME + SECOND).len(),
            1
        );
        for n in 0..MAX_NEWS * 2 {
            history.failed(&stream(&n.to_string()), &"o".into(), now);
        }
        assert!(history.state.lock().news.len() <= MAX_NEWS);
    }

    #[test]
    fn three_streams_in_a_row_and_no_answer_between() {
        let (history, origin) = (History::default(), "o".into());
        assert!(!history.strike(&origin, &stream("a")));
        assert!(
            !history.strike(&origin, &stream("a")),
            "one player's stream"
        );
        assert!(!history.strike(&origin, &stream("b")));
        assert!(!history.strike(&"p".into(), &stream("c")), "another origin");
        history.answered(&origin);
        assert!(!history.strike(&origin, &stream("c")));
        assert!(!history.strike(&origin, &stream("a")));
        assert!(history.strike(&origin, &stream("b")));
    }

    #[test]
    fn an_edge_is_known_once_its_api_has_spoken_again() {
        let (history, now) = (History::default(), Instant::now());
        let (edge, live) = (("o".into(), ([127, 0, 0, 1], 1).into()), Wanted::Live(None));
        let (id, address): (&OriginId, SocketAddr) = (&edge.0, edge.1);
        let known = |wanted, at| history.serves_unlisted(address, wanted, at);
        let settle = |said: Option<bool>| {
            history.served_unlisted(&stream("a"), (id, address), live, now);
            history.settle(|_, _, since| {
                assert_eq!(since, now);
                said
            });
            known(live, now)
        };
        assert!(!settle(None), "it has not spoken yet");
        assert!(!settle(Some(true)), "somebody began to publish");
        assert!(history.state.lock().findings.is_empty());
        assert!(settle(Some(false)));
        assert!(!known(Wanted::Playlist, now));
        assert!(!known(live, now + UNLISTED_TIME), "not for ever");
    }
}
