//! The balancer of one proxy: everything in memory, behind one Mutex.

mod shared;
mod snapshot;

use crate::balancer::origin::{Origin, OriginState};
use crate::balancer::pins::{OriginSlot, Pins};
use crate::balancer::snapshot::BalancerSnapshot;
use crate::balancer::{Balancer, Candidate, OriginId, OriginView, Unavailable};
use crate::stream::url::StreamUrl;
use log::{info, warn};
use parking_lot::{Mutex, MutexGuard};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Origins that are kept at most.
const MAX_ORIGINS: usize = 1024;
/// How long an origin that could not be connected is asked last.
const SUSPECT_TIME: Duration = Duration::from_secs(5);
/// An origin that has been silent for this many TTLs is forgotten.
const FORGET_AFTER_TTLS: u32 = 12;

/// Origins and pins of this process.
pub struct Memory {
    ttl: Duration,
    state: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// In order of first registration.
    entries: BTreeMap<OriginSlot, OriginEntry>,
    made: OriginSlot,
    pins: Pins,
    /// Servers that were warned of as clones.
    clones: HashSet<String>,
}

struct OriginEntry {
    id: OriginId,
    origin: Arc<Origin>,
    heartbeat: Instant,
    suspect_until: Option<Instant>,
    draining: bool,
}

impl OriginEntry {
    fn state(&self, ttl: Duration, now: Instant) -> OriginState {
        if now.saturating_duration_since(self.heartbeat) > ttl {
            OriginState::Stale
        } else if self.suspect_until.is_some_and(|until| until > now) {
            OriginState::Suspect
        } else if self.draining {
            OriginState::Draining
        } else {
            OriginState::Alive
        }
    }
}

impl Memory {
    /// No origins yet; one is alive for `ttl` after its last heartbeat.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // What is done under it does not panic; if it did, the tables would still be consistent
        // enough to look things up in.
        self.state.lock()
    }
}

impl Tables {
    fn slot_of(&self, id: &str) -> Option<OriginSlot> {
        let entry = self.entries.iter().find(|(_, entry)| &*entry.id == id);
        entry.map(|(slot, _)| *slot)
    }

    /// The entries that a registration replaces, the one that it continues first: the same server
    /// restarted, else the same address.
    fn replaced_by(&self, origin: &Origin) -> Vec<OriginSlot> {
        let address = origin.http_address();
        let here = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.origin.ip == origin.ip);
        let same_server = |entry: &OriginEntry| entry.origin.server == origin.server;
        let mut slots: Vec<(bool, OriginSlot)> = here
            .filter(|(_, entry)| {
                same_server(entry) || (address.is_some() && entry.origin.http_address() == address)
            })
            .map(|(slot, entry)| (!same_server(entry), *slot))
            .collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    /// The origin's id, with its address where another entry has the same: images may be cloned whole.
    fn id_for(&self, origin: &Origin, own: Option<OriginSlot>) -> OriginId {
        let id = origin.id();
        let is_taken =
            |(slot, entry): (&OriginSlot, &OriginEntry)| Some(*slot) != own && *entry.id == *id;
        if !self.entries.iter().any(is_taken) {
            return id;
        }
        match origin.http_address() {
            Some(address) => format!("{id}@{address}").into(),
            None => format!("{id}@{}", origin.ip).into(),
        }
    }

    fn make_room(&mut self, ttl: Duration, now: Instant) -> bool {
        let forget = ttl.saturating_mul(FORGET_AFTER_TTLS);
        let silent = |entry: &OriginEntry| now.saturating_duration_since(entry.heartbeat);
        let mut gone: Vec<OriginSlot> = Vec::new();
        for (slot, entry) in &self.entries {
            if silent(entry) > forget {
                gone.push(*slot);
            }
        }
        if gone.is_empty() && self.entries.len() >= MAX_ORIGINS {
            let stale = self.entries.iter().filter(|(_, entry)| silent(entry) > ttl);
            gone.extend(
                stale
                    .max_by_key(|(_, entry)| silent(entry))
                    .map(|(slot, _)| *slot),
            );
        }
        for slot in gone {
            self.entries.remove(&slot);
            self.pins.forget(slot);
        }
        self.entries.len() < MAX_ORIGINS
    }
}

