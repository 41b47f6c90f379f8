//! HLS viewers: an HLS player has no connection of its own, so its requests are told apart by a session's name in their
//! URLs.
//!
//! A session has several names: the id that this proxy puts into playlists, SRS's `hls_ctx` where an origin gives one, and
//! the name that a player came with, where that was unknown (a restart): the player comes with it again. Names are kept
//! as hashes that are seeded anew in each process, so that they are all of one size and nobody can make two of them meet.

use crate::balancer::redis::viewers::Taken;
use crate::hooks::record::SessionRecord;
use crate::hooks::session::{Name, Session, SessionUse, SessionView, ms};
use crate::hooks::shared::{SharedSessions, WRITE_EVERY};
use crate::hooks::viewer::Viewer;
use crate::hooks::watch::Watch;
use crate::stream::url::StreamUrl;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Sessions at most; beyond it those go that nobody has asked for longest.
const MAX_SESSIONS: usize = 100_000;
/// Bytes of all sessions' texts at most: what a session's query is, its player chooses.
const MAX_BYTES: usize = 128 << 20;
/// Names of one session at most: variants of a master playlist, and contexts of origins.
const MAX_NAMES: usize = 64;
/// The target duration before a playlist has told one.
const FIRST_TARGET: Duration = Duration::from_secs(10);
/// A session that was ended by an operator is refused for this long.
const REFUSED: Duration = Duration::from_secs(60);

/// Longest name that is one, in bytes: a longer one is somebody's invention.
const MAX_NAME: usize = 64;

/// Length of a session's id.
pub const ID_LENGTH: usize = 22;

/// The table of sessions. Its lock is short: it is never held over a call of a hook.
pub struct Sessions {
    /// Where proxies share a Redis.
    shared: Option<SharedSessions>,
    seed: RandomState,
    began: Instant,
    max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<u64, Arc<Session>>,
    /// The session of each name.
    names: HashMap<u64, u64>,
    count: u64,
    /// Of the sessions' texts.
    bytes: usize,
}

/// What the table says of a name.
#[derive(Debug)]
pub enum Known {
    Session(SessionUse),
    /// An operator has ended it a moment ago.
    Refused,
    /// It is no session's.
    No,
}

impl Sessions {
    /// No sessions yet. `shared` are those of other proxies.
    pub fn new(shared: Option<SharedSessions>) -> Self {
        Self::with_max(MAX_SESSIONS, shared)
    }

    fn with_max(max: usize, shared: Option<SharedSessions>) -> Self {
        Self {
            shared,
            seed: RandomState::new(),
            began: Instant::now(),
            max,
            table: Mutex::default(),
        }
    }

    fn name(&self, text: &str, stream: Option<&StreamUrl>) -> Name {
        Name {
            key: self.key(text, stream),
            text: text.to_owned(),
            stream: stream.cloned(),
        }
    }

    fn now(&self) -> u64 {
        ms(self.began.elapsed())
    }

    /// The key of a name: for playlists with the stream that their path names, so that a session of one stream opens no
    /// other; for segments without.
    fn key(&self, name: &str, stream: Option<&StreamUrl>) -> u64 {
        self.seed.hash_one((name, stream.map(StreamUrl::as_str)))
    }

    /// The session of a name, for a playlist of `stream`, or for a segment.
    pub fn find(&self, name: &str, stream: Option<&StreamUrl>) -> Known {
        if !Self::is_name(name) {
            return Known::No;
        }
        let key = self.key(name, stream);
        let table = self.table.lock();
        let session = table.names.get(&key);
        let Some(session) = session.and_then(|number| table.sessions.get(number)) else {
            return Known::No;
        };
        if self.now() < session.refused_until.load(Ordering::Relaxed) {
            return Known::Refused;
        }
        // Under the table's lock, so that it is not swept away before.
        Known::Session(SessionUse::new(session, self.began))
    }

    /// Whether a session may have that name.
    pub fn is_name(text: &str) -> bool {
        (1..=MAX_NAME).contains(&text.len())
    }

    /// A number for a new viewer, for its `client_id`.
    pub fn next_number(&self) -> u64 {
        let mut table = self.table.lock();
        table.count += 1;
        table.count
    }

