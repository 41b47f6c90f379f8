//! Shared HLS fetches: one request to the origin, whatever the audience.
//!
//! The first who asks for a segment or a playlist leads: it asks the origin, in its own thread, on a
//! lifeline that belongs to all who wait. Where the answer may be shared a worker takes its body over
//! and appends it to a [`transfer::Transfer`]; the leader and everybody else read it from there, from
//! the start, each at its own pace. Where it may not, the leader has it for itself, and the others go
//! on their own. What came whole is kept in the [`store::Store`] for a while.
//!
//! - [`key`]: what is the same.
//! - [`rules`]: what may be shared, and for how long.
//! - [`transfer`]: one answer on its way.
//! - [`seat`]: a request that reads it.
//! - [`offer`]: what a leader gives to the others.
//! - [`pump`]: brings the body in.
//! - [`serve`]: gives it to players.
//! - [`store`]: what is under way and what is kept, in bounded memory.
//! - [`counters`]: what it was good for.

pub mod counters;
pub mod entry;
mod filler;
pub mod freshness;
pub mod key;
pub mod reader;
mod table;

use crate::runtime::cancel::Lifeline;
use crate::runtime::pool::Pool;
use crate::server::failure::Failure;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginBody;
use counters::{Counters, Snapshot};
use entry::{Failed, Head, OriginId, Shared, Transfer};
use filler::Pump;
use key::Key;
use reader::Seat;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{Entered, Store};

/// Bodies that are brought in at the same time at most; what comes beyond it is not shared. Each takes
/// a thread and a buffer of 64 KiB.
const MOST_PUMPS: usize = 256;
/// Their stacks, in bytes.
const STACK: usize = 256 * 1024;

/// All that is shared.
pub struct Sharing {
    store: Arc<Store>,
    pumps: Arc<Pool<Pump>>,
    counters: Arc<Counters>,
}

/// A request's part in a shared fetch.
pub enum Turn {
    /// It asks the origin, for all.
    Lead(Lead),
    /// Somebody has asked already.
    Follow(Seat),
}

impl Sharing {
    /// Time between two calls of [`Sharing::sweep`].
    pub const SWEEP: Duration = Duration::from_secs(1);

    /// Keeps at most `limit` bytes; with 0 nothing is shared at all.
    pub fn new(limit: u64) -> Self {
        Self {
            store: Arc::new(Store::new(limit)),
            pumps: Pool::new("shared fetch", MOST_PUMPS, STACK, Pump::run),
            counters: Arc::default(),
        }
    }

    /// Whether anything is shared.
    pub fn is_on(&self) -> bool {
        self.store.limit() > 0
    }

    /// Gives a request its part. `pin` is the origin that the stream is pinned to now.
    pub fn enter(&self, key: &Key, pin: Option<OriginId>, client: &Arc<Lifeline>) -> Turn {
        match self.store.enter(key, pin.clone()) {
            Entered::Joined(place) => Turn::Follow(Seat::at(place, client)),
            Entered::Ready(transfer) => Turn::Follow(Seat::before(transfer)),
            Entered::First(place) => {
                Counters::add(&self.counters.fetches);
                Turn::Lead(Lead {
                    key: key.clone(),
                    store: self.store.clone(),
                    pumps: self.pumps.clone(),
                    pin,
                    seat: Some(Seat::at(place, client)),
                })
            }
        }
    }

    /// That answer is not what the stream's origin would give now: the next request asks anew.
    pub fn forget(&self, key: &Key, seat: &Seat) {
        self.store.remove(key, seat.transfer());
    }

    /// An answer was given without asking the origin.
    pub fn count(&self, seat: &Seat) {
        Counters::add(match seat.came_whole() {
            true => &self.counters.hits,
            false => &self.counters.shares,
        });
    }

    /// Frees what has expired: to be called every [`Sharing::SWEEP`].
    pub fn sweep(&self) {
        self.store.sweep(Instant::now());
    }

    /// The counters, for operators.
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(self.store.bytes())
    }
}

/// The part of the first: to ask the origin, and to tell the others what came of it. Dropped before, the
/// others go on their own.
pub struct Lead {
    key: Key,
    store: Arc<Store>,
    pumps: Arc<Pool<Pump>>,
    /// The origin that the stream was pinned to at first.
    pin: Option<OriginId>,
    seat: Option<Seat>,
}

impl Lead {
    /// The stream that it is about.
    pub fn stream(&self) -> &StreamUrl {
        self.key.stream()
    }

    /// Of all who wait for this answer.
    pub fn lifeline(&self) -> Arc<Lifeline> {
        match &self.seat {
            Some(seat) => seat.transfer().lifeline.clone(),
            None => Arc::default(), // only while it is dropped
        }
    }

    /// The stream's playlist came from that origin: where it was pinned to another, what that one gave
    /// is forgotten.
    pub fn came_from(&self, origin: &OriginId) {
        if self.pin.as_ref().is_some_and(|pin| pin != origin) {
            self.store.forget_others(self.key.stream(), origin);
        }
    }

    /// The body comes in from now on, for all. Gives the leader's own seat.
    ///
    /// # Errors
    /// The body, where it cannot be shared now, and the seat to keep while it is relayed.
    pub fn pump(
        mut self,
        shared: Shared,
        body: OriginBody,
    ) -> Result<Seat, Box<(OriginBody, Seat)>> {
        let seat = self.take();
        let Some(room) = self.store.reserve(shared.length) else {
            self.release(&seat);
            return Err(Box::new((body, seat)));
        };
        let pump = Pump {
            key: self.key.clone(),
            store: self.store.clone(),
            transfer: seat.transfer().clone(),
            shared,
            body,
            room,
        };
        match self.pumps.run(pump) {
            Ok(()) => Ok(seat),
            Err(pump) => {
                self.release(&seat);
                Err(Box::new((pump.body, seat)))
            }
        }
    }

    /// The answer is there as a whole, for all and for those who come until `until`.
    pub fn whole(mut self, shared: Shared, body: &[u8], until: Instant) -> Seat {
        let seat = self.take();
        let transfer = seat.transfer();
        transfer.fill(body, self.store.reserve(body.len() as u64));
        // First to the store: once the others go on, nobody may find it unkept.
        self.store.keep(&self.key, transfer, body.len(), until);
        transfer.tell(Head::Shared(Arc::new(shared)));
        transfer.end(Ok(()));
        seat
    }

    /// No origin answered: that is the answer of all who wait, and of those who come until `until`.
    pub fn fail(mut self, failure: Failure, pin: Option<OriginId>, until: Option<Instant>) {
        let seat = self.take();
        match until {
            Some(until) => self.store.keep(&self.key, seat.transfer(), 0, until),
            None => self.store.remove(&self.key, seat.transfer()),
        }
        let failed = Failed { failure, pin };
        seat.transfer().tell(Head::Failed(Arc::new(failed)));
    }

    /// The answer is the leader's alone. Gives the seat to keep while it is relayed.
    pub fn alone(mut self) -> Seat {
        let seat = self.take();
        self.release(&seat);
        seat
    }

    fn take(&mut self) -> Seat {
        match self.seat.take() {
            Some(seat) => seat,
            None => Seat::before(Transfer::new(None)), // it is taken once, by what consumes the lead
        }
    }

    fn release(&self, seat: &Seat) {
        self.store.remove(&self.key, seat.transfer());
        seat.transfer().tell(Head::Alone);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.release(&seat);
        }
    }
}
