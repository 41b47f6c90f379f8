//! What sharing was good for, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that only grow.
#[derive(Debug, Default)]
pub struct Counters {
    pub hits: AtomicU64,
    pub shares: AtomicU64,
    pub fetches: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Answers that were whole in memory when they were asked for.
    pub hits: u64,
    /// Answers that were on their way from an origin for somebody else.
    pub shares: u64,
    /// Requests for which an origin was asked, of those that could have been shared.
    pub fetches: u64,
    /// Requests to origins that were saved: hits and shares.
    pub saved: u64,
    /// Memory that is in use now, in bytes: what is kept, and what is on its way or still being read.
    pub bytes: u64,
}

impl Counters {
    /// One more.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them; `bytes` is the memory in use.
    pub fn snapshot(&self, bytes: u64) -> Snapshot {
        let (hits, shares) = (
            self.hits.load(Ordering::Relaxed),
            self.shares.load(Ordering::Relaxed),
        );
        Snapshot {
            hits,
            shares,
            fetches: self.fetches.load(Ordering::Relaxed),
            saved: hits + shares,
            bytes,
        }
    }
}
