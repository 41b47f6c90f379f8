//! One answer, on its way from an origin or complete, and who reads it.
//!
//! Readers take references to the body's blocks under a short lock and write to their sockets outside of it: a slow
//! reader holds references, never copies.

use crate::cache::body::BodyBlocks;
use crate::cache::head::EntryHead;
use crate::cache::memory::MemoryReservation;
use crate::runtime::cancel::CancelToken;
use crate::stream::origin_id::OriginId;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

/// An origin that was asked this long ago and has not answered is taken for hung on this request: one of those who wait
/// asks once more, for all of them. All of them going alone would crush an origin that is only slow. A second and a
/// quarter, since much that answers after a second by design (a held playlist, a poll) is in order.
pub const PATIENCE: Duration = Duration::from_millis(1250);

/// An answer on its way, or complete.
#[derive(Debug, Default)]
pub struct CacheEntry {
    state: Mutex<EntryState>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct EntryState {
    /// The pin when an origin was first asked; that origin is asked first.
    pin: Option<OriginId>,
    pub(super) head: Option<EntryHead>,
    /// One of the attempts has the answer; the others' come too late.
    claimed: bool,
    pub(super) body: BodyBlocks,
    pub(super) end: Option<Result<(), Arc<str>>>,
    readers: usize,
    /// The last reader has gone before the end.
    abandoned: bool,
    /// The cancel tokens of those who ask origins now. More than one only where an origin hangs.
    attempts: Vec<Arc<CancelToken>>,
    /// The memory that the entry counts for.
    reservation: Option<MemoryReservation>,
}

/// What a request finds an entry good for.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryMatch {
    /// On its way: the request is counted as a reader now.
    Joined,
    /// On its way, with as many readers as may wait.
    Full,
    /// Complete.
    Ready,
    /// Failed, abandoned or outdated: the caller starts a new fetch.
    Useless,
}

impl CacheEntry {
    /// An entry of which nothing is known yet; the stream is pinned to `pin`.
    pub fn new(pin: Option<OriginId>) -> Arc<Self> {
        let entry = Self::default();
        entry.lock().pin = pin;
        Arc::new(entry)
    }

    /// Looks what the entry is good for, and counts a reader where the answer is on its way. `pin` is the origin that
    /// the stream is pinned to now. `kept` tells that the table keeps the entry for later requests.
    pub fn join(&self, pin: Option<&OriginId>, kept: bool, max_readers: usize) -> EntryMatch {
        let mut state = self.lock();
        let join = match (&state.head, &state.end) {
            // Of a stream without a pin anybody's answer will do; its reader looks where it is from.
            (None, _) => state.pin.is_none() || state.pin.as_ref() == pin,
            (Some(EntryHead::Shared(_)), None) => true,
            (Some(EntryHead::Shared(_)), Some(Ok(()))) => return EntryMatch::Ready,
            (Some(EntryHead::Failed(_)), _) if kept => return EntryMatch::Ready,
            _ => false,
        };
        if !join || state.abandoned {
            return EntryMatch::Useless;
        }
        if state.readers >= max_readers {
            return EntryMatch::Full;
        }
        state.readers += 1;
        EntryMatch::Joined
    }

    /// Counts the filler as a reader of an entry that nobody else knows yet.
    pub fn add_reader(&self) {
        self.lock().readers += 1;
    }

    /// Begins an attempt to get the answer. The token is cancelled when the last reader leaves.
    pub fn begin_attempt(&self) -> Arc<CancelToken> {
        self.lock().begin_attempt()
    }

    /// Removes an attempt that has ended without the answer, or goes on for its own client.
    pub fn end_attempt(&self, attempt: &Arc<CancelToken>) {
        let mut state = self.lock();
        state.attempts.retain(|other| !Arc::ptr_eq(other, attempt));
    }

    /// Makes one attempt's answer the entry's. Returns false where another attempt was faster.
    pub fn claim(&self) -> bool {
        let mut state = self.lock();
        !std::mem::replace(&mut state.claimed, true)
    }

    /// Ends all attempts but this one, which has brought an answer for all.
    pub fn end_other_attempts(&self, attempt: &Arc<CancelToken>) {
        let mut state = self.lock();
        let attempts = std::mem::take(&mut state.attempts);
        state.attempts.push(attempt.clone());
        drop(state);
        for other in attempts {
            if !Arc::ptr_eq(&other, attempt) {
                other.cancel();
            }
        }
    }

    /// Tells all who wait what came of asking; only the first time counts.
    pub fn publish(&self, head: EntryHead) {
        let mut state = self.lock();
        state.head.get_or_insert(head);
        drop(state);
        self.changed.notify_all();
    }

    /// Makes the entry count for that memory until its last reference is dropped.
    pub fn occupy(&self, reservation: MemoryReservation) {
        self.lock().reservation = Some(reservation);
    }

    /// Takes a whole body over.
    pub fn fill(&self, body: &[u8]) {
        let body = BodyBlocks::whole(body);
        self.lock().body = body;
    }

    /// Adds a piece of the body that has just come.
    pub fn append(&self, bytes: &[u8]) {
        let piece = Arc::from(bytes);
        let mut state = self.lock();
        state.body.append(piece);
        drop(state);
        self.changed.notify_all();
    }

    /// Puts one block in the place of the pieces that it came in: one for many keeps memory and calls few.
    pub fn settle(&self, block: &[u8]) {
        let pieces = self.lock().body.pieces();
        let merged = (pieces > 1).then(|| Arc::from(block)); // copied outside of the lock
        let mut state = self.lock();
        let pieces = state.body.settle(merged);
        drop(state);
        drop(pieces);
    }

    /// Ends the body; only the first time counts.
    pub fn end(&self, how: Result<(), Arc<str>>) {
        let mut state = self.lock();
        state.end.get_or_insert(how);
        state.attempts.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the body has ended.
    pub fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    /// The origin that gave the answer; `None` before there is one, and for a 404 of several.
    pub fn origin(&self) -> Option<OriginId> {
        match &self.lock().head {
            Some(EntryHead::Shared(shared)) => shared.origin.clone(),
            _ => None,
        }
    }

    /// The memory that the entry counts for, in bytes.
    pub fn weight(&self) -> u64 {
        let state = self.lock();
        state
            .reservation
            .as_ref()
            .map_or(0, MemoryReservation::weight)
    }

    /// A reader has gone. With the last one all attempts end.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.readers -= 1;
        if state.end.is_some() {
            return;
        }
        if state.readers > 0 {
            let left = state.readers;
            drop(state);
            debug!("a shared fetch goes on for {left} who wait");
            return;
        }
        state.abandoned = true;
        let attempts = std::mem::take(&mut state.attempts);
        drop(state);
        for attempt in attempts {
            attempt.cancel();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock()
    }
}

impl EntryState {
    fn begin_attempt(&mut self) -> Arc<CancelToken> {
        let attempt = CancelToken::new();
        if self.abandoned {
            attempt.cancel();
        }
        self.attempts.push(attempt.clone());
        attempt
    }

    /// Begins another attempt where the last one's origin has been silent for [`PATIENCE`]. Else returns how long it
    /// still may be; `None` where no origin is asked at this moment (the stream is looked for).
    pub(super) fn begin_if_hung(&mut self) -> Result<Arc<CancelToken>, Option<Duration>> {
        let silent = match self.attempts.last() {
            Some(last) if !self.claimed => last.bound_for(),
            _ => None,
        };
        match silent {
            Some(silent) if silent >= PATIENCE => Ok(self.begin_attempt()),
            Some(silent) => Err(Some(PATIENCE - silent)),
            None => Err(None),
        }
    }
}
