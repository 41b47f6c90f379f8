//! Elastic workers: made as jobs come, up to a bound; idle ones end.

use crate::runtime::threads;
use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use parking_lot::{Mutex, MutexGuard};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A worker without a job for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// A bounded, elastic set of worker threads.
pub struct Pool<J: Send + 'static> {
    name: &'static str,
    most: usize,
    stack: usize,
    idle: Duration,
    /// Whether the workers wait their turn when they wake up: [`threads::schedule_as_batch`].
    is_batch: bool,
    serve: Box<dyn Fn(J) + Send + Sync>,
    state: Mutex<PoolState<J>>,
}

struct PoolState<J> {
    workers: usize,
    made: u64,
    /// Idle workers, the one that has been idle for shortest last: it is taken first, so that its
    /// memory is warm and the others come to the end of their idle time.
    idle: Vec<Idle<J>>,
}

/// A worker that waits: its mailbox, and how to wake it.
struct Idle<J> {
    number: u64,
    mailbox: Sender<J>,
    thread: Thread,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool of at most `most` workers with stacks of `stack` bytes, which call `serve` for each
    /// job. There is none at first.
    pub fn new(
        name: &'static str,
        most: usize,
        stack: usize,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::with_idle_time(name, most, stack, IDLE, serve))
    }

    /// The same for many small jobs at once: a worker that gets one does not interrupt what runs.
    pub fn batch(
        name: &'static str,
        most: usize,
        stack: usize,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let pool = Self::with_idle_time(name, most, stack, IDLE, serve);
        Arc::new(Self {
            is_batch: true,
            ..pool
        })
    }

    fn with_idle_time(
        name: &'static str,
        most: usize,
        stack: usize,
        idle: Duration,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            most,
            stack,
            idle,
            is_batch: false,
            serve: Box::new(serve),
            state: Mutex::new(PoolState {
                workers: 0,
                made: 0,
                idle: Vec::new(),
            }),
        }
    }

    /// Gives the job to an idle worker or to a new one, at once.
    ///
    /// # Errors
    /// The job itself, when all workers are busy and there may be, or can be, no further one.
    pub fn run(self: &Arc<Self>, job: J) -> Result<(), J> {
        let mut state = self.lock();
        if let Some(worker) = state.idle.pop() {
            drop(state);
            // It has room for one job, and its worker waits until the job that it was taken for comes.
            let sent = worker.mailbox.send(job).map_err(|lost| lost.0);
            worker.thread.unpark();
            return sent;
        }
        if state.workers >= self.most {
            return Err(job);
        }
        state.workers += 1;
        state.made += 1;
        let number = state.made;
        drop(state);
        self.make_worker(number, job)
    }

    fn make_worker(self: &Arc<Self>, number: u64, job: J) -> Result<(), J> {
        let (jobs, inbox) = bounded(1);
        // The first job goes the same way as all others: should there be no thread, it is still here.
        jobs.send(job).map_err(|lost| lost.0)?;
        let spare = inbox.clone();
        let pool = self.clone();
        let spawned = threads::spawn(self.name, self.stack, move || {
            if pool.is_batch {
                threads::schedule_as_batch();
            }
            pool.work(number, &jobs, &inbox);
        });
        match spawned {
            Ok(()) => Ok(()),
            Err(error) => {
                self.lock().workers -= 1;
                error!("cannot make a worker for {}: {error}", self.name);
                match spare.try_recv() {
                    Ok(job) => Err(job),
                    Err(_) => Ok(()), // it cannot be: the inbox that failed to start held the job
                }
            }
        }
    }

    fn work(&self, number: u64, mailbox: &Sender<J>, inbox: &Receiver<J>) {
        while let Some(job) = self.next_job(number, inbox) {
            // What a panic leaves behind is the job's own, and goes with it.
            if catch_unwind(AssertUnwindSafe(|| (self.serve)(job))).is_err() {
                error!("a {} worker goes on after a panic", self.name);
            }
            let (mailbox, thread) = (mailbox.clone(), thread::current());
            self.lock().idle.push(Idle {
                number,
                mailbox,
                thread,
            });
        }
    }

    /// Waits for a job; `None` when the worker is to end. The thread is parked rather than left to the
    /// channel's own waiting, which yields a few times first: with a worker for each request in flight
    /// that was more switches than all else together.
    fn next_job(&self, number: u64, inbox: &Receiver<J>) -> Option<J> {
        let end = Instant::now() + self.idle;
        loop {
            if let Ok(job) = inbox.try_recv() {
                return Some(job);
            }
            let left = end.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::park_timeout(left);
                continue;
            }
            let mut state = self.lock();
            if let Some(place) = state.idle.iter().position(|idle| idle.number == number) {
                state.idle.remove(place);
                state.workers -= 1;
                return None;
            }
            drop(state);
            // Somebody has just taken this worker: its job is on the way.
            return inbox.recv().ok();
        }
    }

    /// How many workers there are, idle ones too.
    pub fn workers(&self) -> usize {
        self.lock().workers
    }

    /// How many workers there may be.
    pub fn max(&self) -> usize {
        self.most
    }

    /// How many workers have a job.
    pub fn busy(&self) -> usize {
        let state = self.lock();
        state.workers - state.idle.len()
    }

    fn lock(&self) -> MutexGuard<'_, PoolState<J>> {
        // No job runs under it.
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use std::thread;
    use std::time::Instant;

    const STACK: usize = 64 * 1024;
    const SOON: Duration = Duration::from_secs(10);

    fn until(what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + SOON;
        while !done() {
            assert!(Instant::now() < end, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn as_many_workers_as_jobs_up_to_the_bound() {
        let (go, gate) = unbounded::<()>();
        let pool = Pool::new("test", 3, STACK, move |()| {
            gate.recv().unwrap();
        });
        for _ in 0..3 {
            assert!(pool.run(()).is_ok());
        }
        assert!(pool.run(()).is_err(), "the fourth is turned away at once");
        assert_eq!(pool.busy(), 3);
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        until("all idle", || pool.busy() == 0);
        assert!(pool.run(()).is_ok(), "an idle worker takes the next");
        assert_eq!(pool.workers(), 3);
        go.send(()).unwrap();
    }

    #[test]
    fn idle_workers_end() {
        let idle = Duration::from_millis(30);
        let pool = Arc::new(Pool::with_idle_time("test", 10, STACK, idle, |()| {}));
        for _ in 0..5 {
            assert!(pool.run(()).is_ok());
        }
        until("no worker left", || pool.workers() == 0);
        assert!(pool.run(()).is_ok(), "and new ones come");
    }

    #[test]
    fn a_worker_outlives_a_panic() {
        let (done, outcomes) = unbounded();
        let pool = Pool::new("test", 1, STACK, move |fail: bool| {
            assert!(!fail, "on purpose");
            done.send(()).unwrap();
        });
        assert!(pool.run(true).is_ok());
        until("idle again", || pool.workers() == 1 && pool.busy() == 0);
        assert!(pool.run(false).is_ok());
        outcomes.recv_timeout(SOON).unwrap();
        assert_eq!(pool.workers(), 1);
    }

    #[test]
    fn no_job_is_lost_however_they_come() {
        let (done, outcomes) = unbounded();
        let idle = Duration::from_millis(1); // so that ending and taking race
        let pool = Arc::new(Pool::with_idle_time(
            "test",
            8,
            STACK,
            idle,
            move |n: u32| {
                done.send(n).unwrap();
            },
        ));
        let mut taken = 0;
        for n in 0..2000 {
            taken += u32::from(pool.run(n).is_ok());
            if n % 50 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        for _ in 0..taken {
            outcomes.recv_timeout(SOON).unwrap();
        }
        assert!(outcomes.try_recv().is_err());
    }
}
