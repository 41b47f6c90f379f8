//! A request at a transfer: it waits, reads at its own pace, and may leave at any time.

use crate::cache::entry::{CacheEntry, EntryHead, EntryState};
use crate::runtime::cancel::{CancelListener, CancelToken};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A reader that waits looks this often whether its own client has left. Nothing waits for it: the
/// fetch ends with the last reader at once.
const LOOK: Duration = Duration::from_secs(1);

/// What a reader gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The blocks from its place on; so many bytes of the first one are behind it.
    Bytes(usize),
    /// There is no more.
    End,
    /// The origin broke off, for this reason.
    Broken(Arc<str>),
    /// The reader's own client has left.
    Left,
}

/// A reader's place in a transfer that is on its way. Its client's leaving is known at once.
#[derive(Debug)]
pub struct ReaderSlot {
    entry: Arc<CacheEntry>,
    gone: AtomicBool,
}

impl ReaderSlot {
    /// One that is counted already.
    pub(super) fn at(entry: &Arc<CacheEntry>) -> Arc<Self> {
        Arc::new(Self {
            entry: entry.clone(),
            gone: AtomicBool::new(false),
        })
    }

    /// The transfer that this place is in.
    #[cfg(test)]
    pub fn entry(&self) -> &Arc<CacheEntry> {
        &self.entry
    }
}

impl CancelListener for ReaderSlot {
    fn cancelled(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            self.entry.leave();
        }
    }
}

/// A request at a transfer; it reads until this is dropped.
#[derive(Debug)]
pub struct EntryReader {
    entry: Arc<CacheEntry>,
    /// Nobody's leaving matters where the answer is whole.
    slot: Option<(Arc<ReaderSlot>, Arc<CancelToken>)>,
}

impl EntryReader {
    /// In a transfer that is on its way, for the client on that cancel token.
    pub fn at(slot: Arc<ReaderSlot>, client: &Arc<CancelToken>) -> Self {
        client.on_cancel(slot.clone());
        Self {
            entry: slot.entry.clone(),
            slot: Some((slot, client.clone())),
        }
    }

    /// Before an answer that is whole.
    pub fn before(entry: Arc<CacheEntry>) -> Self {
        Self { entry, slot: None }
    }

    /// The transfer.
    pub fn entry(&self) -> &Arc<CacheEntry> {
        &self.entry
    }

    /// Whether the answer was whole when the request came.
    pub fn came_whole(&self) -> bool {
        self.slot.is_none()
    }

    fn is_left(&self) -> bool {
        let left = |(slot, _): &(Arc<ReaderSlot>, _)| slot.gone.load(Ordering::Acquire);
        self.slot.as_ref().is_some_and(left)
    }

    /// Waits for what comes of asking; `None` when the reader's own client has left.
    pub fn head(&self) -> Option<EntryHead> {
        let mut state = self.entry.lock();
        loop {
            if self.is_left() {
                return None;
            }
            if let Some(head) = &state.head {
                return Some(head.clone());
            }
            self.wait(&mut state);
        }
    }

    /// What there is from byte `at` on, without waiting: into `batch`, which is emptied first. Gives how
    /// many bytes of its first block are behind `at`.
    pub fn ready(&self, at: u64, batch: &mut Vec<Arc<[u8]>>) -> usize {
        batch.clear();
        self.entry.lock().take(at, batch).unwrap_or(0)
    }

    /// Waits for what comes at byte `at`. `batch` is emptied first.
    pub fn next(&self, at: u64, batch: &mut Vec<Arc<[u8]>>) -> Next {
        batch.clear();
        let mut state = self.entry.lock();
        loop {
            if self.is_left() {
                return Next::Left;
            }
            if let Some(behind) = state.take(at, batch) {
                return Next::Bytes(behind);
            }
            match &state.end {
                Some(Ok(())) => return Next::End,
                Some(Err(why)) => return Next::Broken(why.clone()),
                None => self.wait(&mut state),
            }
        }
    }

    fn wait(&self, state: &mut MutexGuard<'_, EntryState>) {
        self.entry.changed.wait_for(state, LOOK);
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
