//! What is under way and what is kept: bounded, least recently used out first.

use crate::cache::entry::{CacheEntry, EntryMatch, OriginId};
use crate::cache::freshness::MAX_SEGMENT;
use crate::cache::key::Key;
use crate::cache::reader::ReaderSlot;
use crate::stream::url::StreamUrl;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What an entry takes beside its key and its body, in bytes, roughly: so that small ones are bounded,
/// too.
const ENTRY: usize = 1024;
/// Bodies on their way, and those that slow readers hold on to, may take as much as what is kept, and at
/// least this many bytes. What comes beyond it is not shared, and its reader's pace is its origin's.
const IN_FLIGHT: u64 = 8 * MAX_SEGMENT;

/// The table, under one lock.
#[derive(Debug)]
pub struct CacheTable {
    limit: u64,
    /// Bytes of bodies in memory, kept or not.
    held: Arc<AtomicU64>,
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    entries: HashMap<Key, StoredEntry>,
    /// Those that are kept, by when they were used last.
    order: BTreeMap<u64, Key>,
    uses: u64,
    kept: u64,
}

#[derive(Debug)]
struct StoredEntry {
    entry: Arc<CacheEntry>,
    /// Not for those that are under way.
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    until: Instant,
    size: u64,
    used: u64,
}

/// How a request comes in.
#[derive(Debug)]
pub enum TableLookup {
    /// It is the first.
    First(Arc<ReaderSlot>),
    /// It shares what is under way.
    Joined(Arc<ReaderSlot>),
    /// The answer is there.
    Ready(Arc<CacheEntry>),
}

/// Memory that a body counts for, until this is dropped.
#[derive(Debug)]
pub struct MemoryReservation {
    held: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl CacheTable {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            held: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// The most that is kept, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of bodies in memory, kept or not.
    pub fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Room for a body of that many bytes, unless too much is in memory.
    pub fn reserve(&self, bytes: u64) -> Option<MemoryReservation> {
        let most = self.limit.saturating_add(self.limit.max(IN_FLIGHT));
        let reservation = MemoryReservation {
            held: self.held.clone(),
            bytes,
        };
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= most).then_some(reservation)
    }

    /// A request comes in, whose stream is pinned to `pin` now.
    pub fn enter(&self, key: &Key, pin: Option<OriginId>) -> TableLookup {
        let now = Instant::now();
        let mut state = self.lock();
        let mut useless = None;
        if let Some(entry) = state.entries.get(key) {
            let kept = entry.kept;
            let found = match kept {
                Some(kept) if kept.until <= now => EntryMatch::Useless,
                _ => entry.entry.find(pin.as_ref(), kept.is_some()),
            };
            match found {
                EntryMatch::Joined(slot) => return TableLookup::Joined(slot),
                EntryMatch::Ready => {
                    let entry = entry.entry.clone();
                    state.touch(key);
                    return TableLookup::Ready(entry);
                }
                EntryMatch::Useless => useless = state.remove(key),
            }
        }
        let entry = CacheEntry::new(pin);
        let slot = entry.first();
        let entry = StoredEntry { entry, kept: None };
        state.entries.insert(key.clone(), entry);
        drop(state);
        drop(useless); // it may be large
        TableLookup::First(slot)
    }

    /// Keeps a transfer of `length` bytes until then, if it is still the one of that key.
    pub fn keep(&self, key: &Key, entry: &Arc<CacheEntry>, length: usize, until: Instant) {
        let size = (length + key.size() + ENTRY) as u64;
        let mut gone = Vec::new();
        let mut state = self.lock();
        if !state.has(key, entry) {
            return;
        }
        if size > self.limit || until <= Instant::now() {
            gone.extend(state.remove(key));
        } else {
            state.keep(key, size, until);
            while state.kept > self.limit {
                let Some((_, oldest)) = state.order.pop_first() else {
                    break;
                };
                gone.extend(state.remove(&oldest));
            }
        }
        drop(state);
        drop(gone);
    }

    /// Forgets a transfer, if it is still the one of that key.
    pub fn remove(&self, key: &Key, entry: &Arc<CacheEntry>) {
        let mut state = self.lock();
        let gone = state.has(key, entry).then(|| state.remove(key)).flatten();
        drop(state);
        drop(gone);
    }

    /// Forgets all of a stream that is kept and that another origin than this one gave.
    pub fn forget_others(&self, stream: &StreamUrl, origin: &OriginId) {
        let other = |entry: &StoredEntry| entry.entry.origin().as_ref() != Some(origin);
        self.forget(|key, entry| entry.kept.is_some() && key.stream() == stream && other(entry));
    }

    /// Forgets what has expired.
    pub fn sweep(&self, now: Instant) {
        self.forget(|_, entry| entry.kept.is_some_and(|kept| kept.until <= now));
    }

    fn forget(&self, which: impl Fn(&Key, &StoredEntry) -> bool) {
        let mut state = self.lock();
        let entries = state.entries.iter();
        let keys: Vec<Key> = entries
            .filter(|(key, entry)| which(key, entry))
            .map(|(key, _)| key.clone())
            .collect();
        let gone: Vec<Option<StoredEntry>> = keys.iter().map(|key| state.remove(key)).collect();
        drop(state);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        // Nothing panics under it that would leave it half changed.
        self.state.lock()
    }
}

