//! A connection's thread: reads heads, passes them on, watches its client meanwhile, closes.

mod opening;
mod reading;

use crate::http::head::{Rejection, RequestHead};
use crate::listener::RequestQueue;
use crate::listener::client::{ClientConnection, Phase};
use crate::listener::ids::RequestIds;
use crate::listener::last_head::LastHead;
use crate::listener::socket::wait_for;
use crate::listener::tls::TlsAcceptor;
use crate::listener::transport::Seen;
use log::warn;
use rustix::event::PollFlags;
use socket2::SockRef;
use std::io::Read;
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

    /// Lets go of what is held for the next head: a stream may run for hours.
    fn hold_little(&mut self) {
        self.last.forget();
        if self.unread.is_empty() {
            self.unread = Vec::new();
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
