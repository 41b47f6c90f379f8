//! What all exchanges of a server share.

use crate::runtime::semaphore::Semaphore;
use crate::server::profile::ServerProfile;
use crate::server::record::{AccessRecord, RequestObserver};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// What all exchanges of a server share.
#[derive(Debug)]
pub struct ServerContext {
    pub profile: ServerProfile,
    /// A client that takes no byte for this long is dropped.
    pub stall: Duration,
    /// Set when the server ends: connections close after the response that is under way.
    pub closing: AtomicBool,
    /// Set when another process serves on the same socket from now on: a response whose head is yet to be sent says
    /// `Connection: close`, and no connection closes whose client was not told.
    pub handed_over: AtomicBool,
    /// The places for streams: for whatever may not end.
    pub streams: Arc<Semaphore>,
    /// Is told of each request when it ends.
    pub observer: Arc<dyn RequestObserver>,
}

impl ServerContext {
    /// Begins the record of a request to this server; the query of `target` is left out of the record.
    pub(super) fn record(
        &self,
        id: &str,
        peer: SocketAddr,
        method: &str,
        target: &str,
        since: Instant,
    ) -> AccessRecord {
        let path = target.split('?').next().unwrap_or_default();
        let path = self.profile.log_path(path).into_owned();
        AccessRecord::new(id, peer, method, path, since, self.observer.clone())
    }
}
