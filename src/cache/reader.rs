//! A request at a transfer: it waits, reads at its own pace, and may leave at any time.

use crate::cache::entry::{Head, State, Transfer};
use crate::runtime::cancel::{Lifeline, Watcher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
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
pub struct Place {
    transfer: Arc<Transfer>,
    gone: AtomicBool,
}

impl Place {
    /// One that is counted already.
    pub(super) fn at(transfer: &Arc<Transfer>) -> Arc<Self> {
        Arc::new(Self {
            transfer: transfer.clone(),
            gone: AtomicBool::new(false),
        })
    }

    /// The transfer that this place is in.
    #[cfg(test)]
    pub fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }
}

impl Watcher for Place {
    fn client_left(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            self.transfer.leave();
        }
    }
}

/// A request at a transfer; it reads until this is dropped.
#[derive(Debug)]
pub struct Seat {
    transfer: Arc<Transfer>,
    /// Nobody's leaving matters where the answer is whole.
    place: Option<(Arc<Place>, Arc<Lifeline>)>,
}

impl Seat {
    /// In a transfer that is on its way, for the client on that lifeline.
    pub fn at(place: Arc<Place>, client: &Arc<Lifeline>) -> Self {
        client.watch(place.clone());
        Self {
            transfer: place.transfer.clone(),
            place: Some((place, client.clone())),
        }
    }

    /// Before an answer that is whole.
    pub fn before(transfer: Arc<Transfer>) -> Self {
        Self {
            transfer,
            place: None,
        }
    }

    /// The transfer.
    pub fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }

    /// Whether the answer was whole when the request came.
    pub fn came_whole(&self) -> bool {
        self.place.is_none()
    }

    fn is_left(&self) -> bool {
        let left = |(place, _): &(Arc<Place>, _)| place.gone.load(Ordering::Acquire);
        self.place.as_ref().is_some_and(left)
    }

    /// Waits for what comes of asking; `None` when the reader's own client has left.
    pub fn head(&self) -> Option<Head> {
        let mut state = self.transfer.lock();
        loop {
            if self.is_left() {
                return None;
            }
            if let Some(head) = &state.head {
                return Some(head.clone());
            }
            state = self.wait(state);
        }
    }

    /// What there is from byte `at` on, without waiting: into `batch`, which is emptied first. Gives how
    /// many bytes of its first block are behind `at`.
    pub fn ready(&self, at: u64, batch: &mut Vec<Arc<[u8]>>) -> usize {
        batch.clear();
        self.transfer.lock().take(at, batch).unwrap_or(0)
    }

    /// Waits for what comes at byte `at`. `batch` is emptied first.
    pub fn next(&self, at: u64, batch: &mut Vec<Arc<[u8]>>) -> Next {
        batch.clear();
        let mut state = self.transfer.lock();
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
                None => state = self.wait(state),
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.transfer
            .changed
            .wait_timeout(state, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((place, client)) = &self.place {
            client.unwatch();
            place.client_left();
        }
    }
}
