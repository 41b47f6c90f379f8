//! Places for streams: so many may run at once, and each holds its place until it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bounded number of places.
#[derive(Debug)]
pub struct Semaphore {
    most: usize,
    taken: AtomicUsize,
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub struct Permit(Arc<Semaphore>);

impl Semaphore {
    /// That many, all free.
    pub fn new(most: usize) -> Arc<Self> {
        let taken = AtomicUsize::new(0);
        Arc::new(Self { most, taken })
    }

    /// Takes a place where one is free.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
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
}
