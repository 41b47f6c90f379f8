//! Memory for live channels: one limit for the rings of all of them together.

use parking_lot::{Mutex, MutexGuard};
use std::cmp::Reverse;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Bytes beyond its buffer that a piece takes: its head, two allocations, its place in a ring.
const PER_PIECE: usize = 160;

/// Who holds memory of the budget, and can let go of some.
pub trait Holder: Debug + Send + Sync {
    /// Bytes that it holds.
    fn bytes(&self) -> usize;

    /// Lets go of the oldest until `bytes` are free, never of the newest; with `keep_group` of nothing that a
    /// new viewer begins with.
    fn trim(&self, bytes: usize, keep_group: bool);
}

/// The limit (`PROXY_LIVE_BUFFER`) and what is used of it.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Somebody is making room.
    is_relieving: AtomicBool,
    rings: Mutex<Vec<Weak<dyn Holder>>>,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Somebody is making room until this is dropped.
struct Relieving<'a>(&'a AtomicBool);

impl Drop for Relieving<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            is_relieving: AtomicBool::new(false),
            rings: Mutex::default(),
        })
    }

    /// Takes a share for a piece of `bytes`. It is had at any time: the newest piece of a stream must be
    /// sent. Who adds it to a ring calls [`Budget::relieve`] afterwards.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        let bytes = bytes + PER_PIECE;
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    /// Bytes that pieces take now, also those that only a viewer who is behind still refers to.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn enrol(&self, ring: Weak<dyn Holder>) {
        let mut rings = self.lock();
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(ring);
    }

    fn excess(&self, limit: usize) -> usize {
        self.used().saturating_sub(limit)
    }

    /// Where more than the limit is used: drops the oldest pieces of the largest rings, at first those that
    /// no newcomer needs, then the GOP caches of rings above their share. A ring keeps its newest piece.
    /// A sixteenth is made free at once, so that not every piece comes here.
    pub fn relieve(&self) {
        // One at a time: a thousand streams would come here at once.
        if self.used() <= self.limit || self.is_relieving.swap(true, Ordering::Acquire) {
            return;
        }
        // Also where a panic ends it: with nobody to make room memory would grow without end.
        let _done = Relieving(&self.is_relieving);
        self.make_room();
    }

    fn make_room(&self) {
        let target = self.limit - self.limit / 16;
        let rings: Vec<Arc<dyn Holder>> = self.lock().iter().filter_map(Weak::upgrade).collect();
        // Rings grow and shrink meanwhile: a sort that looked at them themselves would find no order, and panic.
        let sizes = rings.into_iter().map(|ring| (ring.bytes(), ring));
        let mut rings: Vec<(usize, Arc<dyn Holder>)> = sizes.collect();
        rings.sort_by_key(|(bytes, _)| Reverse(*bytes));
        let share = target / rings.len().max(1);
        for keep_group in [true, false] {
            for (_, ring) in &rings {
                let excess = self.excess(target);
                if excess == 0 {
                    return;
                }
                let above = ring.bytes().saturating_sub(share);
                ring.trim(
                    if keep_group {
                        excess
                    } else {
                        excess.min(above)
                    },
                    keep_group,
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Holder>>> {
        // Nothing panics while it is held.
        self.rings.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring that is another size each time somebody looks, as rings are to which others add.
    #[derive(Debug)]
    struct Restless {
        random: Mutex<fastrand::Rng>,
        held: Mutex<Option<Reservation>>,
    }

    impl Holder for Restless {
        fn bytes(&self) -> usize {
            self.random.lock().usize(1..1000)
        }

        fn trim(&self, _: usize, _: bool) {
            *self.held.lock() = None;
        }
    }

    fn restless(budget: &Arc<Budget>, seed: u64) -> Arc<Restless> {
        let ring = Arc::new(Restless {
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            held: Mutex::default(),
        });
        let holder: Weak<dyn Holder> = Arc::downgrade(&(ring.clone() as Arc<dyn Holder>));
        budget.enrol(holder);
        ring
    }

    #[test]
    fn room_is_made_while_rings_change() {
        let budget = Budget::new(100_000);
        let rings: Vec<_> = (0..500).map(|seed| restless(&budget, seed)).collect();
        for _ in 0..20 {
            for ring in &rings {
                *ring.held.lock() = Some(budget.reserve(1000));
            }
            budget.relieve();
            assert!(budget.used() <= 100_000);
        }
    }

    #[derive(Debug)]
    struct Faulty;

    impl Holder for Faulty {
        fn bytes(&self) -> usize {
            10_000 // the largest: it is asked first
        }

        fn trim(&self, _: usize, _: bool) {
            panic!("a fault");
        }
    }

    #[test]
    fn a_fault_while_room_is_made_does_not_end_the_making_of_room() {
        let budget = Budget::new(1000);
        let faulty = Arc::new(Faulty) as Arc<dyn Holder>;
        budget.enrol(Arc::downgrade(&faulty));
        let ring = restless(&budget, 1);
        *ring.held.lock() = Some(budget.reserve(2000));
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| budget.relieve()));
        assert!(made.is_err());
        drop(faulty);
        budget.relieve();
        assert_eq!(budget.used(), 0);
    }
}
