//! Lines on their way to the log's reader, who may be slow, or may have stopped reading.

use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Bytes of lines that wait for the log thread, at most. That is some 10 000 requests; a reader that is further behind
/// loses lines.
const MAX_WAITING: usize = 1024 * 1024;
/// Bytes that one write has at most, unless a single line is longer: a pipe takes so many without mixing them with
/// another process's (PIPE_BUF, pipe(7)).
const MAX_WRITE: usize = 4096;
/// What the buffers keep when there is nothing to write.
const KEPT: usize = 64 * 1024;

/// Lines between those who log and the one thread that writes. Who logs never waits: where there is no room the line
/// is dropped and counted.
#[derive(Debug)]
pub(super) struct LineQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    max: usize,
}

#[derive(Debug, Default)]
struct QueueState {
    /// Whole lines, one after the other.
    waiting: Vec<u8>,
    /// The thread writes, or waits for a reader.
    writing: bool,
    /// Batches that have been written.
    written: u64,
    dropped: u64,
    /// Lines dropped of which the log does not tell yet.
    untold: u64,
}

impl LineQueue {
    /// Starts the thread that writes to `sink`. `notice` makes the line about dropped ones.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(
        sink: impl Write + Send + 'static,
        notice: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::new(MAX_WAITING));
        let own = queue.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || own.write_to(sink, notice))?;
        Ok(queue)
    }

    fn new(max: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            max,
        }
    }

    /// Adds a whole line with its newline, or drops it where there is no room. Never blocks on the reader.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + line.len() > self.max {
            state.dropped += 1;
            state.untold += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        // While the thread writes it looks again by itself.
        if !state.writing {
            self.changed.notify_all();
        }
    }

    /// How many lines were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Waits until all lines are written, but no longer than `patience` for a reader that takes nothing.
    pub fn flush(&self, patience: Duration) {
        let mut state = self.state.lock();
        while state.writing || !state.waiting.is_empty() {
            let before = state.written;
            let late = self.changed.wait_for(&mut state, patience).timed_out();
            if late && state.written == before {
                return;
            }
        }
    }

    fn write_to(&self, mut sink: impl Write, notice: impl Fn(u64) -> Vec<u8>) {
        let mut batch = Vec::new();
        loop {
            let untold = self.take(&mut batch);
            if untold > 0 {
                // They came when the batch was full: after its lines.
                batch.extend_from_slice(&notice(untold));
            }
            for lines in writes(&batch) {
                // A reader that has gone is no reason to end, and there is nobody to tell.
                let _ = sink.write_all(lines);
            }
            batch.clear();
            batch.shrink_to(KEPT);
        }
    }

    /// Waits for lines and takes all there are; gives how many were dropped.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.writing) {
            state.written += 1;
            self.changed.notify_all();
        }
        while state.waiting.is_empty() {
            self.changed.wait(&mut state);
        }
        state.writing = true;
        std::mem::swap(&mut state.waiting, batch);
        std::mem::take(&mut state.untold)
    }
}

/// Cuts a batch into writes of whole lines.
fn writes(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_end = |byte: &u8| *byte == b'\n';
        let window = &rest[..rest.len().min(MAX_WRITE)];
        let end = window.iter().rposition(is_end);
        let end = end.or_else(|| rest.iter().position(is_end));
        let (lines, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = after;
        Some(lines)
    })
}

/// For those who write lines: each write is one whole line.
#[derive(Debug, Clone)]
pub(super) struct QueueWriter(pub Arc<LineQueue>);

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
    use proptest::prelude::*;
    use std::time::Instant;

    /// A reader that takes a write only when the test lets it.
    struct Slow {
        gate: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_the_loss_is_told() {
        let (go, gate) = bounded(0);
        let (taken, lines) = unbounded();
        let notice = |dropped| format!("{dropped} dropped\n").into_bytes();
        let queue = LineQueue::start(Slow { gate, taken }, notice).unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let pushed = 3 * MAX_WAITING / line.len();
        let begin = Instant::now();
        for _ in 0..pushed {
            queue.push(&line);
        }
        assert!(begin.elapsed() < SOON);
        let dropped = queue.dropped();
        assert!(dropped > 0 && (dropped as usize) < pushed, "{dropped}");
        queue.flush(Duration::from_millis(50));
        assert!(begin.elapsed() < SOON, "the end does not wait either");
        drop(go); // the reader takes all from now on
        queue.flush(SOON);
        let text: Vec<u8> = lines.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let whole = text.lines().filter(|line| line.len() == 999).count();
        assert_eq!(whole as u64 + dropped, pushed as u64);
        assert!(
            text.lines()
                .any(|line| line == format!("{dropped} dropped"))
        );
    }

    proptest! {
        #[test]
        fn writes_are_whole_lines_and_all_of_them(lengths in proptest::collection::vec(0..6000_usize, 0..20)) {
            let batch: Vec<u8> = lengths.iter().flat_map(|length| {
                let mut line = vec![b'x'; *length];
                line.push(b'\n');
                line
            }).collect();
            let writes: Vec<_> = writes(&batch).collect();
            prop_assert_eq!(&writes.concat(), &batch);
            for write in writes {
                let lines = write.iter().filter(|byte| **byte == b'\n').count();
                prop_assert!(write.ends_with(b"\n") && (write.len() <= MAX_WRITE || lines == 1));
            }
        }
    }
}
