//! What this proxy knows of Redis: short copies of pins and sessions, and the memory beneath.

use crate::balancer::OriginId;
use crate::balancer::memory::Memory;
use crate::balancer::redis::ration::Ration;
use crate::runtime::recent::Recent;
use crate::runtime::warn_once::WarnOnce;
use crate::stream::url::StreamUrl;
use log::warn;
use parking_lot::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Streams whose copies are kept at least.
const STREAMS: usize = 20_000;
/// Foreign session ids that are kept at least.
const SESSIONS: usize = 4096;
/// Keys that are warned of, once each; beyond this number there are no further warnings.
const MAX_WARNED: usize = 1000;
/// A copy is believed for this long.
pub const CACHE_TIME: Duration = Duration::from_secs(1);

/// What requests and the link's thread share.
pub struct SharedTables {
    /// The origins and pins that are known here. It never waits for Redis.
    pub memory: Memory,
    /// How long an origin lives after a heartbeat.
    pub ttl: Duration,
    cache: Mutex<PinCache>,
    warned: WarnOnce<String>,
}

/// The copies.
pub struct PinCache {
    /// By stream.
    pub pins: Recent<CachedPin>,
    /// Sessions of others, by id.
    pub foreign: Recent<CachedSession>,
    /// When the session of a stream was written last.
    pub sessions: Recent<CachedWrite>,
    /// How many pins of new names may be written.
    pub ration: Ration,
    /// The same for sessions.
    pub session_ration: Ration,
}

/// A pin in Redis, as far as it is known.
#[derive(Debug, Default)]
pub struct CachedPin {
    /// When Redis was asked last, or told.
    pub looked: Option<Instant>,
    /// When this proxy changed it last.
    pub changed: Option<Instant>,
    /// The origin's id.
    pub id: Option<OriginId>,
    /// When it was written last. `None` with an id: Redis has another, or was away, or the name is too new to be
    /// written ([`Ration`]).
    pub written: Option<Instant>,
    /// Why it is not written: the name is too new. What another proxy has written counts then.
    pub rationed: bool,
}

/// Another proxy's session.
#[derive(Debug, Default)]
pub struct CachedSession {
    pub looked: Option<Instant>,
    pub stream: Option<StreamUrl>,
}

/// When the session of a stream was written.
#[derive(Debug, Default)]
pub struct CachedWrite {
    /// When it was to be written first.
    pub since: Option<Instant>,
    /// When it was written last; `None` where it was not.
    pub written: Option<Instant>,
}

/// Whether `at` was less than `time` ago.
pub fn within(at: Option<Instant>, time: Duration, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < time)
}

impl CachedPin {
    /// Whether Redis is to be asked. Where an origin is known only one request asks, and the others go
    /// on with the copy meanwhile.
    pub fn is_old(&mut self, now: Instant) -> bool {
        if within(self.looked, CACHE_TIME, now) {
            return false;
        }
        if self.id.is_some() {
            self.looked = Some(now);
        }
        true
    }
}

impl SharedTables {
    /// Nothing is known yet.
    pub fn new(ttl: Duration) -> Self {
        Self {
            memory: Memory::new(ttl),
            ttl,
            cache: Mutex::new(PinCache {
                pins: Recent::new(STREAMS),
                foreign: Recent::new(SESSIONS),
                sessions: Recent::new(STREAMS),
                ration: Ration::default(),
                session_ration: Ration::default(),
            }),
            warned: WarnOnce::new(None, MAX_WARNED),
        }
    }

    /// The copies; memory may be asked under this lock, Redis never.
    pub fn cache(&self) -> MutexGuard<'_, PinCache> {
        self.cache.lock()
    }

    /// A foreign or broken value under one of our keys: one line for each key.
    pub fn skip(&self, key: &str, why: &str) {
        self.warn_once(key, &format!("skipping {key} in Redis: {why}"));
    }

    /// One line for each `about`.
    pub fn warn_once(&self, about: &str, line: &str) {
        if self.warned.is_due(about.to_owned()) {
            warn!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_for_a_known_stream_and_all_for_an_unknown_one() {
        let (mut copy, now) = (CachedPin::default(), Instant::now());
        assert!(copy.is_old(now) && copy.is_old(now), "nothing is known");
        copy.id = Some("o".into());
        assert!(copy.is_old(now));
        assert!(!copy.is_old(now), "somebody is asking");
        assert!(copy.is_old(now + CACHE_TIME));
        copy.id = None;
        copy.looked = Some(now);
        assert!(
            !copy.is_old(now),
            "that there is no pin is known for a while, too"
        );
    }
}
