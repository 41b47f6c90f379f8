//! What live channels are told, what tells them apart, and what is counted of all of them.

use crate::media::format::Format;
use crate::stream::url::StreamUrl;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The settings of live channels.
#[derive(Debug, Clone, Copy)]
pub struct ChannelSettings {
    /// Whether viewers share connections to origins (`PROXY_LIVE_SHARE`).
    pub share: bool,
    /// Whether a new viewer begins at the last key frame (`PROXY_GOP_CACHE`).
    pub gop_cache: bool,
    /// Memory for pieces of all channels, in bytes (`PROXY_LIVE_BUFFER`).
    pub buffer: u64,
    /// How long a stream that broke off is looked for (`PROXY_LIVE_RESUME`); zero is not at all.
    pub resume: Duration,
    /// Most live streams at once.
    pub max_streams: usize,
}

/// What must be the same for two viewers to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    pub format: Format,
    pub stream: StreamUrl,
    /// Path and query for the origin: another token is another channel, for its viewer was admitted by it.
    pub target: String,
    /// The site that `Referer` or `Origin` names, which an origin may decide by.
    pub site: String,
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query: tokens do not belong in logs.
        write!(f, "{}.{}", self.stream.as_str(), self.format.extension())
    }
}

/// What all channels of the process share.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub opened: AtomicU64,
    pub skips: AtomicU64,
    pub splices: AtomicU64,
    /// Connections to origins for live streams.
    pub connections: AtomicUsize,
    /// The proxy is ending: streams that break off are not looked for any more.
    pub is_ending: AtomicBool,
}

/// Figures of all channels since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelTotals {
    pub opened: u64,
    pub skips: u64,
    pub splices: u64,
    /// Connections to origins for live streams, those of viewers who do not share, too.
    pub origin_connections: usize,
    /// Bytes that pieces take now.
    pub bytes: u64,
    /// Bytes that pieces may take.
    pub limit: u64,
}

/// A connection to an origin for a live stream; it counts until this is dropped.
#[derive(Debug)]
pub struct OriginConnection(Arc<Common>);

impl OriginConnection {
    pub(super) fn new(common: &Arc<Common>) -> Self {
        common.connections.fetch_add(1, Ordering::Relaxed);
        Self(common.clone())
    }
}

impl Drop for OriginConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
