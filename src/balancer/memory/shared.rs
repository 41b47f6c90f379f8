//! What the Redis balancer needs of the memory that it goes on from.

use crate::balancer::OriginId;
use crate::balancer::memory::Memory;
use crate::balancer::memory::tables::OriginEntry;
use crate::balancer::origin::Origin;
use crate::stream::url::StreamUrl;
use std::sync::Arc;
use std::time::Instant;

impl Memory {
    /// Takes what another proxy has written of an origin, whose last heartbeat came at `heartbeat`.
    /// What is known here of the same origin stays when it is newer.
    pub fn absorb(&self, origin: &Origin, heartbeat: Instant) {
        let known = {
            let state = self.lock();
            let slot = state.replaced_by(origin).into_iter().next();
            slot.and_then(|slot| {
                state
                    .entries
                    .get(&slot)
                    .map(|entry| entry.heartbeats.last())
            })
        };
        if known.is_none_or(|known| known < heartbeat) {
            // An error: the table is full of living origins.
            let _ = self.register_at(origin.clone(), heartbeat);
        }
    }

    /// The id of the entry that a registration of `origin` replaces, when it is another one's.
    pub fn replaces(&self, origin: &Origin) -> Option<OriginId> {
        let state = self.lock();
        let slot = state.replaced_by(origin).into_iter().next()?;
        let id = state.entries.get(&slot)?.id.clone();
        (*id != *origin.id()).then_some(id)
    }

    /// The id by which an origin is known that was once `id`: itself, or that of the only origin with
    /// the same server, which then has restarted.
    pub fn current_id(&self, id: &str) -> Option<OriginId> {
        let state = self.lock();
        if let Some(slot) = state.slot_of(id) {
            return state.entries.get(&slot).map(|entry| entry.id.clone());
        }
        let server = id.rsplitn(3, '-').nth(2)?;
        let mut same = state
            .entries
            .values()
            .filter(|entry| entry.origin.server == server);
        let only = same.next()?.id.clone();
        same.next().is_none().then_some(only)
    }

    /// All origins with the time of their heartbeat, and whether they are draining.
    pub fn snapshot(&self) -> Vec<(Arc<Origin>, Instant, bool)> {
        let view = |entry: &OriginEntry| {
            (
                entry.origin.clone(),
                entry.heartbeats.last(),
                entry.draining,
            )
        };
        self.lock().entries.values().map(view).collect()
    }

    /// All pins.
    pub fn pins(&self) -> Vec<(StreamUrl, OriginId)> {
        let state = self.lock();
        let id = |slot| state.entries.get(&slot).map(|entry| entry.id.clone());
        state
            .pins
            .all()
            .filter_map(|(stream, slot)| Some((stream.clone(), id(slot)?)))
            .collect()
    }
}
