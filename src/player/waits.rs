//! How many short requests wait for one origin's answer: a silent origin must not take every worker.

use crate::stream::origin_id::OriginId;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;

/// Requests for playlists and segments that wait for a response head, by the origin that their stream is pinned to.
#[derive(Debug)]
pub struct OriginWaits {
    max: usize,
    /// Under `None` are those whose stream is pinned nowhere.
    waiting: Mutex<HashMap<Option<OriginId>, usize>>,
}

/// One request that waits, until this is dropped.
#[derive(Debug)]
pub struct OriginWait {
    waits: Arc<OriginWaits>,
    origin: Option<OriginId>,
}

impl OriginWaits {
    /// Lets at most `max` requests wait for each origin.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            waiting: Mutex::default(),
        })
    }

    /// Counts a request for a stream of that origin. `None` where as many wait for the origin as may.
    pub fn begin(self: &Arc<Self>, origin: Option<OriginId>) -> Option<OriginWait> {
        let mut waiting = self.lock();
        let count = waiting.entry(origin.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(waiting);
        Some(OriginWait {
            waits: self.clone(),
            origin,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<OriginId>, usize>> {
        self.waiting.lock()
    }
}

impl Drop for OriginWait {
    fn drop(&mut self) {
        let mut waiting = self.waits.lock();
        if let Some(count) = waiting.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origins_silence_leaves_room_for_the_others() {
        let waits = OriginWaits::new(2);
        let origin = |id: &str| Some(OriginId::from(id));
        let one = [waits.begin(origin("a")), waits.begin(origin("a"))];
        assert!(one.iter().all(Option::is_some));
        assert!(waits.begin(origin("a")).is_none());
        assert!(waits.begin(origin("b")).is_some());
        assert!(waits.begin(None).is_some());
        drop(one);
        assert!(waits.lock().is_empty(), "nothing is left of an origin");
    }
}
