//! Names whose answers cannot be shared, remembered for a minute: nobody waits for another's answer in vain again.

use crate::cache::key::Key;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use std::time::{Duration, Instant};

/// How long a name is remembered.
const TIME: Duration = Duration::from_secs(60);
/// Most names in one of the two halves; 16 bytes each. A flood of names only has earlier ones forgotten, whose players
/// then wait once more.
const MAX_NAMES: usize = 4096;

/// The names, as hashes that only this process can make.
#[derive(Debug, Default)]
pub struct Unshareable {
    hasher: RandomState,
    names: Mutex<Names>,
}

/// Two halves: when the young one is full it becomes the old one, and the old one's names are forgotten.
#[derive(Debug, Default)]
struct Names {
    young: HashMap<u64, Instant>,
    old: HashMap<u64, Instant>,
}

impl Unshareable {
    /// Remembers that the answer of this name could not be shared at `now`.
    pub fn remember(&self, key: &Key, now: Instant) {
        let name = self.hasher.hash_one(key);
        let mut names = self.lock();
        if names.young.len() >= MAX_NAMES {
            names.old = std::mem::take(&mut names.young);
        }
        names.young.insert(name, now);
    }

    /// Whether the answer of this name could not be shared in the last minute.
    pub fn has(&self, key: &Key, now: Instant) -> bool {
        let name = self.hasher.hash_one(key);
        let names = self.lock();
        let since = names.young.get(&name).or_else(|| names.old.get(&name));
        since.is_some_and(|since| now.saturating_duration_since(*since) < TIME)
    }

    /// Frees what is older than a minute.
    pub fn sweep(&self, now: Instant) {
        let recent = |_: &u64, since: &mut Instant| now.saturating_duration_since(*since) < TIME;
        let mut names = self.lock();
        names.young.retain(recent);
        names.old.retain(recent);
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse;
    use crate::stream::url::StreamUrl;

    fn key(n: usize) -> Key {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let head = format!("GET /live/a-{n}.ts HTTP/1.1\r\nHost: a.example\r\n\r\n");
        Key::segment(&stream, &parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn a_name_is_known_for_a_minute() {
        let names = Unshareable::default();
        let now = Instant::now();
        names.remember(&key(1), now);
        assert!(names.has(&key(1), now + TIME / 2));
        assert!(!names.has(&key(2), now));
        assert!(!names.has(&key(1), now + TIME));
        names.sweep(now + TIME);
        assert!(names.lock().young.is_empty());
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let names = Unshareable::default();
        let now = Instant::now();
        for n in 0..3 * MAX_NAMES {
            names.remember(&key(n), now);
        }
        let held = names.lock();
        assert!(held.young.len() + held.old.len() <= 2 * MAX_NAMES);
        drop(held);
        assert!(names.has(&key(3 * MAX_NAMES - 1), now));
    }
}
