//! The memory that shared answers may take: counted when a body is announced, given back when its last reader is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an answer takes beside its key and its body, in bytes, roughly: without it a million small answers would count
/// as nothing.
const OVERHEAD: u64 = 1024;

/// The memory of all shared answers: kept ones, those on their way, and those that a slow reader still holds.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    /// Reserved bytes: bodies, keys and overhead.
    reserved: AtomicU64,
    /// Reserved bytes of bodies alone.
    bodies: AtomicU64,
}

/// Memory that one answer counts for, until this is dropped.
#[derive(Debug)]
pub struct MemoryReservation {
    budget: Arc<MemoryBudget>,
    body: u64,
    weight: u64,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, all of it free.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            reserved: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
        })
    }

    /// The budget's size in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of bodies in memory now.
    pub fn bodies(&self) -> u64 {
        self.bodies.load(Ordering::Relaxed)
    }

    /// What an answer counts for, in bytes.
    pub fn weight(key: usize, body: u64) -> u64 {
        body.saturating_add(key as u64 + OVERHEAD)
    }

    /// Bytes that have to be freed before an answer of that weight stays below `ceiling`.
    pub fn missing(&self, weight: u64, ceiling: u64) -> u64 {
        let reserved = self.reserved.load(Ordering::Relaxed);
        reserved.saturating_add(weight).saturating_sub(ceiling)
    }

    /// Reserves memory for a body under a key of `key` bytes. `None` where more than `ceiling` would be reserved then.
    pub fn reserve(
        self: &Arc<Self>,
        key: usize,
        body: u64,
        ceiling: u64,
    ) -> Option<MemoryReservation> {
        let weight = Self::weight(key, body);
        let more = |reserved: u64| {
            let sum = reserved.checked_add(weight)?;
            (sum <= ceiling.min(self.limit)).then_some(sum)
        };
        self.reserved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        self.bodies.fetch_add(body, Ordering::Relaxed);
        Some(MemoryReservation {
            budget: self.clone(),
            body,
            weight,
        })
    }
}

impl MemoryReservation {
    /// The memory in bytes: body, key and overhead.
    pub fn weight(&self) -> u64 {
        self.weight
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.budget
            .reserved
            .fetch_sub(self.weight, Ordering::Relaxed);
        self.budget.bodies.fetch_sub(self.body, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_passed_and_comes_back() {
        let budget = MemoryBudget::new(10_000);
        let one = budget.reserve(10, 5000, 10_000).expect("room");
        assert_eq!(
            (budget.bodies(), one.weight()),
            (5000, 5000 + 10 + OVERHEAD)
        );
        assert!(budget.reserve(10, 5000, 10_000).is_none());
        assert!(budget.reserve(10, u64::MAX, 10_000).is_none());
        assert_eq!(budget.missing(OVERHEAD, 7000), 58);
        assert!(
            budget.reserve(0, 0, 7000).is_none(),
            "over this one's share"
        );
        assert!(budget.reserve(0, 0, 20_000).is_some());
        drop(one);
        assert_eq!((budget.bodies(), budget.missing(0, 0)), (0, 0));
        assert!(budget.reserve(10, 5000, 10_000).is_some());
    }
}
