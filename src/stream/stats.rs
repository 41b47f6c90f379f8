//! Who watches what: viewers and bytes of each stream that is being served.

use crate::stream::clients::{ClientTag, Clients, Listed};
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
/// HLS players that are told apart for all streams together at most: what makes one is a request's to choose.
const MAX_ALL_PLAYERS: usize = 100_000;
/// Origins whose bytes are counted apart; those of further ones are counted for all only.
const MAX_ORIGINS: usize = 256;
/// Bit rates are over this time.
const RATE_TIME: Duration = Duration::from_secs(5);
/// How many past rates are kept of all streams together: five minutes.
const HISTORY: usize = 60;

/// Counts the bytes that go to the viewers of one stream, and of all.
#[derive(Debug, Clone)]
pub struct ByteCounter {
    own: Arc<Counters>,
    origin: Arc<AtomicU64>,
    all: Arc<AtomicU64>,
    /// Of one viewer, where it is listed.
    client: Option<Arc<AtomicU64>>,
}

impl ByteCounter {
    /// Counts bytes of body that were handed to a client.
    pub fn add(&self, bytes: u64) {
        self.own.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.origin.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
        if let Some(client) = &self.client {
            client.fetch_add(bytes, Ordering::Relaxed);
        }
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

impl StreamEntry {
    /// Whether a live connection watches the stream.
    fn is_live(&self) -> bool {
        self.counters.live.load(Ordering::Relaxed) > 0
    }
}

impl StatsState {
    /// The counter of the bytes from that origin; one that nobody looks at where there are too many origins.
    fn bytes_from(&mut self, address: &str) -> Arc<AtomicU64> {
        if let Some(bytes) = self.origins.get(address) {
            return bytes.clone();
        }
        let bytes = Arc::<AtomicU64>::default();
        if self.origins.len() < MAX_ORIGINS {
            self.origins.insert(address.into(), bytes.clone());
        }
        bytes
    }
}

/// A stream as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    pub url: StreamUrl,
    pub origin: OriginId,
    pub address: String,
    /// Live connections, and HLS players of the last 30 s.
    pub viewers: usize,
    /// Live connections.
    pub live: usize,
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
    /// The live viewers one by one.
    pub clients: Arc<Clients>,
    state: Mutex<StatsState>,
}

#[derive(Debug, Default)]
struct StatsState {
    streams: HashMap<StreamUrl, StreamEntry>,
    /// HLS players in all entries; those that have gone count until the next look.
    players: usize,
    /// Bytes that came from each origin, by its address.
    origins: HashMap<Box<str>, Arc<AtomicU64>>,
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
    listed: Option<Listed>,
}

impl Viewer {
    /// The same, listed among the live viewers.
    pub fn listed(mut self, tag: ClientTag) -> Self {
        let (listed, bytes) = self.viewers.clients.enter(&self.stream, tag);
        self.listed = Some(listed);
        self.meter.client = Some(bytes);
        self
    }
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
        self.make_room(stream);
        let meter = self.touch(stream, origin, address, None);
        meter.own.live.fetch_add(1, Ordering::Relaxed);
        Viewer {
            viewers: self.clone(),
            stream: stream.clone(),
            meter,
            listed: None,
        }
    }

