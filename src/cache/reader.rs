//! A request that reads an entry: it waits, reads at its own pace, and may leave at any time.

use crate::cache::body::Batch;
use crate::cache::entry::{CacheEntry, EntryState, PATIENCE};
use crate::cache::head::EntryHead;
use crate::runtime::cancel::{CancelListener, CancelToken};
use parking_lot::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A reader that waits looks this often whether its own client has left. Nothing waits for that look: the fetch ends
/// with the last reader at once.
const LOOK: Duration = Duration::from_secs(1);

/// What a reader gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Blocks from the reader's place on; this many bytes of the first one lie before that place.
    Bytes(usize),
    /// The body is over.
    End,
    /// The origin broke off, for this reason.
    Broken(Arc<str>),
    /// The reader's own client has left.
    Left,
}

/// What a reader that waits for the head gets.
#[derive(Debug)]
pub enum Waited {
    /// What came of asking.
    Head(EntryHead),
    /// The origin is silent: this reader is the one that asks once more, for all, on this token.
    Hung(Arc<CancelToken>),
    /// The reader's own client has left.
    Left,
}

/// A counted reader of an entry that is on its way. Its client's leaving is known at once.
#[derive(Debug)]
struct ReaderSlot {
    entry: Arc<CacheEntry>,
    gone: AtomicBool,
    /// The attempt that goes on for this reader alone.
    own: OnceLock<Arc<CancelToken>>,
}

impl CancelListener for ReaderSlot {
    fn cancelled(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            self.entry.leave();
        }
        if let Some(own) = self.own.get() {
            own.cancel();
        }
    }
}

/// A request that reads an entry, until this is dropped.
#[derive(Debug)]
pub struct EntryReader {
    entry: Arc<CacheEntry>,
    /// `None` for a reader of a complete entry: its leaving needs no tracking.
    slot: Option<(Arc<ReaderSlot>, Arc<CancelToken>)>,
}

impl EntryReader {
    /// Reader of an entry that is on its way, which has counted it already. `client` is cancelled when the reader's
    /// client leaves.
    pub fn waiting(entry: Arc<CacheEntry>, client: &Arc<CancelToken>) -> Self {
        let slot = Arc::new(ReaderSlot {
            entry: entry.clone(),
            gone: AtomicBool::new(false),
            own: OnceLock::new(),
        });
        client.on_cancel(slot.clone());
        Self {
            entry,
            slot: Some((slot, client.clone())),
        }
    }

    /// Reader of a complete entry; its leaving needs no tracking.
    pub fn complete(entry: Arc<CacheEntry>) -> Self {
        Self { entry, slot: None }
    }

    /// The entry that is read.
    pub fn entry(&self) -> &Arc<CacheEntry> {
        &self.entry
    }

    /// Whether the entry was complete when the request came.
    pub fn came_whole(&self) -> bool {
        self.slot.is_none()
    }

    /// Ties an attempt to this reader's client alone: it ends when that client leaves, whoever else reads the entry.
    pub fn keep_alone(&self, attempt: &Arc<CancelToken>) {
        self.entry.end_attempt(attempt);
        if let Some((slot, _)) = &self.slot {
            let _ = slot.own.set(attempt.clone()); // a request makes one attempt
            if slot.gone.load(Ordering::Acquire) {
                attempt.cancel();
            }
        }
    }

    fn is_left(&self) -> bool {
        let left = |(slot, _): &(Arc<ReaderSlot>, _)| slot.gone.load(Ordering::Acquire);
        self.slot.as_ref().is_some_and(left)
    }

    /// Waits for what comes of asking.
    pub fn head(&self) -> Waited {
        let mut state = self.entry.lock();
        loop {
            if self.is_left() {
                return Waited::Left;
            }
            if let Some(head) = &state.head {
                return Waited::Head(head.clone());
            }
            let look = match state.begin_if_hung() {
                Ok(attempt) => return Waited::Hung(attempt),
                Err(left) => left.unwrap_or(PATIENCE),
            };
            self.wait(&mut state, look);
        }
    }

    /// Takes what there is from byte `at` on into `batch`, which is emptied first; does not wait. Returns how many
    /// bytes of its first block lie before `at`.
    pub fn ready(&self, at: u64, batch: &mut Batch) -> usize {
        batch.clear();
        self.entry.lock().body.take(at, batch).unwrap_or(0)
    }

    /// Waits for what comes at byte `at`, into `batch`, which is emptied first.
    pub fn next(&self, at: u64, batch: &mut Batch) -> Next {
        batch.clear();
        let mut state = self.entry.lock();
        loop {
            if self.is_left() {
                return Next::Left;
            }
            if let Some(behind) = state.body.take(at, batch) {
                return Next::Bytes(behind);
            }
            match &state.end {
                Some(Ok(())) => return Next::End,
                Some(Err(why)) => return Next::Broken(why.clone()),
                None => self.wait(&mut state, LOOK),
            }
        }
    }

    fn wait(&self, state: &mut MutexGuard<'_, EntryState>, time: Duration) {
        self.entry.changed.wait_for(state, time);
    }
}

impl Drop for EntryReader {
    fn drop(&mut self) {
        if let Some((slot, client)) = &self.slot {
            client.clear_on_cancel();
            slot.cancelled();
        }
    }
}

#[cfg(test)]
mod tests;
