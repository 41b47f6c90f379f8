//! Who watches what: viewers and bytes of each stream that is being served.

use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A stream that nobody asked for in this time is not shown any more; an HLS player asks for its
/// playlist every few seconds.
const SEEN: Duration = Duration::from_secs(30);
/// Streams that are counted at most.
const MAX_STREAMS: usize = 10_000;
/// HLS players that are told apart for one stream at most.
const MAX_PLAYERS: usize = 10_000;
/// Bit rates are over this time.
const RATE_TIME: Duration = Duration::from_secs(5);
/// How many past rates are kept of all streams together: five minutes.
const HISTORY: usize = 60;

/// Counts the bytes that go to the viewers of one stream, and of all.
#[derive(Debug, Clone)]
pub struct ByteCounter {
    own: Arc<Counters>,
    all: Arc<AtomicU64>,
}

impl ByteCounter {
    /// Counts bytes of body that were handed to a client.
    pub fn add(&self, bytes: u64) {
        self.own.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    live: AtomicUsize,
}

#[derive(Debug)]
struct StreamEntry {
    counters: Arc<Counters>,
    origin: OriginId,
    address: String,
    since: SystemTime,
    seen: Instant,
    /// HLS players by who they seem to be, and when they last asked.
    players: HashMap<u64, Instant>,
    /// Bytes at the last look, and bits per second since the one before.
    last_bytes: u64,
    rate: u64,
}

/// A stream as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    pub url: StreamUrl,
    pub origin: OriginId,
    pub address: String,
    /// Live connections, and HLS players of the last 30 s.
    pub viewers: usize,
    /// Bytes of bodies sent since `since`.
    pub bytes: u64,
    /// Bits per second over the last 5 s.
    pub bits_per_second: u64,
    pub since: SystemTime,
}

/// All streams together.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub bytes: u64,
    pub bits_per_second: u64,
    /// Past rates in bits per second, the oldest first, one each [`StreamStats::step`].
    pub history: Vec<u64>,
}

/// The table of streams that are being watched. Its lock is taken when a request begins or ends, not
/// while it runs.
#[derive(Debug, Default)]
pub struct StreamStats {
    bytes: Arc<AtomicU64>,
    state: Mutex<StatsState>,
}

#[derive(Debug, Default)]
struct StatsState {
    streams: HashMap<StreamUrl, StreamEntry>,
    looked: Option<Instant>,
    last_bytes: u64,
    rate: u64,
    history: Vec<u64>,
}

/// A live viewer; it counts until this is dropped.
#[derive(Debug)]
pub struct Viewer {
    viewers: Arc<StreamStats>,
    stream: StreamUrl,
    pub meter: ByteCounter,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.meter.own.live.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.viewers.lock();
        if let Some(watched) = state.streams.get_mut(&self.stream) {
            watched.seen = Instant::now();
        }
    }
}

impl StreamStats {
    /// Time between two entries of the history.
    pub fn step() -> Duration {
        RATE_TIME
    }

    /// A live viewer of a stream comes, served by that origin.
    pub fn live(self: &Arc<Self>, stream: &StreamUrl, origin: &OriginId, address: &str) -> Viewer {
        let meter = self.touch(stream, origin, address, None);
        meter.own.live.fetch_add(1, Ordering::Relaxed);
        Viewer {
            viewers: self.clone(),
            stream: stream.clone(),
            meter,
        }
    }

    /// A playlist or a segment of a stream is served; `player` tells HLS players apart where it can.
    pub fn touch(
        &self,
        stream: &StreamUrl,
        origin: &OriginId,
        address: &str,
        player: Option<u64>,
    ) -> ByteCounter {
        let now = Instant::now();
        let mut state = self.lock();
        // Room comes with the next look: to search a full table now would cost each request that.
        if state.streams.len() >= MAX_STREAMS && !state.streams.contains_key(stream) {
            return ByteCounter {
                own: Arc::default(),
                all: self.bytes.clone(),
            };
        }
        let watched = state
            .streams
            .entry(stream.clone())
            .or_insert_with(|| StreamEntry {
                counters: Arc::default(),
                origin: origin.clone(),
                address: address.to_owned(),
                since: SystemTime::now(),
                seen: now,
                players: HashMap::new(),
                last_bytes: 0,
                rate: 0,
            });
        watched.seen = now;
        if watched.origin != *origin {
            watched.origin = origin.clone();
            address.clone_into(&mut watched.address);
        }
        if let Some(player) = player
            && (watched.players.len() < MAX_PLAYERS || watched.players.contains_key(&player))
        {
            watched.players.insert(player, now);
        }
        ByteCounter {
            own: watched.counters.clone(),
            all: self.bytes.clone(),
        }
    }

