//! A viewer's watching, from its `on_play` to its `on_stop`.

use crate::hooks::stops::{Left, Stops};
use crate::hooks::viewer::Viewer;
use crate::server::record::{AccessRecord, RequestObserver};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A viewer that watches until this is dropped: then `on_stop` is due. Dropping does not block.
pub struct Watch {
    viewer: Option<Viewer>,
    since: Instant,
    bytes: AtomicU64,
    stops: Arc<Stops>,
}

impl Watch {
    /// A watch that another process has begun, so long ago.
    pub(super) fn resume(viewer: Viewer, stops: Arc<Stops>, ago: Duration, bytes: u64) -> Self {
        let mut watch = Self::new(viewer, stops);
        watch.since = watch.since.checked_sub(ago).unwrap_or(watch.since);
        watch.bytes = AtomicU64::new(bytes);
        watch
    }

    /// Ends without an `on_stop`: another process has the viewer now.
    pub(super) fn forget(mut self) {
        self.viewer = None;
    }

    pub(super) fn new(viewer: Viewer, stops: Arc<Stops>) -> Self {
        Self {
            viewer: Some(viewer),
            since: Instant::now(),
            bytes: AtomicU64::new(0),
            stops,
        }
    }

    /// Sets the bytes that the viewer got, from other proxies too.
    pub(super) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of body that the viewer got.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl RequestObserver for Watch {
    fn ended(&self, record: &AccessRecord) {
        self.add(record.bytes);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.viewer.as_ref().map(|viewer| &viewer.client_id);
        f.debug_tuple("Watch").field(&id).finish()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(viewer) = self.viewer.take() {
            self.stops.push(Left {
                viewer,
                watched: self.since.elapsed(),
                bytes: *self.bytes.get_mut(),
            });
        }
    }
}
