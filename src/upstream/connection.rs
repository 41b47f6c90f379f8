//! The connection to an origin, under ureq: small buffers, few system calls, a socket that the
//! client's leaving can shut, and an end of the body that is told from a reset.

use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::{Permit, Semaphore};
use crate::upstream::tls::{OriginSession, OriginTls};
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// What ureq does not tell about a call, noted while it runs. ureq works in the caller's thread and
/// hands nothing of a request through to its connections: a thread-local is the way to reach them.
#[derive(Debug)]
pub(super) struct CallContext {
    cancel: Arc<CancelToken>,
    /// Room for the request's head, in bytes.
    head: usize,
    /// The name that the origin's certificate has to be for, where it is not for the address.
    name: Option<Box<str>>,
    pub began: Instant,
    /// How long it took to connect, where it had to.
    pub connecting: Cell<Option<Duration>>,
    /// The request went out on a connection that had served another one.
    pub reused: Cell<bool>,
    /// A connection was there.
    pub connected: Cell<bool>,
    /// A byte of the response came.
    pub answered: Cell<bool>,
    /// Why there is no connection, where one was tried for.
    pub failed: Cell<Option<Unconnected>>,
}

/// Whose fault it is that there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unconnected {
    /// The origin's, or the network's.
    Origin,
    /// This host's: no descriptor, no memory, no port.
    Here,
}

impl Unconnected {
    pub(super) fn by(error: &io::Error) -> Self {
        use rustix::io::Errno;
        let scarce = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::AGAIN,
        ];
        match Errno::from_io_error(error) {
            Some(errno) if scarce.contains(&errno) => Self::Here,
            _ => Self::Origin,
        }
    }
}

/// Bytes that may come without a byte of body in them, or the end of a head: trailers, chunk sizes,
/// informational responses. ureq reads as many as there are.
const MAX_FRUITLESS: usize = 256 * 1024;

