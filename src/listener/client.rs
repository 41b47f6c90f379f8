//! A client: its socket, what it asked for, and where the exchange with it stands.

use crate::http::head::RequestHead;
use crate::listener::ids::RequestId;
use crate::listener::socket::wait_for;
use crate::listener::tls::TlsSession;
use crate::listener::transport::Transport;
use crate::runtime::cancel::CancelToken;
use crate::runtime::sys;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::PollFlags;
use rustix::fs::sendfile;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Parts of a message that the system takes at once, on Linux.
const MAX_PARTS: usize = 1024;
/// Bytes of a file that are read at once where the kernel cannot send it by itself.
const FILE_PART: u64 = 64 * 1024;

/// A request that has passed the listener: the head, and the body where one was read.
#[derive(Debug)]
pub struct ReceivedRequest {
    pub head: Arc<RequestHead>,
    pub body: Vec<u8>,
    /// Whether the answer may take for ever, as the handler behind the queue says.
    pub is_long: bool,
    /// The request's id, as the player and the log see it.
    pub id: RequestId,
    /// When its head was whole.
    pub since: Instant,
}

/// How a worker leaves the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The response is whole, and the client may ask again.
    KeepAlive,
    /// The response is whole, and the connection ends with it.
    Close,
    /// The response is not whole: the connection ends, by a reset where the end of the connection
    /// would otherwise pass for the end of the body.
    Broken { reset: bool },
}

/// Where the exchange with a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is asked. Since when.
    Idle(Instant),
    /// A head is on its way.
    Reading,
    /// A worker has, or will get, the request.
    Busy,
    /// The connection is to be closed; with a reset or without.
    Over { reset: bool },
}

/// One client connection, shared by the thread that reads its heads and the worker that answers.
#[derive(Debug)]
pub struct ClientConnection {
    /// Unguessable enough, and never used twice in a process.
    pub id: u64,
    /// The other end of the socket.
    socket_peer: SocketAddr,
    /// The client, where a load balancer at the other end has told.
    announced: OnceLock<SocketAddr>,
    /// Cut when the client leaves while it is served.
    pub cancel: Arc<CancelToken>,
    transport: Transport,
    /// This side has ended the connection while it was served.
    cut: AtomicBool,
    ended_by_operator: AtomicBool,
    /// No more is read from the client: the listener ends.
    ending: AtomicBool,
    state: Mutex<ClientState>,
    finished: Condvar,
}

#[derive(Debug)]
struct ClientState {
    phase: Phase,
    request: Option<ReceivedRequest>,
    /// When the head that is on its way began.
    reading_since: Instant,
    /// Whether a request has been answered so that another may follow.
    served: bool,
    /// Whether the connection's thread waits for the worker. Most times it polls the socket instead,
    /// and a condition variable makes a system call for nobody, too.
    awaited: bool,
}

impl ClientConnection {
    /// Takes an accepted socket; the client is idle from now on.
    pub fn new(id: u64, socket: TcpStream, peer: SocketAddr) -> Self {
        Self {
            id,
            socket_peer: peer,
            announced: OnceLock::new(),
            cancel: CancelToken::new(),
            transport: Transport::new(socket),
            cut: AtomicBool::new(false),
            ended_by_operator: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            state: Mutex::new(ClientState {
                phase: Phase::Idle(Instant::now()),
                request: None,
                reading_since: Instant::now(),
                served: false,
                awaited: false,
            }),
            finished: Condvar::new(),
        }
    }

    /// The client's address: the other end of the socket, or whom a load balancer there speaks for.
    pub fn peer(&self) -> SocketAddr {
        *self.announced.get().unwrap_or(&self.socket_peer)
    }

    /// A load balancer has told whose connection this is.
    pub(super) fn announce(&self, client: SocketAddr) {
        // A connection has one header.
        let _ = self.announced.set(client);
    }

    /// The way of bytes, for the listener's own reading and polling.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The handshake is over: all bytes go by TLS from now on.
    pub(super) fn secure(&self, session: TlsSession) {
        self.transport.secure(session);
    }

    /// Whether the client has come by TLS.
    pub fn is_secure(&self) -> bool {
        self.transport.is_secure()
    }

    /// Where the exchange stands.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Whether the connection has no request now, or only part of one: since when, and whether it ever was served. One
    /// that has been served is likelier to ask again than one that has only connected, or that sends its head a byte a
    /// second.
    pub(super) fn idle_since(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        match state.phase {
            Phase::Idle(since) => Some((state.served, since)),
            Phase::Reading => Some((state.served, state.reading_since)),
            _ => None,
        }
    }

