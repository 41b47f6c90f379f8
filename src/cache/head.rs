//! What came of asking an origin for a shared answer.

use crate::http::Headers;
use crate::server::failure::Failure;
use crate::stream::origin_id::OriginId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The head of an answer that is shared.
#[derive(Debug)]
pub struct SharedHead {
    pub status: u16,
    /// The header lines for players, without `Age`.
    pub headers: Arc<Headers>,
    /// The body's length in bytes.
    pub length: u64,
    /// The origin that gave the answer; `None` for a 404 of several origins.
    pub origin: Option<OriginId>,
    /// The origin's `address:port`, for the log and for operators.
    pub address: String,
    /// The origin that the stream was pinned to when the answer came.
    pub pin: Option<OriginId>,
    /// When the answer came.
    pub came: Instant,
    /// The answer's age when it came (RFC 9111 section 5.1).
    pub age: Duration,
    /// How long the answer is kept.
    pub keep: Retention,
}

/// How long an answer is kept.
#[derive(Debug, Clone, Copy)]
pub enum Retention {
    /// Until that moment.
    Until(Instant),
    /// For this long after the last byte.
    AfterTheEnd(Duration),
}

/// No origin answered.
#[derive(Debug)]
pub struct FailedFetch {
    pub failure: Failure,
    /// The origin that the stream was pinned to then.
    pub pin: Option<OriginId>,
}

/// What came of asking.
#[derive(Debug, Clone)]
pub enum EntryHead {
    /// An answer for all.
    Shared(Arc<SharedHead>),
    /// No origin's answer, for all.
    Failed(Arc<FailedFetch>),
    /// The answer belongs to the filler alone: the others ask for themselves.
    Alone,
}
