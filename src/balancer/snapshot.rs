//! What a balancer knows, as one value: an upgraded process goes on from it.

use crate::balancer::origin::Origin;
use serde::{Deserialize, Serialize};

/// Origins and pins at one moment.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerSnapshot {
    pub origins: Vec<OriginSnapshot>,
    /// Stream URLs, each with the id of the origin that it is pinned to.
    pub pins: Vec<(String, String)>,
}

/// An origin with what is known of it beyond its heartbeat.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginSnapshot {
    pub origin: Origin,
    /// Milliseconds since its last heartbeat.
    pub heartbeat_age: u64,
    pub draining: bool,
}
