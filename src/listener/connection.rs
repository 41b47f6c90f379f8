//! A connection's thread: reads heads, passes them on, watches its client meanwhile, closes.

use crate::http::chunked::ChunkedBody;
use crate::http::head;
use crate::http::head::{Rejection, RequestHead};
use crate::listener::RequestQueue;
use crate::listener::client::{ClientConnection, Phase, ReceivedRequest};
use crate::listener::ids::RequestIds;
use crate::listener::last_head::LastHead;
use crate::listener::proxy_protocol::{self, Parsed};
use crate::listener::socket::wait_for;
use crate::listener::tls::TlsAcceptor;
use crate::listener::transport::{Seen, Transport};
use log::{debug, warn};
use rustix::event::PollFlags;
use socket2::SockRef;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A head must be whole this long after its first byte, unless the idle timeout is shorter.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long and how much a client is listened to before its connection is closed: closing with bytes
/// unread would reset it, and the client might never see the status, or the end of the body.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;
/// A client that shuts its writing half while a short answer is on its way gets this long to
/// receive it. One that has left looks the same.
const HALF_CLOSE_GRACE: Duration = Duration::from_millis(700);
/// How often a client that has sent more than it may is looked at while it is served.
const LOOK: Duration = Duration::from_millis(250);
/// The answer to a request without TLS where TLS is spoken. nginx, too, answers it with a 400.
const PLAIN: Rejection = Rejection {
    status: 400,
    message: "This port speaks HTTPS: the URL has to begin with https://",
};
/// A connection that is idle for less than this has its whole idle time before it.
const JUST_NOW: Duration = Duration::from_millis(10);
/// First size of the head buffer, in bytes; most heads fit.
const FIRST_READ: usize = 2048;

/// Why no head was read.
enum NoHead {
    /// The client left, was idle for too long, or the listener is closing.
    Gone,
    Refused(Rejection),
    /// The head is good, its body is not.
    RefusedBody(Rejection, Arc<RequestHead>),
}

