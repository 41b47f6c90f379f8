//! Probes: requests to an origin of which nothing tells that it has the stream. SRS holds such a request open for ever,
//! so a crowd must not make them all at once.

use crate::balancer::OriginId;
use crate::runtime::cancel::CancelToken;
use crate::stream::url::StreamUrl;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Probes for one stream at one origin at the same time.
const MAX_AT_ONCE: usize = 8;
/// A probe in vain stands for those of other players for this long.
const IN_VAIN: Duration = Duration::from_secs(1);
/// An origin that was silent about a stream is asked after the others for this long.
const SILENT: Duration = Duration::from_secs(30);
/// Silences that are remembered at most.
const MAX_REMEMBERED: usize = 10_000;
/// While a player waits for its turn, whether the player has left is looked at this often.
const LOOK: Duration = Duration::from_millis(100);

type Key = (StreamUrl, OriginId);

/// The probes that are under way, and those that were in vain. One for the process.
#[derive(Debug, Default)]
pub struct ProbeLimiter {
    state: Mutex<HashMap<Key, ProbeEntry>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct ProbeEntry {
    under_way: usize,
    silent: Option<Instant>,
}

impl ProbeEntry {
    fn silent_for(&self, time: Duration) -> bool {
        self.silent.is_some_and(|at| at.elapsed() < time)
    }
}

/// A probe under way; over when this is dropped.
#[derive(Debug)]
pub struct Probe<'a> {
    probes: &'a ProbeLimiter,
    key: Key,
}

impl ProbeLimiter {
    /// Begins a probe. Blocks while too many are under way. `None` when one has just been in vain, or the player has
    /// left.
    pub fn begin(
        &self,
        stream: &StreamUrl,
        id: &OriginId,
        cancel: &CancelToken,
    ) -> Option<Probe<'_>> {
        let key = (stream.clone(), id.clone());
        let mut state = self.lock();
        loop {
            let entry = state.entry(key.clone()).or_default();
            if entry.silent_for(IN_VAIN) {
                return None;
            }
            if entry.under_way < MAX_AT_ONCE {
                entry.under_way += 1;
                drop(state);
                return Some(Probe { probes: self, key });
            }
            if cancel.is_cancelled() {
                return None;
            }
            self.changed.wait_for(&mut state, LOOK);
        }
    }

    /// The origin sent no head for that stream in time.
    pub fn silent(&self, stream: &StreamUrl, id: &OriginId) {
        let mut state = self.lock();
        if state.len() >= MAX_REMEMBERED {
            state.retain(|_, entry| entry.under_way > 0 || entry.silent_for(SILENT));
        }
        if state.len() >= MAX_REMEMBERED {
            state.retain(|_, entry| entry.under_way > 0);
        }
        let entry = state.entry((stream.clone(), id.clone())).or_default();
        entry.silent = Some(Instant::now());
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the origin was silent about that stream within the last 30 s.
    pub fn was_silent(&self, stream: &StreamUrl, id: &OriginId) -> bool {
        let state = self.lock();
        let entry = state.get(&(stream.clone(), id.clone()));
        entry.is_some_and(|entry| entry.silent_for(SILENT))
    }

    /// The origin has served that stream: its silence is past.
    pub fn served(&self, stream: &StreamUrl, id: &OriginId) {
        let mut state = self.lock();
        if let Some(entry) = state.get_mut(&(stream.clone(), id.clone())) {
            entry.silent = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, ProbeEntry>> {
        // Nothing panics while it is held.
        self.state.lock()
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut state = self.probes.lock();
        if let Some(entry) = state.get_mut(&self.key) {
            entry.under_way = entry.under_way.saturating_sub(1);
            if entry.under_way == 0 && entry.silent.is_none() {
                state.remove(&self.key);
            }
        }
        drop(state);
        self.probes.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn stream(name: &str) -> StreamUrl {
        StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap()
    }

    #[test]
    fn so_many_at_once_and_the_next_when_one_is_over() {
        let (probes, id, line) = (
            ProbeLimiter::default(),
            OriginId::from("o"),
            CancelToken::new(),
        );
        let mut held: Vec<_> = (0..MAX_AT_ONCE)
            .map(|_| probes.begin(&stream("a"), &id, &line).unwrap())
            .collect();
        assert!(probes.begin(&stream("b"), &id, &line).is_some());
        assert!(
            probes
                .begin(&stream("a"), &OriginId::from("p"), &line)
                .is_some()
        );
        thread::scope(|scope| {
            let next = scope.spawn(|| probes.begin(&stream("a"), &id, &line).is_some());
            thread::sleep(Duration::from_millis(20));
            assert!(!next.is_finished(), "it waits for its turn");
            held.pop();
            assert!(next.join().unwrap());
        });
        drop(held);
        assert!(probes.lock().is_empty(), "nothing is left of what is over");
    }

    #[test]
    fn one_in_vain_is_for_all_who_wait() {
        let (probes, id, line) = (
            ProbeLimiter::default(),
            OriginId::from("o"),
            CancelToken::new(),
        );
        let _held: Vec<_> = (0..MAX_AT_ONCE)
            .map(|_| probes.begin(&stream("a"), &id, &line).unwrap())
            .collect();
        thread::scope(|scope| {
            let next = scope.spawn(|| probes.begin(&stream("a"), &id, &line).is_none());
            probes.silent(&stream("a"), &id);
            assert!(next.join().unwrap());
        });
        assert!(probes.was_silent(&stream("a"), &id));
        assert!(!probes.was_silent(&stream("b"), &id));
        probes.served(&stream("a"), &id);
        assert!(!probes.was_silent(&stream("a"), &id));
    }

    #[test]
    fn a_player_that_leaves_waits_no_longer() {
        let (probes, id, line) = (
            ProbeLimiter::default(),
            OriginId::from("o"),
            CancelToken::new(),
        );
        let _held: Vec<_> = (0..MAX_AT_ONCE)
            .map(|_| probes.begin(&stream("a"), &id, &line).unwrap())
            .collect();
        line.cancel();
        assert!(probes.begin(&stream("a"), &id, &line).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let probes = ProbeLimiter::default();
        let id: OriginId = "o".into();
        for n in 0..MAX_REMEMBERED * 2 + 10 {
            probes.silent(&stream(&n.to_string()), &id);
        }
        assert!(probes.lock().len() <= MAX_REMEMBERED);
    }
}
