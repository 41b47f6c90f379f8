//! What all look-ups share.

use crate::balancer::Balancer;
use crate::config::TryUnlisted;
use crate::locate::history::History;
use crate::locate::names::StreamNames;
use crate::locate::poller::ApiPoller;
use crate::locate::probe::ProbeLimiter;
use crate::locate::wanted::Wanted;
use crate::runtime::semaphore::{Permit, Semaphore};
use std::sync::Arc;
use std::time::Duration;

/// Of the places for live streams a fourth may wait for a publisher: strangers who ask for names that nobody has must
/// leave the others to those who watch.
const WAITING_SHARE: usize = 4;
/// Playlist and segment requests that may wait at the same time: a fourth of their workers.
const MAX_WAITING_SHORT: usize = 1024;

/// How players are dealt with while nobody is known to publish their stream.
#[derive(Debug, Clone, Copy)]
pub struct LocatorSettings {
    /// How long a player is held for a publisher (`PROXY_STREAM_WAIT`).
    pub wait: Duration,
    /// Whether origins are asked for streams that their APIs do not list (`PROXY_TRY_UNLISTED`).
    pub try_unlisted: TryUnlisted,
    /// Live streams that may run at once (`PROXY_MAX_STREAMS`): a fourth of them may wait.
    pub max_streams: usize,
}

/// The parts of the locator that each look-up uses. One for the process.
pub(super) struct Shared {
    pub balancer: Arc<dyn Balancer>,
    pub poller: ApiPoller,
    pub probes: ProbeLimiter,
    pub history: History,
    pub names: StreamNames,
    pub settings: LocatorSettings,
    /// Places of players that wait for a publisher of their live stream.
    waiting_live: Arc<Semaphore>,
    /// The same for playlists and segments.
    waiting_short: Arc<Semaphore>,
}

impl Shared {
    pub fn new(balancer: Arc<dyn Balancer>, poller: ApiPoller, settings: LocatorSettings) -> Self {
        let live = (settings.max_streams / WAITING_SHARE).max(1);
        Self {
            balancer,
            poller,
            probes: ProbeLimiter::default(),
            history: History::default(),
            names: StreamNames::default(),
            settings,
            waiting_live: Semaphore::new(live),
            waiting_short: Semaphore::new(MAX_WAITING_SHORT),
        }
    }

    /// A place for a player that waits; `None` where too many wait already.
    pub fn waiting_place(&self, wanted: Wanted) -> Option<Permit> {
        match wanted {
            Wanted::Live(_) => self.waiting_live.take(),
            Wanted::Playlist | Wanted::Segment => self.waiting_short.take(),
        }
    }
}