    /// A new session of that number, whose viewer may watch. `name` is the one that its player came with and comes with
    /// again, where it had one of a usual length.
    pub fn enter(
        &self,
        number: u64,
        viewer: Viewer,
        watch: Watch,
        name: Option<&str>,
    ) -> SessionUse {
        let mut bytes = [0; 16];
        // SipHash with a key of the system's randomness: nobody can tell one id from others.
        bytes[..8].copy_from_slice(&self.seed.hash_one((number, "id", 1)).to_ne_bytes());
        bytes[8..].copy_from_slice(&self.seed.hash_one((number, "id", 2)).to_ne_bytes());
        let id = URL_SAFE_NO_PAD.encode(bytes);
        let stream = &viewer.stream;
        let mut names = vec![self.name(&id, None), self.name(&id, Some(stream))];
        let name = name.filter(|name| Self::is_name(name));
        names.extend(name.map(|name| self.name(name, Some(stream))));
        let session = Arc::new(self.session(number, id, viewer, watch));
        let session_use = SessionUse::new(&session, self.began);
        self.put(&session, names);
        session_use
    }

    fn session(&self, number: u64, id: String, viewer: Viewer, watch: Watch) -> Session {
        Session {
            number,
            id,
            since: SystemTime::now(),
            watch: Mutex::new(Some(watch)),
            names: Mutex::default(),
            is_handed_over: AtomicBool::new(false),
            served: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            seen: AtomicU64::new(self.now()),
            refused_until: AtomicU64::new(0),
            target: AtomicU64::new(ms(FIRST_TARGET)),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            written_names: AtomicUsize::new(0),
            written_bytes: AtomicU64::new(0),
            last_bytes: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            viewer,
        }
    }

    fn put(&self, session: &Arc<Session>, names: Vec<Name>) {
        let evicted = {
            let mut table = self.table.lock();
            let own = self.key(&session.id, None);
            if table.names.contains_key(&own) {
                // Two requests have brought the same session from another process.
                drop(table);
                return session.forget();
            }
            table.bytes += session.viewer.size();
            table.sessions.insert(session.number, session.clone());
            let evicted = table.make_room(self.max);
            for name in names {
                table.add_name(session, name);
            }
            evicted
        };
        // Each is an `on_stop`: not under the lock.
        for session in &evicted {
            if let Some(shared) = &self.shared {
                shared.forget(&session.id);
            }
        }
        drop(evicted);
    }

    /// Looks for a session of another proxy, and goes on with it. Waits for Redis, where there is one.
    pub fn adopt(&self, name: &str, watch: impl FnOnce(Viewer, Duration, u64) -> Watch) {
        let load = |shared: &SharedSessions| shared.load(name).filter(|_| Self::is_name(name));
        if let Some(record) = self.shared.as_ref().and_then(load) {
            self.restore(&record, watch);
        }
    }

    /// Tells other proxies of a session whose player has just asked for something. Does not wait.
    pub fn share(&self, session: &Session) {
        let Some(shared) = &self.shared else { return };
        let (now, names) = (self.now().max(1), session.names.lock().len());
        let written = session.written.load(Ordering::Relaxed);
        let is_new = session.written_names.swap(names, Ordering::Relaxed) != names;
        if !is_new && written > 0 && now < written + ms(WRITE_EVERY) {
            return;
        }
        let bytes = session.bytes.load(Ordering::Relaxed);
        let before = session.written_bytes.swap(bytes, Ordering::Relaxed);
        let life = Duration::from_millis(2 * session.patience()) + REFUSED;
        let added = bytes.saturating_sub(before);
        if shared.store(session.record(now), added, life) {
            session.written.store(now, Ordering::Relaxed);
        }
    }

    /// Tells other proxies that all sessions are this one's.
    pub fn share_all(&self) {
        let sessions: Vec<_> = self.table.lock().sessions.values().cloned().collect();
        sessions.iter().for_each(|session| self.share(session));
    }

