//! Threads for the requests of strangers: never more than the process can bear.

use crate::runtime::semaphore::Semaphore;
use crate::runtime::sys;
use std::cell::Cell;
use std::io;
use std::sync::{Arc, LazyLock};
use std::thread;

/// A permit for each thread of [`spawn`], for as long as it lives.
static PROCESS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Semaphore::new(usize::MAX));

thread_local! {
    /// Whether this thread waits its turn by [`schedule_as_batch`].
    static IS_BATCH: Cell<bool> = const { Cell::new(false) };
}

/// Has the calling thread wait its turn when it wakes up, for throughput: see [`sys::schedule_as_batch`].
pub fn schedule_as_batch() {
    if sys::schedule_as_batch() {
        IS_BATCH.set(true);
    }
}

/// Sets how many threads of [`spawn`] may be alive at once.
///
/// A system that has no room for a thread says so, and that is an error like any other. One that has no
/// memory mapping left (`vm.max_map_count`) may say so when the thread has begun and the standard library maps
/// its signal stack, which ends the process. So the bound must be ours.
pub fn set_max(max: usize) {
    PROCESS.set_max(max);
}

/// Starts a thread with a stack of `stack` bytes.
///
/// # Errors
/// What the system says, or `WouldBlock` when there are as many as there may be.
pub fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    spawn_in(&PROCESS, name, stack, work)
}

/// How many threads of [`spawn`] are alive.
pub fn alive() -> usize {
    PROCESS.taken()
}

/// Notices when a crowd of threads has gone.
#[derive(Debug, Default)]
pub struct Crowd {
    peak: usize,
}

impl Crowd {
    /// Fewer threads are no crowd.
    const LEAST: usize = 32;

    /// Records the thread count. Returns true once it falls to half of the peak since it last did.
    pub fn has_gone(&mut self, now: usize) -> bool {
        self.peak = self.peak.max(now);
        let gone = self.peak >= Self::LEAST && now <= self.peak / 2;
        if gone {
            self.peak = now;
        }
        gone
    }
}

fn spawn_in(
    budget: &Arc<Semaphore>,
    name: &str,
    stack: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let permit = budget.take().ok_or_else(|| {
        let why = "as many threads as the memory mappings allow (vm.max_map_count)";
        io::Error::new(io::ErrorKind::WouldBlock, why)
    })?;
    let is_batch = IS_BATCH.get();
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack)
        .spawn(move || {
            let _permit = permit;
            // A worker for streams, which are to be on time, is started by the accept loop.
            if is_batch {
                sys::schedule_as_usual();
            }
            work();
        })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheduling policy of the calling thread, by proc(5): the 41st value of `stat`.
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        let mut values = behind_name.split_ascii_whitespace();
        values.nth(41 - 3).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_waits_its_turn_starts_threads_that_do_not() {
        let (tell, told) = channel();
        let threads = Semaphore::new(10);
        let starts = thread::spawn(move || {
            schedule_as_batch();
            tell.send(policy()).unwrap();
            spawn_in(&threads, "usual", 64 * 1024, move || {
                tell.send(policy()).unwrap();
            })
        });
        starts.join().unwrap().unwrap();
        let policies: Vec<_> = told.iter().collect();
        assert_eq!(policies, [libc::SCHED_BATCH, libc::SCHED_OTHER]);
    }
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
        let two_threads = Semaphore::new(2);
        let wait = || {
            let (go, gate) = channel::<()>();
            let work = move || {
                let _ = gate.recv();
            };
            spawn_in(&two_threads, "waits", 64 * 1024, work).map(|()| go)
        };
        let (one, two) = (wait().unwrap(), wait().unwrap());
        assert_eq!(wait().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((one, two));
        let end = Instant::now() + Duration::from_secs(10);
        while two_threads.taken() > 0 {
            assert!(Instant::now() < end, "ended threads count");
            thread::yield_now();
        }
        assert!(wait().is_ok());
    }
}
