//! An HLS viewer's session: what is counted of it, and when its player has left.

use crate::hooks::record::SessionRecord;
use crate::hooks::shared::WRITE_EVERY;
use crate::hooks::viewer::Viewer;
use crate::hooks::watch::Watch;
use crate::server::record::{AccessRecord, RequestObserver};
use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A player without a request for so many target durations has left.
const TARGET_DURATIONS: u32 = 3;

/// A viewer's session.
#[derive(Debug)]
pub struct Session {
    pub(super) number: u64,
    /// The id in playlists' URIs. It lets its bearer watch: no log and no list has it.
    pub(super) id: String,
    pub(super) viewer: Viewer,
    pub(super) since: SystemTime,
    /// `None` once an operator has ended the session.
    pub(super) watch: Mutex<Option<Watch>>,
    pub(super) names: Mutex<Vec<Name>>,
    /// Another process goes on with it, once this one retires.
    pub(super) is_handed_over: AtomicBool,
    /// A playlist was given.
    pub(super) served: AtomicBool,
    /// Requests that are being answered.
    pub(super) active: AtomicUsize,
    /// When it was last asked for, and until when it is refused, in ms since the table began.
    pub(super) seen: AtomicU64,
    pub(super) refused_until: AtomicU64,
    /// ms.
    pub(super) target: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// When it was written for other proxies, in ms since the table began (0: never), with how many names, and which of
    /// its bytes.
    pub(super) written: AtomicU64,
    pub(super) written_names: AtomicUsize,
    pub(super) written_bytes: AtomicU64,
    pub(super) last_bytes: AtomicU64,
    pub(super) rate: AtomicU64,
}

/// A name of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) key: u64,
    pub(super) text: String,
    /// The stream whose playlists the name is for; `None` for segments.
    pub(super) stream: Option<StreamUrl>,
}

/// A request of a session: its viewer does not leave while this is held. Told of the request's end, it counts its bytes.
#[derive(Debug)]
pub struct SessionUse {
    session: Arc<Session>,
    began: Instant,
}

/// A session as operators see it.
#[derive(Debug, Clone)]
pub struct SessionView {
    pub viewer: Viewer,
    pub since: SystemTime,
    pub bytes: u64,
    pub bits_per_second: u64,
}

impl Session {
    /// The id for its playlists' URIs.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A playlist tells the target duration.
    pub fn set_target(&self, target: Duration) {
        let ms = u64::try_from(target.as_millis()).unwrap_or(u64::MAX);
        // An hour is no live stream's, and would keep who has left.
        self.target.store(ms.clamp(1000, 60_000), Ordering::Relaxed);
    }

    /// The player gets a playlist.
    pub fn set_served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Another process has its viewer now: there is no `on_stop` from here.
    pub(super) fn forget(&self) {
        if let Some(watch) = self.watch.lock().take() {
            watch.forget();
        }
    }

    pub(super) fn record(&self, now: u64) -> SessionRecord {
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        let names = self.names.lock();
        let name = |name: &Name| {
            let stream = name
                .stream
                .as_ref()
                .map(|stream| stream.as_str().to_owned());
            (name.text.clone(), stream)
        };
        SessionRecord {
            id: self.id.clone(),
            client_id: self.viewer.client_id.clone(),
            ip: Some(self.viewer.ip),
            stream: self.viewer.stream.as_str().to_owned(),
            host: self.viewer.host.clone(),
            param: self.viewer.param.clone(),
            page_url: self.viewer.page_url.clone(),
            since: ms(since.unwrap_or_default()),
            bytes: self.bytes.load(Ordering::Relaxed),
            target: self.target.load(Ordering::Relaxed),
            names: names.iter().map(name).collect(),
            refused: self
                .refused_until
                .load(Ordering::Relaxed)
                .saturating_sub(now),
            by: String::new(),
        }
    }

    /// How long its player may ask for nothing, in ms.
    pub(super) fn patience(&self) -> u64 {
        let written = self.written.load(Ordering::Relaxed) > 0;
        let late = if written { ms(WRITE_EVERY) } else { 0 };
        late + self.target.load(Ordering::Relaxed) * u64::from(TARGET_DURATIONS)
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        let patience = self.patience();
        self.active.load(Ordering::Acquire) == 0
            && now > self.seen.load(Ordering::Relaxed) + patience
            && now >= self.refused_until.load(Ordering::Relaxed)
    }
}

impl SessionUse {
    pub(super) fn new(session: &Arc<Session>, began: Instant) -> Self {
        session.active.fetch_add(1, Ordering::AcqRel);
        Self {
            session: session.clone(),
            began,
        }
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl RequestObserver for SessionUse {
    fn ended(&self, record: &AccessRecord) {
        if !self.session.served.load(Ordering::Relaxed) {
            // Nobody has the stream: the player has not come to watch, and begins anew when it asks again.
            self.session.target.store(0, Ordering::Relaxed);
        }
        self.session
            .bytes
            .fetch_add(record.bytes, Ordering::Relaxed);
        if let Some(watch) = &*self.session.watch.lock() {
            watch.add(record.bytes);
        }
    }
}

impl Drop for SessionUse {
    fn drop(&mut self) {
        let now = ms(self.began.elapsed());
        self.session.seen.fetch_max(now, Ordering::Relaxed);
        self.session.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whole milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
