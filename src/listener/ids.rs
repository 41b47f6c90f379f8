//! Ids of requests, for answers and the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counter of a listener's requests. Each request gets an id of its own: `PREFIX-NUMBER`.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    count: AtomicU64,
}

impl RequestIds {
    /// A counter at 0 whose ids begin with `prefix`.
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            count: AtomicU64::new(0),
        }
    }

    /// The id of the next request.
    pub fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}-{count}", self.prefix)
    }

    /// How many ids were given.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
