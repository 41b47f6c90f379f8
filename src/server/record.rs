//! What is kept of a request, and said of it in one log line when it ends.

use log::{Level, log};

use std::fmt::Debug;
use std::net::SocketAddr;
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

/// One request's facts, logged when it ends however it ends.
#[derive(Debug)]
pub struct AccessRecord {
    pub id: String,
    pub peer: SocketAddr,
    pub method: String,
    /// Without the query: tokens do not belong in logs.
    pub path: String,
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
    pub origin: Option<String>,
    /// Why it ended early or badly, for the log only.
    pub detail: Option<String>,
    /// How loud the log line is: `Info`, unless the handler knows that nobody asked for it.
    pub level: Level,
    until_head: Option<Duration>,
    observer: Arc<dyn RequestObserver>,
    logged: bool,
}

impl AccessRecord {
    /// Begins a record of a request whose head was whole at `since`. `path` is the one to log, without a query;
    /// `observer` is told when the request ends.
    pub fn new(
        id: &str,
        peer: SocketAddr,
        method: &str,
        path: String,
        since: Instant,
        observer: Arc<dyn RequestObserver>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            peer,
            method: method.to_owned(),
            path,
            kind: REFUSED,
            pick: None,
            status: 0,
            bytes: 0,
            since,
            origin: None,
            detail: None,
            level: Level::Info,
            until_head: None,
            observer,
            logged: false,
        }
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

    /// Time since the head was whole.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl AccessRecord {
    /// Logs it, where that has not been done. A log that is slow holds up who causes the lines: it
    /// comes before the client may ask again.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.logged, true) {
            return;
        }
        self.observer.ended(self);
        let Self {
            id,
            peer,
            method,
            path,
            status,
            bytes,
            ..
        } = self;
        let seconds = self.since.elapsed().as_secs_f64();
        let origin = self.origin.as_deref().unwrap_or("-");
        let (dash, note) = match &self.detail {
            Some(note) => (" - ", note.as_str()),
            None => ("", ""),
        };
        log!(
            self.level,
            "{id} {peer} {method} {path} {status} {bytes} bytes {seconds:.3} s origin {origin}{dash}{note}"
        );
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        self.end();
    }
}
