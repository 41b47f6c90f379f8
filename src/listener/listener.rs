//! A public listening socket: accepting under a bound, waiting out trouble, closing.

use crate::listener::RequestQueue;
use crate::listener::client::{ClientConnection, Phase};
use crate::listener::connection::Connection;
use crate::listener::ids::RequestIds;
use crate::listener::table::ConnectionTable;
use crate::runtime::threads;
use crate::runtime::warn_once::WarnOnce;
use log::{debug, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection's thread parses heads and polls; what it touches of this stays small.
const STACK: usize = 128 * 1024;
/// Pause after an `accept` or a thread that the system refused, before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// The same trouble is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

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
}

/// A public listening socket and the clients that came in by it.
pub struct Listener {
    settings: Settings,
    listener: TcpListener,
    clients: Arc<ConnectionTable>,
    ids: RequestIds,
    /// Threads of connections, which outlive their entry in the table by a moment.
    threads: AtomicUsize,
    closing: AtomicBool,
    complaints: WarnOnce<()>,
}

impl Listener {
    /// A door on a listening socket; it opens with [`Listener::run`].
    pub fn new(listener: TcpListener, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            ids: RequestIds::new(settings.id_prefix.clone()),
            settings,
            listener,
            clients: Arc::default(),
            threads: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            complaints: WarnOnce::new(Some(QUIET), 1),
        })
    }

    /// The clients that are in.
    pub fn clients(&self) -> &Arc<ConnectionTable> {
        &self.clients
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the socket says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
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
    pub fn run(self: &Arc<Self>, queue: &Arc<dyn RequestQueue>) {
        while !self.is_closing() {
            self.wait_for_room();
            match self.listener.accept() {
                Ok(_) if self.is_closing() => break,
                Ok((socket, peer)) => self.let_in(socket, peer, queue),
                Err(error) if self.is_closing() => {
                    debug!("closed the door for {}: {error}", self.settings.name);
                }
                // Out of descriptors or memory, or the client was gone at once: never fatal.
                Err(error) => {
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        self.complain(&format!("cannot accept a connection: {error}"));
                        thread::sleep(PAUSE);
                    }
                }
            }
        }
    }

    /// Stops accepting, and ends the connections that nobody is served on. Those with a worker go on
    /// until it is done.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // Wakes `accept`, and has the kernel refuse further connections. An error means it is done.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for client in self.clients.all() {
            client.end_if_idle();
        }
    }

    /// Cuts whatever still runs.
    pub fn cut_all(&self) {
        for client in self.clients.all() {
            client.left();
        }
    }

    /// At the bound: when somebody waits, an idle connection makes room; where all are busy, new ones
    /// wait in the kernel's queue.
    fn wait_for_room(&self) {
        while self.is_at_bound() && !self.is_closing() {
            // While nobody came somebody may have left.
            if !self.somebody_waits() || !self.is_at_bound() {
                continue;
            }
            let bound = self.settings.connections;
            self.complain(&format!("{bound} connections, the most: new ones wait"));
            match self.room_maker() {
                Maker::OnItsWay => self.wait_for_a_leaver(),
                Maker::Idle(client) => {
                    debug!("{} makes room", client.peer);
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

    /// Waits a moment for a connection that is to be accepted.
    fn somebody_waits(&self) -> bool {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let seen = poll(&mut fds, Some(&moment));
        // A signal, or a system without memory: neither may make this loop spin.
        if seen.is_err() {
            thread::sleep(PAUSE);
        }
        seen.is_ok_and(|ready| ready > 0)
    }

    /// Who makes room: one that is ending anyway; else, of the idle ones, one that has never asked
    /// for anything, or else the one that has been idle for longest.
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
        queue: &Arc<dyn RequestQueue>,
    ) {
        // Without it Nagle and delayed ACK take a keep-alive client from a thousand segments a
        // second to a hundred. Fails only for a socket that is gone.
        let _ = socket.set_nodelay(true);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let client = self.clients.add(socket, peer);
        self.threads.fetch_add(1, Ordering::AcqRel);
        let id = client.id;
        let listener = self.clone();
        let queue = queue.clone();
        let spawned = threads::spawn("connection", STACK, move || {
            let guard = ConnectionGuard {
                listener: &listener,
                id,
            };
            let idle_timeout = listener.settings.idle_timeout;
            Connection::new(&listener.ids, idle_timeout, &*queue, client).run();
            drop(guard);
        });
        if let Err(error) = spawned {
            drop(ConnectionGuard { listener: self, id });
            self.complain(&format!("cannot make a thread for a connection: {error}"));
            thread::sleep(PAUSE);
        }
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
