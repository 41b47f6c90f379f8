//! Ids of requests, for answers and the log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The id of a request, `PREFIX-NUMBER`, as the player and the log see it.
#[derive(Debug, Clone, Default)]
pub struct RequestId {
    prefix: Arc<str>,
    number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.prefix, self.number)
    }
}

/// Counter of a listener's requests. Each request gets an id of its own.
#[derive(Debug)]
pub struct RequestIds {
    prefix: Arc<str>,
    count: AtomicU64,
}

impl RequestIds {
    /// A counter at 0 whose ids begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            count: AtomicU64::new(0),
        }
    }

    /// The id of the next request.
    pub fn next(&self) -> RequestId {
        RequestId {
            prefix: self.prefix.clone(),
            number: self.count.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// How many ids were given.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
