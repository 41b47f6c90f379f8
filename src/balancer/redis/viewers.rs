//! HLS viewers whose requests come by several proxies: what one proxy knows of a viewer's session, the next one goes on
//! with.

use crate::balancer::redis::sync::{array, eval, text};
use crate::balancer::redis::{Redis, keys};
use ::redis::{Cmd, Value, cmd};
use std::time::Duration;

/// Sessions that are taken at once.
const BATCH: usize = 200;
/// Ended viewers that are read at once.
const MAX_KICKED: usize = 1000;
/// The life of bytes that are added to a session of another proxy, in seconds; that proxy renews it.
const BYTES_SECONDS: u64 = 300;

/// What became of taking a viewer's session out of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// This proxy has seen the viewer last, or nobody can tell. With the bytes that all proxies have counted.
    Own(u64),
    /// Another proxy has seen it later, or has taken it.
    Other,
}

/// A session as it is to be kept.
#[derive(Debug)]
pub struct KeptViewer<'a> {
    pub id: &'a str,
    /// JSON, with the proxy that has seen the viewer last in `by`.
    pub text: &'a str,
    /// Other names that lead to the session.
    pub names: &'a [String],
    /// Bytes that this proxy has sent since it told last.
    pub added_bytes: u64,
    pub life: Duration,
    /// The proxy that keeps it.
    pub by: &'a str,
}

fn add_bytes(id: &str, bytes: u64, life: u64) -> [Cmd; 2] {
    let key = keys::viewer_bytes(id);
    let (mut add, mut expire) = (cmd("INCRBY"), cmd("EXPIRE"));
    add.arg(&key).arg(i64::try_from(bytes).unwrap_or(i64::MAX));
    expire.arg(&key).arg(life);
    [add, expire]
}

impl Redis {
    /// The text of the session of that name. Waits for Redis; `None` where there is no such session, or Redis is away.
    pub fn viewer(&self, name: &str) -> Option<String> {
        let get = |key: String| {
            let mut get = cmd("GET");
            get.arg(key);
            get
        };
        let by_id = |id: &str| get(keys::viewer(id));
        let string = |value: Value| String::from_utf8(text(value)?).ok();
        let commands = vec![by_id(name), get(keys::viewer_name(name))];
        let mut answers = self.client.ask(commands).ok()?.into_iter();
        let (own, other) = (answers.next()?, answers.next()?);
        if let Some(found) = string(own) {
            return Some(found);
        }
        let id = string(other)?;
        let mut answers = self.client.ask(vec![by_id(&id)]).ok()?.into_iter();
        string(answers.next()?)
    }

    /// Keeps a session for other proxies. Does not wait. Returns whether it will be kept.
    pub fn keep_viewer(&self, kept: &KeptViewer<'_>) -> bool {
        let life = kept.life.as_secs().max(1);
        let set = |key: String, value: &str| {
            let mut set = cmd("SET");
            set.arg(key).arg(value).arg("EX").arg(life);
            set
        };
        let keep = [kept.text, &life.to_string(), kept.by];
        let mut commands = vec![eval(keys::KEEP_VIEWER, &[keys::viewer(kept.id)], &keep)];
        let names = kept.names.iter();
        commands.extend(names.map(|name| set(keys::viewer_name(name), kept.id)));
        commands.extend(add_bytes(kept.id, kept.added_bytes, life));
        self.client.announce(commands)
    }

    /// Adds what this proxy has sent to viewers whom another proxy has now, so that it counts all. Waits for Redis.
    pub fn add_viewer_bytes(&self, added: &[(&str, u64)]) {
        for batch in added.chunks(BATCH) {
            let commands = batch.iter();
            let commands = commands.flat_map(|(id, bytes)| add_bytes(id, *bytes, BYTES_SECONDS));
            // While Redis is away the bytes are lost to the other proxy's count, and to nothing else.
            let _ = self.client.ask(commands.collect());
        }
    }

    /// Tells all proxies that an operator has ended a viewer, which is refused for `time`. Does not wait.
    pub fn kick_viewer(&self, id: &str, time: Duration) {
        let arguments = [id, &time.as_secs().to_string()];
        self.client
            .announce(vec![eval(keys::KICK, &[keys::KICKED], &arguments)]);
    }

    /// The sessions of viewers whom an operator has ended a moment ago, at whatever proxy. Waits for Redis.
    pub fn kicked_viewers(&self) -> Vec<String> {
        let mut range = cmd("ZREVRANGE");
        range.arg(keys::KICKED).arg(0).arg(MAX_KICKED);
        let answer = self.client.ask(vec![range]).ok();
        let ids = array(answer.and_then(|mut one| one.pop())).into_iter();
        ids.filter_map(|id| String::from_utf8(text(id)?).ok())
            .collect()
    }

    /// Forgets a session, whoever has seen it. Does not wait.
    pub fn forget_viewer(&self, id: &str) {
        let mut delete = cmd("DEL");
        delete.arg(keys::viewer(id)).arg(keys::viewer_bytes(id));
        self.client.announce(vec![delete]);
    }

    /// Takes each session whose viewer the proxy `by` has seen last. Waits for Redis; while it is away all are this
    /// proxy's own.
    pub fn take_viewers(&self, ids: &[&str], by: &str) -> Vec<Taken> {
        let take = |id: &&str| -> Cmd {
            let names = [keys::viewer(id), keys::viewer_bytes(id)];
            eval(keys::TAKE_VIEWER, &names, &[by])
        };
        let mut taken = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            let answers = self.client.ask(batch.iter().map(take).collect());
            let mut answers = answers.unwrap_or_default().into_iter();
            taken.extend(batch.iter().map(|_| match answers.next() {
                Some(Value::Int(bytes)) => match u64::try_from(bytes) {
                    Ok(bytes) => Taken::Own(bytes),
                    Err(_) => Taken::Other,
                },
                _ => Taken::Own(0),
            }));
        }
        taken
    }
}
