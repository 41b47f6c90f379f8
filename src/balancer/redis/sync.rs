//! The shared picture: what Redis tells of origins goes into this proxy's memory, and what Redis has
//! lost is written again from it.

use crate::balancer::redis::cache::{CachedPin, SharedTables};
use crate::balancer::redis::keys;
use crate::balancer::redis::pipeline::send;
use crate::balancer::redis::server::Server;
use log::info;
use redis::{Cmd, Connection, RedisError, Value, cmd};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Servers that are read from the list at most.
const MAX_SERVERS: usize = 4096;
/// Pins that are written again at once.
const CHUNK: usize = 1000;
/// An unused pin's life, in seconds.
pub const PIN_SECONDS: u64 = 3600;
/// A drained origin that sends no heartbeat for this long is forgotten to be drained, in seconds.
pub const DRAIN_SECONDS: u64 = 30 * 24 * 3600;

/// What was read last, to see what is new.
pub struct OriginSync {
    shared: Arc<SharedTables>,
    epoch: Option<Vec<u8>>,
    /// Servers by key, and their heartbeats' times.
    seen: HashMap<String, Option<SystemTime>>,
    /// Keys that hold no text.
    foreign: HashSet<String>,
    suspicions: HashMap<String, Vec<u8>>,
}

impl OriginSync {
    /// Nothing has been read yet.
    pub fn new(shared: Arc<SharedTables>) -> Self {
        Self {
            shared,
            epoch: None,
            seen: HashMap::new(),
            foreign: HashSet::new(),
            suspicions: HashMap::new(),
        }
    }

    /// Reads origins, drains, suspicions and removals, in three round trips. After a loss writes what this proxy
    /// knows first.
    ///
    /// # Errors
    /// When the connection breaks, or Redis refuses what must be possible.
    pub fn poll(&mut self, connection: &mut Connection) -> Result<(), RedisError> {
        let mut mark = cmd("SET");
        // Another text each time: after a loss it must differ, whoever writes it.
        mark.arg(keys::EPOCH).arg(fastrand::u64(..)).arg("NX");
        let mut epoch = cmd("GET");
        epoch.arg(keys::EPOCH);
        let mut list = cmd("GET");
        list.arg(keys::ALL_SERVERS);
        let mut values = send(connection, [mark, epoch, list].iter())?.into_iter();
        let marked = allowed(values.next());
        if marked.is_err() && self.epoch.is_none() {
            marked?;
        }
        // A Redis that is full, or has become a replica, is read on; what it refuses is told where it is refused.
        let epoch = text(allowed(values.next())?);
        let list = values.next().unwrap_or(Value::Nil);
        if epoch != self.epoch {
            if self.epoch.is_some() {
                self.write_again(connection)?;
            }
            self.epoch = epoch;
        }
        let list = self.read_list(&list);
        self.read_servers(connection, list)?;
        self.read_states(connection)
    }

    /// Commands whose answers nobody waits for are answered all the same.
    pub fn note_refused(&self, answer: &Value) {
        if let Value::ServerError(error) = answer {
            let why = format!("{} {}", error.code(), error.details().unwrap_or(""));
            self.shared
                .warn_once(error.code(), &format!("Redis refused a command: {why}"));
        }
    }

    /// The keys on the list; what is none is skipped.
    fn read_list(&self, value: &Value) -> Vec<String> {
        let broken = |why: &str| self.shared.skip(keys::ALL_SERVERS, why);
        let bytes = match value {
            Value::Nil => return Vec::new(),
            Value::BulkString(bytes) => bytes,
            Value::ServerError(error) => {
                broken(error.details().unwrap_or(error.code()));
                return Vec::new();
            }
            _ => {
                broken("it is no text");
                return Vec::new();
            }
        };
        // Go writes an empty list as null, and Lua as an object.
        let list: Vec<serde_json::Value> = match serde_json::from_slice(bytes) {
            Ok(serde_json::Value::Array(list)) => list,
            Ok(serde_json::Value::Null) => Vec::new(),
            Ok(_) => {
                broken("it is no JSON array");
                Vec::new()
            }
            Err(error) => {
                broken(&error.to_string());
                Vec::new()
            }
        };
        let mut servers = Vec::new();
        for entry in list.iter().take(MAX_SERVERS) {
            match entry.as_str().filter(|key| key.starts_with(keys::SERVER)) {
                Some(key) => servers.push(key.to_owned()),
                None => broken(&format!("{entry} is no server's key")),
            }
        }
        servers.sort();
        servers.dedup();
        servers
    }

