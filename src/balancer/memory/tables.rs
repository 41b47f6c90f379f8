//! The tables of the memory balancer: origins by slot, and the pins to them. Times are handed in.

use crate::balancer::OriginId;
use crate::balancer::memory::heartbeats::Heartbeats;
use crate::balancer::origin::{Origin, OriginState};
use crate::balancer::pins::{OriginSlot, Pins};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Origins that are kept at most.
pub(super) const MAX_ORIGINS: usize = 1024;
/// An origin that has been silent for this many TTLs is forgotten.
pub(super) const FORGET_AFTER_TTLS: u32 = 12;
/// Replaced origins that are remembered, to see whether they go on beating.
const MAX_REPLACED: usize = 64;

/// Origins and pins.
#[derive(Default)]
pub(super) struct Tables {
    /// In order of first registration.
    pub entries: BTreeMap<OriginSlot, OriginEntry>,
    made: OriginSlot,
    pub pins: Pins,
    /// Servers with one id at several addresses that a warning was given of.
    pub clones: HashSet<String>,
    /// Origins that another with the same server id and address, but another port, has replaced.
    replaced: VecDeque<Arc<Origin>>,
    /// Servers of which several with one id beat on at one address: they stay side by side.
    side_by_side: HashSet<(String, IpAddr)>,
}

/// An origin and what is known of it.
pub(super) struct OriginEntry {
    pub id: OriginId,
    pub origin: Arc<Origin>,
    pub heartbeats: Heartbeats,
    pub suspicion: Option<Suspicion>,
    pub draining: bool,
}

/// Why an origin is asked last for a while.
pub(super) struct Suspicion {
    pub until: Instant,
    /// What happened, in words.
    pub why: Arc<str>,
}

/// What a registration has changed.
pub(super) struct Registered {
    pub id: OriginId,
    /// The origin, or this process of it, was not known.
    pub is_new: bool,
    /// What operators are to be warned of, once.
    pub warning: Option<String>,
}

impl OriginEntry {
    pub fn state(&self, ttl: Duration, now: Instant) -> OriginState {
        if self.heartbeats.age(now) > ttl {
            OriginState::Stale
        } else if self.suspicion.as_ref().is_some_and(|it| it.until > now) {
            OriginState::Suspect
        } else if self.heartbeats.is_late(now) {
            OriginState::Late
        } else if self.draining {
            OriginState::Draining
        } else {
            OriginState::Alive
        }
    }
}

impl Tables {
    pub fn slot_of(&self, id: &str) -> Option<OriginSlot> {
        let entry = self.entries.iter().find(|(_, entry)| &*entry.id == id);
        entry.map(|(slot, _)| *slot)
    }

    /// Takes a registration whose heartbeat came at `heartbeat`. `None` when there is no room for another origin.
    pub fn register(
        &mut self,
        origin: Origin,
        heartbeat: Instant,
        ttl: Duration,
        now: Instant,
    ) -> Option<Registered> {
        let warning = self
            .warn_of_pair(&origin)
            .or_else(|| self.warn_of_clone(&origin));
        let mut replaced = self.replaced_by(&origin).into_iter();
        let known = replaced.next();
        // A server may have moved to a port that another one had.
        for gone in replaced {
            self.entries.remove(&gone);
            self.pins.forget(gone);
        }
        if known.is_none() && !self.make_room(ttl, now) {
            return None;
        }
        let id = self.id_for(&origin, known);
        let slot = known.unwrap_or_else(|| {
            self.made += 1;
            self.made
        });
        let before = self.entries.remove(&slot);
        let is_new = before.as_ref().is_none_or(|entry| entry.id != id);
        let mut entry = before.map_or_else(
            || OriginEntry {
                id: id.clone(),
                origin: Arc::new(origin.clone()),
                heartbeats: Heartbeats::new(heartbeat),
                suspicion: None,
                draining: false,
            },
            |before| self.continued(before, &origin, heartbeat, is_new),
        );
        entry.id = id.clone();
        entry.origin = Arc::new(origin);
        entry.suspicion = None;
        self.entries.insert(slot, entry);
        Some(Registered {
            id,
            is_new,
            warning,
        })
    }

    /// The entry that goes on as another: what is known of the server stays.
    fn continued(
        &mut self,
        mut entry: OriginEntry,
        origin: &Origin,
        heartbeat: Instant,
        is_new: bool,
    ) -> OriginEntry {
        if is_new {
            entry.heartbeats.restart(heartbeat);
        } else {
            entry.heartbeats.beat(heartbeat);
        }
        let same_server = entry.origin.server == origin.server;
        if same_server && entry.origin.http_address() != origin.http_address() {
            self.replaced.retain(|it| !is_same(it, &entry.origin));
            if self.replaced.len() >= MAX_REPLACED {
                self.replaced.pop_front();
            }
            self.replaced.push_back(entry.origin.clone());
        }
        entry
    }

    /// The entries that a registration replaces, the one that it continues first: the same server restarted, else the
    /// same address.
    pub fn replaced_by(&self, origin: &Origin) -> Vec<OriginSlot> {
        let address = origin.http_address();
        let pair = self.is_one_of_a_pair(origin);
        let mut slots = Vec::new();
        for (slot, entry) in &self.entries {
            let known = &entry.origin;
            if known.ip != origin.ip {
                continue;
            }
            let same_server = known.server == origin.server;
            let same_address = address.is_some() && known.http_address() == address;
            if same_address || (same_server && !pair) {
                slots.push((!same_server, *slot));
            }
        }
        slots.sort_unstable();
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Whether several servers share this one's id and address, each with a port of its own: one that was replaced has
    /// gone on beating, so it was no restart.
    fn is_one_of_a_pair(&self, origin: &Origin) -> bool {
        let key = (origin.server.clone(), origin.ip);
        self.side_by_side.contains(&key) || self.replaced.iter().any(|it| is_same(it, origin))
    }

    fn warn_of_pair(&mut self, origin: &Origin) -> Option<String> {
        let key = (origin.server.clone(), origin.ip);
        let new = self.is_one_of_a_pair(origin)
            && self.side_by_side.len() < MAX_ORIGINS
            && self.side_by_side.insert(key);
        self.replaced.retain(|it| !is_same(it, origin));
        new.then(|| {
            format!(
                "two servers with the same server id {} beat on at {}, at different ports: both stay. Remove SRS's \
                 id file of one",
                origin.server, origin.ip
            )
        })
    }

    fn warn_of_clone(&mut self, origin: &Origin) -> Option<String> {
        let elsewhere = |entry: &OriginEntry| {
            entry.origin.server == origin.server && entry.origin.ip != origin.ip
        };
        let new = self.entries.values().any(elsewhere)
            && self.clones.len() < MAX_ORIGINS
            && self.clones.insert(origin.server.clone());
        new.then(|| {
            format!(
                "origins with the same server id {} come from different addresses: cloned images? Remove SRS's id \
                 file on one",
                origin.server
            )
        })
    }

    /// The origin's id, with its address where another entry has the same: images may be cloned whole.
    fn id_for(&self, origin: &Origin, own: Option<OriginSlot>) -> OriginId {
        let id = origin.id();
        let is_taken =
            |(slot, entry): (&OriginSlot, &OriginEntry)| Some(*slot) != own && entry.id == id;
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
        let silent = |entry: &OriginEntry| entry.heartbeats.age(now);
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

/// Whether both are the same process of a server.
fn is_same(one: &Origin, other: &Origin) -> bool {
    one.id() == other.id() && one.http_address() == other.http_address() && one.ip == other.ip
}
