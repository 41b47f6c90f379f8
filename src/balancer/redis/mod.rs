//! The balancer of several proxies: one picture in Redis, and a memory of it here.
//!
//! Whatever a request needs is answered from [`Memory`](super::memory::Memory), which one background
//! thread keeps like Redis: it reads the origins, drains and suspicions three times a second. Only a pin
//! older than a second costs the request that wants it one round trip. When Redis is away everything
//! goes on from memory but registering and draining, which have to reach all proxies.
//!
//! Strangers make names of streams up: of names that were used but once only so many are written ([`ration`]).

mod address;
mod cache;
mod client;
mod keys;
mod pipeline;
mod ration;
mod server;
mod session;
mod sync;
pub mod viewers;

use crate::balancer::origin::Origin;
use crate::balancer::peer::PeerStatus;
use crate::balancer::{
    Balancer, Candidate, OriginId, OriginView, PinFormat, SharedStatus, Unavailable, Unpinned,
};
use crate::config::RedisSettings;
use crate::stream::url::StreamUrl;
use ::redis::{Cmd, Value, cmd};
use address::RedisAddress;
use cache::{SharedTables, within};
use client::{RedisClient, RedisClientError};
use server::Server;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use sync::{DRAIN_SECONDS, OriginSync, PIN_SECONDS, array, eval, text};
use thiserror::Error;

/// A pin that is in use is written again this often.
const RENEW: Duration = Duration::from_secs(600);
/// A suspicion's life in Redis, in ms: as long as in memory.
const SUSPECT_MS: u64 = 5000;
/// What a proxy tells of itself is forgotten after this many seconds without a further word.
const TOLD_SECONDS: u64 = 10;
/// Proxies that are read at most.
const MAX_PROXIES: usize = 100;

/// Why there is no balancer.
#[derive(Debug, Error)]
pub enum RedisError {
    /// No Redis, or it does not let us in; the line names host and port.
    #[error(transparent)]
    Redis(#[from] address::BadRedis),
    /// No thread.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl RedisError {
    /// Whether it may be a Redis that has just been started.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Redis(bad) if bad.may_pass)
    }
}

/// Origins and pins that several proxies share.
pub struct Redis {
    shared: Arc<SharedTables>,
    client: RedisClient,
}

impl Redis {
    /// Connects and reads what is there; an origin is alive for `ttl` after its last heartbeat.
    ///
    /// # Errors
    /// [`RedisError`].
    pub fn connect(settings: &RedisSettings, ttl: Duration) -> Result<Self, RedisError> {
        let shared = Arc::new(SharedTables::new(ttl));
        let sync = OriginSync::new(shared.clone());
        let client =
            RedisClient::start(RedisAddress::new(settings), sync).map_err(|error| match error {
                RedisClientError::Redis(bad) => RedisError::Redis(bad),
                RedisClientError::Thread(error) => RedisError::System(error),
            })?;
        Ok(Self { shared, client })
    }

    /// Tells the other proxies, for ten seconds, what this one does. The streams that run on it stay
    /// pinned, though nobody may ask for them anew for hours.
    pub fn announce(&self, status: &PeerStatus) {
        let Ok(what) = serde_json::to_string(status) else {
            return; // numbers and strings: it cannot be
        };
        let (name, life) = (&status.proxy, TOLD_SECONDS.to_string());
        let names = [keys::PROXIES.to_owned(), keys::proxy(name)];
        self.client
            .announce(vec![eval(keys::TELL, &names, &[name, &what, &life])]);
        let running = status.streams.iter();
        for stream in running.filter_map(|stream| StreamUrl::parse(&stream.url)) {
            self.keep(&stream);
        }
    }

    /// Renews a pin here, and in Redis where it is the same: another proxy may have moved it.
    fn keep(&self, stream: &StreamUrl) {
        let Some(pinned) = self.shared.memory.pinned(stream) else {
            return;
        };
        let now = Instant::now();
        {
            let mut cache = self.shared.cache();
            let copy = cache.pins.of(stream);
            let own = copy.id.as_deref() == Some(&*pinned.id) && copy.written.is_some();
            if !own || within(copy.written, RENEW, now) {
                return;
            }
            copy.written = Some(now);
        }
        let arguments = [keys::server(&pinned.id), PIN_SECONDS.to_string()];
        self.client
            .announce(vec![eval(keys::KEEP, &[keys::pin(stream)], &arguments)]);
    }

    /// Takes what Redis says of a pin, which was asked for at `asked`.
    fn take_pin(&self, stream: &StreamUrl, asked: Instant, value: Value) {
        let memory = &self.shared.memory;
        let said = match value {
            Value::Nil => None,
            value => match server_id(value) {
                Ok(id) => Some(id),
                Err(why) => {
                    self.shared.skip(&keys::pin(stream), &why);
                    None
                }
            },
        };
        let mut cache = self.shared.cache();
        let copy = cache.pins.of(stream);
        let unwritten = copy.id.is_some() && copy.written.is_none();
        let unwritten = unwritten && !(copy.rationed && said.is_some());
        if unwritten || copy.changed.is_some_and(|changed| changed >= asked) {
            return; // this proxy knows better
        }
        copy.looked = Some(Instant::now());
        let known = said.and_then(|id| memory.current_id(&id));
        match &known {
            Some(id) => memory.pin_as_told(stream, id),
            None => memory.unpin_as_told(stream),
        }
        if copy.id != known {
            // How old it is nobody knows: it is renewed when the stream is served.
            let long_ago = asked.checked_sub(RENEW).unwrap_or(asked);
            copy.written = known.is_some().then_some(long_ago);
            copy.id = known;
        }
    }
}

