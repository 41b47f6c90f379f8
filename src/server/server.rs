//! The private tiny_http server between a listener and its workers, and its accept loop.

use crate::http::head::{Rejection, RequestHead};
use crate::listener::{
    ClientConnection, ConnectionTable, ReceivedRequest, RequestId, RequestQueue,
};
use crate::runtime::pool::Pool;
use crate::runtime::semaphore::Permit;
use crate::runtime::threads;
use crate::server::context::ServerContext;
use crate::server::exchange::Exchange;
use crate::server::response::{ResponseHead, error_bytes};
use log::{debug, error, warn};
use parking_lot::{Mutex, MutexGuard};
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Header by which the accept loop knows whose request it holds.
const CLIENT: &str = "x-client";
/// Private connections: each has a thread of tiny_http's that parses.
const GATES: usize = 2;
/// What a client that is turned away is told to wait, in seconds.
const RETRY_AFTER: &str = "2";

/// What a server does with requests: the stream server and the System API are two of them.
pub trait RequestHandler: Send + Sync + 'static {
    /// Whether the answer may take for ever: such requests have workers of their own.
    fn is_long(&self, head: &RequestHead) -> bool;

    /// The `Allow` header for this target.
    fn methods(&self, target: &str) -> &'static str;

    /// Whether the body that this head announces is to be read.
    ///
    /// # Errors
    /// The rejection to send when not.
    fn admit_body(&self, head: &RequestHead) -> Result<(), Rejection>;

    /// Most bytes of a body in chunks that will be read for this head; `None`: it is refused with 411.
    fn max_chunked(&self, _head: &RequestHead) -> Option<usize> {
        None
    }

    /// Answers a request.
    fn handle(&self, exchange: Exchange);

    /// Answers a request whose answer is complete in memory, on the thread of its connection: no other thread is woken
    /// for it. Asks nobody and waits for nobody but the client. Returns the exchange where the answer is not there: a
    /// worker gets it.
    fn answer_now(&self, exchange: Exchange) -> Option<Exchange> {
        Some(exchange)
    }
}

/// A job for a worker: tiny_http's request, whose client waits in the listener's table.
struct Job {
    request: tiny_http::Request,
    client: u64,
    permit: Option<Permit>,
}

/// A server behind a listener.
pub struct Server {
    context: Arc<ServerContext>,
    handler: Arc<dyn RequestHandler>,
    clients: Arc<ConnectionTable>,
    private: Mutex<Private>,
    short: Arc<Pool<Job>>,
    long: Arc<Pool<Job>>,
}

struct Private {
    tiny: Arc<tiny_http::Server>,
    gates: Vec<Arc<Mutex<UnixStream>>>,
}

/// How many workers a server may have.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For requests that end soon.
    pub short: usize,
    /// For streams.
    pub long: usize,
    /// Their stacks, in bytes. Only what is touched counts.
    pub stack: usize,
}

impl Server {
    /// Builds the private server for the clients of a listener.
    ///
    /// # Errors
    /// What making private sockets says.
    pub fn new(
        handler: Arc<dyn RequestHandler>,
        context: Arc<ServerContext>,
        clients: Arc<ConnectionTable>,
        bounds: Bounds,
    ) -> io::Result<Arc<Self>> {
        let serve = || {
            let (handler, context, clients) = (handler.clone(), context.clone(), clients.clone());
            move |job: Job| {
                // Nothing is written to tiny_http; dropping its writer lets the next one have it. It
                // comes first: a request that is dropped whole is answered by tiny_http, into a
                // socket that nobody reads.
                drop(job.request.into_writer());
                let Some(client) = clients.get(job.client) else {
                    return;
                };
                let Some(received) = client.take() else {
                    return;
                };
                let exchange = Exchange::new(received, client, context.clone());
                handler.handle(exchange.with_permit(job.permit));
            }
        };
        let stack = bounds.stack;
        Ok(Arc::new(Self {
            private: Mutex::new(Private::new()?),
            short: Pool::batch("short", bounds.short, stack, serve()),
            long: Pool::new("stream search", bounds.long, stack, serve()),
            context,
            handler,
            clients,
        }))
    }

