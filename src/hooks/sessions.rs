//! HLS viewers: an HLS player has no connection of its own, so its requests are told apart by a session's name in their
//! URLs.
//!
//! A session has several names: the id that this proxy puts into playlists, SRS's `hls_ctx` where an origin gives one, and
//! the name that a player came with, where that was unknown (a restart): the player comes with it again. Names are kept
//! as hashes that are seeded anew in each process, so that they are all of one size and nobody can make two of them meet.

use crate::balancer::redis::viewers::Taken;
use crate::hooks::record::SessionRecord;
use crate::hooks::shared::{SharedSessions, WRITE_EVERY};
use crate::hooks::viewer::Viewer;
use crate::hooks::watch::Watch;
use crate::server::record::{AccessRecord, RequestObserver};
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
/// A player without a request for so many target durations has left.
const TARGET_DURATIONS: u32 = 3;
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

/// A viewer's session.
#[derive(Debug)]
pub struct Session {
    number: u64,
    /// The id in playlists' URIs. It lets its bearer watch: no log and no list has it.
    id: String,
    viewer: Viewer,
    since: SystemTime,
    /// `None` once an operator has ended the session.
    watch: Mutex<Option<Watch>>,
    names: Mutex<Vec<Name>>,
    /// Another process goes on with it, once this one retires.
    is_handed_over: AtomicBool,
    /// A playlist was given.
    served: AtomicBool,
    /// Requests that are being answered.
    active: AtomicUsize,
    /// When it was last asked for, and until when it is refused, in ms since the table began.
    seen: AtomicU64,
    refused_until: AtomicU64,
    /// ms.
    target: AtomicU64,
    bytes: AtomicU64,
    /// When it was written for other proxies, in ms since the table began (0: never), with how many names, and which of
    /// its bytes.
    written: AtomicU64,
    written_names: AtomicUsize,
    written_bytes: AtomicU64,
    last_bytes: AtomicU64,
    rate: AtomicU64,
}

/// A name of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    key: u64,
    text: String,
    /// The stream whose playlists the name is for; `None` for segments.
    stream: Option<StreamUrl>,
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
    fn forget(&self) {
        if let Some(watch) = self.watch.lock().take() {
            watch.forget();
        }
    }

    fn record(&self, now: u64) -> SessionRecord {
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
    fn patience(&self) -> u64 {
        let written = self.written.load(Ordering::Relaxed) > 0;
        let late = if written { ms(WRITE_EVERY) } else { 0 };
        late + self.target.load(Ordering::Relaxed) * u64::from(TARGET_DURATIONS)
    }

    fn is_over(&self, now: u64) -> bool {
        let patience = self.patience();
        self.active.load(Ordering::Acquire) == 0
            && now > self.seen.load(Ordering::Relaxed) + patience
            && now >= self.refused_until.load(Ordering::Relaxed)
    }
}

impl SessionUse {
    fn new(session: &Arc<Session>, began: Instant) -> Self {
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

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
mod tests {
    use super::*;
    use crate::hooks::stops::Stops;
    use crate::hooks::viewer::ServerIds;

    fn stops() -> Arc<Stops> {
        let ids = ServerIds {
            server_id: String::new(),
            service_id: String::new(),
        };
        let urls = crate::config::HookList::parse("http://127.0.0.1:1/")
            .unwrap()
            .0;
        Stops::new(urls, Duration::from_secs(1), Arc::new(ids))
    }

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("v/live/{name}")).unwrap()
    }

    fn enter(sessions: &Sessions, stops: &Arc<Stops>, name: Option<&str>) -> Arc<Session> {
        let number = sessions.next_number();
        let viewer = Viewer {
            client_id: format!("p-h{number}"),
            ip: [192, 0, 2, 1].into(),
            stream: stream("a"),
            host: String::new(),
            param: String::new(),
            page_url: String::new(),
        };
        let watch = Watch::new(viewer.clone(), stops.clone());
        sessions
            .enter(number, viewer, watch, name)
            .session()
            .clone()
    }

    fn is_known(sessions: &Sessions, name: &str, of: Option<&str>) -> bool {
        let stream = of.map(stream);
        matches!(sessions.find(name, stream.as_ref()), Known::Session(_))
    }

