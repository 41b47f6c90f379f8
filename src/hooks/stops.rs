//! The calls of `on_stop`: a queue and a few threads, so that nobody whose viewer leaves waits for a hook.

use crate::config::HookUrl;
use crate::hooks::call::{Answer, call};
use crate::hooks::viewer::{ServerIds, Viewer};
use crate::runtime::cancel::CancelToken;
use crate::runtime::warn_once::WarnOnce;
use log::{error, warn};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Calls that wait at most; further ones are left out. All live viewers and all sessions leave at once when the process
/// ends.
const MAX_WAITING: usize = 200_000;
/// A hook that does not take its calls is in the log once in this time.
pub const WARN_EVERY: Duration = Duration::from_secs(60);

/// A viewer that has left.
#[derive(Debug)]
pub struct Left {
    pub viewer: Viewer,
    pub watched: Duration,
    pub bytes: u64,
}

/// The queue.
pub struct Stops {
    urls: Vec<HookUrl>,
    timeout: Duration,
    ids: Arc<ServerIds>,
    state: Mutex<StopsState>,
    come: Condvar,
    done: Condvar,
    warned: WarnOnce<usize>,
}

#[derive(Debug, Default)]
struct StopsState {
    queue: VecDeque<Left>,
    /// Calls that are being made.
    under_way: usize,
    /// Calls that there was no room for since the last warning.
    lost: u64,
}

impl Stops {
    /// A queue whose calls go to each of `urls`. Nothing is called where there are none.
    pub fn new(urls: Vec<HookUrl>, timeout: Duration, ids: Arc<ServerIds>) -> Arc<Self> {
        let warned = WarnOnce::new(Some(WARN_EVERY), urls.len() + 1);
        Arc::new(Self {
            urls,
            timeout,
            ids,
            state: Mutex::default(),
            come: Condvar::new(),
            done: Condvar::new(),
            warned,
        })
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Makes the calls from now on, `threads` at a time.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        for _ in 0..threads {
            let stops = self.clone();
            thread::Builder::new()
                .name("on_stop".to_owned())
                .spawn(move || stops.work())?;
        }
        Ok(())
    }

    /// Has the hooks told. Does not block.
    pub fn push(&self, left: Left) {
        if !self.is_on() {
            return;
        }
        let lost = {
            let mut state = self.state.lock();
            if state.queue.len() < MAX_WAITING {
                state.queue.push_back(left);
                self.come.notify_one();
                return;
            }
            state.lost += 1;
            if !self.warned.is_due(self.urls.len()) {
                return;
            }
            std::mem::take(&mut state.lost)
        };
        warn!("{MAX_WAITING} calls of on_stop wait: {lost} more are left out");
    }

    /// Waits until all calls have been made, until `end` at most. Returns how many have not been.
    pub fn drain(&self, end: Instant) -> usize {
        let mut state = self.state.lock();
        loop {
            let left = state.queue.len() + state.under_way;
            let now = Instant::now();
            if left == 0 || now >= end {
                return left;
            }
            self.done.wait_for(&mut state, end - now);
        }
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    fn work(&self) {
        loop {
            let left = {
                let mut state = self.state.lock();
                loop {
                    if let Some(left) = state.queue.pop_front() {
                        state.under_way += 1;
                        break left;
                    }
                    self.come.wait(&mut state);
                }
            };
            // A fault ends this call, not the thread, and `drain` does not wait for it.
            if catch_unwind(AssertUnwindSafe(|| self.tell(&left))).is_err() {
                error!("a call of on_stop ended by a fault of the proxy");
            }
            let mut state = self.state.lock();
            state.under_way -= 1;
            if state.queue.is_empty() && state.under_way == 0 {
                self.done.notify_all();
            }
        }
    }

    fn tell(&self, left: &Left) {
        let body = left.viewer.on_stop(&self.ids, left.watched, left.bytes);
        let body = body.to_string();
        for (number, hook) in self.urls.iter().enumerate() {
            let why = match call(hook, &body, self.timeout, &CancelToken::new()) {
                Answer::Allowed | Answer::Left => continue,
                Answer::Refused(why) | Answer::Failed { why, .. } => why,
            };
            if self.warned.is_due(number) {
                let client = &left.viewer.client_id;
                warn!("the on_stop hook {hook:?} did not take the call for {client}: {why}");
            }
        }
    }
}
