//! The balancer of one proxy: everything in memory, behind one Mutex.

mod heartbeats;
mod shared;
mod snapshot;
mod tables;

use crate::balancer::origin::{Origin, OriginState};
use crate::balancer::snapshot::BalancerSnapshot;
use crate::balancer::{
    Balancer, Candidate, OriginId, OriginView, PinFormat, Unavailable, Unpinned,
};
use crate::stream::url::StreamUrl;
use log::{info, warn};
use parking_lot::{Mutex, MutexGuard};
use std::cmp::Reverse;
use std::time::{Duration, Instant};
use tables::{MAX_ORIGINS, Suspicion, Tables};

/// How long an origin that could not be connected is asked last.
const SUSPECT_TIME: Duration = Duration::from_secs(5);
/// What is kept of the words why an origin is suspect, in characters: those of other proxies come from Redis.
const MAX_WHY: usize = 300;

/// Origins and pins of this process.
pub struct Memory {
    ttl: Duration,
    state: Mutex<Tables>,
}

impl Memory {
    /// No origins yet; one is alive for `ttl` after its last heartbeat.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            state: Mutex::default(),
        }
    }

    /// Takes a registration whose heartbeat came at that moment.
    fn register_at(&self, origin: Origin, heartbeat: Instant) -> Result<(), Unavailable> {
        let (device_id, address) = (origin.device_id.clone(), origin.http_address());
        let mut state = self.lock();
        let registered = state.register(origin, heartbeat, self.ttl, Instant::now());
        drop(state);
        let Some(registered) = registered else {
            return Err(Unavailable(format!("{MAX_ORIGINS} origins, the most")));
        };
        if let Some(warning) = registered.warning {
            warn!("{warning}");
        }
        if registered.is_new {
            let address = address.map_or("no HTTP".to_owned(), |address| address.to_string());
            info!(
                "origin {} ({device_id}) registered at {address}",
                registered.id
            );
        }
        Ok(())
    }

    /// Pins a stream as another proxy did, or an earlier process: by which format is not known.
    pub fn pin_as_told(&self, stream: &StreamUrl, id: &OriginId) {
        self.set_pin(stream, id, None);
    }

    /// Unpins a stream, whichever format made the pin.
    pub fn unpin_as_told(&self, stream: &StreamUrl) {
        self.lock().pins.remove(stream);
    }

    fn set_pin(&self, stream: &StreamUrl, id: &OriginId, format: Option<PinFormat>) {
        let mut state = self.lock();
        if let Some(slot) = state.slot_of(id) {
            state.pins.set(stream, slot, format, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.state.lock()
    }
}

impl Balancer for Memory {
    fn register(&self, origin: Origin) -> Result<(), Unavailable> {
        self.register_at(origin, Instant::now())
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
        let asked_before_stale = |it: &Candidate| {
            use OriginState::{Alive, Draining, Late};
            matches!(it.state, Alive | Draining | Late)
        };
        if candidates.iter().any(asked_before_stale) {
            candidates.retain(|candidate| candidate.state != OriginState::Stale);
        }
        candidates
    }

    fn pin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) {
        self.set_pin(stream, id, Some(format));
    }

    fn unpin(&self, stream: &StreamUrl, id: &OriginId, format: PinFormat) -> Unpinned {
        let mut state = self.lock();
        match state.slot_of(id) {
            Some(slot) => state.pins.remove_format(stream, slot, format),
            None => Unpinned::Yes,
        }
    }

    fn suspect(&self, id: &OriginId, why: &str) {
        let why: String = why.chars().take(MAX_WHY).collect();
        let mut state = self.lock();
        if let Some(slot) = state.slot_of(id)
            && let Some(entry) = state.entries.get_mut(&slot)
        {
            entry.suspicion = Some(Suspicion {
                until: Instant::now() + SUSPECT_TIME,
                why: why.into(),
            });
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

    fn remove(&self, id: &str) -> Result<bool, Unavailable> {
        let mut state = self.lock();
        let Some(slot) = state.slot_of(id) else {
            return Ok(false);
        };
        state.entries.remove(&slot);
        state.pins.forget(slot);
        Ok(true)
    }

    fn origins(&self) -> Vec<OriginView> {
        let now = Instant::now();
        let state = self.lock();
        let mut views: Vec<OriginView> = Vec::with_capacity(state.entries.len());
        for (slot, entry) in &state.entries {
            let stands = entry.state(self.ttl, now);
            let suspicion = entry.suspicion.as_ref();
            let suspicion = suspicion.filter(|_| stands == OriginState::Suspect);
            views.push(OriginView {
                id: entry.id.clone(),
                origin: entry.origin.clone(),
                state: stands,
                suspected: suspicion.map(|it| it.why.clone()),
                heartbeat_age: entry.heartbeats.age(now),
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
