//! What is under way and what is kept: bounded, least recently used out first.

use crate::cache::entry::{CacheEntry, EntryMatch};
use crate::cache::key::Key;
use crate::cache::memory::{MemoryBudget, MemoryReservation};
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Segments take at most all but this part of the memory. Clients that read segments slowly hold them, and playlists,
/// which each viewer asks for every few seconds, must still find room.
const PLAYLIST_PART: u64 = 8;

/// The table of all entries, under one lock.
#[derive(Debug)]
pub struct CacheTable {
    budget: Arc<MemoryBudget>,
    /// Most readers of one entry that is on its way: each holds a worker.
    max_readers: usize,
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    entries: HashMap<Key, StoredEntry>,
    /// The keys of kept entries, by when they were used last.
    order: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Debug)]
struct StoredEntry {
    entry: Arc<CacheEntry>,
    /// `None` for an entry that is under way.
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    until: Instant,
    used: u64,
}

/// What a request finds under its key.
#[derive(Debug)]
pub enum TableLookup {
    /// Nothing: the new entry is for the caller to fill.
    First(Arc<CacheEntry>),
    /// An entry under way, which has counted the caller as a reader.
    Joined(Arc<CacheEntry>),
    /// As many readers wait for that entry as may.
    Full,
    /// A complete entry.
    Ready(Arc<CacheEntry>),
}

impl CacheTable {
    /// A table of at most `limit` bytes, in which an entry that is on its way has at most `max_readers`.
    pub fn new(limit: u64, max_readers: usize) -> Self {
        Self {
            budget: MemoryBudget::new(limit),
            max_readers,
            state: Mutex::default(),
        }
    }

    /// The most memory that is used, in bytes.
    pub fn limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Bytes of bodies in memory: kept ones, those on their way, and those that are still read.
    pub fn bytes(&self) -> u64 {
        self.budget.bodies()
    }

    /// The share of the memory that answers of this kind may take, in bytes.
    fn ceiling(&self, key: &Key) -> u64 {
        let limit = self.budget.limit();
        match key.is_segment() {
            true => limit - limit / PLAYLIST_PART,
            false => limit,
        }
    }

    /// Whether a body of that length ever fits.
    pub fn fits(&self, key: &Key, body: u64) -> bool {
        MemoryBudget::weight(key.size(), body) <= self.ceiling(key)
    }

    /// Reserves memory for a body, and removes the least recently used answers for it. `None` where what is under way,
    /// or still read, leaves no room.
    pub fn reserve(&self, key: &Key, body: u64) -> Option<MemoryReservation> {
        let ceiling = self.ceiling(key);
        let reserve = || self.budget.reserve(key.size(), body, ceiling);
        if let Some(reservation) = reserve() {
            return Some(reservation);
        }
        if !self.fits(key, body) {
            return None;
        }
        let mut state = self.lock();
        let weight = MemoryBudget::weight(key.size(), body);
        let gone = state.idle_entries(self.budget.missing(weight, ceiling))?;
        let gone: Vec<_> = gone.iter().filter_map(|key| state.remove(key)).collect();
        drop(state);
        drop(gone); // they may be large
        reserve()
    }

    /// Looks a request's key up. `pin` is the origin that the request's stream is pinned to now.
    pub fn enter(&self, key: &Key, pin: Option<&OriginId>) -> TableLookup {
        let now = Instant::now();
        let mut state = self.lock();
        let mut useless = None;
        if let Some(stored) = state.entries.get(key) {
            let entry = stored.entry.clone();
            let found = match stored.kept {
                Some(kept) if kept.until <= now => EntryMatch::Useless,
                kept => entry.join(pin, kept.is_some(), self.max_readers),
            };
            match found {
                EntryMatch::Joined => return TableLookup::Joined(entry),
                EntryMatch::Full => return TableLookup::Full,
                EntryMatch::Ready => {
                    state.touch(key);
                    return TableLookup::Ready(entry);
                }
                EntryMatch::Useless => useless = state.remove(key),
            }
        }
        let entry = CacheEntry::new(pin.cloned());
        entry.add_reader();
        let stored = StoredEntry {
            entry: entry.clone(),
            kept: None,
        };
        state.entries.insert(key.clone(), stored);
        drop(state);
        drop(useless); // it may be large
        TableLookup::First(entry)
    }

