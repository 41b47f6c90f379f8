//! Which origin: who is there, which streams are pinned where, and finding the one that has a stream.

pub mod memory;
pub mod origin;
pub mod peer;
mod pins;
pub mod redis;
pub mod snapshot;

pub use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use origin::{Origin, OriginState};
use peer::PeerStatus;
pub use pins::{PinFormat, Unpinned};
use snapshot::BalancerSnapshot;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The shared table cannot be changed now; says why.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// An origin that may be asked.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: OriginId,
    pub origin: Arc<Origin>,
    pub state: OriginState,
}

/// An origin as operators see it.
#[derive(Debug, Clone)]
pub struct OriginView {
    pub id: OriginId,
    pub origin: Arc<Origin>,
    pub state: OriginState,
    /// What happened when it became suspect, in words; `None` where it is not.
    pub suspected: Option<Arc<str>>,
    pub heartbeat_age: Duration,
    /// Streams that are pinned to it.
    pub streams: usize,
}

/// How the table that proxies share is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStatus {
    /// Whether it answered last time.
    pub up: bool,
    /// Times that a request needed it in vain since the start.
    pub failures: u64,
}

/// Origins and pins. An implementation guards its memory with a Mutex that no network call is ever
/// made under.
pub trait Balancer: Send + Sync {
    /// Takes a heartbeat. It replaces the entry with the same `ip` and HTTP port, or with the same
    /// `server` and `ip` (a restart), and clears a suspicion.
    ///
    /// # Errors
    /// [`Unavailable`] when it could not be stored.
    fn register(&self, origin: Origin) -> Result<(), Unavailable>;

    /// The origin that the stream was last served from; asking renews the pin.
    fn pinned(&self, stream: &StreamUrl) -> Option<Candidate>;

    /// Everyone who may be asked, in the order of trying: alive ones first and among them those with
    /// the fewest streams, then draining, then suspect ones. Stale ones come last, and only where the
    /// others are all suspect.
    fn candidates(&self) -> Vec<Candidate>;

    /// Pins a stream to the origin that served it.
    fn pin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat);

    /// Unpins a stream, where it is pinned to that origin by a request in that format.
    fn unpin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) -> Unpinned;

    /// The origin could not be connected, or failed for several streams in a row: it is asked last for 5 s, or until its
    /// next heartbeat. `why` is for operators, in words.
    fn suspect(&self, id: &OriginId, why: &str);

    /// An operator wants nothing new on an origin, or wants it back. Gives whether it is known.
    ///
    /// # Errors
    /// [`Unavailable`] when it could not be stored.
    fn drain(&self, id: &str, draining: bool) -> Result<bool, Unavailable>;

    /// Forgets an origin and its pins. Gives whether it was known.
    ///
    /// # Errors
    /// [`Unavailable`] when it could not be stored.
    fn remove(&self, id: &str) -> Result<bool, Unavailable>;

    /// All origins, for operators.
    fn origins(&self) -> Vec<OriginView>;

    /// The stream of an HLS session whose id is not ours, where another proxy has left it.
    fn foreign_session(&self, _id: &str) -> Option<StreamUrl> {
        None
    }

    /// A playlist of the stream was served, asked for at `host` and `path`: other proxies may be asked
    /// for its segments.
    fn playlist_served(&self, _stream: &StreamUrl, _host: Option<&str>, _path: &str) {}

    /// What is known now, for a successor of this process. Empty where it is kept outside of the process.
    fn snapshot(&self) -> BalancerSnapshot {
        BalancerSnapshot::default()
    }

    /// Goes on from what a predecessor knew.
    fn restore(&self, _snapshot: BalancerSnapshot) {}

    /// The text that proxies share under a name; `None` where there is none, or nothing is shared. May wait for a
    /// Redis.
    fn shared_text(&self, _name: &str) -> Option<String> {
        None
    }

    /// Replaces a shared text in one step, if it is `expected` still (`None`: if there is none).
    ///
    /// # Errors
    /// The text that is there instead. Where nothing is shared, or Redis is away, there is no other text.
    fn replace_shared_text(
        &self,
        _name: &str,
        _expected: Option<&str>,
        _new: &str,
    ) -> Result<(), Option<String>> {
        Ok(())
    }

    /// The same without waiting for what comes of it.
    fn announce_shared_text(&self, _name: &str, _expected: Option<&str>, _new: &str) {}

    /// Whether texts are shared with other proxies.
    fn shares_texts(&self) -> bool {
        false
    }

    /// How the table that proxies share is reached; `None` where there is none.
    fn shared(&self) -> Option<SharedStatus> {
        None
    }

    /// What other proxies of ours tell of themselves.
    fn other_proxies(&self) -> Vec<PeerStatus> {
        Vec::new()
    }
}