impl Balancer for Memory {
    fn register(&self, origin: Origin) -> Result<(), Unavailable> {
        let now = Instant::now();
        let mut state = self.lock();
        let clone = state
            .entries
            .values()
            .any(|entry| entry.origin.server == origin.server && entry.origin.ip != origin.ip);
        let warn_of_clone =
            clone && state.clones.len() < MAX_ORIGINS && state.clones.insert(origin.server.clone());
        let mut replaced = state.replaced_by(&origin).into_iter();
        let known = replaced.next();
        // A server may have moved to a port that another one had.
        for gone in replaced {
            state.entries.remove(&gone);
            state.pins.forget(gone);
        }
        if known.is_none() && !state.make_room(self.ttl, now) {
            return Err(Unavailable(format!("{MAX_ORIGINS} origins, the most")));
        }
        let id = state.id_for(&origin, known);
        let before = known.and_then(|slot| state.entries.get(&slot));
        let is_new = before.is_none_or(|entry| *entry.id != *id);
        let draining = before.is_some_and(|entry| entry.draining);
        let origin = Arc::new(origin);
        let entry = OriginEntry {
            id: id.clone(),
            origin: origin.clone(),
            heartbeat: now,
            suspect_until: None,
            draining,
        };
        let slot = known.unwrap_or_else(|| {
            state.made += 1;
            state.made
        });
        state.entries.insert(slot, entry);
        drop(state);
        if warn_of_clone {
            warn!(
                "origins with the same server id {} come from different addresses: cloned images? \
                 Remove SRS's id file on one",
                origin.server
            );
        }
        if is_new {
            let address = origin
                .http_address()
                .map_or("no HTTP".to_owned(), |a| a.to_string());
            info!("origin {id} ({}) registered at {address}", origin.device_id);
        }
        Ok(())
    }

    fn pinned(&self, stream: &StreamUrl) -> Option<Candidate> {
        let now = Instant::now();
        let mut state = self.lock();
        let slot = state.pins.get(stream, now)?;
        let entry = state.entries.get(&slot)?;
        Some(Candidate {
            id: entry.id.clone(),
            origin: entry.origin.clone(),
            state: entry.state(self.ttl, now),
        })
    }

    fn candidates(&self) -> Vec<Candidate> {
        let now = Instant::now();
        let state = self.lock();
        let mut candidates: Vec<(_, Candidate)> = Vec::with_capacity(state.entries.len());
        for (slot, entry) in &state.entries {
            if entry.origin.http_address().is_none() {
                continue;
            }
            let candidate = Candidate {
                id: entry.id.clone(),
                origin: entry.origin.clone(),
                state: entry.state(self.ttl, now),
            };
            candidates.push(((candidate.state, state.pins.streams(*slot)), candidate));
        }
        drop(state);
        candidates.sort_by_key(|(order, _)| *order);
        let mut candidates: Vec<Candidate> = candidates.into_iter().map(|(_, it)| it).collect();
        let asked_before_stale =
            |it: &Candidate| matches!(it.state, OriginState::Alive | OriginState::Draining);
        if candidates.iter().any(asked_before_stale) {
            candidates.retain(|candidate| candidate.state != OriginState::Stale);
        }
        candidates
    }

    fn pin(&self, stream: &StreamUrl, id: &OriginId) {
        let mut state = self.lock();
        if let Some(slot) = state.slot_of(id) {
            state.pins.set(stream, slot, Instant::now());
        }
    }

    fn unpin(&self, stream: &StreamUrl, id: &OriginId) {
        let mut state = self.lock();
        let slot = state.slot_of(id);
        if slot.is_some() && state.pins.get(stream, Instant::now()) == slot {
            state.pins.remove(stream);
        }
    }

    fn suspect(&self, id: &OriginId) {
        let mut state = self.lock();
        if let Some(slot) = state.slot_of(id)
            && let Some(entry) = state.entries.get_mut(&slot)
        {
            entry.suspect_until = Some(Instant::now() + SUSPECT_TIME);
        }
    }

    fn drain(&self, id: &str, draining: bool) -> Result<bool, Unavailable> {
        let mut state = self.lock();
        let Some(slot) = state.slot_of(id) else {
            return Ok(false);
        };
        if let Some(entry) = state.entries.get_mut(&slot) {
            entry.draining = draining;
        }
        Ok(true)
    }

    fn origins(&self) -> Vec<OriginView> {
        let now = Instant::now();
        let state = self.lock();
        let mut views: Vec<OriginView> = Vec::with_capacity(state.entries.len());
        for (slot, entry) in &state.entries {
            views.push(OriginView {
                id: entry.id.clone(),
                origin: entry.origin.clone(),
                state: entry.state(self.ttl, now),
                heartbeat_age: now.saturating_duration_since(entry.heartbeat),
                streams: state.pins.streams(*slot),
            });
        }
        drop(state);
        views.sort_by_key(|view| (view.state == OriginState::Stale, Reverse(view.streams)));
        views
    }

    fn snapshot(&self) -> BalancerSnapshot {
        self.take_snapshot()
    }

    fn restore(&self, snapshot: BalancerSnapshot) {
        self.restore_snapshot(snapshot);
    }
}

#[cfg(test)]
mod tests;
