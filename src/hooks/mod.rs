//! Hooks: other programs decide who may watch (`on_play`), and are told who has watched (`on_stop`), in the format of
//! SRS's own hooks. An origin behind shared channels and segments sees one player where a thousand watch; this proxy
//! knows every one of them.
//!
//! [`Hooks::admit`] asks, on the thread of the request, and gives a [`Watch`]: when that is dropped, the viewer has left,
//! and the hooks are told by threads of their own. At most 64 calls run at a time. An HLS player's watch is its
//! session's, in [`sessions`].

mod call;
mod line;
mod record;
pub mod session;
pub mod sessions;
mod shared;
mod stops;
mod viewer;
mod watch;

pub use record::SessionRecord;
pub use viewer::Viewer;
pub use watch::Watch;

use crate::balancer::redis::Redis;
use crate::config::{HookFail, HookUrl};
use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::{Permit, Semaphore};
use crate::runtime::warn_once::WarnOnce;
use call::{Answer, call};
use line::Line;
use log::warn;
use sessions::{ID_LENGTH, Sessions};
use shared::SharedSessions;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stops::{Stops, WARN_EVERY};
use viewer::ServerIds;

/// Calls of `on_play` at a time. Together with those of `on_stop` there are 64.
const PLAYS_AT_ONCE: usize = 56;
/// Calls of `on_stop` at a time.
const STOPS_AT_ONCE: usize = 8;

/// What hooks are called, and how.
pub struct HookSettings {
    pub on_play: Vec<HookUrl>,
    pub on_stop: Vec<HookUrl>,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// What a viewer gets without an answer.
    pub fail: HookFail,
    /// The proxy's name.
    pub name: String,
    /// What several proxies share.
    pub redis: Option<Arc<Redis>>,
    /// HLS players that may wait for hooks at once: each has a worker meanwhile, and others need some.
    pub max_waiting: usize,
}

/// The hooks of this process.
pub struct Hooks {
    on_play: Vec<HookUrl>,
    timeout: Duration,
    fail: HookFail,
    ids: Arc<ServerIds>,
    line: Arc<Line>,
    stops: Arc<Stops>,
    warned: WarnOnce<usize>,
    /// The HLS viewers.
    pub sessions: Sessions,
    /// Places for HLS players that wait for hooks.
    waiting: Arc<Semaphore>,
    placeholder: String,
}

/// What hooks say of a viewer.
#[derive(Debug)]
pub enum Admission {
    /// It may watch; it has left when this is dropped.
    Allowed(Watch),
    /// It may not. The text is for the log, and says by whom.
    Refused(String),
    /// It has left before there was an answer.
    Left,
}

impl Hooks {
    /// Hooks that nobody calls yet.
    pub fn new(settings: HookSettings) -> Arc<Self> {
        let service_id = format!("{:08x}", fastrand::u32(..));
        let by = settings.name.clone();
        let shared = settings.redis.map(|redis| SharedSessions::new(redis, by));
        let ids = Arc::new(ServerIds {
            server_id: settings.name,
            service_id,
        });
        Arc::new(Self {
            warned: WarnOnce::new(Some(WARN_EVERY), settings.on_play.len()),
            on_play: settings.on_play,
            timeout: settings.timeout,
            fail: settings.fail,
            line: Line::new(PLAYS_AT_ONCE),
            stops: Stops::new(settings.on_stop, settings.timeout, ids.clone()),
            ids,
            sessions: Sessions::new(shared),
            waiting: Semaphore::new(settings.max_waiting),
            placeholder: std::iter::repeat_with(fastrand::alphanumeric)
                .take(ID_LENGTH)
                .collect(),
        })
    }

