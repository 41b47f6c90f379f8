//! A public listening socket: accepting under a bound, waiting out trouble, closing.

use crate::config::TrustedProxies;
use crate::listener::RequestQueue;
use crate::listener::client::{ClientConnection, Phase};
use crate::listener::connection::Connection;
use crate::listener::ids::RequestIds;
use crate::listener::table::ConnectionTable;
use crate::listener::tls::TlsAcceptor;
use crate::runtime::threads;
use crate::runtime::warn_once::WarnOnce;
use log::{debug, warn};
use parking_lot::{Mutex, MutexGuard};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use smallvec::SmallVec;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection's thread parses heads and polls; what it touches of this stays small.
const STACK: usize = 128 * 1024;
/// The same where the thread goes through TLS handshakes.
const TLS_STACK: usize = 256 * 1024;
/// Pause after an `accept` or a thread that the system refused, before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// At the bound, how long a look for somebody who waits may take.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How long a connection that was let in when the port was released may take to send a request.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(1);
/// The same trouble is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Dropped peers that are told apart in the log.
const MAX_DROPPED: usize = 256;

/// What a listener needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the log: who is meant to come in.
    pub name: &'static str,
    /// Most connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// A connection without a request ends after this.
    pub idle_timeout: Duration,
    /// Begins the ids of this listener's requests.
    pub id_prefix: String,
    /// Peers that tell whose connections they relay, by the PROXY protocol; all others are closed. `None`: nobody does.
    pub announced_by: Option<TrustedProxies>,
    /// Who may come in.
    pub admission: Admission,
}

/// Who may come in at a listener.
#[derive(Debug, Clone, Copy)]
pub enum Admission {
    Everybody,
    /// Peers of which `is_welcome` says so. Others are dropped before a byte is read; the log tells them `remedy`.
    Only {
        is_welcome: fn(IpAddr) -> bool,
        remedy: &'static str,
    },
}

/// How a listener ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The port is free at once. Idle connections end; those that the kernel had already taken in are served one
    /// request each.
    Release,
    /// Another process accepts on the same socket. Idle connections stay for one more request, whose response says
    /// `Connection: close`: a player that asks at this moment must not find its connection closed.
    HandOver,
}

/// A listening socket, and what is spoken to who connects there.
#[derive(Debug, Clone)]
pub struct PublicSocket {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    /// `None`: bytes as they are.
    tls: Option<Arc<TlsAcceptor>>,
}

impl PublicSocket {
    /// A listening socket; with `tls` each connection begins with a handshake.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn new(socket: TcpListener, tls: Option<Arc<TlsAcceptor>>) -> io::Result<Self> {
        // The accepting thread polls, for it must be woken without shutting the socket down, which may be another
        // process's, too.
        socket.set_nonblocking(true)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket: Arc::new(socket),
            tls,
        })
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Public listening sockets and the clients that came in by them.
pub struct Listener {
    settings: Settings,
    address: SocketAddr,
    /// The sockets, until the listener closes; the accepting thread has them, too, until it has seen that.
    sockets: Mutex<Vec<PublicSocket>>,
    /// Wakes the accepting thread when the listener closes.
    wake: OwnedFd,
    clients: Arc<ConnectionTable>,
    ids: RequestIds,
    /// Threads of connections, which outlive their entry in the table by a moment.
    threads: AtomicUsize,
    closing: AtomicBool,
    /// Whether the socket goes on in another process.
    handed_over: AtomicBool,
    complaints: WarnOnce<()>,
    /// Peers that were dropped.
    dropped: WarnOnce<IpAddr>,
}

impl Listener {
    /// A listener on listening sockets, one at least; it accepts from [`Listener::run`] on.
    ///
    /// # Errors
    /// There is no socket, or no descriptor left.
    pub fn new(sockets: Vec<PublicSocket>, settings: Settings) -> io::Result<Arc<Self>> {
        let none = || io::Error::other("a listener without a socket");
        Ok(Arc::new(Self {
            ids: RequestIds::new(&settings.id_prefix),
            settings,
            address: sockets.first().ok_or_else(none)?.address,
            sockets: Mutex::new(sockets),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            clients: Arc::default(),
            threads: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            complaints: WarnOnce::new(Some(QUIET), 1),
            dropped: WarnOnce::new(Some(QUIET), MAX_DROPPED),
        }))
    }

    /// The clients that are in.
    pub fn clients(&self) -> &Arc<ConnectionTable> {
        &self.clients
    }