    fn read_servers(
        &mut self,
        connection: &mut Connection,
        list: Vec<String>,
    ) -> Result<(), RedisError> {
        self.seen.retain(|key, _| list.binary_search(key).is_ok());
        self.foreign.retain(|key| list.binary_search(key).is_ok());
        let values = get_all(connection, &list)?;
        let mut servers = Vec::new();
        let mut gone = Vec::new();
        for (key, value) in list.into_iter().zip(values) {
            match text(value).map(|value| Server::decode(&key, &value)) {
                Some(Ok(server)) => servers.push((key, server)),
                Some(Err(why)) => self.shared.skip(&key, &why),
                None if self.foreign.contains(&key) => {}
                None => gone.push(key),
            }
        }
        if !gone.is_empty() {
            let bury = eval(keys::BURY, &[keys::ALL_SERVERS], &gone);
            let left = send(connection, [bury].iter())?.pop();
            for key in array(left).into_iter().filter_map(text) {
                let key = String::from_utf8_lossy(&key).into_owned();
                self.shared.skip(&key, "it is no text");
                self.foreign.insert(key);
            }
        }
        // Two of the same address, when an origin has restarted: the newer one comes last, and stays.
        servers.sort_by_key(|(_, server)| server.update_at);
        for (key, server) in servers {
            self.take(key, &server);
        }
        Ok(())
    }

    fn take(&mut self, key: String, server: &Server) {
        let heartbeat = match self.seen.get(&key) {
            // By this machine's clock: those of the others may be wrong.
            Some(before) if *before < server.update_at => Instant::now(),
            Some(_) => return,
            None => {
                let age = server.update_at.and_then(|at| at.elapsed().ok());
                let now = Instant::now();
                now.checked_sub(age.unwrap_or_default()).unwrap_or(now)
            }
        };
        self.shared.memory.absorb(&server.origin, heartbeat);
        self.seen.insert(key, server.update_at);
    }

    /// Drains, suspicions and removals of the origins that are known.
    fn read_states(&mut self, connection: &mut Connection) -> Result<(), RedisError> {
        use crate::balancer::Balancer;
        let memory = &self.shared.memory;
        let origins = memory.snapshot();
        let drains = origins.iter().map(|(origin, ..)| keys::drain(origin));
        let suspicions = origins.iter().map(|(origin, ..)| keys::suspect(origin));
        let removed = origins
            .iter()
            .map(|(origin, ..)| keys::removed(&origin.id()));
        let names: Vec<String> = drains.chain(suspicions).chain(removed).collect();
        let mut drains = get_all(connection, &names)?;
        let mut suspicions = drains.split_off(origins.len().min(drains.len()));
        let removed = suspicions.split_off(origins.len().min(suspicions.len()));
        for ((origin, ..), mark) in origins.iter().zip(removed) {
            // One that is on the list has sent a heartbeat since.
            let id = origin.id();
            if mark != Value::Nil && !self.seen.contains_key(&keys::server(&id)) {
                let _ = memory.remove(&id); // memory is always there
                info!("origin {id} is removed by an operator, at another proxy");
            }
        }
        let before = std::mem::take(&mut self.suspicions);
        for (((origin, _, draining), drain), (name, suspicion)) in origins
            .iter()
            .zip(drains)
            .zip(names[origins.len()..].iter().zip(suspicions))
        {
            let wanted = drain != Value::Nil;
            if wanted != *draining {
                let _ = memory.drain(&origin.id(), wanted); // memory is always there
            }
            if let Some(suspicion) = text(suspicion) {
                if before.get(name) != Some(&suspicion) {
                    memory.suspect(&origin.id(), &why_suspect(&suspicion));
                }
                self.suspicions.insert(name.clone(), suspicion);
            }
        }
        Ok(())
    }

