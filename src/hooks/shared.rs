//! Sessions that several proxies share by a Redis: a viewer that changes the proxy is one viewer.

use crate::balancer::redis::Redis;
use crate::balancer::redis::viewers::{KeptViewer, Taken};
use crate::hooks::record::SessionRecord;
use std::sync::Arc;
use std::time::Duration;

/// A session that is in use is written this often at most: hardly less than its player asks. Another proxy knows for so
/// long no more than what was written: a viewer has left so much later than its last request here.
pub const WRITE_EVERY: Duration = Duration::from_millis(250);

/// The sessions in Redis.
pub struct SharedSessions {
    redis: Arc<Redis>,
    /// The name of this proxy.
    by: String,
}

impl SharedSessions {
    /// The sessions for a proxy of that name.
    pub fn new(redis: Arc<Redis>, by: String) -> Self {
        Self { redis, by }
    }

    /// The session of a name, as another proxy has left it. Waits for Redis. What no proxy gives out as a name is not
    /// looked for.
    pub fn load(&self, name: &str) -> Option<SessionRecord> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !name.bytes().all(is_plain) {
            return None;
        }
        let record = serde_json::from_str(&self.redis.viewer(name)?).ok()?;
        // The bytes that others have counted stay where they are.
        Some(SessionRecord { bytes: 0, ..record })
    }

    /// Writes a session that this proxy has just seen; it lives for `life`. Does not wait. Returns whether it will be
    /// written.
    pub fn store(&self, mut record: SessionRecord, added_bytes: u64, life: Duration) -> bool {
        record.by.clone_from(&self.by);
        let names = record.names.iter().map(|(name, _)| name.clone());
        let mut names: Vec<String> = names.filter(|name| *name != record.id).collect();
        names.sort_unstable();
        names.dedup();
        let text = serde_json::to_string(&record).unwrap_or_default(); // texts and numbers: it cannot fail
        self.redis.keep_viewer(&KeptViewer {
            id: &record.id,
            text: &text,
            names: &names,
            added_bytes,
            life,
            by: &self.by,
        })
    }

    /// Takes the sessions that this proxy has seen last. Waits for Redis.
    pub fn take(&self, ids: &[&str]) -> Vec<Taken> {
        self.redis.take_viewers(ids, &self.by)
    }

    /// Adds what this proxy has sent to sessions that another proxy goes on with. Waits for Redis.
    pub fn add_bytes(&self, added: &[(&str, u64)]) {
        self.redis.add_viewer_bytes(added);
    }

    /// Tells all proxies that an operator has ended a session. Does not wait.
    pub fn kick(&self, id: &str, time: Duration) {
        self.redis.kick_viewer(id, time);
    }

    /// The sessions that an operator has ended at whatever proxy. Waits for Redis.
    pub fn kicked(&self) -> Vec<String> {
        self.redis.kicked_viewers()
    }

    /// Forgets a session. Does not wait.
    pub fn forget(&self, id: &str) {
        self.redis.forget_viewer(id);
    }
}