    /// Looks at all counters: to be called every [`StreamStats::step`], for the rates. Forgets the streams
    /// that nobody watches any more.
    pub fn sample(&self) {
        let now = Instant::now();
        let all = self.bytes.load(Ordering::Relaxed);
        let mut state = self.lock();
        let time = state
            .looked
            .map_or(RATE_TIME, |at| now.saturating_duration_since(at));
        let seconds = time.as_secs_f64().max(0.001);
        let rate =
            |now: u64, before: u64| (now.saturating_sub(before) as f64 * 8.0 / seconds) as u64;
        state.looked = Some(now);
        state.rate = rate(all, state.last_bytes);
        state.last_bytes = all;
        let newest = state.rate;
        state.history.push(newest);
        if state.history.len() > HISTORY {
            state.history.remove(0);
        }
        for watched in state.streams.values_mut() {
            let bytes = watched.counters.bytes.load(Ordering::Relaxed);
            watched.rate = rate(bytes, watched.last_bytes);
            watched.last_bytes = bytes;
            watched
                .players
                .retain(|_, seen| now.saturating_duration_since(*seen) < SEEN);
        }
        state.streams.retain(|_, watched| {
            watched.counters.live.load(Ordering::Relaxed) > 0
                || now.saturating_duration_since(watched.seen) < SEEN
        });
    }

    /// The streams that are being watched, those with most viewers first.
    pub fn streams(&self) -> Vec<StreamView> {
        let now = Instant::now();
        let state = self.lock();
        let view = |(url, watched): (&StreamUrl, &StreamEntry)| {
            let live = watched.counters.live.load(Ordering::Relaxed);
            let recent = |seen: &&Instant| now.saturating_duration_since(**seen) < SEEN;
            StreamView {
                url: url.clone(),
                origin: watched.origin.clone(),
                address: watched.address.clone(),
                viewers: live + watched.players.values().filter(recent).count(),
                bytes: watched.counters.bytes.load(Ordering::Relaxed),
                bits_per_second: watched.rate,
                since: watched.since,
            }
        };
        let mut streams: Vec<StreamView> = state.streams.iter().map(view).collect();
        drop(state);
        streams.sort_by(|a, b| b.viewers.cmp(&a.viewers).then_with(|| a.url.cmp(&b.url)));
        streams
    }

    /// All streams together.
    pub fn totals(&self) -> Totals {
        let state = self.lock();
        Totals {
            bytes: self.bytes.load(Ordering::Relaxed),
            bits_per_second: state.rate,
            history: state.history.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, StatsState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
    }

    #[test]
    fn live_viewers_and_hls_players_are_counted_together() {
        let viewers = Arc::new(StreamStats::default());
        let origin: OriginId = "o".into();
        let one = viewers.live(&stream("a"), &origin, "x:1");
        let two = viewers.live(&stream("a"), &origin, "x:1");
        for player in [1, 1, 2] {
            viewers
                .touch(&stream("a"), &origin, "x:1", Some(player))
                .add(10);
        }
        one.meter.add(5);
        drop(two);
        let view = viewers.streams();
        assert_eq!((view.len(), view[0].viewers, view[0].bytes), (1, 3, 35));
        assert_eq!(viewers.totals().bytes, 35);
        drop(one);
        assert_eq!(viewers.streams()[0].viewers, 2);
    }

    #[test]
    fn rates_are_taken_between_looks_and_the_history_is_bounded() {
        let viewers = Arc::new(StreamStats::default());
        viewers.sample();
        viewers
            .touch(&stream("a"), &"o".into(), "x:1", None)
            .add(1_000_000);
        viewers.sample();
        assert!(viewers.streams()[0].bits_per_second > 0);
        for _ in 0..HISTORY * 2 {
            viewers.sample();
        }
        assert_eq!(viewers.totals().history.len(), HISTORY);
    }

    #[test]
    fn a_stream_follows_its_origin_and_the_table_is_bounded() {
        let viewers = Arc::new(StreamStats::default());
        viewers.touch(&stream("a"), &"o1".into(), "x:1", None);
        viewers.touch(&stream("a"), &"o2".into(), "x:2", None);
        assert_eq!(
            (
                &*viewers.streams()[0].origin,
                &*viewers.streams()[0].address
            ),
            ("o2", "x:2")
        );
        for n in 0..MAX_STREAMS + 10 {
            viewers
                .touch(&stream(&n.to_string()), &"o".into(), "x", None)
                .add(1);
        }
        assert_eq!(viewers.streams().len(), MAX_STREAMS);
    }

    #[test]
    fn a_full_table_is_not_searched_for_each_request_but_with_each_look() {
        let viewers = Arc::new(StreamStats::default());
        let come = |name: &str| viewers.touch(&stream(name), &"o".into(), "x", None);
        for n in 0..MAX_STREAMS {
            come(&n.to_string());
        }
        let long_ago = Instant::now().checked_sub(SEEN).unwrap();
        for watched in viewers.lock().streams.values_mut() {
            watched.seen = long_ago;
        }
        come("new").add(1);
        let counted = || viewers.lock().streams.contains_key(&stream("new"));
        assert!(!counted(), "there is no room yet");
        viewers.sample();
        come("new").add(1);
        assert!(counted());
        assert_eq!(viewers.totals().bytes, 2, "all bytes count at any time");
    }
}