    /// Starts the threads that call `on_stop`, where there is one.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(&self) -> io::Result<()> {
        self.stops.start(STOPS_AT_ONCE)
    }

    /// Whether there are hooks. Without them nothing of this room is used.
    pub fn is_on(&self) -> bool {
        !self.on_play.is_empty() || self.stops.is_on()
    }

    /// The name of this proxy, which `client_id`s begin with.
    pub fn name(&self) -> &str {
        &self.ids.server_id
    }

    /// Another text for each start.
    pub fn service_id(&self) -> &str {
        &self.ids.service_id
    }

    /// The `client_id` of a live viewer: the proxy's name, and the number in the id that the log has.
    pub fn client_id(&self, request_id: &str) -> String {
        let number = request_id.rsplit('-').next().unwrap_or(request_id);
        format!("{}-{number}", self.ids.server_id)
    }

    /// What stands for a session's id in playlists that several viewers get, and is replaced by each one's own: a text of
    /// the same length that nobody else knows.
    pub fn placeholder(&self) -> &str {
        &self.placeholder
    }

    /// How long the end of the process should leave for the last calls.
    pub fn time_to_end(&self, grace: Duration) -> Duration {
        match self.is_on() {
            true => self.timeout.min(grace / 4),
            false => Duration::ZERO,
        }
    }

    /// Asks whether a viewer may watch. Blocks: in the line until 56 others have their answers, then for the timeout at
    /// most for each hook. The first one that refuses decides.
    pub fn admit(&self, viewer: Viewer, cancel: &CancelToken) -> Admission {
        // Once a hook may count the viewer it is told of its leaving, whatever comes after.
        let new_watch = || Watch::new(viewer.clone(), self.stops.clone());
        let mut watch: Option<Watch> = None;
        if !self.on_play.is_empty() {
            let Some(_turn) = self.line.turn(cancel) else {
                return Admission::Left;
            };
            let body = viewer.on_play(&self.ids).to_string();
            for (number, hook) in self.on_play.iter().enumerate() {
                match call(hook, &body, self.timeout, cancel) {
                    Answer::Allowed => {
                        watch.get_or_insert_with(new_watch);
                    }
                    Answer::Refused(why) => {
                        return Admission::Refused(format!("refused by the hook {hook:?}: {why}"));
                    }
                    Answer::Failed { why, sent } => {
                        let allows = self.fail == HookFail::Allow;
                        if self.warned.is_due(number) {
                            let what = if allows { "allowed" } else { "refused" };
                            warn!(
                                "the on_play hook {hook:?} does not answer, viewers are {what}: {why}"
                            );
                        }
                        if sent || allows {
                            watch.get_or_insert_with(new_watch);
                        }
                        if !allows {
                            let why = format!("refused: the hook {hook:?} does not answer: {why}");
                            return Admission::Refused(why);
                        }
                    }
                    Answer::Left => {
                        watch.get_or_insert_with(new_watch);
                        return Admission::Left;
                    }
                }
            }
        }
        Admission::Allowed(watch.unwrap_or_else(new_watch))
    }

    /// Takes a place for an HLS player that waits for hooks; `None` where as many wait as may.
    pub fn take_place(&self) -> Option<Permit> {
        self.waiting.take()
    }

    /// Goes on with the sessions of a process that this one replaces.
    pub fn restore(&self, records: &[SessionRecord]) {
        for record in records.iter().filter(|_| self.is_on()) {
            self.sessions.restore(record, |viewer, ago, bytes| {
                Watch::resume(viewer, self.stops.clone(), ago, bytes)
            });
        }
        self.sessions.share_all();
    }

    /// Goes on with a session of another proxy, where one of that name is shared. Waits for Redis.
    pub fn adopt(&self, name: &str) {
        self.sessions.adopt(name, |viewer, ago, bytes| {
            Watch::resume(viewer, self.stops.clone(), ago, bytes)
        });
    }

    /// Waits until the calls that are due have been made, until `end` at most.
    pub fn drain(&self, end: Instant) {
        let left = self.stops.drain(end);
        if left > 0 {
            warn!("{left} calls of on_stop were not made in time");
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
