//! What every room stands on: worker threads, cancellation, counted permits and the limits of the process.

pub mod cancel;
pub mod limits;
pub mod pool;
pub mod recent;
pub mod semaphore;
pub mod sys;
pub mod threads;
pub mod warn_once;

/// The processor's time that this thread has used: what tests compare work by, whatever else the machine does.
#[cfg(test)]
pub fn thread_time() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
