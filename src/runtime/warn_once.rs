//! Saying the same thing to the log only so often.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Tells for each key (an address, a kind of trouble) whether a log line about it is due. A stranger may cause the
/// trouble as often as they like: the log has one line for each key and time, and at most `max` keys are remembered.
#[derive(Debug)]
pub struct WarnOnce<K> {
    /// Time between two lines about one key; `None` is once for the whole run.
    every: Option<Duration>,
    max: usize,
    said: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> WarnOnce<K> {
    /// Lines about one key are at least `every` apart (`None`: there is only one). Beyond `max` keys new ones are
    /// left out until remembered ones have expired.
    pub fn new(every: Option<Duration>, max: usize) -> Self {
        Self {
            every,
            max,
            said: Mutex::default(),
        }
    }

    /// Returns true where a line about `key` is due now, and notes that it has been said.
    pub fn is_due(&self, key: K) -> bool {
        self.is_due_at(key, Instant::now())
    }

    fn is_due_at(&self, key: K, now: Instant) -> bool {
        let fresh = |at: &Instant| {
            self.every
                .is_none_or(|every| now.saturating_duration_since(*at) < every)
        };
        let mut said = self.said.lock();
        if said.get(&key).is_some_and(fresh) {
            return false;
        }
        if said.len() >= self.max && !said.contains_key(&key) {
            said.retain(|_, at| fresh(at));
            if said.len() >= self.max {
                return false;
            }
        }
        said.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_key_is_due_once_in_its_time() {
        let (lines, now) = (WarnOnce::new(Some(MINUTE), 10), Instant::now());
        assert!(lines.is_due_at("a", now) && lines.is_due_at("b", now));
        assert!(!lines.is_due_at("a", now + MINUTE / 2));
        assert!(lines.is_due_at("a", now + MINUTE));
        let lines = WarnOnce::new(None, 10);
        assert!(lines.is_due_at("a", now) && !lines.is_due_at("a", now + MINUTE * 1000));
    }

    #[test]
    fn no_more_keys_than_there_is_room_for() {
        let (lines, now) = (WarnOnce::new(Some(MINUTE), 2), Instant::now());
        assert!(lines.is_due_at(1, now) && lines.is_due_at(2, now));
        assert!(!lines.is_due_at(3, now), "no room");
        assert!(
            lines.is_due_at(3, now + MINUTE),
            "those before have expired"
        );
        assert_eq!(lines.said.lock().len(), 1);
    }
}
