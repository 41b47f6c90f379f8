//! The log: one line a record, to stderr.
//!
//! Nobody waits for the log. One thread writes; lines for which there is no room, since the reader does not read
//! (Ctrl-S, a hung shipper, a full pipe), are dropped and counted.

mod clean;
mod line;
mod queue;

pub use clean::Clean;
pub use line::{LogFormat, MESSAGE};

use line::Logger;
use log::LevelFilter;
use queue::{LineQueue, QueueWriter};
use rustix::fs::fstat;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the end waits for a log that takes nothing.
const PATIENCE: Duration = Duration::from_millis(200);

static QUEUE: OnceLock<Arc<LineQueue>> = OnceLock::new();

/// Sets the log up: `2026-01-31T12:00:00.000Z [INFO] message`, with the module before the message of debug
/// and trace records, or the same as JSON. There is no time where stderr is the journal (`JOURNAL_STREAM`, systemd.exec(5)),
/// which has its own. Other crates' records are kept from warn on.
///
/// A second call changes nothing but is no error. A stderr that is closed, or full, loses lines and
/// harms nobody.
///
/// # Errors
/// What the system says when it has no thread for the log.
pub fn init(level: LevelFilter, format: LogFormat) -> io::Result<()> {
    let stamped = !is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let notice = move |dropped| {
        let message = format!(
            "{dropped} log lines were dropped: the reader of the log is too slow, or has stopped"
        );
        line::warning(format, stamped, &message)
    };
    let queue = LineQueue::start(io::stderr(), notice)?;
    let logger = Logger::new(level, format, stamped, QueueWriter(queue.clone()));
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
        let _ = QUEUE.set(queue);
    }
    Ok(())
}

/// Waits until all lines are written; for a reader that takes none, 200 ms at most. To be called before the end of the
/// process.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(PATIENCE);
    }
}

/// How many lines were dropped since the start.
pub fn dropped() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.dropped())
}

/// Whether `JOURNAL_STREAM`, `device:inode`, names stderr.
fn is_journal(stream: Option<&str>) -> bool {
    let (Some(stream), Ok(stat)) = (stream, fstat(io::stderr())) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}