    /// In a full table a live viewer's stream takes the place of one that only HLS requests have touched: whoever can
    /// make up names (`?vhost=`) fills the table with such, and must not hide what is watched.
    fn make_room(&self, stream: &StreamUrl) {
        let mut state = self.lock();
        if state.streams.len() < MAX_STREAMS || state.streams.contains_key(stream) {
            return;
        }
        let touched = state.streams.iter().filter(|(_, entry)| !entry.is_live());
        let oldest = touched.min_by_key(|(_, entry)| entry.seen);
        if let Some(oldest) = oldest.map(|(url, _)| url.clone())
            && let Some(entry) = state.streams.remove(&oldest)
        {
            state.players = state.players.saturating_sub(entry.players.len());
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
        let state = &mut *state;
        let from_origin = state.bytes_from(address);
        // Room comes with the next look: to search a full table now would cost each request that.
        if state.streams.len() >= MAX_STREAMS && !state.streams.contains_key(stream) {
            return ByteCounter {
                own: Arc::default(),
                origin: from_origin,
                all: self.bytes.clone(),
                client: None,
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
        if let Some(player) = player {
            let room = watched.players.len() < MAX_PLAYERS && state.players < MAX_ALL_PLAYERS;
            if let Some(seen) = watched.players.get_mut(&player) {
                *seen = now;
            } else if room {
                watched.players.insert(player, now);
                state.players += 1;
            }
        }
        ByteCounter {
            own: watched.counters.clone(),
            origin: from_origin,
            all: self.bytes.clone(),
            client: None,
        }
    }

    /// Bytes that were sent on from each origin since the start, by its address.
    pub fn origin_bytes(&self) -> HashMap<Box<str>, u64> {
        let state = self.lock();
        let bytes = state.origins.iter();
        bytes
            .map(|(address, bytes)| (address.clone(), bytes.load(Ordering::Relaxed)))
            .collect()
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
        self.clients.sample(seconds);
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
        state.players = state
            .streams
            .values()
            .map(|watched| watched.players.len())
            .sum();
        state.streams.retain(|_, watched| {
            watched.is_live() || now.saturating_duration_since(watched.seen) < SEEN
        });
    }

    /// The streams that are being watched, those with most viewers first; among equals those with more live ones, which
    /// cost whoever makes them up a place each.
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
                live,
                viewers: live + watched.players.values().filter(recent).count(),
                bytes: watched.counters.bytes.load(Ordering::Relaxed),
                bits_per_second: watched.rate,
                since: watched.since,
            }
        };
        let mut streams: Vec<StreamView> = state.streams.iter().map(view).collect();
        drop(state);
        streams.sort_by(|a, b| {
            let by_viewers = (b.viewers, b.live).cmp(&(a.viewers, a.live));
            by_viewers.then_with(|| a.url.cmp(&b.url))
        });
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

    #[test]
    fn what_is_watched_live_is_seen_also_beside_ten_thousand_made_up_names() {
        let stats = Arc::new(StreamStats::default());
        for n in 0..MAX_STREAMS {
            let name = StreamUrl::parse(&format!("x{n}.example/live/a")).unwrap();
            stats.touch(&name, &"o".into(), "x:1", Some(1));
        }
        let real: Vec<_> = (0..3)
            .map(|n| stats.live(&stream(&n.to_string()), &"o".into(), "x:1"))
            .collect();
        let views = stats.streams();
        assert_eq!(views.len(), MAX_STREAMS);
        for (n, view) in views[..3].iter().enumerate() {
            assert_eq!((view.url.clone(), view.live), (stream(&n.to_string()), 1));
        }
        drop(real);
    }

    #[test]
    fn players_are_bounded_over_all_streams() {
        let stats = StreamStats::default();
        for n in 0..MAX_ALL_PLAYERS as u64 + 500 {
            let name = stream(&(n % 100).to_string());
            stats.touch(&name, &"o".into(), "x:1", Some(n));
        }
        let viewers = || {
            stats
                .streams()
                .iter()
                .map(|view| view.viewers)
                .sum::<usize>()
        };
        assert_eq!(viewers(), MAX_ALL_PLAYERS);
        stats.sample();
        assert_eq!(
            stats.lock().players,
            MAX_ALL_PLAYERS,
            "counted anew with each look"
        );
    }

    #[test]
    fn bytes_are_counted_by_origin_too() {
        let stats = StreamStats::default();
        stats.touch(&stream("a"), &"o1".into(), "x:1", None).add(5);
        stats.touch(&stream("b"), &"o1".into(), "x:1", None).add(6);
        stats.touch(&stream("a"), &"o2".into(), "x:2", None).add(7);
        let bytes = stats.origin_bytes();
        assert_eq!((bytes["x:1"], bytes["x:2"]), (11, 7));
        for n in 0..MAX_ORIGINS * 2 {
            stats.touch(&stream("a"), &"o".into(), &format!("y:{n}"), None);
        }
        assert_eq!(stats.origin_bytes().len(), MAX_ORIGINS);
    }
}