    /// The accept loop: hands requests to workers until the server closes.
    pub fn run(&self) {
        threads::schedule_as_batch();
        while !self.is_closing() || !self.clients.is_finished() {
            let tiny = self.private().tiny.clone();
            match tiny.recv_timeout(Duration::from_secs(1)) {
                Ok(Some(request)) => self.dispatch(request),
                Ok(None) => {}
                Err(error) => {
                    error!("the private server ended: {error}");
                    self.rebuild(&tiny);
                }
            }
        }
    }

    /// Whether every worker for short requests is busy: players who ask for HLS or files are turned away.
    pub fn is_busy(&self) -> bool {
        self.short.busy() >= self.short.max()
    }

    /// Streams that are being served.
    pub fn streams(&self) -> usize {
        self.context.streams.taken()
    }

    fn is_closing(&self) -> bool {
        self.context.closing.load(Ordering::Acquire)
            || self.context.handed_over.load(Ordering::Acquire)
    }

    fn private(&self) -> MutexGuard<'_, Private> {
        self.private.lock()
    }

    fn dispatch(&self, request: tiny_http::Request) {
        let header = request
            .headers()
            .iter()
            .find(|line| line.field.equiv(CLIENT));
        let client = header.and_then(|line| line.value.as_str().parse().ok());
        let Some(client) = client else {
            drop(request.into_writer());
            warn!("a request without a client came to the private server");
            return;
        };
        let is_long = |received: &ReceivedRequest| received.is_long;
        let connected = self.clients.get(client);
        let long = connected.and_then(|client| client.with_request(is_long)) == Some(true);
        let (pool, permit) = if long {
            (&self.long, self.context.streams.take())
        } else {
            (&self.short, None)
        };
        if long && permit.is_none() {
            drop(request.into_writer());
            return self.turn_away(client, long);
        }
        let job = Job {
            request,
            client,
            permit,
        };
        if let Err(job) = pool.run(job) {
            drop(job.request.into_writer());
            self.turn_away(job.client, long);
        }
    }

    /// Nobody can serve this request now. The accept loop waits for no client: what does not fit into
    /// the socket at once is not sent.
    fn turn_away(&self, client: u64, long: bool) {
        let Some(client) = self.clients.get(client) else {
            return;
        };
        let Some(received) = client.take() else {
            return;
        };
        let message = if long {
            "All places for streams are taken. Try again in a moment."
        } else {
            "Too many requests at once. Try again in a moment."
        };
        let head = ResponseHead::new(503).with("Retry-After", RETRY_AFTER);
        let mut exchange = Exchange::new(received, client, self.context.clone());
        exchange.record.detail = Some("all workers are busy".to_owned());
        exchange.answer_at_once(head, message);
    }

    /// Answers a short request on this thread where its answer is in memory; returns whether that was so.
    fn answers_now(&self, client: &Arc<ClientConnection>) -> bool {
        if client.with_request(|it| it.is_long).unwrap_or(true) {
            return false;
        }
        self.answered_now(client)
    }

    // Not a part of its caller's frame: threads of connections with a live stream need not have room for it.
    #[inline(never)]
    fn answered_now(&self, client: &Arc<ClientConnection>) -> bool {
        let Some(received) = client.take() else {
            return true; // the connection is being ended
        };
        let exchange = Exchange::new(received, client.clone(), self.context.clone());
        match self.handler.answer_now(exchange) {
            None => true,
            Some(exchange) => {
                exchange.hand_back();
                false
            }
        }
    }

    /// Builds the private server anew. Requests that were inside the old one get a 503.
    fn rebuild(&self, broken: &Arc<tiny_http::Server>) {
        let mut private = self.private();
        if !Arc::ptr_eq(&private.tiny, broken) {
            return; // somebody else was faster
        }
        match Private::new() {
            Ok(new) => *private = new,
            Err(error) => {
                drop(private);
                error!("cannot build the private server anew: {error}");
                thread::sleep(Duration::from_millis(200));
                return;
            }
        }
        drop(private);
        for client in self.clients.all() {
            self.turn_away(client.id, false);
        }
    }
}

impl RequestQueue for Server {
    fn admit_body(&self, head: &RequestHead) -> Result<(), Rejection> {
        self.handler.admit_body(head)
    }