impl Balancer for Redis {
    /// Redis first: what only this proxy knows would be no shared origin. A heartbeat of one that is
    /// known counts here also while Redis is away.
    fn register(&self, origin: Origin) -> Result<(), Unavailable> {
        let (memory, id) = (&self.shared.memory, origin.id());
        let value = Server::encode(&origin, SystemTime::now());
        let replaced = memory.replaces(&origin);
        let command = sync::register(&origin, &value, self.shared.ttl, "new", replaced.as_deref());
        match self.client.ask(vec![command]).as_deref() {
            Ok([Value::ServerError(error)]) => Err(refused(error)),
            Ok(_) => memory.register(origin),
            Err(_) => {
                if memory.current_id(&id).as_deref() == Some(&*id) {
                    memory.register(origin)?;
                }
                Err(away())
            }
        }
    }

    fn pinned(&self, stream: &StreamUrl) -> Option<Candidate> {
        let asked = Instant::now();
        if self.client.is_up() && self.shared.cache().pins.of(stream).is_old(asked) {
            let mut get = cmd("GET");
            get.arg(keys::pin(stream));
            if let Some(value) = self
                .client
                .ask(vec![get])
                .ok()
                .and_then(|mut one| one.pop())
            {
                self.take_pin(stream, asked, value);
            }
        }
        self.shared.memory.pinned(stream)
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.shared.memory.candidates()
    }

