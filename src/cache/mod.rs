//! Shared HLS fetches: one request to the origin, whatever the audience.
//!
//! The first who asks for a segment or a playlist leads: it asks the origin, in its own thread, on a
//! cancel token that belongs to all who wait. Where the answer may be shared a worker takes its body over
//! and appends it to a [`entry::CacheEntry`]; the filler and everybody else read it from there, from
//! the start, each at its own pace. Where it may not, the filler has it for itself, and the others go
//! on their own. What came whole is kept in the [`table::CacheTable`] for a while.
//!
//! - [`key`]: what is the same.
//! - [`freshness`]: what may be shared, and for how long.
//! - [`entry`]: one answer on its way.
//! - [`reader`]: a request that reads it.
//! - [`filler`]: brings the body in.
//! - [`table`]: what is under way and what is kept, in bounded memory.
//! - [`counters`]: what it was good for.

pub mod counters;
pub mod entry;
mod filler;
pub mod freshness;
pub mod key;
pub mod reader;
mod table;

use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::server::failure::Failure;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginBody;
use counters::{Counters, Snapshot};
use entry::{CacheEntry, EntryHead, FailedFetch, OriginId, SharedHead};
use filler::Filler;
use key::Key;
use reader::EntryReader;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{CacheTable, TableLookup};

/// Bodies that are brought in at the same time at most; what comes beyond it is not shared. Each takes
/// a thread and a buffer of 64 KiB.
const MAX_FILLERS: usize = 256;
/// Their stacks, in bytes.
const STACK: usize = 256 * 1024;

/// All that is shared.
pub struct HlsCache {
    table: Arc<CacheTable>,
    fillers: Arc<Pool<Filler>>,
    counters: Arc<Counters>,
}

/// A request's part in a shared fetch.
pub enum Lookup {
    /// It asks the origin, for all.
    FillGuard(FillGuard),
    /// Somebody has asked already.
    Wait(EntryReader),
}

impl HlsCache {
    /// Time between two calls of [`HlsCache::sweep`].
    pub const SWEEP: Duration = Duration::from_secs(1);

    /// Keeps at most `limit` bytes; with 0 nothing is shared at all.
    pub fn new(limit: u64) -> Self {
        Self {
            table: Arc::new(CacheTable::new(limit)),
            fillers: Pool::new("shared fetch", MAX_FILLERS, STACK, Filler::run),
            counters: Arc::default(),
        }
    }

    /// Whether anything is shared.
    pub fn is_on(&self) -> bool {
        self.table.limit() > 0
    }

    /// Gives a request its part. `pin` is the origin that the stream is pinned to now.
    pub fn enter(&self, key: &Key, pin: Option<OriginId>, client: &Arc<CancelToken>) -> Lookup {
        match self.table.enter(key, pin.clone()) {
            TableLookup::Joined(slot) => Lookup::Wait(EntryReader::at(slot, client)),
            TableLookup::Ready(entry) => Lookup::Wait(EntryReader::before(entry)),
            TableLookup::First(slot) => {
                Counters::add(&self.counters.fetches);
                Lookup::FillGuard(FillGuard {
                    key: key.clone(),
                    table: self.table.clone(),
                    fillers: self.fillers.clone(),
                    pin,
                    reader: Some(EntryReader::at(slot, client)),
                })
            }
        }
    }

    /// That answer is not what the stream's origin would give now: the next request asks anew.
    pub fn forget(&self, key: &Key, reader: &EntryReader) {
        self.table.remove(key, reader.entry());
    }

    /// An answer was given without asking the origin.
    pub fn count(&self, reader: &EntryReader) {
        Counters::add(match reader.came_whole() {
            true => &self.counters.hits,
            false => &self.counters.shares,
        });
    }

    /// Frees what has expired: to be called every [`HlsCache::SWEEP`].
    pub fn sweep(&self) {
        self.table.sweep(Instant::now());
    }

    /// The counters, for operators.
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(self.table.bytes())
    }
}

/// The part of the first: to ask the origin, and to tell the others what came of it. Dropped before, the
/// others go on their own.
pub struct FillGuard {
    key: Key,
    table: Arc<CacheTable>,
    fillers: Arc<Pool<Filler>>,
    /// The origin that the stream was pinned to at first.
    pin: Option<OriginId>,
    reader: Option<EntryReader>,
}

impl FillGuard {
    /// The stream that it is about.
    pub fn stream(&self) -> &StreamUrl {
        self.key.stream()
    }

    /// Of all who wait for this answer.
    pub fn cancel(&self) -> Arc<CancelToken> {
        match &self.reader {
            Some(reader) => reader.entry().cancel.clone(),
            None => Arc::default(), // only while it is dropped
        }
    }

    /// The stream's playlist came from that origin: where it was pinned to another, what that one gave
    /// is forgotten.
    pub fn came_from(&self, origin: &OriginId) {
        if self.pin.as_ref().is_some_and(|pin| pin != origin) {
            self.table.forget_others(self.key.stream(), origin);
        }
    }

    /// The body comes in from now on, for all. Gives the filler's own seat.
    ///
    /// # Errors
    /// The body, where it cannot be shared now, and the seat to keep while it is relayed.
    pub fn fill(
        mut self,
        shared: SharedHead,
        body: OriginBody,
    ) -> Result<EntryReader, Box<(OriginBody, EntryReader)>> {
        let reader = self.take();
        let Some(reservation) = self.table.reserve(shared.length) else {
            self.release(&reader);
            return Err(Box::new((body, reader)));
        };
        let fill = Filler {
            key: self.key.clone(),
            table: self.table.clone(),
            entry: reader.entry().clone(),
            shared,
            body,
            reservation,
        };
        match self.fillers.run(fill) {
            Ok(()) => Ok(reader),
            Err(fill) => {
                self.release(&reader);
                Err(Box::new((fill.body, reader)))
            }
        }
    }

    /// The answer is there as a whole, for all and for those who come until `until`.
    pub fn whole(mut self, shared: SharedHead, body: &[u8], until: Instant) -> EntryReader {
        let reader = self.take();
        let entry = reader.entry();
        entry.fill(body, self.table.reserve(body.len() as u64));
        // First to the store: once the others go on, nobody may find it unkept.
        self.table.keep(&self.key, entry, body.len(), until);
        entry.tell(EntryHead::Shared(Arc::new(shared)));
        entry.end(Ok(()));
        reader
    }

    /// No origin answered: that is the answer of all who wait, and of those who come until `until`.
    pub fn fail(mut self, failure: Failure, pin: Option<OriginId>, until: Option<Instant>) {
        let reader = self.take();
        match until {
            Some(until) => self.table.keep(&self.key, reader.entry(), 0, until),
            None => self.table.remove(&self.key, reader.entry()),
        }
        let failed = FailedFetch { failure, pin };
        reader.entry().tell(EntryHead::Failed(Arc::new(failed)));
    }

    /// The answer is the filler's alone. Gives the seat to keep while it is relayed.
    pub fn alone(mut self) -> EntryReader {
        let reader = self.take();
        self.release(&reader);
        reader
    }

    fn take(&mut self) -> EntryReader {
        match self.reader.take() {
            Some(reader) => reader,
            None => EntryReader::before(CacheEntry::new(None)), // it is taken once, by what consumes the lead
        }
    }

    fn release(&self, reader: &EntryReader) {
        self.table.remove(&self.key, reader.entry());
        reader.entry().tell(EntryHead::Alone);
    }
}

impl Drop for FillGuard {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.release(&reader);
        }
    }
}