    fn max_chunked(&self, head: &RequestHead) -> Option<usize> {
        self.handler.max_chunked(head)
    }

    fn is_long(&self, head: &RequestHead) -> bool {
        self.handler.is_long(head)
    }

    fn enter(&self, client: &Arc<ClientConnection>) -> Result<(), Rejection> {
        if self.answers_now(client) {
            return Ok(());
        }
        // The header lines stay with the client: tiny_http knows only ASCII, HTTP does not, and they
        // are parsed already.
        let head = client.with_request(|request| {
            let RequestHead { method, target, .. } = &*request.head;
            format!(
                "{method} {target} HTTP/1.1\r\n{CLIENT}: {}\r\n\r\n",
                client.id
            )
        });
        let Some(head) = head else { return Ok(()) };
        for _ in 0..2 {
            let (tiny, gate) = {
                let private = self.private();
                let gate = usize::try_from(client.id).unwrap_or(0) % private.gates.len();
                (private.tiny.clone(), private.gates[gate].clone())
            };
            // The one lock that is held over I/O: it keeps two heads from mingling. The other end is
            // in this process and always reads, so that the socket never fills for long.
            let sent = gate.lock().write_all(head.as_bytes());
            match sent {
                Ok(()) => return Ok(()),
                Err(error) => {
                    error!("cannot pass a request to the private server: {error}");
                    self.rebuild(&tiny);
                }
            }
        }
        Err(Rejection {
            status: 503,
            message: "Try again in a moment.",
        })
    }

    fn refuse(
        &self,
        client: &ClientConnection,
        id: &RequestId,
        rejection: &Rejection,
        head: Option<&RequestHead>,
    ) {
        let mut record = self
            .context
            .record(id.clone(), client.peer(), head, Instant::now());
        record.status = rejection.status;
        record.detail = Some(rejection.message.to_owned());
        let mut response = ResponseHead::new(rejection.status);
        if let Some(head) = head.filter(|_| rejection.status == 405) {
            response = response.with("Allow", self.handler.methods(&head.target));
        }
        let without_body = head.is_some_and(|head| head.method == "HEAD");
        let bytes = error_bytes(
            self.context.profile,
            id,
            response,
            rejection.message,
            without_body,
        );
        if !client.send_at_once(&bytes) {
            debug!("{id} cannot be told {}", rejection.status);
        }
    }
}

impl Private {
    fn new() -> io::Result<Self> {
        let (listener, address, directory) = listen()?;
        // tiny_http's threads have the scheduling policy of the thread that starts them.
        let start = || {
            threads::schedule_as_batch();
            tiny_http::Server::from_listener(listener, None)
        };
        let started = thread::scope(|scope| {
            let starter = thread::Builder::new().spawn_scoped(scope, start)?;
            starter
                .join()
                .map_err(|_| io::Error::other("it panicked while it began"))
        })?;
        let tiny =
            started.map_err(|error| io::Error::other(format!("the private server: {error}")))?;
        let connect = || Ok(Arc::new(Mutex::new(UnixStream::connect_addr(&address)?)));
        let gates = (0..GATES).map(|_| connect()).collect::<io::Result<_>>();
        if let Some(directory) = directory {
            // Connected is connected: with the name gone nobody else can come in.
            let _ = std::fs::remove_dir_all(directory);
        }
        Ok(Self {
            tiny: Arc::new(tiny),
            gates: gates?,
        })
    }
}

/// A listening Unix socket that only this process can reach: in a directory of its own, which is
/// removed once the gates are connected; where no directory can be made, without a file at all.
fn listen() -> io::Result<(UnixListener, SocketAddr, Option<std::path::PathBuf>)> {
    let name = format!("srs-stream-proxy-{:016x}", fastrand::u64(..));
    let directory = std::env::temp_dir().join(&name);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    if made.is_ok() {
        let address = SocketAddr::from_pathname(directory.join("private"));
        if let Ok(address) = address
            && let Ok(listener) = UnixListener::bind_addr(&address)
        {
            return Ok((listener, address, Some(directory)));
        }
        let _ = std::fs::remove_dir_all(&directory);
    }
    let address = SocketAddr::from_abstract_name(name)?;
    Ok((UnixListener::bind_addr(&address)?, address, None))
}