    fn pin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) {
        let now = Instant::now();
        {
            let mut cache = self.shared.cache();
            let copy = cache.pins.of(stream);
            let same = copy.id.as_deref() == Some(id);
            if same && within(copy.written, RENEW, now) {
                // Most requests: two short locks one after the other, none for long.
                drop(cache);
                return self.shared.memory.pin(stream, id, format);
            }
            let since = copy.id.is_some().then_some(copy.changed).flatten();
            let unwritten = copy.written.is_none();
            if !same {
                copy.id = Some(id.clone());
                // A move is news; where the name was not written before, it has been known since its first use.
                let changed = since.filter(|_| unwritten).unwrap_or(now);
                (copy.changed, copy.looked) = (Some(changed), Some(now));
            }
            self.shared.memory.pin(stream, id, format);
            let rationed = unwritten && !cache.ration.take(since, now);
            let copy = cache.pins.of(stream);
            copy.rationed = rationed;
            if rationed {
                return; // a name of one use so far: this proxy alone knows it
            }
            copy.written = Some(now);
        }
        let (names, life) = ([keys::pin(stream)], PIN_SECONDS.to_string());
        let command = eval(keys::PIN, &names, &[&keys::server(id), &life]);
        if !self.client.announce(vec![command]) {
            self.shared.cache().pins.of(stream).written = None;
        }
    }

    fn unpin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) -> Unpinned {
        {
            let mut cache = self.shared.cache();
            let unpinned = self.shared.memory.unpin(stream, id, format);
            if unpinned != Unpinned::Yes {
                return unpinned;
            }
            let copy = cache.pins.of(stream);
            if copy.id.as_deref() == Some(id) {
                let now = Some(Instant::now());
                (copy.id, copy.written) = (None, None);
                (copy.changed, copy.looked) = (now, now);
            }
        }
        let names = [keys::pin(stream)];
        self.client
            .announce(vec![eval(keys::UNPIN, &names, &[keys::server(id)])]);
        Unpinned::Yes
    }

    fn suspect(&self, id: &OriginId, why: &str) {
        self.shared.memory.suspect(id, why);
        let origins = self.shared.memory.snapshot();
        if let Some((origin, ..)) = origins.iter().find(|(origin, ..)| origin.id() == *id) {
            let mut set = cmd("SET");
            set.arg(keys::suspect(origin)).arg(sync::suspicion(why));
            set.arg("PX").arg(SUSPECT_MS);
            self.client.announce(vec![set]);
        }
    }

    fn drain(&self, id: &str, draining: bool) -> Result<bool, Unavailable> {
        let origins = self.shared.memory.snapshot();
        let Some((origin, ..)) = origins.iter().find(|(origin, ..)| origin.id() == id) else {
            return Ok(false);
        };
        let key = keys::drain(origin);
        let mut command = cmd(if draining { "SET" } else { "DEL" });
        command.arg(key);
        if draining {
            command.arg("1").arg("EX").arg(DRAIN_SECONDS);
        }
        match self.client.ask(vec![command]).as_deref() {
            Ok([Value::ServerError(error)]) => Err(refused(error)),
            Ok(_) => self.shared.memory.drain(id, draining),
            Err(_) => Err(away()),
        }
    }

    /// Other proxies forget it when they look next, within a second. The mark is there for as long as they would know the
    /// origin otherwise, for one of them may have lost its connection to Redis meanwhile.
    fn remove(&self, id: &str) -> Result<bool, Unavailable> {
        let origins = self.shared.memory.snapshot();
        let Some((origin, ..)) = origins.iter().find(|(origin, ..)| origin.id() == id) else {
            return Ok(false);
        };
        let name = keys::server(&origin.id());
        let mut delete = cmd("DEL");
        delete.arg(&name);
        delete.arg(keys::drain(origin)).arg(keys::suspect(origin));
        let leave = eval(keys::BURY, &[keys::ALL_SERVERS], &[&name]);
        let mut mark = cmd("SET");
        let life = self.shared.ttl.as_millis().max(1000);
        mark.arg(keys::removed(id)).arg("1");
        mark.arg("PX").arg(life.to_string());
        match self.client.ask(vec![mark, delete, leave]).as_deref() {
            Ok(answers) => {
                for answer in answers {
                    if let Value::ServerError(error) = answer {
                        return Err(refused(error));
                    }
                }
                self.shared.memory.remove(id)
            }
            Err(_) => Err(away()),
        }
    }

    fn origins(&self) -> Vec<OriginView> {
        self.shared.memory.origins()
    }

    fn foreign_session(&self, id: &str) -> Option<StreamUrl> {
        self.stream_of(id)
    }

    fn playlist_served(&self, stream: &StreamUrl, host: Option<&str>, path: &str) {
        self.write_session(stream, host, path);
    }

    fn shared_text(&self, name: &str) -> Option<String> {
        let mut get = cmd("GET");
        get.arg(keys::text(name));
        let value = self.client.ask(vec![get]).ok()?.pop()?;
        String::from_utf8(text(value)?).ok()
    }

    fn replace_shared_text(
        &self,
        name: &str,
        expected: Option<&str>,
        new: &str,
    ) -> Result<(), Option<String>> {
        let command = replace_text(name, expected, new);
        match self
            .client
            .ask(vec![command])
            .ok()
            .and_then(|mut one| one.pop())
        {
            Some(Value::BulkString(there)) => Err(String::from_utf8(there)
                .ok()
                .filter(|text| !text.is_empty())),
            _ => Ok(()), // done, or Redis is away: this proxy goes on by itself
        }
    }

    fn announce_shared_text(&self, name: &str, expected: Option<&str>, new: &str) {
        self.client
            .announce(vec![replace_text(name, expected, new)]);
    }

    fn shares_texts(&self) -> bool {
        true
    }

    fn shared(&self) -> Option<SharedStatus> {
        Some(SharedStatus {
            up: self.client.is_up(),
            failures: self.client.failures(),
        })
    }

    fn other_proxies(&self) -> Vec<PeerStatus> {
        let mut list = cmd("ZREVRANGE");
        list.arg(keys::PROXIES).arg(0).arg(MAX_PROXIES);
        let one = |answer: Result<Vec<Value>, _>| answer.ok().and_then(|mut values| values.pop());
        let names = array(one(self.client.ask(vec![list]))).into_iter();
        let names: Vec<String> = names
            .take(MAX_PROXIES)
            .filter_map(|name| Some(keys::proxy(&String::from_utf8(text(name)?).ok()?)))
            .collect();
        if names.is_empty() {
            return Vec::new();
        }
        let mut get = cmd("MGET");
        get.arg(&names);
        let values = array(one(self.client.ask(vec![get]))).into_iter();
        let read = |(key, value): (String, Value)| {
            let status = serde_json::from_slice(&text(value)?);
            status
                .map_err(|error| self.shared.skip(&key, &error.to_string()))
                .ok()
        };
        names.into_iter().zip(values).filter_map(read).collect()
    }
}

/// The life of a shared text after its last change, in seconds: that of a pin.
const TEXT_SECONDS: u64 = PIN_SECONDS;

fn replace_text(name: &str, expected: Option<&str>, new: &str) -> Cmd {
    let arguments = [expected.unwrap_or_default(), new, &TEXT_SECONDS.to_string()];
    eval(keys::REPLACE, &[keys::text(name)], &arguments)
}

/// The id in a pin's value.
fn server_id(value: Value) -> Result<String, String> {
    if let Value::ServerError(error) = &value {
        return Err(error.details().unwrap_or(error.code()).to_owned());
    }
    let key = text(value).and_then(|key| String::from_utf8(key).ok());
    key.as_deref()
        .and_then(|key| key.strip_prefix(keys::SERVER))
        .map(str::to_owned)
        .ok_or_else(|| "it is no server's key".to_owned())
}

fn away() -> Unavailable {
    Unavailable(
        "Redis, which all proxies share, is away: nothing new can be stored until it is back."
            .to_owned(),
    )
}

fn refused(error: &::redis::ServerError) -> Unavailable {
    let details = error.details().unwrap_or_default();
    Unavailable(format!("Redis refused it: {} {details}", error.code()))
}
