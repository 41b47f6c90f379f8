//! An exchange: one request, and the way its answer goes to the client.

use crate::http::Headers;
use crate::http::head::{RequestHead, Version};
use crate::listener::{ClientConnection, Ending, ReceivedRequest};
use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::Permit;
use crate::server::profile::{SERVER, ServerProfile, reason};
use crate::server::record::{AccessRecord, RequestObserver};
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What all exchanges of a server share.
#[derive(Debug)]
pub struct ServerContext {
    pub profile: ServerProfile,
    /// A client that takes no byte for this long is dropped.
    pub stall: Duration,
    /// Set when the server ends: connections close after the response that is under way.
    pub closing: AtomicBool,
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

/// A request with its client. It is answered once; dropped without, it is a 500.
pub struct Exchange {
    pub head: RequestHead,
    pub body: Vec<u8>,
    pub record: AccessRecord,
    client: Arc<ClientConnection>,
    context: Arc<ServerContext>,
    answered: bool,
    /// A stream's, until it ends.
    permit: Option<Permit>,
}

/// A response's head as a handler wants it.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    /// End-to-end header lines; framing, `Date`, `Server` and the server's own are added.
    pub headers: Headers,
    /// The body's length in bytes, where it is known.
    pub length: Option<u64>,
}

impl ResponseHead {
    /// A head with that status and no headers.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// The same with one more header line.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }
}

impl Exchange {
    pub(super) fn new(
        passed: ReceivedRequest,
        client: Arc<ClientConnection>,
        context: Arc<ServerContext>,
    ) -> Self {
        let ReceivedRequest {
            head,
            body,
            id,
            since,
        } = passed;
        let record = context.record(&id, client.peer, &head.method, &head.target, since);
        Self {
            head,
            body,
            record,
            client,
            context,
            answered: false,
            permit: None,
        }
    }

    /// The same, holding a place for a stream.
    pub(super) fn at(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit;
        self
    }

    /// Lets go of what the rest of the exchange does not need: a stream may run for hours.
    pub fn forget_request(&mut self) {
        self.head.headers = Headers::default();
        self.head.target = String::new();
        self.body = Vec::new();
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.client.peer
    }

    /// What ends when the client leaves.
    pub fn cancel(&self) -> &Arc<CancelToken> {
        &self.client.cancel
    }

    /// Whether the head alone is wanted.
    pub fn is_head(&self) -> bool {
        self.head.method == "HEAD"
    }

    /// Answers with a whole body.
    pub fn answer(mut self, mut head: ResponseHead, body: &[u8]) {
        head.length = Some(body.len() as u64);
        self.answered = true;
        let (bytes, framing) = self.render(&head);
        self.record.respond(head.status);
        let body = if framing == Framing::Nothing {
            &[]
        } else {
            body
        };
        self.record.bytes = body.len() as u64;
        let mut parts = [IoSlice::new(&bytes), IoSlice::new(body)];
        match self.client.send(&mut parts, self.context.stall) {
            Ok(()) => self.end(self.whole()),
            Err(error) => {
                self.record.detail = Some(format!("sending to the client: {error}"));
                self.end(Ending::Broken { reset: false });
            }
        }
    }

    /// Answers with an error in the server's style: one line that says what to do.
    pub fn problem(self, status: u16, message: &str) {
        self.problem_with(ResponseHead::new(status), message);
    }

    /// The same with header lines of one's own.
    pub fn problem_with(self, head: ResponseHead, message: &str) {
        let (kind, body) = self.context.profile.error(head.status, message);
        self.answer(head.with("Content-Type", kind), body.as_bytes());
    }

    /// Sends the head, at once; the body follows through what is returned.
    ///
    /// # Errors
    /// What the client's socket says; the exchange is over then.
    pub fn start(self, head: &ResponseHead) -> io::Result<ResponseBody> {
        self.start_with(head, &[])
    }