    /// A complete, kept entry under that key.
    pub fn ready(&self, key: &Key) -> Option<Arc<CacheEntry>> {
        let now = Instant::now();
        let mut state = self.lock();
        let stored = state.entries.get(key)?;
        stored.kept.filter(|kept| kept.until > now)?;
        let entry = stored.entry.clone();
        state.touch(key);
        Some(entry)
    }

    /// Keeps an entry until then, if it is still the one of that key.
    pub fn keep(&self, key: &Key, entry: &Arc<CacheEntry>, until: Instant) {
        let mut state = self.lock();
        if !state.has(key, entry) {
            return;
        }
        let gone = match until <= Instant::now() {
            true => state.remove(key),
            false => {
                state.keep(key, until);
                None
            }
        };
        drop(state);
        drop(gone);
    }

    /// Forgets an entry, if it is still the one of that key.
    pub fn remove(&self, key: &Key, entry: &Arc<CacheEntry>) {
        let mut state = self.lock();
        let gone = state.has(key, entry).then(|| state.remove(key)).flatten();
        drop(state);
        drop(gone);
    }

    /// Forgets all kept entries of a stream that another origin than this one gave.
    pub fn forget_others(&self, stream: &StreamUrl, origin: &OriginId) {
        let other = |stored: &StoredEntry| stored.entry.origin().as_ref() != Some(origin);
        self.forget(|key, stored| stored.kept.is_some() && key.stream() == stream && other(stored));
    }

    /// Forgets what has expired.
    pub fn sweep(&self, now: Instant) {
        self.forget(|_, stored| stored.kept.is_some_and(|kept| kept.until <= now));
    }

    fn forget(&self, which: impl Fn(&Key, &StoredEntry) -> bool) {
        let mut state = self.lock();
        let old: Vec<Key> = state
            .entries
            .iter()
            .filter(|(key, stored)| which(key, stored))
            .map(|(key, _)| key.clone())
            .collect();
        let gone: Vec<_> = old.iter().filter_map(|key| state.remove(key)).collect();
        drop(state);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        self.state.lock()
    }
}

impl TableState {
    fn has(&self, key: &Key, entry: &Arc<CacheEntry>) -> bool {
        let own = |stored: &StoredEntry| Arc::ptr_eq(&stored.entry, entry);
        self.entries.get(key).is_some_and(own)
    }

    fn remove(&mut self, key: &Key) -> Option<StoredEntry> {
        let stored = self.entries.remove(key)?;
        if let Some(kept) = stored.kept {
            self.order.remove(&kept.used);
        }
        Some(stored)
    }

    fn keep(&mut self, key: &Key, until: Instant) {
        self.uses += 1;
        let used = self.uses;
        let Some(stored) = self.entries.get_mut(key) else {
            return;
        };
        // A use moves the key it has: nothing is allocated for a copy.
        let before = stored.kept.replace(Kept { until, used });
        let own = before.and_then(|before| self.order.remove(&before.used));
        self.order.insert(used, own.unwrap_or_else(|| key.clone()));
    }

    fn touch(&mut self, key: &Key) {
        let kept = self.entries.get(key).and_then(|stored| stored.kept);
        if let Some(kept) = kept {
            self.keep(key, kept.until);
        }
    }

    /// The least recently used entries that together free so many bytes. An entry that somebody still reads would stay
    /// in memory, and so is no help. `None` where all together do not suffice.
    fn idle_entries(&self, mut missing: u64) -> Option<Vec<Key>> {
        let mut idle = Vec::new();
        for key in self.order.values() {
            if missing == 0 {
                break;
            }
            let Some(stored) = self.entries.get(key) else {
                continue;
            };
            if Arc::strong_count(&stored.entry) == 1 {
                missing = missing.saturating_sub(stored.entry.weight());
                idle.push(key.clone());
            }
        }
        (missing == 0).then_some(idle)
    }
}

#[cfg(test)]
mod tests;