    /// Whether a head is on its way.
    pub(super) fn is_reading(&self) -> bool {
        self.phase() == Phase::Reading
    }

    /// The listener begins to read a head. `false` when the connection is to end instead.
    pub(super) fn begin_reading(&self) -> bool {
        let mut state = self.lock();
        let go = matches!(state.phase, Phase::Idle(_));
        if go {
            state.phase = Phase::Reading;
            state.reading_since = Instant::now();
        }
        go
    }

    /// The listener passes a request on: from now until [`ClientConnection::finish`] the client is a worker's.
    /// `false` when the connection was ended meanwhile.
    pub(super) fn pass(&self, request: ReceivedRequest) -> bool {
        let mut state = self.lock();
        let go = state.phase == Phase::Reading;
        if go {
            state.request = Some(request);
            state.phase = Phase::Busy;
        }
        go
    }

    /// Looks at the request that waits for a worker.
    pub fn with_request<T>(&self, look: impl FnOnce(&ReceivedRequest) -> T) -> Option<T> {
        self.lock().request.as_ref().map(look)
    }

    /// The worker takes the request; `None` when somebody else has taken it.
    pub fn take(&self) -> Option<ReceivedRequest> {
        self.lock().request.take()
    }

    /// Gives a request back that was taken and not answered: it waits for a worker again.
    pub fn give_back(&self, request: ReceivedRequest) {
        self.lock().request = Some(request);
    }

    /// The worker is done with the client.
    pub fn finish(&self, ending: Ending) {
        let mut state = self.lock();
        state.phase = match ending {
            Ending::KeepAlive => Phase::Idle(Instant::now()),
            Ending::Close => Phase::Over { reset: false },
            Ending::Broken { reset } => Phase::Over { reset },
        };
        state.served |= ending == Ending::KeepAlive;
        if state.awaited {
            self.finished.notify_all();
        }
        drop(state);
        // The connection's thread polls the socket: shutting it down is what wakes it. Before a
        // reset only the reading half may go, for a FIN would look like the end of the body.
        match ending {
            Ending::KeepAlive => {}
            Ending::Broken { reset: true } => self.transport.shut(Shutdown::Read),
            Ending::Broken { reset: false } => self.transport.shut(Shutdown::Both),
            // The thread, once woken, sends the rest.
            Ending::Close if !self.transport.say_goodbye() => self.transport.shut(Shutdown::Read),
            // Unread bytes have woken the thread already. It takes them before it closes: the kernel
            // resets a connection that is closed with unread bytes, and drops what is still unsent.
            Ending::Close if self.transport.has_unread() => self.transport.shut(Shutdown::Write),
            Ending::Close => self.transport.shut(Shutdown::Both),
        }
    }

    /// Ends an idle connection, or one that is still sending its head; gives whether it was.
    pub fn end_if_idle(&self) -> bool {
        let mut state = self.lock();
        let idle = matches!(state.phase, Phase::Idle(_) | Phase::Reading);
        if idle {
            state.phase = Phase::Over { reset: false };
            drop(state);
            self.transport.say_goodbye();
            self.transport.shut(Shutdown::Both);
        }
        idle
    }

    /// The listener ends: a client that is not served now has sent its last byte. What has come already is still read, so
    /// that a request that was here before the end is answered; a client that has sent nothing, or half a head, sees the
    /// connection close.
    pub fn read_no_more(&self) {
        // Under the lock: who is passed on to a worker meanwhile is watched as before.
        let state = self.lock();
        if matches!(state.phase, Phase::Idle(_) | Phase::Reading) {
            self.ending.store(true, Ordering::Release);
            self.transport.shut(Shutdown::Read);
        }
    }

    /// Whether [`ClientConnection::read_no_more`] was called in time: this socket does not tell any more that its client
    /// has left.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Waits until no worker has the client, at most for `time`. Gives the phase then. Only the
    /// connection's own thread waits.
    pub(super) fn wait_finished(&self, time: Duration) -> Phase {
        let mut state = self.lock();
        state.awaited = true;
        let busy = |state: &mut ClientState| state.phase == Phase::Busy;
        self.finished.wait_while_for(&mut state, busy, time);
        state.awaited = false;
        state.phase
    }

    /// The client has left while it was served, or is cut: whoever works for it is woken.
    ///
    /// By a reset, at once. A FIN would look like the end of a close-delimited body to a client that
    /// has shut its writing half only, and merely marking the socket for a reset would not wake a
    /// worker that is sending.
    pub(super) fn left(&self) {
        self.cancel.cancel();
        if rustix::net::connect_unspec(self.transport.socket()).is_err() {
            self.transport.shut(Shutdown::Both); // the peer was faster
        }
    }