    /// Redis came back without what it had: living origins, drains and pins are written from memory,
    /// where no other proxy has written them meanwhile. Pins that were not in Redis before are not written now: names
    /// of one use ([`Ration`](crate::balancer::redis::ration::Ration)).
    fn write_again(&mut self, connection: &mut Connection) -> Result<(), RedisError> {
        let (memory, ttl) = (&self.shared.memory, self.shared.ttl);
        let mut commands = Vec::new();
        for (origin, heartbeat, draining) in memory.snapshot() {
            let age = heartbeat.elapsed();
            let left = ttl.saturating_sub(age);
            if left >= Duration::from_millis(1) {
                let at = SystemTime::now().checked_sub(age);
                let value = Server::encode(&origin, at.unwrap_or(SystemTime::UNIX_EPOCH));
                commands.push(register(&origin, &value, left, "missing", None));
            }
            if draining {
                let mut drain = cmd("SET");
                drain.arg(keys::drain(&origin)).arg("1");
                drain.arg("EX").arg(DRAIN_SECONDS).arg("NX");
                commands.push(drain);
            }
        }
        let mut pins = memory.pins();
        {
            let cache = self.shared.cache();
            let was_there = |copy: &CachedPin| copy.written.is_some();
            pins.retain(|(stream, _)| cache.pins.peek(stream).is_some_and(was_there));
        }
        for (stream, id) in pins {
            let mut pin = cmd("SET");
            pin.arg(keys::pin(&stream)).arg(keys::server(&id));
            pin.arg("EX").arg(PIN_SECONDS).arg("NX");
            commands.push(pin);
        }
        for chunk in commands.chunks(CHUNK) {
            for answer in send(connection, chunk.iter())? {
                self.note_refused(&answer);
            }
        }
        Ok(())
    }
}

/// The command that stores an origin for `life`; `how` is `new` or `missing`, see [`keys::REGISTER`].
pub fn register(
    origin: &crate::balancer::origin::Origin,
    value: &str,
    life: Duration,
    how: &str,
    replaced: Option<&str>,
) -> Cmd {
    let names = [
        keys::ALL_SERVERS.to_owned(),
        keys::server(&origin.id()),
        keys::suspect(origin),
        keys::drain(origin),
    ];
    let mut arguments = vec![
        value.to_owned(),
        life.as_millis().to_string(),
        DRAIN_SECONDS.to_string(),
        how.to_owned(),
    ];
    arguments.extend(replaced.map(keys::server));
    eval(keys::REGISTER, &names, &arguments)
}

/// The text that tells other proxies of a suspicion: a number, so that a new suspicion differs from the last, and why.
pub fn suspicion(why: &str) -> String {
    format!("{} {why}", fastrand::u64(..))
}

/// Why, in words, of such a text. Older proxies write the number alone.
fn why_suspect(suspicion: &[u8]) -> String {
    let text = String::from_utf8_lossy(suspicion);
    match text.split_once(' ') {
        Some((_, why)) => why.to_owned(),
        None => "another proxy could not connect it".to_owned(),
    }
}

/// A script, its keys and its arguments as one command. The text goes along each time: a few hundred
/// bytes, and no script that Redis may have forgotten.
pub fn eval(script: &str, names: &[impl AsRef<str>], arguments: &[impl AsRef<str>]) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(names.len());
    for text in names {
        eval.arg(text.as_ref());
    }
    for text in arguments {
        eval.arg(text.as_ref());
    }
    eval
}

fn get_all(connection: &mut Connection, names: &[String]) -> Result<Vec<Value>, RedisError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut get = cmd("MGET");
    get.arg(names);
    let values = array(Some(allowed(send(connection, [get].iter())?.pop())?));
    Ok(values)
}

/// What Redis answered, unless it refused.
fn allowed(value: Option<Value>) -> Result<Value, RedisError> {
    match value {
        Some(Value::ServerError(error)) => Err(error.into()),
        other => Ok(other.unwrap_or(Value::Nil)),
    }
}

/// The elements of an array; none where it is none.
pub fn array(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

/// The bytes of a text; `None` where there is none.
pub fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_says_why() {
        let first = suspicion("connecting to 10.0.0.1:80: refused");
        assert_ne!(first, suspicion("connecting to 10.0.0.1:80: refused"));
        assert_eq!(
            why_suspect(first.as_bytes()),
            "connecting to 10.0.0.1:80: refused"
        );
        let older = why_suspect(b"17345");
        assert_eq!(older, "another proxy could not connect it");
    }
}