    /// The address of the first socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Most connections at once.
    pub fn max_connections(&self) -> usize {
        self.settings.connections
    }

    /// The listening sockets; none once the listener has closed.
    pub fn sockets(&self) -> Vec<PublicSocket> {
        self.lock_sockets().clone()
    }

    fn lock_sockets(&self) -> MutexGuard<'_, Vec<PublicSocket>> {
        self.sockets.lock()
    }

    /// How long a connection may be without a request now: no longer than a moment once the port has been released,
    /// so that a client that was let in at the very end and asks for nothing does not hold up the end.
    pub(super) fn idle_timeout(&self) -> Duration {
        match self.is_closing() && !self.handed_over.load(Ordering::Acquire) {
            true => self.settings.idle_timeout.min(LAST_REQUEST_TIME),
            false => self.settings.idle_timeout,
        }
    }

    /// Whether [`Listener::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether new connections have to wait until a request ends: at the bound, and all are busy.
    pub fn is_full(&self) -> bool {
        let clients = self.clients.all();
        let busy = |client: &Arc<ClientConnection>| client.phase() == Phase::Busy;
        clients.len() >= self.settings.connections && clients.iter().all(busy)
    }

    /// Requests that came so far, refused ones too.
    pub fn requests(&self) -> u64 {
        self.ids.count()
    }

    /// Accepts until [`Listener::close`]; each connection gets a thread of its own.
    ///
    /// `sockets` are what [`Listener::sockets`] gave before this thread began: who connects meanwhile is accepted, though
    /// the listener may have closed already.
    pub fn run(self: &Arc<Self>, sockets: &[PublicSocket], queue: &Arc<dyn RequestQueue>) {
        while !self.is_closing() {
            self.wait_for_room(sockets);
            for at in self.wait_for_somebody(sockets, None) {
                if !self.is_closing() {
                    self.accept(&sockets[at], queue);
                }
            }
        }
        // Who is in the kernel's queue has connected, and would be reset: no other process takes this socket over.
        if !self.handed_over.load(Ordering::Acquire) {
            for socket in sockets {
                while self.accept(socket, queue) {}
            }
        }
        self.clients.close();
        debug!("no longer listening for {}", self.settings.name);
    }

    /// Accepts one connection; gives whether there was one.
    fn accept(self: &Arc<Self>, public: &PublicSocket, queue: &Arc<dyn RequestQueue>) -> bool {
        match public.socket.accept() {
            Ok((socket, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                if self.is_welcome(peer.ip()) {
                    self.let_in(socket, peer, public.tls.clone(), queue);
                }
                return true;
            }
            // The client was gone at once, or another process was faster.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::WouldBlock
                ) => {}
            // Out of descriptors or memory: never fatal.
            Err(error) => {
                self.complain(&format!("cannot accept a connection: {error}"));
                thread::sleep(PAUSE);
            }
        }
        false
    }

    /// Stops accepting. Connections with a worker go on until it is done; `how` tells what becomes of the port and
    /// of connections on which nobody is served.
    pub fn close(&self, how: Closing) {
        self.handed_over
            .store(how == Closing::HandOver, Ordering::Release);
        self.closing.store(true, Ordering::Release);
        drop(std::mem::take(&mut *self.lock_sockets()));
        // Fails only where the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if how == Closing::Release {
            for client in self.clients.all() {
                client.read_no_more();
            }
        }
    }

    /// Cuts whatever still runs.
    pub fn cut_all(&self) {
        for client in self.clients.all() {
            client.cut();
        }
    }

    /// At the bound: when somebody waits, an idle connection makes room; where all are busy, new ones
    /// wait in the kernel's queue.
    fn wait_for_room(&self, sockets: &[PublicSocket]) {
        while self.is_at_bound() && !self.is_closing() {
            // While nobody came somebody may have left.
            if self.wait_for_somebody(sockets, Some(&LOOK)).is_empty() || !self.is_at_bound() {
                continue;
            }
            let bound = self.settings.connections;
            self.complain(&format!("{bound} connections, the most: new ones wait"));
            match self.room_maker() {
                Maker::OnItsWay => self.wait_for_a_leaver(),
                Maker::Idle(client) => {
                    debug!("{} makes room", client.peer());
                    client.end_if_idle();
                    self.wait_for_a_leaver();
                }
                Maker::Nobody => thread::sleep(PAUSE),
            }
        }
    }

    fn is_at_bound(&self) -> bool {
        self.threads.load(Ordering::Acquire) >= self.settings.connections
    }

    /// Waits until somebody's thread has ended, so that nobody else is asked to leave for the same
    /// place; a second at most.
    fn wait_for_a_leaver(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        while self.is_at_bound() && Instant::now() < end {
            thread::sleep(PAUSE / 50);
        }
    }

    /// Waits for connections that are to be accepted, until `time` is over or the listener closes. Gives the sockets that
    /// have one, by their places in `sockets`.
    fn wait_for_somebody(
        &self,
        sockets: &[PublicSocket],
        time: Option<&Timespec>,
    ) -> SmallVec<[usize; 2]> {
        let mut fds: SmallVec<[PollFd<'_>; 3]> = sockets
            .iter()
            .map(|public| PollFd::new(&*public.socket, PollFlags::IN))
            .collect();
        fds.push(PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN));
        let seen = poll(&mut fds, time);
        // A signal, or a system without memory: neither may make this loop spin.
        if seen.is_err() {
            thread::sleep(PAUSE);
        }
        let ready = |at: &usize| !fds[*at].revents().is_empty();
        (0..sockets.len()).filter(ready).collect()
    }

    /// Who makes room: one that is ending anyway; else, of those without a whole request, one that has never been
    /// served, or else the one that has been so for longest. Who sends a head a byte a second is among them: 256 of that
    /// kind would shut all others out for as long as a head may take.
    fn room_maker(&self) -> Maker {
        // A thread outlives its client's place in the table by a moment; counted first, it is not
        // missed.
        let threads = self.threads.load(Ordering::Acquire);
        let clients = self.clients.all();
        let fewer = clients.len() < threads;
        let over = |client: &Arc<ClientConnection>| matches!(client.phase(), Phase::Over { .. });
        if fewer || clients.iter().any(over) {
            return Maker::OnItsWay;
        }
        let idle = clients
            .into_iter()
            .filter_map(|client| Some((client.idle_since()?, client)));
        match idle.min_by_key(|(since, _)| *since) {
            Some((_, client)) => Maker::Idle(client),
            None => Maker::Nobody,
        }
    }

    fn let_in(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<TlsAcceptor>>,
        queue: &Arc<dyn RequestQueue>,
    ) {
        // Without it Nagle and delayed ACK take a keep-alive client from a thousand segments a
        // second to a hundred. Fails only for a socket that is gone.
        let _ = socket.set_nodelay(true);
        let trusted = self.settings.announced_by.as_ref();
        if trusted.is_some_and(|trusted| !trusted.contains(peer.ip())) {
            let remedy = "add it to PROXY_TRUSTED_PROXIES, or turn PROXY_PROTOCOL off";
            return self.complain(&format!(
                "closed a connection from {peer}, which may not speak the PROXY protocol: {remedy}"
            ));
        }
        let is_announced = trusted.is_some();
        let client = self.clients.add(socket, peer);
        self.threads.fetch_add(1, Ordering::AcqRel);
        let id = client.id;
        let listener = self.clone();
        let queue = queue.clone();
        let stack = if tls.is_some() { TLS_STACK } else { STACK };
        let spawned = threads::spawn("connection", stack, move || {
            let guard = ConnectionGuard {
                listener: &listener,
                id,
            };
            let idle_timeout = listener.idle_timeout();
            let (ids, tls) = (&listener.ids, tls.as_deref());
            Connection::new(ids, idle_timeout, &*queue, is_announced, tls, client).run();
            drop(guard);
        });
        if let Err(error) = spawned {
            drop(ConnectionGuard { listener: self, id });
            self.complain(&format!("cannot make a thread for a connection: {error}"));
            thread::sleep(PAUSE);
        }
    }

    fn is_welcome(&self, peer: IpAddr) -> bool {
        let Admission::Only { is_welcome, remedy } = self.settings.admission else {
            return true;
        };
        let welcome = is_welcome(peer);
        if !welcome && self.dropped.is_due(peer) {
            warn!(
                "door for {}: a connection from {peer} was dropped: {remedy}",
                self.settings.name
            );
        }
        welcome
    }

    fn complain(&self, what: &str) {
        if self.complaints.is_due(()) {
            warn!("door for {}: {what}", self.settings.name);
        }
    }
}

/// Who makes room for another connection.
enum Maker {
    OnItsWay,
    Idle(Arc<ClientConnection>),
    Nobody,
}

/// A connection's place among the clients, given up however its thread ends.
struct ConnectionGuard<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Drop for ConnectionGuard<'_> {
    fn drop(&mut self) {
        self.listener.clients.remove(self.id);
        self.listener.threads.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