    /// Ends the connection although it is served: the server is ending.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.left();
    }

    /// Ends the connection although it is served: an operator wants that. Does not block.
    pub fn end(&self) {
        self.ended_by_operator.store(true, Ordering::Release);
        self.cut();
    }

    /// Whether an operator has ended the connection.
    pub fn is_ended_by_operator(&self) -> bool {
        self.ended_by_operator.load(Ordering::Acquire)
    }

    /// Whether this side has ended the connection while it was served.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Sends all of `parts`, in one call where the socket takes it.
    ///
    /// # Errors
    /// `TimedOut` when the client has taken no byte for `stall`; otherwise what the socket says.
    pub fn send(&self, parts: &mut [IoSlice<'_>], stall: Duration) -> io::Result<()> {
        self.send_counting(parts, stall, &mut 0)
    }

    /// The same; adds to `taken` the bytes that the socket took, also where it fails.
    ///
    /// # Errors
    /// As [`ClientConnection::send`].
    pub fn send_counting(
        &self,
        parts: &mut [IoSlice<'_>],
        stall: Duration,
        taken: &mut u64,
    ) -> io::Result<()> {
        let mut parts = parts;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            // One call takes so many parts (UIO_MAXIOV).
            match self
                .transport
                .send_some(&parts[..parts.len().min(MAX_PARTS)])
            {
                Ok(some) => {
                    *taken += some as u64;
                    IoSlice::advance_slices(&mut parts, some);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_writable(stall)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends `bytes` only where the socket takes them all at once: for the accept loop, which waits
    /// for nobody. Gives whether it did.
    pub fn send_at_once(&self, bytes: &[u8]) -> bool {
        self.transport.send_some(&[IoSlice::new(bytes)]) == Ok(bytes.len())
    }

    /// Sends what the socket takes now, and never waits. Returns how many bytes that was.
    ///
    /// # Errors
    /// What the socket says.
    pub fn send_now(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            return match self
                .transport
                .send_some(&parts[..parts.len().min(MAX_PARTS)])
            {
                Ok(some) => Ok(some),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(0),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends a part of a file, which the kernel copies (sendfile(2)) where nothing is to be encrypted. `from` moves on with what the socket takes, also
    /// where it fails.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file has become shorter, `InvalidInput` when the file's kind cannot be sent so;
    /// otherwise as [`ClientConnection::send`].
    pub fn send_file(
        &self,
        file: &File,
        from: &mut u64,
        to: u64,
        stall: Duration,
    ) -> io::Result<()> {
        if self.is_secure() {
            return self.send_file_read(file, from, to, stall);
        }
        let socket = self.transport.socket();
        // There is no flag for one call. Everybody else who uses the socket waits by poll anyway.
        socket.set_nonblocking(true)?;
        let sent = self.send_file_parts(file, from, to, stall);
        socket.set_nonblocking(false)?;
        sent
    }

    fn send_file_read(
        &self,
        file: &File,
        from: &mut u64,
        to: u64,
        stall: Duration,
    ) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(FILE_PART.min(to - *from)).unwrap_or(0)];
        while *from < to {
            let count = usize::try_from(FILE_PART.min(to - *from)).unwrap_or(0);
            let count = file.read_at(&mut bytes[..count], *from)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.send_counting(&mut [IoSlice::new(&bytes[..count])], stall, from)?;
        }
        Ok(())
    }

    fn send_file_parts(
        &self,
        file: &File,
        from: &mut u64,
        to: u64,
        stall: Duration,
    ) -> io::Result<()> {
        while *from < to {
            let count = usize::try_from(to - *from).unwrap_or(usize::MAX);
            match sendfile(self.transport.socket(), file, Some(from), count) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_writable(stall)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes bytes again. The kernel says so only when a third of its buffer
    /// is free, which a slow but live reader may need long for: what counts is whether the peer
    /// takes anything at all.
    fn wait_writable(&self, stall: Duration) -> io::Result<()> {
        let look = (stall / 4).max(Duration::from_millis(1));
        let socket = self.transport.socket();
        let mut held = sys::unacknowledged(socket);
        let mut taken_at = Instant::now();
        loop {
            if wait_for(socket, PollFlags::OUT, Some(look))?.is_some() {
                return Ok(());
            }
            let now_held = sys::unacknowledged(socket);
            if now_held < held {
                held = now_held;
                taken_at = Instant::now();
            } else if taken_at.elapsed() >= stall {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client takes no bytes",
                ));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ClientState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;
