//! A scripted origin: a server that answers as the test says and remembers what it was asked.

use super::answer::{Answer, Framing, Reply};
use super::api::SrsApi;
use super::connection::accept;
use super::live::LiveRoute;
use super::{SOON, wait::wait_for};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

pub use super::request::Request;

/// How an origin treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Keeps every connection until the peer closes it, or asks for it with `Connection: close`.
    KeepAlive,
    /// Closes after so many responses, without saying so.
    CloseAfter(usize),
    /// Answers the first request of a connection and closes at the second, without a head: what a peer sees
    /// that reuses a connection just when the server ends it.
    CloseOnReuse,
    /// As SRS: every response says `Connection: Close`, which happens only when the request said so; else the connection
    /// stays, and nothing more is answered on it.
    Srs,
}

pub(super) type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

pub(super) struct State {
    pub(super) routes: Mutex<HashMap<String, Handler>>,
    pub(super) fallback: Mutex<Handler>,
    pub(super) manner: Mutex<Manner>,
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) connections: Mutex<Vec<Weak<TcpStream>>>,
    /// What a peer sent that is no HTTP.
    pub(super) faults: Mutex<Vec<String>>,
}

struct Listening {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// The server. Dropped, it closes its port and its connections.
pub struct Origin {
    state: Arc<State>,
    addr: SocketAddr,
    listening: Mutex<Option<Listening>>,
    /// The bound, not listening socket of a stopped origin: it refuses connections and keeps the port.
    stopped: Mutex<Option<Socket>>,
    api: Option<SrsApi>,
    id: usize,
}

impl Origin {
    /// Starts on a free port of `127.0.0.1`; every path is a 404 until the test says otherwise.
    pub fn start() -> Origin {
        Origin::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts on an address of this machine, such as `127.0.0.3:0`.
    pub fn start_at(addr: SocketAddr) -> Origin {
        static STARTED: AtomicUsize = AtomicUsize::new(1);
        let state = Arc::new(State {
            routes: Mutex::default(),
            fallback: Mutex::new(Arc::new(|_| {
                Reply::new(404).body("no such thing at the origin").into()
            })),
            manner: Mutex::new(Manner::KeepAlive),
            requests: Mutex::default(),
            connections: Mutex::default(),
            faults: Mutex::default(),
        });
        let socket = bound(addr);
        let addr = socket
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .expect("the origin's address");
        let origin = Origin {
            state,
            addr,
            listening: Mutex::new(None),
            stopped: Mutex::new(Some(socket)),
            api: None,
            id: STARTED.fetch_add(1, Ordering::Relaxed),
        };
        origin.restart();
        origin
    }

    /// Starts an origin that treats its connections as SRS does, with an SRS API on a second port.
    pub fn start_with_api() -> Origin {
        let mut origin = Origin::start();
        origin.behave(Manner::Srs);
        origin.api = Some(SrsApi::start());
        origin
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// A number that no other origin of this process has.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The SRS API beside this origin.
    ///
    /// # Panics
    /// When it was started without.
    pub fn api(&self) -> &SrsApi {
        self.api.as_ref().expect("an origin with an API")
    }

    /// The port of the SRS API, where there is one.
    pub fn api_port(&self) -> Option<u16> {
        self.api.as_ref().map(SrsApi::port)
    }

    /// How connections are treated from now on.
    pub fn behave(&self, manner: Manner) {
        *self.state.manner.lock().expect("manner") = manner;
    }

    /// Answers every request for `path` (without query) the same.
    pub fn on(&self, path: &str, answer: impl Into<Answer>) {
        let answer = answer.into();
        self.on_request(path, move |_| answer.clone());
    }

    /// Answers the requests for `path` one after the other, the last answer again and again.
    pub fn on_each(&self, path: &str, answers: Vec<Answer>) {
        let next = AtomicUsize::new(0);
        self.on_request(path, move |_| {
            let n = next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            answers[n].clone()
        });
    }

    /// Answers requests for `path` by looking at them.
    pub fn on_request(
        &self,
        path: &str,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) {
        self.state
            .routes
            .lock()
            .expect("routes")
            .insert(path.to_owned(), Arc::new(handler));
    }

    /// Answers requests for all other paths.
    pub fn otherwise(&self, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.state.fallback.lock().expect("fallback") = Arc::new(handler);
    }

    /// Lets the test write the bodies of `path`, see [`LiveRoute`].
    pub fn live(&self, path: &str, route: LiveRoute) -> LiveRoute {
        self.on(path, &route);
        route
    }

    /// A live FLV as SRS sends it: chunked, its head with the first byte.
    pub fn live_flv(&self, path: &str) -> LiveRoute {
        self.live(
            path,
            LiveRoute::new(Framing::Chunked, "video/x-flv").head_with_first_byte(),
        )
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("requests").clone()
    }

    /// The requests for `path` so far.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|r| r.path() == path)
            .collect()
    }

    /// The only request so far.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(
            requests.len(),
            1,
            "one request at the origin: {requests:#?}"
        );
        requests.remove(0)
    }

