//! An HTTP endpoint: listening sockets with their listener, and the server behind it. The proxy has two, a lab origin
//! has one.

use crate::config::{Listen, TrustedProxies};
use crate::listener::{Admission, Closing, Listener, PublicSocket, RequestQueue, Settings};
use crate::runtime::semaphore::Semaphore;
use crate::server::context::{AccessLog, ServerContext};
use crate::server::profile::ServerProfile;
use crate::server::record::RequestObserver;
use crate::server::server::{Bounds, RequestHandler, Server};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Connections that the kernel holds until they are accepted: a crowd comes at once.
const BACKLOG: i32 = 4096;
/// What is cut is gone within this, unless the machine is very busy.
const CUT_TIME: Duration = Duration::from_secs(1);

/// Why there is no listening socket: one line that names what.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for {whom} ({setting}): {error}")]
pub struct ListenError {
    /// The name of the address's setting.
    pub setting: &'static str,
    /// Who is meant to come in.
    pub whom: &'static str,
    pub address: Listen,
    pub error: io::Error,
}

/// What a front needs to know.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    pub profile: ServerProfile,
    /// For the log: who is meant to come in.
    pub name: &'static str,
    /// Begins the ids of its requests.
    pub id_prefix: String,
    /// Peers that tell by the PROXY protocol whose connections they relay; `None`: nobody does.
    pub announced_by: Option<TrustedProxies>,
    /// Most connections at once.
    pub connections: usize,
    /// A connection without a request ends after this.
    pub idle_timeout: Duration,
    /// A client that takes no byte for this long is dropped.
    pub stall: Duration,
    pub bounds: Bounds,
    /// Who may connect.
    pub admission: Admission,
    /// Peers that are believed whose request they pass on.
    pub trusted: TrustedProxies,
    pub access_log: AccessLog,
    /// Is told of every request.
    pub observer: Arc<dyn RequestObserver>,
}

/// A listening socket, its listener, and the server behind it.
pub struct HttpEndpoint {
    listener: Arc<Listener>,
    server: Arc<Server>,
    context: Arc<ServerContext>,
    address: SocketAddr,
}

impl HttpEndpoint {
    /// A front on listening sockets, one at least; it opens with [`HttpEndpoint::serve`].
    ///
    /// # Errors
    /// What the system says.
    pub fn new(
        sockets: Vec<PublicSocket>,
        handler: Arc<dyn RequestHandler>,
        settings: EndpointSettings,
    ) -> io::Result<Self> {
        let listener = Listener::new(
            sockets,
            Settings {
                name: settings.name,
                connections: settings.connections,
                idle_timeout: settings.idle_timeout,
                id_prefix: settings.id_prefix,
                announced_by: settings.announced_by,
                admission: settings.admission,
            },
        )?;
        let context = Arc::new(ServerContext {
            profile: settings.profile,
            trusted: settings.trusted,
            access_log: settings.access_log,
            stall: settings.stall,
            closing: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            streams: Semaphore::new(settings.bounds.long),
            observer: settings.observer,
        });
        let (clients, bounds) = (listener.clients().clone(), settings.bounds);
        let server = Server::new(handler, context.clone(), clients, bounds)?;
        let address = listener.address();
        Ok(Self {
            listener,
            server,
            context,
            address,
        })
    }

    /// Where its first socket listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener that accepts its connections.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The server behind it.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Streams that are being served.
    pub fn streams(&self) -> usize {
        self.server.streams()
    }

    /// Whether the endpoint is closed and its last client has gone.
    pub fn is_finished(&self) -> bool {
        self.listener.clients().is_finished()
    }

    /// Serves from now on, on threads of its own.
    ///
    /// # Errors
    /// What making threads says.
    pub fn serve(&self) -> io::Result<()> {
        let server = self.server.clone();
        thread::Builder::new()
            .name("accept loop".to_owned())
            .spawn(move || server.run())?;
        let sockets = self.listener.sockets();
        let (listener, queue) = (
            self.listener.clone(),
            self.server.clone() as Arc<dyn RequestQueue>,
        );
        thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || listener.run(&sockets, &queue))?;
        Ok(())
    }

    /// Accepts nobody any more; connections close after the response that is under way.
    pub fn close(&self, how: Closing) {
        let ends = match how {
            Closing::Release => &self.context.closing,
            Closing::HandOver => &self.context.handed_over,
        };
        ends.store(true, Ordering::Release);
        self.listener.close(how);
    }

    /// Waits until the last client is gone; at `end` cuts those that are left.
    pub fn await_empty(&self, end: Instant) {
        let look = Duration::from_millis(5);
        while !self.listener.clients().is_finished() && Instant::now() < end {
            thread::sleep(look);
        }
        self.listener.cut_all();
        let cut_by = Instant::now() + CUT_TIME;
        while !self.listener.clients().is_finished() && Instant::now() < cut_by {
            thread::sleep(look);
        }
    }
}

/// Listens on an address. `setting` and `whom` are for the error.
///
/// # Errors
/// What the system says of it, the port being taken above all.
pub fn listen(
    address: Listen,
    setting: &'static str,
    whom: &'static str,
) -> Result<TcpListener, ListenError> {
    let mut last = io::Error::other("no address");
    for bind in address.addresses() {
        match bind_to(bind) {
            Ok(listener) => return Ok(listener),
            // A host without IPv6: the next address is IPv4's.
            Err(error) => {
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                last = error;
                if taken {
                    break;
                }
            }
        }
    }
    Err(ListenError {
        setting,
        whom,
        address,
        error: last,
    })
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?; // a restart need not wait for old connections' ends
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
