//! What one proxy tells the others of itself: which streams it serves, from where, to how many.

use crate::stream::stats::{StreamStats, StreamView, Totals};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Streams that are told of at most, those with most viewers.
const MAX_STREAMS: usize = 1000;

/// One proxy, as all see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name, which is in the `Via` of what it asks origins.
    pub proxy: String,
    /// Where its players come in, as it is bound.
    pub players: String,
    pub streams: Vec<PeerStream>,
    /// Bytes of bodies sent so far.
    pub bytes: u64,
    pub bits_per_second: u64,
    /// Past rates in bits per second, the oldest first, one each [`StreamStats::step`].
    pub history: Vec<u64>,
    /// Requests of players so far. This and what follows is missing in what older proxies tell.
    #[serde(default)]
    pub requests: u64,
    #[serde(default)]
    pub hls_cache: PeerCache,
    #[serde(default)]
    pub version: String,
    /// When it started, in seconds since 1970; 0 where it does not tell.
    #[serde(default)]
    pub started: u64,
}

/// What shared HLS answers have saved one proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCache {
    pub hits: u64,
    pub shares: u64,
    pub fetches: u64,
    pub saved: u64,
    /// Bytes that are kept in memory.
    pub bytes: u64,
}

/// One stream that a proxy serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStream {
    pub url: String,
    /// The origin's id.
    pub origin: String,
    pub origin_address: String,
    pub viewers: usize,
    pub bytes: u64,
    pub bits_per_second: u64,
    /// Seconds since 1970.
    pub since: u64,
}

impl PeerStatus {
    /// What the proxy of that name serves now. Requests, the cache and the start are the caller's to add.
    pub fn of(proxy: &str, players: &str, viewers: &StreamStats) -> Self {
        let Totals {
            bytes,
            bits_per_second,
            history,
        } = viewers.totals();
        let streams = viewers.streams().into_iter().take(MAX_STREAMS);
        Self {
            proxy: proxy.to_owned(),
            players: players.to_owned(),
            streams: streams.map(PeerStream::of).collect(),
            bytes,
            bits_per_second,
            history,
            requests: 0,
            hls_cache: PeerCache::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: 0,
        }
    }
}

impl PeerStream {
    fn of(view: StreamView) -> Self {
        let since = view.since.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            url: view.url.as_str().to_owned(),
            origin: view.origin.to_string(),
            origin_address: view.address,
            viewers: view.viewers,
            bytes: view.bytes,
            bits_per_second: view.bits_per_second,
            since: since.map_or(0, |since| since.as_secs()),
        }
    }

    /// When the first of its viewers came.
    pub fn since(&self) -> SystemTime {
        let since = Duration::from_secs(self.since.min(u64::from(u32::MAX)));
        SystemTime::UNIX_EPOCH + since
    }
}