thread_local! {
    static CALL: RefCell<Option<Rc<CallContext>>> = const { RefCell::new(None) };
    /// Bytes that came since this read began, and when that was.
    static FRUITLESS: Cell<(usize, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// To be called before each read of a body: what came before has borne fruit.
pub(super) fn begin_read() {
    FRUITLESS.set((0, Some(Instant::now())));
}

impl CallContext {
    /// Runs `work` as one call for the client on that cancel token; gives what was noted, too.
    pub fn run<T>(
        cancel: &Arc<CancelToken>,
        head: usize,
        name: Option<&str>,
        work: impl FnOnce() -> T,
    ) -> (T, Rc<Self>) {
        let call = Rc::new(Self {
            cancel: cancel.clone(),
            head,
            name: name.map(Box::from),
            began: Instant::now(),
            connecting: Cell::new(None),
            reused: Cell::new(false),
            connected: Cell::new(false),
            answered: Cell::new(false),
            failed: Cell::new(None),
        });
        CALL.set(Some(call.clone()));
        begin_read();
        let result = work();
        CALL.set(None);
        (result, call)
    }

    fn current() -> Option<Rc<Self>> {
        CALL.with_borrow(Option::clone)
    }
}

/// Takes an address literal for what it is; names are not resolved, for origins register addresses.
#[derive(Debug)]
pub(super) struct LiteralResolver;

impl Resolver for LiteralResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let address: SocketAddr = authority.parse().map_err(|_| Error::HostNotFound)?;
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct UpstreamConnector {
    /// Largest size of the input buffer, in bytes.
    pub input: usize,
    /// Longest silence within a body.
    pub stall: Duration,
    /// Connections that may be kept idle, to all origins together: each is a descriptor that a player could have.
    pub idle_budget: Arc<Semaphore>,
    /// For origins that are asked by HTTPS.
    pub tls: Arc<OriginTls>,
}

impl UpstreamConnector {
    /// A connected socket, with its TLS handshake done where it `is_secure`; shut down when the client leaves meanwhile.
    fn open(
        &self,
        address: SocketAddr,
        is_secure: bool,
        time: Duration,
        call: Option<&CallContext>,
    ) -> io::Result<UpstreamConnection> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        let stream = Arc::new(TcpStream::from(socket));
        let mut wire = UpstreamConnection {
            stream: stream.clone(),
            tls: None,
            cancel: None,
            buffers: ConnectionBuffers::new(self.input),
            stall: self.stall,
            read_time: None,
            write_time: None,
            served: false,
            idle: None,
            idle_budget: self.idle_budget.clone(),
        };
        // Tied before it connects, so that a client that leaves ends the wait for the connection too.
        if let Some(call) = call
            && !wire.tie(call.cancel.clone())
        {
            return Err(client_left());
        }
        let began = Instant::now();
        connect(&stream, address, time)?;
        stream.set_nodelay(true)?;
        if is_secure {
            let left = time.saturating_sub(began.elapsed());
            let name = call.and_then(|call| call.name.as_deref());
            let session = self.tls.connect(&stream, address.ip(), name, left);
            wire.tls = Some(session.map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?);
        }
        Ok(wire)
    }
}

impl Connector<()> for UpstreamConnector {
    type Out = UpstreamConnection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<UpstreamConnection>, Error> {
        let Some(address) = details.addrs.first() else {
            return Err(Error::HostNotFound);
        };
        let call = CallContext::current();
        let time = details
            .timeout
            .not_zero()
            .map_or(Duration::MAX, |time| *time);
        self.open(*address, details.needs_tls(), time, call.as_deref())
            .map(Some)
            .map_err(|error| {
                if let Some(call) = call {
                    call.failed.set(Some(Unconnected::by(&error)));
                }
                match error.kind() {
                    io::ErrorKind::TimedOut => Error::Timeout(Timeout::Connect),
                    _ => Error::Io(error),
                }
            })
    }
}

fn connect(stream: &TcpStream, address: SocketAddr, time: Duration) -> io::Result<()> {
    // A view of the same socket: socket2 connects with a deadline, std only without a socket.
    let view = socket2::SockRef::from(stream);
    view.connect_timeout(&address.into(), time)
}

/// One connection to an origin.
#[derive(Debug)]
pub(super) struct UpstreamConnection {
    stream: Arc<TcpStream>,
    /// `None`: bytes go as they are.
    tls: Option<OriginSession>,
    /// Of the client that is served now; none while the connection idles.
    cancel: Option<Arc<CancelToken>>,
    buffers: ConnectionBuffers,
    stall: Duration,
    read_time: Option<Duration>,
    write_time: Option<Duration>,
    /// Whether a request has gone out on it before.
    served: bool,
    /// Held while the connection idles in the pool.
    idle: Option<Permit>,
    idle_budget: Arc<Semaphore>,
}

impl UpstreamConnection {
    /// Ties it to a client; `false` when that has left.
    fn tie(&mut self, cancel: Arc<CancelToken>) -> bool {
        let held = cancel.bind_socket(&self.stream);
        self.cancel = Some(cancel);
        held
    }

    fn untie(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel.unbind_socket(&self.stream);
        }
    }

    fn set_read_time(&mut self, time: Duration) -> io::Result<()> {
        if differs(self.read_time, time) {
            self.stream.set_read_timeout(bounded(time))?;
            self.read_time = Some(time);
        }
        Ok(())
    }

    /// What is left of the stall timeout for a body that gives no byte of itself.
    fn stall_left(&self) -> Duration {
        let (_, since) = FRUITLESS.get();
        since.map_or(self.stall, |since| {
            self.stall.saturating_sub(since.elapsed())
        })
    }

    fn is_cancelled(&self) -> bool {
        self.cancel
            .as_ref()
            .is_some_and(|cancel| cancel.is_cancelled())
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.untie(); // the cancel token would keep the socket open
        self.idle = None;
    }
}

fn client_left() -> io::Error {
    io::Error::other("the client left")
}

/// Timeouts differ by microseconds from call to call, for ureq subtracts what has passed. The kernel
/// is told only of a change that matters.
fn differs(set: Option<Duration>, wanted: Duration) -> bool {
    set.is_none_or(|set| wanted > set || wanted < set - set / 8)
}