    /// The same with the first parts of the body, which go out together with the head where the body
    /// has a length. They may be no longer than it.
    ///
    /// # Errors
    /// As [`Exchange::start`].
    pub fn start_with(mut self, head: &ResponseHead, body: &[&[u8]]) -> io::Result<ResponseBody> {
        self.answered = true;
        let (bytes, framing) = self.render(head);
        self.record.respond(head.status);
        let together = if framing == Framing::Length {
            body
        } else {
            &[]
        };
        let mut parts = Vec::with_capacity(together.len() + 1);
        parts.push(IoSlice::new(&bytes));
        parts.extend(together.iter().map(|part| IoSlice::new(part)));
        let mut taken = 0;
        let sent = self
            .client
            .send_counting(&mut parts, self.context.stall, &mut taken);
        self.record.bytes = taken.saturating_sub(bytes.len() as u64);
        if let Err(error) = sent {
            self.record.detail = Some(format!("sending to the client: {error}"));
            self.end(Ending::Broken { reset: false });
            return Err(error);
        }
        let left = head.length.unwrap_or(0).saturating_sub(self.record.bytes);
        let mut out = ResponseBody {
            exchange: self,
            framing,
            left,
            ended: false,
        };
        if framing != Framing::Length {
            out.write_parts(body)?;
        }
        Ok(out)
    }

    /// The client has left before there was an answer: none is sent. The log has 499 for it, as
    /// nginx's has.
    pub fn abandon(mut self, why: &str) {
        self.answered = true;
        self.record.status = 499;
        self.record.detail = Some(why.to_owned());
        self.end(Ending::Broken { reset: false });
    }

    /// The worker is done with the client, and says so: first in the log, for a client that asks again
    /// gets another worker.
    fn end(&mut self, ending: Ending) {
        self.record.end();
        self.client.finish(ending);
    }

    fn keeps_alive(&self) -> bool {
        self.head.keep_alive && !self.context.closing.load(Ordering::Relaxed)
    }

    /// How a whole response of known end leaves the connection.
    fn whole(&self) -> Ending {
        if self.keeps_alive() {
            Ending::KeepAlive
        } else {
            Ending::Close
        }
    }

    /// Answers with an error only where the client's socket takes it at once, and ends the
    /// connection: for those who wait for nobody.
    pub(super) fn answer_at_once(mut self, head: ResponseHead, message: &str) {
        self.give_up(head, message);
    }

    fn give_up(&mut self, head: ResponseHead, message: &str) {
        self.answered = true;
        self.head.keep_alive = false;
        self.record.respond(head.status);
        let bytes = error_bytes(
            &self.context,
            &self.record.id,
            head,
            message,
            self.is_head(),
        );
        let sent = self.client.send_at_once(&bytes);
        let reset = !sent;
        self.end(if sent {
            Ending::Close
        } else {
            Ending::Broken { reset }
        });
    }

    fn render(&mut self, head: &ResponseHead) -> (Vec<u8>, Framing) {
        let status = head.status;
        let bodiless = self.is_head() || status == 204 || status == 304 || status < 200;
        let framing = match (head.length, self.head.version) {
            _ if bodiless => Framing::Nothing,
            (Some(_), _) => Framing::Length,
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10) => Framing::UntilClose,
        };
        if framing == Framing::UntilClose {
            self.head.keep_alive = false;
        }
        let profile = self.context.profile;
        let connection = profile.connection(self.keeps_alive(), self.head.version);
        let bytes = head_bytes(profile, &self.record.id, head, framing, connection);
        (bytes, framing)
    }
}