    /// The latest request; waits for the first.
    #[track_caller]
    pub fn last_request(&self) -> Request {
        wait_for("a request reached the origin", SOON, || {
            self.requests().pop()
        })
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.lock().expect("connections").len()
    }

    /// Connections that are open now, as this side knows.
    pub fn open_connections(&self) -> usize {
        let connections = self.state.connections.lock().expect("connections");
        connections.iter().filter(|c| c.strong_count() > 0).count()
    }

    /// Closes the port, which then refuses connections, and all connections.
    pub fn stop(&self) {
        self.stop_listening();
        self.close_connections();
    }

    /// Closes the port and leaves the connections alone.
    pub fn stop_listening(&self) {
        if let Some(listening) = self.listening.lock().expect("listening").take() {
            listening.stop.store(true, Ordering::SeqCst);
            // Wakes the thread out of accept(), and is the last that it sees.
            let _ = TcpStream::connect_timeout(&self.addr, SOON);
            let _ = listening.thread.join();
            *self.stopped.lock().expect("stopped") = Some(bound(self.addr));
        }
    }

    /// Closes all connections.
    pub fn close_connections(&self) {
        for stream in self
            .state
            .connections
            .lock()
            .expect("connections")
            .iter()
            .filter_map(Weak::upgrade)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Resets all connections: a process that was killed, or a machine that came back.
    pub fn reset_connections(&self) {
        for stream in self
            .state
            .connections
            .lock()
            .expect("connections")
            .iter()
            .filter_map(Weak::upgrade)
        {
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
        self.close_connections();
    }

    /// Listens on its port again after [`Origin::stop`].
    pub fn restart(&self) {
        let Some(socket) = self.stopped.lock().expect("stopped").take() else {
            return;
        };
        socket.listen(1024).expect("listening");
        let listener: TcpListener = socket.into();
        let stop = Arc::new(AtomicBool::new(false));
        let (state, stopping) = (Arc::clone(&self.state), Arc::clone(&stop));
        let thread = std::thread::spawn(move || accept(&state, &listener, &stopping));
        *self.listening.lock().expect("listening") = Some(Listening { thread, stop });
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
        let faults = std::mem::take(&mut *self.state.faults.lock().expect("faults"));
        if !faults.is_empty() && !std::thread::panicking() {
            panic!("the origin got what is no HTTP: {faults:?}");
        }
    }
}

/// A bound socket that does not listen yet.
pub(super) fn bound(addr: SocketAddr) -> Socket {
    wait_for(&format!("{addr} could be bound"), SOON, || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).ok()?;
        socket.set_reuse_address(true).ok()?;
        socket.bind(&addr.into()).ok()?;
        Some(socket)
    })
}