impl Transport for UpstreamConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if let Some(call) = CallContext::current() {
            if !self.served {
                call.connecting.set(Some(call.began.elapsed()));
            }
            call.connected.set(true);
            call.reused.set(self.served);
            if self.cancel.is_none() && !self.tie(call.cancel.clone()) {
                return Err(Error::Io(client_left()));
            }
        }
        self.served = true;
        let time = timeout.not_zero().map_or(Duration::MAX, |time| *time);
        if differs(self.write_time, time) {
            self.stream.set_write_timeout(bounded(time))?;
            self.write_time = Some(time);
        }
        let output = &self.buffers.output[..amount];
        let sent = match &mut self.tls {
            Some(tls) => tls.write_all(&self.stream, output),
            None => (&*self.stream).write_all(output),
        };
        self.buffers.output = Vec::new(); // requests have no body: it is not needed again soon
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            _ => Error::Io(error),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // A head has a deadline, a look-up too; the body of a stream has none, but may not fall silent.
        let time = match timeout.not_zero() {
            Some(time) if timeout.reason == Timeout::RecvResponse => *time,
            Some(time) => self.stall_left().min(*time),
            None => self.stall_left(),
        };
        let began = Instant::now();
        if time.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.set_read_time(time)?;
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            let message = "the origin sends a head or a chunk size that does not end";
            return Err(Error::Io(io::Error::other(message)));
        }
        let got = loop {
            let got = match &mut self.tls {
                Some(tls) => tls.read_some(&self.stream, room),
                None => (&*self.stream).read(room).map(Some),
            };
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A part of a record: the rest has what is left of the time.
                Ok(None) => {
                    let left = time.saturating_sub(began.elapsed());
                    if left.is_zero() {
                        return Err(Error::Timeout(timeout.reason));
                    }
                    if differs(self.read_time, left) {
                        self.stream.set_read_timeout(bounded(left))?;
                        self.read_time = Some(left);
                    }
                }
                other => break other.map(Option::unwrap_or_default),
            }
        };
        match got {
            Ok(got) => {
                if got == 0 && self.is_cancelled() {
                    return Err(Error::Io(client_left()));
                }
                if got > 0
                    && let Some(call) = CallContext::current()
                {
                    call.answered.set(true);
                }
                self.buffers.input_appended(got);
                let (before, since) = FRUITLESS.get();
                FRUITLESS.set((before + got, since));
                if before + got > MAX_FRUITLESS {
                    let message =
                        "the origin sends trailers, or informational responses, without end";
                    return Err(Error::Io(io::Error::other(message)));
                }
                Ok(got > 0)
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Error::Timeout(timeout.reason)
                }
                // ureq takes these kinds for the end of a close-delimited body. They are not.
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::UnexpectedEof => Error::Io(io::Error::other(error.to_string())),
                _ => Error::Io(error),
            }),
        }
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn is_open(&mut self) -> bool {
        // Asked when the connection goes back to the pool and when it leaves it: between the two it
        // is nobody's, and no client's leaving may shut it.
        self.untie();
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let is_open = match &mut self.tls {
            Some(tls) => tls.is_open(&self.stream),
            None => {
                let waiting = rustix::net::recv(&*self.stream, &mut [0; 1], flags);
                waiting == Err(rustix::io::Errno::AGAIN)
            }
        };
        if !is_open {
            return false;
        }
        if self.idle.take().is_some() {
            return true;
        }
        self.idle = self.idle_budget.take();
        self.idle.is_some()
    }
}

/// A socket timeout of zero means none, and one of `u64::MAX` seconds is refused.
fn bounded(time: Duration) -> Option<Duration> {
    (time < Duration::from_secs(1 << 31)).then(|| time.max(Duration::from_millis(1)))
}

/// Room for one request's head going out, only while it goes out, and for what comes in.
#[derive(Debug)]
struct ConnectionBuffers {
    /// Grows with what comes: a thousand viewers of a quiet stream need not have room for a loud one.
    input: Vec<u8>,
    most: usize,
    start: usize,
    end: usize,
    progress: bool,
    output: Vec<u8>,
}

/// First size of an input buffer, in bytes: a frame of a stream of 1 Mb/s, or a small playlist.
const FIRST_INPUT: usize = 6 * 1024;

impl ConnectionBuffers {
    fn new(most: usize) -> Self {
        Self {
            input: Vec::new(),
            most,
            start: 0,
            end: 0,
            progress: false,
            output: Vec::new(),
        }
    }
}

impl Buffers for ConnectionBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            let head = CallContext::current().map_or(self.most, |call| call.head);
            self.output = vec![0; head];
        }
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        // The last read filled it, and nothing or all of that has been used.
        let filled = self.end == self.input.len() && (self.start == 0 || self.start == self.end);
        if filled && self.input.len() < self.most {
            let size = (self.input.len() * 2).clamp(FIRST_INPUT.min(self.most), self.most);
            self.input.resize(size, 0);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() && self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start += amount;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // For request bodies, which we never send.
        self.output();
        self.input_append_buf();
        (&mut self.input[self.end..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.start < self.end && self.progress
    }
}
