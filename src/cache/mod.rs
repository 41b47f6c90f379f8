//! HLS answers shared by their readers: one request to the origin, whatever the audience.
//!
//! The first who asks for a segment or a playlist is the filler: it asks the origin, in its own thread, on a cancel
//! token that belongs to all who wait. Where the answer may be shared, a worker takes its body over and appends it to a
//! [`entry::CacheEntry`]; the filler and everybody else read it from there, from the start, each at its own pace. Where
//! it may not, the filler has it for itself, and the others go on their own. A complete entry is kept in the table for
//! a while.
//!
//! One player never decides for another: a refusal is the filler's own, an origin that is silent for a second is asked
//! once more by one of those who wait, and a name whose answers cannot be shared is remembered, so that nobody waits
//! for it in vain.
//!
//! - [`key`]: what is the same.
//! - [`directive`], [`freshness`]: what may be shared, and for how long.
//! - [`head`], `body`, [`entry`]: one answer, on its way or complete.
//! - [`reader`]: a request that reads it.
//! - [`guard`], `filler`: asking, and bringing the body in.
//! - `table`, `memory`, `unshareable`: what is under way, kept, and known not to be shareable; all bounded.
//! - [`counters`]: what sharing was good for.

pub mod body;
pub mod counters;
pub mod directive;
pub mod entry;
mod filler;
pub mod freshness;
pub mod guard;
pub mod head;
pub mod key;
mod memory;
pub mod reader;
mod table;
mod unshareable;

use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::stream::origin_id::OriginId;
use counters::{Counters, Snapshot};
use filler::Filler;
use guard::{FillGuard, GuardContext};
use key::Key;
use reader::EntryReader;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::{CacheTable, TableLookup};

/// Bodies that are brought in at the same time at most; further ones are not shared. Each takes a thread and a buffer
/// of 64 KiB.
const MAX_FILLERS: usize = 256;
/// Stack of a filler's thread, in bytes.
const STACK: usize = 256 * 1024;

/// All shared HLS answers.
pub struct HlsCache {
    context: GuardContext,
    counters: Arc<Counters>,
}

/// A request's part in a shared answer.
pub enum Lookup {
    /// The answer is complete in memory.
    Hit(EntryReader),
    /// Another request has asked already.
    Wait(EntryReader),
    /// The request asks the origin, for all.
    Fill(FillGuard),
    /// The answers of this name cannot be shared: the request asks for itself.
    Alone,
    /// As many wait for this answer as may: a further one would only take a worker from others.
    Full,
}

impl HlsCache {
    /// Time between two calls of [`HlsCache::sweep`].
    pub const SWEEP: Duration = Duration::from_secs(1);

    /// A cache that uses at most `limit` bytes; with 0 nothing is shared at all. At most `max_readers` requests wait
    /// for one answer.
    pub fn new(limit: u64, max_readers: usize) -> Self {
        Self {
            context: GuardContext {
                table: Arc::new(CacheTable::new(limit, max_readers)),
                fillers: Pool::new("shared fetch", MAX_FILLERS, STACK, Filler::run),
                unshareable: Arc::default(),
            },
            counters: Arc::default(),
        }
    }

    /// Whether anything is shared.
    pub fn is_on(&self) -> bool {
        self.context.table.limit() > 0
    }

    /// Gives a request its part. `pin` is the origin that the stream is pinned to now; `client` is cancelled when the
    /// request's client leaves.
    pub fn enter(&self, key: &Key, pin: Option<OriginId>, client: &Arc<CancelToken>) -> Lookup {
        if self.context.unshareable.has(key, Instant::now()) {
            return Lookup::Alone;
        }
        match self.context.table.enter(key, pin.as_ref()) {
            TableLookup::Joined(entry) => Lookup::Wait(EntryReader::waiting(entry, client)),
            TableLookup::Ready(entry) => Lookup::Hit(EntryReader::complete(entry)),
            TableLookup::Full => Lookup::Full,
            TableLookup::First(entry) => {
                let attempt = entry.begin_attempt();
                let reader = EntryReader::waiting(entry, client);
                Lookup::Fill(self.attempt(key, reader, attempt, pin))
            }
        }
    }

    /// A reader of the answer that is complete in memory, where there is one.
    pub fn hit(&self, key: &Key) -> Option<EntryReader> {
        self.context.table.ready(key).map(EntryReader::complete)
    }

    /// Makes a reader that waits a further filler of its entry: the first one's origin is silent.
    pub fn attempt(
        &self,
        key: &Key,
        reader: EntryReader,
        attempt: Arc<CancelToken>,
        pin: Option<OriginId>,
    ) -> FillGuard {
        Counters::add(&self.counters.fetches);
        FillGuard::new(self.context.clone(), key.clone(), reader, attempt, pin)
    }

    /// Forgets an answer that is not what the stream's origin would give now: the next request asks anew.
    pub fn forget(&self, key: &Key, reader: &EntryReader) {
        self.context.table.remove(key, reader.entry());
    }

    /// Counts an answer that was given without asking the origin.
    pub fn count(&self, reader: &EntryReader) {
        Counters::add(match reader.came_whole() {
            true => &self.counters.hits,
            false => &self.counters.shares,
        });
    }

    /// Frees what has expired: to be called every [`HlsCache::SWEEP`].
    pub fn sweep(&self) {
        let now = Instant::now();
        self.context.table.sweep(now);
        self.context.unshareable.sweep(now);
    }

    /// The counters, for operators.
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(self.context.table.bytes())
    }
}
