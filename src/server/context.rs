//! What all exchanges of a server share.

use crate::config::TrustedProxies;
use crate::http::head::RequestHead;
use crate::listener::RequestId;
use crate::runtime::semaphore::Semaphore;
use crate::server::profile::ServerProfile;
use crate::server::record::{AccessRecord, RequestLabels, RequestObserver};
use crate::stream::url::StreamUrl;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Characters of a `User-Agent` that a log line has at most.
const MAX_AGENT: usize = 256;

/// Which log lines requests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// One for each request.
    On,
    /// One for each request, with the player's program.
    WithUserAgent,
}

/// What all exchanges of a server share.
#[derive(Debug)]
pub struct ServerContext {
    pub profile: ServerProfile,
    /// Peers that are believed whose request they pass on.
    pub trusted: TrustedProxies,
    pub access_log: AccessLog,
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
    /// Begins the record of a request to this server. `head` is `None` where none could be read: what came may not be
    /// fit for a log.
    pub(super) fn record(
        &self,
        id: RequestId,
        peer: SocketAddr,
        head: Option<&RequestHead>,
        since: Instant,
    ) -> AccessRecord {
        let labels = match head {
            Some(head) => head.labels.get().unwrap_or_else(|| {
                let labels = Arc::new(self.labels(peer, head));
                head.labels.set(labels.clone());
                labels
            }),
            None => Arc::new(RequestLabels::unknown(peer)),
        };
        let mut record = AccessRecord::new(id, peer, labels, since, self.observer.clone());
        record.logged = self.access_log != AccessLog::Off;
        record
    }

    fn labels(&self, peer: SocketAddr, head: &RequestHead) -> RequestLabels {
        let vhost = || StreamUrl::vhost_of_request(head.host.as_deref(), head.query());
        let agent = || head.headers.text("user-agent");
        RequestLabels {
            viewer: self.trusted.viewer(&head.headers, peer.ip()),
            vhost: (self.profile == ServerProfile::Players)
                .then(vhost)
                .flatten()
                .map(|vhost| vhost.into_owned()),
            user_agent: (self.access_log == AccessLog::WithUserAgent)
                .then(agent)
                .flatten()
                .map(|agent| agent.chars().take(MAX_AGENT).collect()),
            method: head.method.clone(),
            path: self.profile.log_path(head.path()).into_owned(),
        }
    }
}