    #[test]
    fn a_session_is_known_by_its_names_for_its_stream() {
        let (sessions, stops) = (Sessions::with_max(10, None), stops());
        let one = enter(&sessions, &stops, Some("came-with"));
        assert_eq!(one.id().len(), ID_LENGTH);
        let known = |name: &str, of| is_known(&sessions, name, of);
        assert!(known(one.id(), None) && known(one.id(), Some("a")));
        assert!(!known(one.id(), Some("b")), "another stream");
        assert!(known("came-with", Some("a")));
        assert!(!known("came-with", None), "its segments have the id");
        sessions.learn(&one, "ctx", &stream("a"));
        assert!(known("ctx", None) && known("ctx", Some("a")));
        sessions.allow(&one, one.id(), &stream("b"));
        assert!(known(one.id(), Some("b")));
        let other = enter(&sessions, &stops, Some("ctx"));
        assert_ne!(one.id(), other.id());
        sessions.kick("p-h2");
        assert!(known("ctx", None), "a name stays its session's");
        for n in 0..2 * MAX_NAMES {
            sessions.learn(&one, &n.to_string(), &stream("a"));
        }
        assert!(sessions.table.lock().names.len() <= 2 * MAX_NAMES);
        sessions.end();
        drop((one, other)); // as requests that are being answered
        assert_eq!(stops.waiting(), 2);
    }

    #[test]
    fn who_does_not_ask_for_three_target_durations_has_left() {
        let (sessions, stops) = (Sessions::with_max(10, None), stops());
        let (idle, busy) = (
            enter(&sessions, &stops, None),
            enter(&sessions, &stops, None),
        );
        idle.set_target(Duration::from_secs(2));
        assert!(!idle.is_over(sessions.now() + 5900) && idle.is_over(sessions.now() + 6100));
        let Known::Session(held) = sessions.find(busy.id(), None) else {
            panic!("it is there")
        };
        assert!(!busy.is_over(u64::MAX), "a request is being answered");
        drop(held);
        assert!(busy.is_over(sessions.now() + 31_000));
        sessions.sweep();
        assert_eq!(sessions.views(None).len(), 2);
        sessions.kick("p-h1").unwrap();
        assert!(sessions.kick("p-h1").is_none() && sessions.kick("p-h9").is_none());
        assert_eq!((sessions.views(None).len(), stops.waiting()), (1, 1));
        assert!(matches!(sessions.find(idle.id(), None), Known::Refused));
        assert!(!idle.is_over(sessions.now() + 50_000) && idle.is_over(sessions.now() + 61_000));
    }

    #[test]
    fn another_process_goes_on_with_a_session() {
        let (old, new, stops) = (
            Sessions::with_max(10, None),
            Sessions::with_max(10, None),
            stops(),
        );
        let one = enter(&old, &stops, Some("came-with"));
        old.learn(&one, "ctx", &stream("a"));
        one.bytes.store(7, Ordering::Relaxed);
        let text = serde_json::to_string(&old.records()).unwrap();
        let late = enter(&old, &stops, None);
        let records: Vec<SessionRecord> = serde_json::from_str(&text).unwrap();
        assert_eq!(records.len(), 1);
        old.leave_to_successor();
        let resume = |viewer, ago, bytes| Watch::resume(viewer, stops.clone(), ago, bytes);
        new.restore(&records[0], resume);
        for (name, of) in [
            (one.id(), None),
            ("ctx", Some("a")),
            ("came-with", Some("a")),
        ] {
            assert!(
                is_known(&new, name, of) && is_known(&old, name, of),
                "{name}"
            );
        }
        assert_eq!(new.views(None)[0].bytes, 7);
        assert_eq!(new.views(None)[0].viewer.client_id, "p-h1");
        drop((one, late));
        old.end();
        assert_eq!(stops.waiting(), 1, "the late one's");
        new.end();
        assert_eq!(stops.waiting(), 2);
        new.restore(&SessionRecord::default(), resume);
        assert!(new.views(None).is_empty(), "it is no session");
    }

    #[test]
    fn the_oldest_make_room_and_have_left_then() {
        let (sessions, stops) = (Sessions::with_max(3, None), stops());
        let all: Vec<_> = (0..3).map(|_| enter(&sessions, &stops, None)).collect();
        all[0].seen.store(7, Ordering::Relaxed);
        all[1].seen.store(0, Ordering::Relaxed);
        all[2].seen.store(5, Ordering::Relaxed);
        let id = all[1].id().to_owned();
        drop(all);
        enter(&sessions, &stops, None);
        assert!(!is_known(&sessions, &id, None));
        assert_eq!((sessions.views(None).len(), stops.waiting()), (3, 1));
        let table = sessions.table.lock();
        assert_eq!(table.names.len(), 6);
    }
}