    /// Lets sessions go whose players have gone: those that another proxy has seen later have not left.
    fn settle(&self, over: &[Arc<Session>]) {
        let is_written = |it: &&Arc<Session>| it.written.load(Ordering::Relaxed) > 0;
        let written: Vec<_> = over.iter().filter(is_written).collect();
        let Some(shared) = self.shared.as_ref().filter(|_| !written.is_empty()) else {
            return;
        };
        let ids: Vec<&str> = written.iter().map(|it| it.id()).collect();
        let mut left_to_others = Vec::new();
        for (session, taken) in written.iter().zip(shared.take(&ids)) {
            let told = session.written_bytes.load(Ordering::Relaxed);
            let rest = session.bytes.load(Ordering::Relaxed).saturating_sub(told);
            match taken {
                Taken::Other => {
                    session.forget();
                    left_to_others.push((session.id(), rest));
                }
                Taken::Own(before) => {
                    if let Some(watch) = &*session.watch.lock() {
                        watch.set(before.max(told) + rest);
                    }
                }
            }
        }
        shared.add_bytes(&left_to_others);
    }

    /// All sessions, for a process that takes over; [`Sessions::leave_to_successor`] follows where it has.
    pub fn records(&self) -> Vec<SessionRecord> {
        let sessions: Vec<_> = self.table.lock().sessions.values().cloned().collect();
        let now = self.now();
        let record = |session: &Arc<Session>| {
            session.is_handed_over.store(true, Ordering::Relaxed);
            session.record(now)
        };
        sessions.iter().map(record).collect()
    }

    /// Another process has the sessions that [`Sessions::records`] gave: their viewers do not leave here. Requests that are
    /// still answered here go on.
    pub fn leave_to_successor(&self) {
        for session in self.table.lock().sessions.values() {
            if session.is_handed_over.load(Ordering::Relaxed) {
                session.forget();
            }
        }
    }

    /// Goes on with a session of another process. `watch` makes the watch of its viewer, which has lasted so long, and got
    /// so many bytes.
    pub fn restore(
        &self,
        record: &SessionRecord,
        watch: impl FnOnce(Viewer, Duration, u64) -> Watch,
    ) {
        let Some(viewer) = record.viewer().filter(|_| record.id.len() == ID_LENGTH) else {
            return;
        };
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(record.since.min(1 << 48));
        let ago = since.elapsed().unwrap_or_default();
        let watch = watch(viewer.clone(), ago, record.bytes);
        let number = self.next_number();
        let mut session = self.session(number, record.id.clone(), viewer, watch);
        session.since = since;
        session.bytes = AtomicU64::new(record.bytes);
        session.last_bytes = AtomicU64::new(record.bytes);
        session.written_bytes = AtomicU64::new(record.bytes);
        session.served = AtomicBool::new(true);
        session.set_target(Duration::from_millis(record.target));
        if record.refused > 0 {
            let until = self.now() + record.refused.min(ms(REFUSED));
            session.refused_until = AtomicU64::new(until);
            session.forget(); // its `on_stop` came when it was ended
        }
        let names = record.names.iter().filter(|(name, _)| Self::is_name(name));
        let names = names.filter_map(|(name, stream)| match stream {
            None => Some(self.name(name, None)),
            Some(stream) => Some(self.name(name, Some(&StreamUrl::parse(stream)?))),
        });
        self.put(&Arc::new(session), names.take(MAX_NAMES).collect());
    }

    /// An origin's playlist has given a session another name (`hls_ctx`). One that is another session's stays so.
    pub fn learn(&self, session: &Arc<Session>, name: &str, stream: &StreamUrl) {
        let names = [self.name(name, None), self.name(name, Some(stream))];
        let mut table = self.table.lock();
        for name in names {
            table.add_name(session, name);
        }
    }

    /// A master playlist that a session got lists that stream: its playlists are the session's, too.
    pub fn allow(&self, session: &Arc<Session>, name: &str, stream: &StreamUrl) {
        let name = self.name(name, Some(stream));
        self.table.lock().add_name(session, name);
    }

    /// Has the viewers leave who have not asked for anything for three target durations. To be called every second or so.
    pub fn sweep(&self) {
        self.refuse_kicked();
        let now = self.now();
        let over: Vec<Arc<Session>> = {
            let table = self.table.lock();
            let over = table.sessions.values().filter(|it| it.is_over(now));
            over.cloned().collect()
        };
        self.settle(&over);
        let gone: Vec<Arc<Session>> = {
            let mut table = self.table.lock();
            // One whose player came back meanwhile stays; so does one that another process has now, until it is over.
            let over = over.iter().filter(|it| it.is_over(now));
            let gone = over.filter_map(|it| table.remove(it.number));
            gone.collect()
        };
        drop((over, gone)); // each is an `on_stop`: not under the lock
    }