pub(super) struct Connection<'a> {
    ids: &'a RequestIds,
    /// The connection ends after this time without a request.
    idle_timeout: Duration,
    queue: &'a dyn RequestQueue,
    /// Whether a PROXY protocol header comes before the first request.
    is_announced: bool,
    /// Whether a TLS handshake does, after that header.
    tls: Option<&'a TlsAcceptor>,
    client: Arc<ClientConnection>,
    /// Bytes that have come and are not used yet: part of a head, or what was pipelined.
    unread: Vec<u8>,
    last: LastHead,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        ids: &'a RequestIds,
        idle_timeout: Duration,
        queue: &'a dyn RequestQueue,
        is_announced: bool,
        tls: Option<&'a TlsAcceptor>,
        client: Arc<ClientConnection>,
    ) -> Self {
        let unread = Vec::new();
        Self {
            ids,
            idle_timeout,
            queue,
            is_announced,
            tls,
            client,
            unread,
            last: LastHead::default(),
        }
    }

    /// Serves the connection until it ends.
    pub(super) fn run(mut self) {
        self.client.transport().set_idle_timeout(self.idle_timeout);
        if self.is_announced
            && let Err(why) = self.read_announcement()
        {
            warn!("closed a connection from {}: {why}", self.client.peer());
            return;
        }
        if let Some(tls) = self.tls
            && !self.shake_hands(tls)
        {
            return;
        }
        loop {
            match self.next_request() {
                Ok(request) => {
                    let long = request.is_long;
                    if long || self.unread.capacity() > FIRST_READ {
                        self.hold_little();
                    }
                    if !self.client.pass(request) {
                        break;
                    }
                    if let Err(rejection) = self.queue.enter(&self.client) {
                        let head = self.client.take().map(|passed| passed.head);
                        self.refuse(&rejection, head.as_deref());
                        break;
                    }
                    if self.watch(long) {
                        break;
                    }
                }
                Err(NoHead::Gone) => break,
                Err(NoHead::Refused(rejection)) => {
                    self.refuse(&rejection, None);
                    break;
                }
                Err(NoHead::RefusedBody(rejection, head)) => {
                    self.refuse(&rejection, Some(&head));
                    break;
                }
            }
        }
        match self.client.phase() {
            Phase::Over { reset: true } => {
                // Fails only for a socket that is gone already.
                let socket = SockRef::from(self.client.transport().socket());
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            // The rest of the answer may still be on its way.
            Phase::Over { reset: false } => {
                self.client.transport().finish_goodbye(LINGER_TIME);
                self.client.transport().shut(Shutdown::Write);
                self.discard();
            }
            _ => {
                self.client.transport().say_goodbye();
            }
        }
    }

    /// Goes through the TLS handshake, on this thread: no worker is there for it yet. Returns `false` where the
    /// connection is to end.
    // Not a part of `run`'s frame: each connection's thread keeps the pages of its stack that it has touched once, and a
    // session by value is a page of its own.
    #[inline(never)]
    fn shake_hands(&mut self, tls: &TlsAcceptor) -> bool {
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        if self.unread.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, FIRST_READ) {
                // Health checks of load balancers connect and leave.
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        // A method begins with a letter, a TLS record with 22.
        if self.unread.first().is_some_and(u8::is_ascii_alphabetic) {
            tls.count_failure();
            self.refuse(&PLAIN, None);
            return false;
        }
        let shaken = match tls.session() {
            Ok(session) => session
                .handshake(self.client.transport().socket(), &self.unread, end)
                .map(|()| session),
            Err(error) => Err(io::Error::other(error)),
        };
        self.unread = Vec::new();
        match shaken {
            Ok(session) => {
                self.client.secure(session);
                true
            }
            Err(error) => {
                tls.count_failure();
                let peer = self.client.peer();
                debug!("closed a connection from {peer}: its TLS handshake: {error}");
                // Closed with bytes unread, it would be reset, and the client would not see the alert.
                self.client.transport().shut(Shutdown::Write);
                if error.kind() == io::ErrorKind::InvalidData {
                    self.discard();
                }
                false
            }
        }
    }

    /// Reads the PROXY protocol header.
    #[inline(never)]
    fn read_announcement(&mut self) -> Result<(), &'static str> {
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        loop {
            match proxy_protocol::parse(&self.unread) {
                Parsed::Header(length, client) => {
                    self.unread.drain(..length);
                    if let Some(client) = client {
                        self.client.announce(client);
                    }
                    return Ok(());
                }
                Parsed::Malformed => return Err("no PROXY protocol header, or a malformed one"),
                Parsed::Partial => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, proxy_protocol::MAX_HEADER) {
                Ok(0) => return Err("it ended before its PROXY protocol header did"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err("its PROXY protocol header did not arrive in time");
                }
                Err(_) => return Err("it failed before its PROXY protocol header was read"),
            }
        }
    }

    /// Lets go of what is held for the next head: a stream may run for hours.
    fn hold_little(&mut self) {
        self.last.forget();
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
    }

    #[inline(never)]
    fn next_request(&mut self) -> Result<ReceivedRequest, NoHead> {
        let head = self.next_head()?;
        let since = Instant::now();
        let max_chunked = match head.chunked {
            true => self.queue.max_chunked(&head),
            false => None,
        };
        if head.chunked && max_chunked.is_none() {
            return Err(NoHead::RefusedBody(head::LENGTH_REQUIRED, head));
        }
        if (head.body > 0 || head.chunked)
            && let Err(rejection) = self.queue.admit_body(&head)
        {
            return Err(NoHead::RefusedBody(rejection, head));
        }
        let body = match max_chunked {
            Some(max) => self.chunked_body(&head, max)?,
            None => self.body(&head)?,
        };
        let id = self.ids.next();
        Ok(ReceivedRequest {
            is_long: self.queue.is_long(&head),
            head,
            body,
            id,
            since,
        })
    }

    fn next_head(&mut self) -> Result<Arc<RequestHead>, NoHead> {
        self.await_first_byte()?;
        if !self.client.begin_reading() {
            return Err(NoHead::Gone);
        }
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        let mut searched = 0;
        loop {
            let empty = head::leading_empty_lines(&self.unread);
            if empty > 0 && searched == 0 {
                self.unread.drain(..empty);
            }
            if let Some(length) = head::end_of_head(&self.unread, searched) {
                let head = self.last.parse(&self.unread[..length]);
                let head = head.map_err(NoHead::Refused)?;
                self.unread.drain(..length);
                return Ok(head);
            }
            searched = self.unread.len();
            if let Some(rejection) = head::over_limit(&self.unread) {
                return Err(NoHead::Refused(rejection));
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, head::MAX_HEAD + 1) {
                // It left without a word, makes room for others, or this server ends.
                Ok(0)
                    if self.unread.is_empty()
                        || !self.client.is_reading()
                        || self.client.is_ending() =>
                {
                    return Err(NoHead::Gone);
                }
                Ok(0) => {
                    let message = "The request head is not whole.";
                    return Err(NoHead::Refused(Rejection {
                        status: 400,
                        message,
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(NoHead::Refused(head::TOO_SLOW));
                }
                Err(_) => return Err(NoHead::Gone),
            }
        }
    }

    /// Waits for a request to begin, for the idle timeout since the last response at most.
    fn await_first_byte(&mut self) -> Result<(), NoHead> {
        while self.unread.is_empty() {
            let Phase::Idle(since) = self.client.phase() else {
                return Err(NoHead::Gone);
            };
            let idle = since.elapsed();
            let left = self.idle_timeout.saturating_sub(idle);
            let got = match idle < JUST_NOW {
                // A client that has got its response a moment ago sends its next request only later.
                true => self.read(head::MAX_HEAD + 1, |transport, room| {
                    transport.receive_later(room, left)
                }),
                false => self.read_more(left, head::MAX_HEAD + 1),
            };
            if matches!(got, Ok(0) | Err(_)) {
                return Err(NoHead::Gone);
            }
        }
        Ok(())
    }

    /// Reads what there is into `unread`, up to `most` bytes in all, waiting for `time`; 0 is the end.
    fn read_more(&mut self, time: Duration, most: usize) -> io::Result<usize> {
        self.read(most, |transport, room| transport.receive(room, time))
    }

    fn read(
        &mut self,
        most: usize,
        receive: impl FnOnce(&Transport, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let held = self.unread.len();
        let room = (held * 2).max(FIRST_READ).min(most.max(held + 1));
        self.unread.resize(room, 0);
        let got = receive(self.client.transport(), &mut self.unread[held..]);
        self.unread
            .truncate(held + got.as_ref().map_or(0, |got| *got));
        got
    }

    /// Reads the body that the head announced; the handler behind the queue has agreed to its size.
    #[inline(never)]
    fn body(&mut self, head: &RequestHead) -> Result<Vec<u8>, NoHead> {
        let length = usize::try_from(head.body).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Vec::new());
        }
        self.ask_for_body(head)?;
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        while self.unread.len() < length {
            self.read_body(end, length)?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Reads a body in chunks, of at most `max` bytes.
    #[inline(never)]
    fn chunked_body(&mut self, head: &RequestHead, max: usize) -> Result<Vec<u8>, NoHead> {
        self.ask_for_body(head)?;
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        let mut body = ChunkedBody::new(max);
        loop {
            let used = body.take(&self.unread).map_err(NoHead::Refused)?;
            self.unread.drain(..used);
            body = match body.whole() {
                Ok(body) => return Ok(body),
                Err(body) => body,
            };
            self.read_body(end, FIRST_READ)?;
        }
    }

    /// Tells a client that waits for it (`Expect: 100-continue`) to send its body.
    fn ask_for_body(&mut self, head: &RequestHead) -> Result<(), NoHead> {
        if head.expects_continue && self.unread.is_empty() {
            // A client that reads no answers may have filled the socket.
            let mut go_on = [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
            let sent = self.client.send(&mut go_on, HEAD_TIME);
            sent.map_err(|_| NoHead::Gone)?;
        }
        Ok(())
    }

    /// Reads more of a body, which must be whole at `end`; up to `most` bytes are held in all.
    fn read_body(&mut self, end: Instant, most: usize) -> Result<(), NoHead> {
        let left = end.saturating_duration_since(Instant::now());
        match self.read_more(left, most) {
            Ok(0) => Err(NoHead::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let message = "The request's body did not arrive in time.";
                Err(NoHead::Refused(Rejection {
                    status: 408,
                    message,
                }))
            }
            Err(_) => Err(NoHead::Gone),
        }
    }

    /// Watches the client while a worker has it. Gives whether the connection is over.
    ///
    /// The next request, or the worker's shutting down of the socket, is what wakes this thread: a
    /// client that waits for its answer needs nothing else, and no descriptor is spent on waking.
    fn watch(&self, long: bool) -> bool {
        let transport = self.client.transport();
        let mut has_more = !self.unread.is_empty() || transport.has_waiting();
        loop {
            match self.client.phase() {
                Phase::Busy => {}
                Phase::Idle(_) | Phase::Reading => return false,
                Phase::Over { .. } => return true,
            }
            if self.client.is_ending() {
                // Its last request: the socket says at once that nothing more comes.
                self.client.wait_finished(LOOK);
                continue;
            }
            let seen = if has_more {
                // Pipelined bytes would wake a poll at once, again and again: wait for the worker.
                self.client.wait_finished(LOOK);
                transport.look_for_leaver()
            } else {
                transport.look(self.idle_timeout)
            };
            match seen {
                Seen::Nothing => {}
                Seen::More => has_more = true,
                Seen::Gone => self.end_for_a_leaver(long),
            }
        }
    }

    /// The client has shut its side, or all of the connection. What a worker does for it ends: a
    /// stream at once, a short answer after a moment in which it may still get through.
    fn end_for_a_leaver(&self, long: bool) {
        let grace = if long {
            Duration::ZERO
        } else {
            HALF_CLOSE_GRACE
        };
        if self.client.wait_finished(grace) == Phase::Busy {
            self.client.left();
            while self.client.wait_finished(LOOK) == Phase::Busy {}
        }
    }

    /// Answers a request that does not pass, and closes so that the client sees the answer.
    #[cold]
    #[inline(never)] // its buffer has no place on the stack of every connection
    fn refuse(&mut self, rejection: &Rejection, head: Option<&RequestHead>) {
        let id = self.ids.next();
        self.queue.refuse(&self.client, &id, rejection, head);
        let transport = self.client.transport();
        if !transport.say_goodbye() {
            transport.finish_goodbye(LINGER_TIME);
        }
        transport.shut(Shutdown::Write);
        self.discard();
    }

    /// Takes what the client still sends, for a moment and until it closes too.
    #[inline(never)]
    fn discard(&self) {
        let end = Instant::now() + LINGER_TIME;
        let mut taken = 0;
        let mut waste = [0; 4096];
        while taken < LINGER_BYTES {
            let left = end.saturating_duration_since(Instant::now());
            let mut socket = self.client.transport().socket();
            match wait_for(socket, PollFlags::IN, Some(left)) {
                Ok(Some(_)) => match socket.read(&mut waste) {
                    Ok(0) | Err(_) => break,
                    Ok(got) => taken += got,
                },
                Ok(None) | Err(_) => break,
            }
        }
    }
}
