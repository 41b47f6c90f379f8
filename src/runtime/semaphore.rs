//! Counted permits: only so many of something may be at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bounded number of permits.
#[derive(Debug)]
pub struct Semaphore {
    max: AtomicUsize,
    taken: AtomicUsize,
}

/// One of the permits; dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<Semaphore>);

impl Semaphore {
    /// A semaphore of `max` permits, all free.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: AtomicUsize::new(max),
            taken: AtomicUsize::new(0),
        })
    }

    /// Changes how many permits there are. Permits that are taken beyond the new number stay valid.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Takes a permit. Never blocks; `None` when all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let max = self.max.load(Ordering::Relaxed);
        let more = |taken| (taken < max).then_some(taken + 1);
        let taken = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Permit(self.clone()))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_are_and_each_comes_back() {
        let semaphore = Semaphore::new(2);
        let (one, two) = (semaphore.take(), semaphore.take());
        assert!(one.is_some() && two.is_some());
        assert!(semaphore.take().is_none());
        drop(one);
        assert_eq!(semaphore.taken(), 1);
        assert!(semaphore.take().is_some());
    }

    #[test]
    fn fewer_permits_leave_taken_ones_valid() {
        let semaphore = Semaphore::new(2);
        let (one, two) = (semaphore.take(), semaphore.take());
        semaphore.set_max(1);
        drop(one);
        assert!(semaphore.take().is_none(), "one is still taken");
        drop(two);
        assert!(semaphore.take().is_some());
    }
}
