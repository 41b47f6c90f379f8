//! What every room stands on: worker threads, cancellation, counted permits and the limits of the process.

pub mod cancel;
pub mod limits;
pub mod pool;
pub mod recent;
pub mod semaphore;
pub mod sys;
pub mod threads;
pub mod warn_once;
