//! What is kept of a request, and said of it in one log line when it ends.

use crate::http::Method;
use crate::listener::RequestId;
use log::{Level, log};
use std::borrow::Cow;
use std::fmt::{self, Debug, Display};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kind of a request until a handler has said another.
pub const REFUSED: &str = "refused";

/// Is told of every request, once, when it ends.
pub trait RequestObserver: Debug + Send + Sync {
    /// The request's facts; the log line follows.
    fn ended(&self, record: &AccessRecord);
}

/// Nobody counts.
impl RequestObserver for () {
    fn ended(&self, _: &AccessRecord) {}
}

/// What the log says of a request by its head alone: the same for each request with the same head on a connection.
#[derive(Debug)]
pub struct RequestLabels {
    /// The address of the player or operator: the peer's own, or what a trusted proxy in front tells.
    pub viewer: IpAddr,
    /// The vhost that the request is for; `None` where the server has none.
    pub vhost: Option<String>,
    /// The player's program, for JSON lines; `None` where it is not logged.
    pub user_agent: Option<String>,
    pub method: Method,
    /// Without the query: tokens do not belong in logs.
    pub path: String,
}

impl RequestLabels {
    /// The labels of a request of which no head could be read: what came may not be fit for a log.
    pub(super) fn unknown(peer: SocketAddr) -> Self {
        Self {
            viewer: peer.ip(),
            vhost: None,
            user_agent: None,
            method: Method::of("-"),
            path: "-".to_owned(),
        }
    }
}

/// One request's facts, logged when it ends however it ends.
#[derive(Debug)]
pub struct AccessRecord {
    pub id: RequestId,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// What the request's head tells.
    pub labels: Arc<RequestLabels>,
    /// What was asked for, in a word of the service's; what no handler saw is [`REFUSED`].
    pub kind: &'static str,
    /// How its origin was found, in a word, where one was looked for.
    pub pick: Option<&'static str>,
    /// 0 until a status was sent.
    pub status: u16,
    /// Bytes of body that were handed to the client's socket, without chunk framing.
    pub bytes: u64,
    pub since: Instant,
    /// The origin that answered, or was asked last.
    pub origin: Option<Cow<'static, str>>,
    /// Why it ended early or badly, for the log only.
    pub detail: Option<String>,
    /// How loud the log line is: `Info`, unless the handler knows that nobody asked for it.
    pub level: Level,
    /// Whether it is a poll (a heartbeat, a health check, a scrape), whose success is logged at debug only.
    pub routine: bool,
    /// Whether there is a log line at all.
    pub logged: bool,
    /// Is told, too, when the request ends, and let go of then: a viewer's watching.
    pub watch: Option<Arc<dyn RequestObserver>>,
    until_head: Option<Duration>,
    observer: Arc<dyn RequestObserver>,
    ended: bool,
}

impl AccessRecord {
    /// Begins a record of a request whose head was whole at `since`; `observer` is told when the request ends.
    pub fn new(
        id: RequestId,
        peer: SocketAddr,
        labels: Arc<RequestLabels>,
        since: Instant,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        Self {
            id,
            peer,
            labels,
            kind: REFUSED,
            pick: None,
            status: 0,
            bytes: 0,
            since,
            origin: None,
            detail: None,
            level: Level::Info,
            routine: false,
            logged: true,
            watch: None,
            until_head: None,
            observer,
            ended: false,
        }
    }

    /// A record of a request of which nothing is known.
    #[cfg(test)]
    pub fn unknown(peer: SocketAddr, since: Instant, observer: Arc<dyn RequestObserver>) -> Self {
        let labels = RequestLabels::unknown(peer);
        Self::new(RequestId::default(), peer, labels.into(), since, observer)
    }

    /// The response's head leaves now.
    pub fn respond(&mut self, status: u16) {
        self.status = status;
        self.until_head = Some(self.elapsed());
    }

    /// Time from the request's whole head to the response's; `None` where none was sent by a handler.
    pub fn until_head(&self) -> Option<Duration> {
        self.until_head
    }

    /// Ends the record without a word; returns the request's id. Another record of the same request follows.
    pub(super) fn forget(&mut self) -> RequestId {
        self.ended = true;
        self.id.clone()
    }

    /// Time since the head was whole.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl AccessRecord {
    /// Tells the observer and the log of the request, once: further calls do nothing.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.observer.ended(self);
        if let Some(watch) = self.watch.take() {
            watch.ended(self);
        }
        if !self.logged {
            return;
        }
        let level = match self.routine {
            true if self.status < 400 => Level::Debug,
            _ => self.level,
        };
        let seconds = self.elapsed().as_secs_f64();
        log!(
            level,
            // In JSON the fields say it all; the text would say it again.
            message = "request",

            id:% = self.id,
            viewer:% = self.labels.viewer,
            peer:% = self.peer,
            method = self.labels.method.as_str(),
            vhost = self.labels.vhost.as_deref().unwrap_or_default(),
            path = self.labels.path.as_str(),
            status = self.status,
            bytes = self.bytes,
            seconds = (seconds * 1000.0).round() / 1000.0,
            origin = self.origin.as_deref().unwrap_or_default(),
            kind = self.kind,
            detail = self.detail.as_deref().unwrap_or_default(),
            user_agent = self.labels.user_agent.as_deref().unwrap_or_default();
            "{self}"
        );
    }
}

/// The log line of a request: id, viewer, method, path, status, bytes, seconds, origin, vhost, then the peer where it is
/// not the viewer, and why the request ended early or badly.
impl Display for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind_proxy = self.labels.viewer != self.peer.ip();
        write!(f, "{} ", self.id)?;
        match behind_proxy {
            true => write!(f, "{}", self.labels.viewer)?,
            false => write!(f, "{}", self.peer)?,
        }
        write!(
            f,
            " {} {} {} {} bytes {:.3} s origin {}",
            self.labels.method,
            self.labels.path,
            self.status,
            self.bytes,
            self.elapsed().as_secs_f64(),
            self.origin.as_deref().unwrap_or("-"),
        )?;
        if let Some(vhost) = &self.labels.vhost {
            write!(f, " vhost {vhost}")?;
        }
        if behind_proxy {
            write!(f, " peer {}", self.peer)?;
        }
        match &self.detail {
            Some(detail) => write!(f, " - {detail}"),
            None => Ok(()),
        }
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        self.end();
    }
}
