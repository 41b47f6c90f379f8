//! Threads for strangers' requests: never more than the process can bear.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

static PROCESS: ThreadBudget = ThreadBudget::new(usize::MAX);

/// Sets how many threads of [`spawn`] may be alive at once.
///
/// A system that has no room for a thread says so, and that is an error like any other. One that has no
/// memory mapping left (`vm.max_map_count`) may say so when the thread has begun and the standard library maps
/// its signal stack, which ends the process. So the bound must be ours.
pub fn set_max(most: usize) {
    PROCESS.most.store(most, Ordering::Relaxed);
}

/// Starts a thread with a stack of `stack` bytes.
///
/// # Errors
/// What the system says, or `WouldBlock` when there are as many as there may be.
pub fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    PROCESS.spawn(name, stack, work)
}

/// How many of them are alive.
pub fn alive() -> usize {
    PROCESS.alive.load(Ordering::Relaxed)
}

/// Notices when a crowd has gone.
#[derive(Debug, Default)]
pub struct Crowd {
    most: usize,
}

impl Crowd {
    /// Fewer are not a crowd.
    const LEAST: usize = 32;

    /// Takes how many there are now; whether they are no more than half of the most since this was last true.
    pub fn has_gone(&mut self, now: usize) -> bool {
        self.most = self.most.max(now);
        let gone = self.most >= Self::LEAST && now <= self.most / 2;
        if gone {
            self.most = now;
        }
        gone
    }
}

struct ThreadBudget {
    most: AtomicUsize,
    alive: AtomicUsize,
}

impl ThreadBudget {
    const fn new(most: usize) -> Self {
        Self {
            most: AtomicUsize::new(most),
            alive: AtomicUsize::new(0),
        }
    }

    fn spawn(
        &'static self,
        name: &str,
        stack: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let permit = self.take()?;
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack)
            .spawn(move || {
                let _place = permit;
                work();
            })
            .map(drop)
    }

    fn take(&'static self) -> io::Result<ThreadPermit> {
        let permit = ThreadPermit(self);
        if self.alive.fetch_add(1, Ordering::AcqRel) < self.most.load(Ordering::Relaxed) {
            return Ok(permit);
        }
        drop(permit);
        let why = "as many threads as the memory mappings allow (vm.max_map_count)";
        Err(io::Error::new(io::ErrorKind::WouldBlock, why))
    }
}

/// One of the threads that may be; given up when it ends, or has not come about.
struct ThreadPermit(&'static ThreadBudget);

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    #[test]
    fn a_crowd_goes_once() {
        let mut crowd = Crowd::default();
        let looks = [10, 31, 15, 100, 80, 51, 50, 49, 26, 25, 24, 12, 3, 40, 20];
        let gone: Vec<_> = looks
            .into_iter()
            .filter(|now| crowd.has_gone(*now))
            .collect();
        assert_eq!(gone, [50, 25, 20]);
    }

    #[test]
    fn a_thread_over_the_bound_is_an_error_and_ended_ones_do_not_count() {
        static TWO: ThreadBudget = ThreadBudget::new(2);
        let wait = || {
            let (go, gate) = channel::<()>();
            let work = move || {
                let _ = gate.recv();
            };
            TWO.spawn("waits", 64 * 1024, work).map(|()| go)
        };
        let (one, two) = (wait().unwrap(), wait().unwrap());
        assert_eq!(wait().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((one, two));
        let end = Instant::now() + Duration::from_secs(10);
        while TWO.alive.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < end, "ended threads count");
            thread::yield_now();
        }
        assert!(wait().is_ok());
    }
}
