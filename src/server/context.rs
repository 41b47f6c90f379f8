//! What all exchanges of a server share.

use crate::config::TrustedProxies;
use crate::http::Method;
use crate::http::head::RequestHead;
use crate::runtime::semaphore::Semaphore;
use crate::server::profile::ServerProfile;
use crate::server::record::{AccessRecord, RequestObserver};
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
        id: String,
        peer: SocketAddr,
        head: Option<&RequestHead>,
        since: Instant,
    ) -> AccessRecord {
        let method = head.map_or(Method::of("-"), |head| head.method.clone());
        let path = head.map_or("-", |head| head.path());
        let path = self.profile.log_path(path).into_owned();
        let mut record = AccessRecord::new(id, peer, method, path, since, self.observer.clone());
        record.logged = self.access_log != AccessLog::Off;
        let Some(head) = head else { return record };
        record.viewer = self.trusted.viewer(&head.headers, peer.ip());
        if self.profile == ServerProfile::Players {
            let vhost = StreamUrl::vhost_of_request(head.host.as_deref(), head.query());
            record.vhost = vhost.map(|vhost| vhost.into_owned());
        }
        if self.access_log == AccessLog::WithUserAgent {
            let agent = head.headers.text("user-agent");
            record.user_agent = agent.map(|agent| agent.chars().take(MAX_AGENT).collect());
        }
        record
    }
}