    /// Refuses the sessions that an operator has ended at another proxy, which has told the hooks.
    fn refuse_kicked(&self) {
        let Some(shared) = &self.shared else { return };
        if self.table.lock().sessions.is_empty() {
            return;
        }
        for id in shared.kicked() {
            let session = {
                let table = self.table.lock();
                let number = table.names.get(&self.key(&id, None));
                number
                    .and_then(|number| table.sessions.get(number))
                    .cloned()
            };
            if let Some(session) =
                session.filter(|it| it.refused_until.load(Ordering::Relaxed) == 0)
            {
                let until = self.now() + ms(REFUSED);
                session.refused_until.store(until, Ordering::Relaxed);
                session.forget();
            }
        }
    }

    /// Takes the rates; the last time was `seconds` ago.
    pub fn sample(&self, seconds: f64) {
        for session in self.table.lock().sessions.values() {
            let bytes = session.bytes.load(Ordering::Relaxed);
            let last = session.last_bytes.swap(bytes, Ordering::Relaxed);
            let rate = bytes.saturating_sub(last) as f64 * 8.0 / seconds;
            session.rate.store(rate as u64, Ordering::Relaxed);
        }
    }

    /// Ends every session: the process ends.
    pub fn end(&self) {
        let gone = {
            let mut table = self.table.lock();
            std::mem::take(&mut *table)
        };
        let sessions: Vec<_> = gone.sessions.into_values().collect();
        self.settle(&sessions);
    }

    /// Ends the session of a viewer, by its `client_id`, and refuses it for a minute. Returns the viewer; `None` where
    /// there is no such session.
    pub fn kick(&self, client_id: &str) -> Option<Viewer> {
        let session = {
            let table = self.table.lock();
            let mut sessions = table.sessions.values();
            let own = |it: &&Arc<Session>| it.viewer.client_id == client_id;
            sessions.find(own)?.clone()
        };
        let watch = session.watch.lock().take()?;
        let until = self.now() + ms(REFUSED);
        session.refused_until.store(until, Ordering::Relaxed);
        drop(watch);
        if let Some(shared) = &self.shared {
            shared.store(session.record(self.now()), 0, REFUSED);
            shared.kick(&session.id, REFUSED);
        }
        Some(session.viewer.clone())
    }

    /// The sessions of those who watch a stream, or all of them.
    pub fn views(&self, stream: Option<&StreamUrl>) -> Vec<SessionView> {
        let table = self.table.lock();
        let wanted = table.sessions.values().filter(|session| {
            stream.is_none_or(|wanted| session.viewer.stream == *wanted)
                && session.watch.lock().is_some()
        });
        let view = |session: &Arc<Session>| SessionView {
            viewer: session.viewer.clone(),
            since: session.since,
            bytes: session.bytes.load(Ordering::Relaxed),
            bits_per_second: session.rate.load(Ordering::Relaxed),
        };
        wanted.map(view).collect()
    }
}

impl Table {
    /// A name that is another session's stays that one's.
    fn add_name(&mut self, session: &Arc<Session>, name: Name) {
        let mut names = session.names.lock();
        if names.len() >= MAX_NAMES || !self.sessions.contains_key(&session.number) {
            return;
        }
        let owner = *self.names.entry(name.key).or_insert(session.number);
        if owner == session.number && !names.contains(&name) {
            names.push(name);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Session>> {
        let session = self.sessions.remove(&number)?;
        self.bytes -= session.viewer.size();
        for name in session.names.lock().drain(..) {
            self.names.remove(&name.key);
        }
        Some(session)
    }

    /// Over a bound a hundredth of the sessions goes, those that nobody has asked for longest: to look for one would cost
    /// each newcomer a walk through all.
    fn make_room(&mut self, max: usize) -> Vec<Arc<Session>> {
        if self.sessions.len() <= max && self.bytes <= MAX_BYTES {
            return Vec::new();
        }
        let seen = |it: &Arc<Session>| (it.seen.load(Ordering::Relaxed), it.number);
        let mut oldest: Vec<(u64, u64)> = self.sessions.values().map(seen).collect();
        oldest.sort_unstable();
        oldest.truncate((self.sessions.len() / 100).max(1));
        let gone = oldest.iter().filter_map(|(_, number)| self.remove(*number));
        gone.collect()
    }
}

#[cfg(test)]
mod tests;