impl TableState {
    fn has(&self, key: &Key, entry: &Arc<CacheEntry>) -> bool {
        let own = |stored: &StoredEntry| Arc::ptr_eq(&stored.entry, entry);
        self.entries.get(key).is_some_and(own)
    }

    fn remove(&mut self, key: &Key) -> Option<StoredEntry> {
        let entry = self.entries.remove(key)?;
        if let Some(kept) = entry.kept {
            self.order.remove(&kept.used);
            self.kept -= kept.size;
        }
        Some(entry)
    }

    fn keep(&mut self, key: &Key, size: u64, until: Instant) {
        self.uses += 1;
        let used = self.uses;
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = entry.kept.replace(Kept { until, size, used });
        self.order.insert(used, key.clone());
        self.kept += size;
        if let Some(before) = before {
            self.order.remove(&before.used);
            self.kept -= before.size;
        }
    }

    fn touch(&mut self, key: &Key) {
        let kept = self.entries.get(key).and_then(|entry| entry.kept);
        if let Some(kept) = kept {
            self.keep(key, kept.size, kept.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::{EntryHead, Retention, SharedHead};
    use crate::http::head::parse;
    use proptest::prelude::*;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    fn key(n: usize) -> Key {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let head = format!("GET /live/a-{n}.ts HTTP/1.1\r\nHost: a.example\r\n\r\n");
        Key::segment(&stream, &parse(head.as_bytes()).unwrap()).unwrap()
    }

    fn complete(entry: &CacheEntry, body: &[u8]) {
        entry.fill(body, None);
        entry.tell(EntryHead::Shared(Arc::new(SharedHead {
            status: 200,
            headers: crate::http::Headers::default(),
            length: body.len() as u64,
            origin: Some("o".into()),
            address: String::new(),
            pin: None,
            came: Instant::now(),
            age: Duration::ZERO,
            keep: Retention::AfterTheEnd(LONG),
        })));
        entry.end(Ok(()));
    }

    /// Asks for a segment, and brings it in where that is left to do. Gives whether it was there.
    fn ask(table: &CacheTable, n: usize, size: usize, time: Duration) -> bool {
        match table.enter(&key(n), None) {
            TableLookup::Ready(_) => true,
            TableLookup::Joined(slot) => panic!("{slot:?} of whom?"),
            TableLookup::First(slot) => {
                complete(slot.entry(), &vec![0; size]);
                table.keep(&key(n), slot.entry(), size, Instant::now() + time);
                false
            }
        }
    }

    fn consistent(table: &CacheTable) {
        let state = table.lock();
        let sizes = state.entries.values().filter_map(|entry| entry.kept);
        assert_eq!(state.kept, sizes.map(|kept| kept.size).sum::<u64>());
        assert!(state.kept <= table.limit);
        let kept = state.entries.values().filter(|entry| entry.kept.is_some());
        assert_eq!(state.order.len(), kept.count());
    }

    proptest! {
        #[test]
        fn it_is_bounded_whatever_comes(
            asked in prop::collection::vec((0..20_usize, 0..6000_usize, 0..3_u64), 1..200),
        ) {
            let table = CacheTable::new(16_000);
            for (n, size, seconds) in asked {
                ask(&table, n, size, Duration::from_secs(seconds));
                consistent(&table);
            }
            table.sweep(Instant::now() + LONG);
            prop_assert!(table.lock().entries.is_empty());
        }
    }

    #[test]
    fn the_least_recently_used_goes_and_what_is_too_large_never_comes() {
        let table = CacheTable::new(10_000);
        let ask = |n| ask(&table, n, 3000, LONG);
        assert_eq!(
            [ask(1), ask(2), ask(1), ask(3)],
            [false, false, true, false]
        );
        assert_eq!([ask(1), ask(3), ask(2)], [true, true, false]);
        assert!(!super::tests::ask(&table, 9, 10_000, LONG));
        assert!(!super::tests::ask(&table, 9, 10_000, LONG));
    }

    #[test]
    fn only_the_present_transfer_of_a_key_is_kept_or_removed() {
        let table = CacheTable::new(10_000);
        let TableLookup::First(old) = table.enter(&key(1), None) else {
            panic!("the first");
        };
        table.remove(&key(1), old.entry());
        assert!(!ask(&table, 1, 10, LONG));
        complete(old.entry(), b"old");
        table.keep(&key(1), old.entry(), 3, Instant::now() + LONG);
        table.remove(&key(1), old.entry());
        assert!(ask(&table, 1, 10, LONG), "the new one has stayed");
        consistent(&table);
    }

    #[test]
    fn another_origins_are_forgotten() {
        let table = CacheTable::new(10_000);
        ask(&table, 1, 10, LONG);
        table.forget_others(key(1).stream(), &"o".into());
        assert!(ask(&table, 1, 10, LONG));
        table.forget_others(key(1).stream(), &"p".into());
        assert!(!ask(&table, 1, 10, LONG));
        consistent(&table);
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let table = CacheTable::new(1000);
        let reservation = table.reserve(IN_FLIGHT).unwrap();
        assert!(table.reserve(1001).is_none());
        assert_eq!(table.bytes(), IN_FLIGHT);
        drop(reservation);
        assert!(table.reserve(1001).is_some());
        assert_eq!(table.bytes(), 0);
    }
}
