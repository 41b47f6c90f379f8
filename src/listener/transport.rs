//! How bytes go between a client's connection and its socket: as they are, or by TLS.

use crate::listener::socket::{receive, wait_for};
use crate::listener::tls::{Arrived, TlsSession};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes that [`Transport::receive_later`] receives at most: rustls takes no more while 16 KiB wait decrypted.
const MAX_LATER: usize = 8 * 1024;

/// What the connection's thread sees of its client while a worker has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    /// Bytes of a next request have come.
    More,
    /// The client has shut its writing half, or all of the connection.
    Gone,
}

/// A client's socket, and the TLS above it where there is one.
#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    tls: OnceLock<Box<TlsSession>>,
    /// Whether the system itself ends a blocking call to receive after the idle timeout.
    is_timed: AtomicBool,
}

impl Transport {
    /// A transport that sends and receives bytes as they are.
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            tls: OnceLock::new(),
            is_timed: AtomicBool::new(false),
        }
    }

    /// Tells the system how long [`Transport::receive_later`] may wait.
    pub fn set_idle_timeout(&self, time: Duration) {
        // An error is a socket that is gone; it is seen as soon as it is read.
        let is_timed = self.socket.set_read_timeout(Some(time)).is_ok();
        self.is_timed.store(is_timed, Ordering::Relaxed);
    }

    /// Has all bytes go by TLS from now on; the handshake is over.
    pub fn secure(&self, session: TlsSession) {
        // A connection has one handshake.
        let _ = self.tls.set(Box::new(session));
    }

    /// Whether bytes go by TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.get().is_some()
    }

    /// The socket, for polling and for what concerns the connection as a whole.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Receives what there is, waiting for `time` in all where there is nothing yet; 0 is the end.
    ///
    /// # Errors
    /// `TimedOut`, what the socket says, or that the client has broken the protocol.
    pub fn receive(&self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        let Some(tls) = self.tls.get() else {
            return receive(&self.socket, buffer, time);
        };
        let end = Instant::now() + time;
        loop {
            if let Some(got) = tls.receive_some(&self.socket, buffer)? {
                return Ok(got);
            }
            let left = end.saturating_duration_since(Instant::now());
            if wait_for(&self.socket, PollFlags::IN, Some(left))?.is_none() && left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// As [`Transport::receive`], for bytes of which most times none have come yet: one system call instead of three.
    /// `time` is the idle timeout, or a moment less.
    ///
    /// # Errors
    /// As [`Transport::receive`].
    pub fn receive_later(&self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        let began = Instant::now();
        let most = buffer.len().min(MAX_LATER);
        if self.is_timed.load(Ordering::Relaxed) && !self.has_waiting() {
            match (
                recv(&self.socket, &mut buffer[..most], RecvFlags::empty()),
                self.tls.get(),
            ) {
                (Ok((got, _)), None) => return Ok(got),
                (Ok((got, _)), Some(tls)) => {
                    if let Some(got) = tls.receive_read(&self.socket, buffer, got)? {
                        return Ok(got);
                    }
                }
                (Err(Errno::AGAIN), _) => return Err(io::ErrorKind::TimedOut.into()),
                (Err(Errno::INTR), _) => {}
                (Err(error), _) => return Err(error.into()),
            }
        }
        self.receive(buffer, time.saturating_sub(began.elapsed()))
    }

    /// Sends what the socket takes now, and never waits. Returns how many bytes of `parts` that was; whoever has more
    /// to send comes again with the bytes after those.
    ///
    /// # Errors
    /// `AGAIN` when the socket takes nothing now; otherwise what the socket says.
    pub fn send_some(&self, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        if let Some(tls) = self.tls.get() {
            return tls.send_some(&self.socket, parts);
        }
        // Not blocking for this call only: the socket itself stays blocking.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut control = SendAncillaryBuffer::default();
        sendmsg(&self.socket, parts, &mut control, flags)
    }

    /// Whether bytes have come that nobody has taken.
    pub fn has_unread(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.has_waiting()
            || matches!(recv(&self.socket, &mut [0; 1], flags), Ok((got, _)) if got > 0)
    }

    /// Whether bytes of a request have been read from the socket and wait to be received.
    pub fn has_waiting(&self) -> bool {
        self.tls.get().is_some_and(|tls| tls.has_waiting())
    }

    /// Watches the client for `time` at most.
    pub fn look(&self, time: Duration) -> Seen {
        let either = PollFlags::IN | PollFlags::RDHUP;
        match (self.poll(either, time), self.tls.get()) {
            (Seen::More, Some(tls)) => match tls.look(&self.socket) {
                Arrived::Nothing => Seen::Nothing,
                Arrived::Bytes => Seen::More,
                Arrived::End => Seen::Gone,
            },
            (seen, _) => seen,
        }
    }

    /// Looks whether the client has left, whatever bytes have come. Does not wait.
    pub fn look_for_leaver(&self) -> Seen {
        self.poll(PollFlags::RDHUP, Duration::ZERO)
    }

    fn poll(&self, events: PollFlags, time: Duration) -> Seen {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        match wait_for(&self.socket, events, Some(time)) {
            Ok(None) => Seen::Nothing,
            Ok(Some(events)) if !events.intersects(gone) => Seen::More,
            Ok(Some(_)) | Err(_) => Seen::Gone,
        }
    }

    /// Tells the client, where the transport has a way to, that what was sent is whole. Does not wait; returns `false`
    /// where the socket did not take that: [`Transport::finish_goodbye`] is to follow.
    pub fn say_goodbye(&self) -> bool {
        self.tls
            .get()
            .is_none_or(|tls| tls.say_goodbye(&self.socket))
    }

    /// Sends what is left of a goodbye, waiting for `time` at most.
    pub fn finish_goodbye(&self, time: Duration) {
        if let Some(tls) = self.tls.get() {
            tls.finish_goodbye(&self.socket, Instant::now() + time);
        }
    }

    /// Shuts the socket. Without a goodbye before, a client by TLS sees that something is missing.
    pub fn shut(&self, how: Shutdown) {
        // An error means that the peer was faster.
        let _ = self.socket.shutdown(how);
    }
}
