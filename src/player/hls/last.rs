//! The playlists that went out last, for the time in which a stream has no origin that has one.

use crate::http::Headers;
use crate::stream::origin_id::OriginId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a generation; there are two.
const GENERATION: usize = 8 << 20;
/// Largest body that is kept, in bytes.
const MAX_BODY: usize = 512 << 10;

/// A playlist as it went out.
#[derive(Debug)]
pub struct LastPlaylist {
    pub headers: Headers,
    pub body: Vec<u8>,
    /// The id and the address of the origin that it came from.
    pub origin: OriginId,
    pub address: String,
    /// Until when it makes sense to a player.
    pub until: Instant,
}

/// The last playlist of each request, in bounded memory. Requests are told apart by a hash that is seeded anew in each
/// process: nobody can make two requests meet.
#[derive(Debug, Default)]
pub struct LastPlaylists {
    seed: RandomState,
    table: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Arc<LastPlaylist>>,
    old: HashMap<u64, Arc<LastPlaylist>>,
    /// Of the young ones.
    bytes: usize,
}

/// A request, as far as its answer may not be another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastKey(u64);

impl LastPlaylists {
    /// The key of a request.
    pub fn key(&self, request: &impl Hash) -> LastKey {
        LastKey(self.seed.hash_one(request))
    }

    /// What went out last, where it still makes sense.
    pub fn get(&self, key: LastKey, now: Instant) -> Option<Arc<LastPlaylist>> {
        let table = self.table.lock();
        let last = table.young.get(&key.0).or_else(|| table.old.get(&key.0))?;
        (now < last.until).then(|| last.clone())
    }

    /// Remembers what goes out.
    pub fn put(&self, key: LastKey, last: LastPlaylist) {
        if last.body.len() > MAX_BODY {
            return;
        }
        let size = last.size();
        let mut table = self.table.lock();
        let before = table.young.insert(key.0, Arc::new(last));
        table.bytes += size;
        table.bytes -= before.as_ref().map_or(0, |before| before.size());
        let gone = (table.bytes > GENERATION).then(|| {
            table.bytes = 0;
            let young = mem::take(&mut table.young);
            mem::replace(&mut table.old, young)
        });
        drop(table);
        drop((before, gone)); // what is large is freed outside the lock
    }
}

impl LastPlaylist {
    fn size(&self) -> usize {
        let headers = self.headers.iter();
        let lines = headers.map(|(name, value)| name.len() + value.len() + 32);
        512 + self.body.len() + lines.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn they_last_for_their_time_and_are_bounded() {
        let (lasts, now) = (LastPlaylists::default(), Instant::now());
        let last = |bytes| LastPlaylist {
            headers: Headers::default(),
            body: vec![b'x'; bytes],
            origin: "o".into(),
            address: String::new(),
            until: now + Duration::from_secs(6),
        };
        let key = lasts.key(&"a");
        lasts.put(key, last(100));
        assert!(lasts.get(key, now).is_some());
        assert!(lasts.get(key, now + Duration::from_secs(6)).is_none());
        assert!(lasts.get(lasts.key(&"b"), now).is_none());
        lasts.put(lasts.key(&"b"), last(MAX_BODY + 1));
        assert!(lasts.get(lasts.key(&"b"), now).is_none());
        for n in 0..1000 {
            lasts.put(lasts.key(&n), last(100_000));
            lasts.put(lasts.key(&n), last(100_000));
        }
        let table = lasts.table.lock();
        let size =
            |all: &HashMap<u64, Arc<LastPlaylist>>| all.values().map(|it| it.size()).sum::<usize>();
        assert_eq!(size(&table.young), table.bytes);
        assert!(size(&table.young) + size(&table.old) <= 2 * GENERATION + MAX_BODY);
    }
}