/// A response's head, on the wire.
fn head_bytes(
    profile: ServerProfile,
    id: &str,
    head: &ResponseHead,
    framing: Framing,
    connection: &str,
) -> Vec<u8> {
    let status = head.status;
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut bytes = Vec::with_capacity(768);
    // Writing to a Vec cannot fail.
    let _ = write!(
        bytes,
        "HTTP/1.1 {status} {}\r\nServer: {SERVER}\r\nDate: {date}\r\nX-Request-Id: {id}\r\n{}{connection}",
        reason(status),
        profile.headers(),
    );
    for (name, value) in head.headers.iter() {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    // RFC 9110 section 8.6: none with 1xx and 204; with 304 it would be the 200's, which we know only
    // where the origin said it.
    match head.length {
        Some(length) if status >= 200 && status != 204 && (status != 304 || length > 0) => {
            let _ = write!(bytes, "Content-Length: {length}\r\n");
        }
        None if framing == Framing::Chunked => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A whole error response that ends its connection, on the wire.
pub(super) fn error_bytes(
    context: &ServerContext,
    id: &str,
    mut head: ResponseHead,
    message: &str,
    without_body: bool,
) -> Vec<u8> {
    let (kind, body) = context.profile.error(head.status, message);
    head.length = Some(body.len() as u64);
    let head = head.with("Content-Type", kind);
    let close = "Connection: close\r\n";
    let mut bytes = head_bytes(context.profile, id, &head, Framing::Length, close);
    if !without_body {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // A handler panicked, or forgot: the player gets its answer all the same.
        self.record.detail = Some("the handler did not answer".to_owned());
        self.give_up(
            ResponseHead::new(500),
            "Something went wrong here. Try again.",
        );
    }
}

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length,
    Chunked,
    UntilClose,
}

/// The body of a response under way. Each write goes to the client at once; nothing is kept back.
///
/// Dropped before [`ResponseBody::finish`], the response is visibly broken off: no last chunk, and the
/// connection ends, by a reset where its end would pass for the body's.
pub struct ResponseBody {
    exchange: Exchange,
    framing: Framing,
    /// With a length: bytes still owed.
    left: u64,
    ended: bool,
}

impl ResponseBody {
    /// Whether the client is to get a body at all.
    pub fn wants_body(&self) -> bool {
        self.framing != Framing::Nothing
    }

    /// The record of this request.
    pub fn record(&mut self) -> &mut AccessRecord {
        &mut self.exchange.record
    }

    /// What ends when the client leaves.
    pub fn cancel(&self) -> &Arc<CancelToken> {
        &self.exchange.client.cancel
    }

    /// Writes several parts of the body, with a length in one call where the socket takes them. The
    /// record has what was taken of them, also where it fails.
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.framing != Framing::Length {
            return parts.iter().try_for_each(|part| self.write_all(part));
        }
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if bytes > self.left {
            return Err(io::Error::other("more bytes than were announced"));
        }
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let (client, stall) = (&self.exchange.client, self.exchange.context.stall);
        let mut taken = 0;
        let sent = client.send_counting(&mut slices, stall, &mut taken);
        self.exchange.record.bytes += taken;
        self.left -= taken;
        sent
    }

    /// The body is whole. With fewer bytes than were announced it is not, and is broken off.
    ///
    /// # Errors
    /// What the client's socket says.
    pub fn finish(mut self) -> io::Result<()> {
        let ending = match self.framing {
            Framing::Length if self.left > 0 => {
                self.add_detail(&format!("{} bytes short", self.left));
                return Ok(()); // dropping it breaks it off
            }
            Framing::Chunked => {
                self.send(&mut [IoSlice::new(b"0\r\n\r\n")])?;
                self.exchange.whole()
            }
            Framing::Nothing | Framing::Length => self.exchange.whole(),
            Framing::UntilClose => Ending::Close,
        };
        self.ended = true;
        self.exchange.end(ending);
        Ok(())
    }

    /// Breaks the response off, and says in the log why.
    pub fn break_off(mut self, why: &str) {
        self.add_detail(why);
    }

    fn add_detail(&mut self, why: &str) {
        self.exchange
            .record
            .detail
            .get_or_insert_with(|| why.to_owned());
    }

    fn send(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.exchange
            .client
            .send(parts, self.exchange.context.stall)
    }
}

impl Write for ResponseBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0); // an empty chunk would be the last one
        }
        match self.framing {
            Framing::Nothing => return Ok(bytes.len()),
            Framing::Length if bytes.len() as u64 > self.left => {
                return Err(io::Error::other("more bytes than were announced"));
            }
            Framing::Length => {
                self.send(&mut [IoSlice::new(bytes)])?;
                self.left -= bytes.len() as u64;
            }
            Framing::UntilClose => self.send(&mut [IoSlice::new(bytes)])?,
            Framing::Chunked => {
                let mut size = [0; 18];
                let size = chunk_size(bytes.len(), &mut size);
                let mut parts = [
                    IoSlice::new(size),
                    IoSlice::new(bytes),
                    IoSlice::new(b"\r\n"),
                ];
                self.send(&mut parts)?;
            }
        }
        self.exchange.record.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.ended {
            let reset = self.framing == Framing::UntilClose;
            self.exchange.end(Ending::Broken { reset });
        }
    }
}

/// A chunk's size line (RFC 9112 section 7.1), without allocating.
fn chunk_size(size: usize, line: &mut [u8; 18]) -> &[u8] {
    let mut at = 16;
    line[16..].copy_from_slice(b"\r\n");
    let mut rest = size;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return &line[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::server::exchange::chunk_size;

    #[test]
    fn chunk_sizes() {
        for size in [1, 15, 16, 255, 65536, usize::MAX] {
            let line = format!("{size:x}\r\n");
            assert_eq!(chunk_size(size, &mut [0; 18]), line.as_bytes());
        }
    }
}
