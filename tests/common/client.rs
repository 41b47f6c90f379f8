//! A client that sends what a test wants and takes every byte of the answer for what it is.

use super::SOON;
use super::body::{BodyEnd, Framing};
use super::head;
use super::response::{Head, Response};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What came instead of the bytes that were waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBytes {
    /// The other side has closed.
    Eof,
    Reset,
    TimedOut,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    End(BodyEnd),
    TimedOut,
}

/// One connection to a server.
pub struct Client {
    stream: TcpStream,
    server: SocketAddr,
    buffer: Vec<u8>,
    method: String,
    framing: Framing,
}

impl Client {
    /// Connects, with `TCP_NODELAY`, so that what is sent leaves at once.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn connect(server: SocketAddr) -> Client {
        Client::try_connect(server).unwrap_or_else(|e| panic!("connecting to {server}: {e}"))
    }

    /// Connects; the error is the system's.
    pub fn try_connect(server: SocketAddr) -> std::io::Result<Client> {
        Client::over(TcpStream::connect_timeout(&server, SOON)?, server)
    }

    /// Connects from another address of this machine, such as `127.0.0.2`.
    #[track_caller]
    pub fn connect_from(local: std::net::IpAddr, server: SocketAddr) -> Client {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::new(local, 0).into())
            .expect("binding the client's address");
        socket
            .connect_timeout(&server.into(), SOON)
            .expect("connecting");
        Client::over(socket.into(), server).expect("a client")
    }

    /// Connects with a small receive buffer (bytes; the system doubles it), so that a server that sends is soon held up.
    #[track_caller]
    pub fn connect_small(server: SocketAddr, receive_buffer: usize) -> Client {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        socket
            .set_recv_buffer_size(receive_buffer)
            .expect("setting the receive buffer");
        socket
            .connect_timeout(&server.into(), SOON)
            .expect("connecting");
        Client::over(socket.into(), server).expect("a client")
    }

    fn over(stream: TcpStream, server: SocketAddr) -> std::io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Client {
            stream,
            server,
            buffer: Vec::new(),
            method: "GET".into(),
            framing: Framing::None,
        })
    }

    /// This end of the connection, as the server's log names its client.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("a local address")
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .unwrap_or_else(|e| panic!("sending {} bytes: {e}", bytes.len()));
    }

    /// Sends bytes; fails when the server has closed, or takes nothing for long.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends an HTTP/1.1 request without a body, with a `Host` unless `headers` has one.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        self.request_as("HTTP/1.1", method, target, headers);
    }

    /// Sends an HTTP/1.0 request, with just the given headers.
    #[track_caller]
    pub fn request10(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        self.request_as("HTTP/1.0", method, target, headers);
    }

    #[track_caller]
    fn request_as(&mut self, version: &str, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut text = format!("{method} {target} {version}\r\n");
        if version == "HTTP/1.1" && !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {}\r\n", self.server);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        self.expect_answer_to(method);
        self.send(text.as_bytes());
    }

    /// Says which method the next head answers, where the request was sent raw: HEAD has no body.
    pub fn expect_answer_to(&mut self, method: &str) {
        method.clone_into(&mut self.method);
    }

    /// Reads a response's head; what follows is its body.
    ///
    /// # Panics
    /// When none comes, or a malformed one.
    #[track_caller]
    pub fn read_head(&mut self, deadline: Duration) -> Head {
        match self.try_read_head(deadline) {
            Ok(head) => head,
            Err(why) => panic!(
                "{why:?} instead of a response, after {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
        }
    }

    /// Reads a response's head, or says what came instead. Half a head is a panic, not an answer.
    #[track_caller]
    pub fn try_read_head(&mut self, deadline: Duration) -> Result<Head, NoBytes> {
        let end = Instant::now() + deadline;
        let raw = loop {
            if let Some(at) = head::end_of_head(&self.buffer) {
                break self.buffer.drain(..at).collect::<Vec<u8>>();
            }
            if let Err(why) = self.fill(end) {
                let rest = String::from_utf8_lossy(&self.buffer);
                assert!(
                    self.buffer.is_empty(),
                    "{why:?} in the middle of a head: {rest:?}"
                );
                return Err(why);
            }
        };
        let head = Head::parse(raw);
        self.framing =
            Framing::of_response(&self.method, &head.version, head.status, &head.headers);
        Ok(head)
    }

    /// The next bytes of the body, as they come, or how it ended.
    #[track_caller]
    pub fn read_piece(&mut self, deadline: Duration) -> Piece {
        let end = Instant::now() + deadline;
        loop {
            let bytes = self.framing.take(&mut self.buffer);
            if !bytes.is_empty() {
                return Piece::Bytes(bytes);
            }
            if self.framing.is_done() {
                return Piece::End(BodyEnd::Complete);
            }
            match self.fill(end) {
                Ok(()) => {}
                Err(NoBytes::Eof) => return Piece::End(self.framing.at_eof()),
                Err(NoBytes::Reset) => return Piece::End(BodyEnd::Reset),
                Err(NoBytes::TimedOut) => return Piece::TimedOut,
            }
        }
    }

    /// Reads bytes of the body until it has `count` or more.
    ///
    /// # Panics
    /// When the body ends before, or the deadline is over.
    #[track_caller]
    pub fn read_at_least(&mut self, count: usize, deadline: Duration) -> Vec<u8> {
        let end = Instant::now() + deadline;
        let mut body = Vec::new();
        while body.len() < count {
            match self.read_piece(end.saturating_duration_since(Instant::now())) {
                Piece::Bytes(bytes) => body.extend(bytes),
                other => panic!(
                    "{other:?} after {} bytes of a body, waiting for {count}",
                    body.len()
                ),
            }
        }
        body
    }

    /// Reads bytes of the body and takes them for `wanted`, no more and no less.
    #[track_caller]
    pub fn expect_bytes(&mut self, wanted: &[u8], deadline: Duration) {
        let got = self.read_at_least(wanted.len(), deadline);
        assert!(
            got == wanted,
            "not the bytes that were sent: {}",
            describe(&got, wanted)
        );
    }

    /// Reads the rest of the body and says how it ended.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn read_rest(&mut self, deadline: Duration) -> (Vec<u8>, BodyEnd) {
        let end = Instant::now() + deadline;
        let mut body = Vec::new();
        loop {
            match self.read_piece(end.saturating_duration_since(Instant::now())) {
                Piece::Bytes(bytes) => body.extend(bytes),
                Piece::End(how) => return (body, how),
                Piece::TimedOut => panic!(
                    "no end of the body in {deadline:?}, after {} bytes",
                    body.len()
                ),
            }
        }
    }

    /// Reads a whole response to the last request.
    #[track_caller]
    pub fn read_response(&mut self, deadline: Duration) -> Response {
        let head = self.read_head(deadline);
        let (body, end) = self.read_rest(deadline);
        Response { head, body, end }
    }

    /// Sends a GET and reads the whole response; the connection can be used again.
    #[track_caller]
    pub fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers);
        self.read_response(SOON)
    }

    /// Waits until the server has closed the connection, by FIN or by reset.
    ///
    /// # Panics
    /// When it has not in time, or when bytes come that belong to no response.
    #[track_caller]
    pub fn expect_closed(&mut self, deadline: Duration) -> NoBytes {
        let end = Instant::now() + deadline;
        let how = if self.buffer.is_empty() {
            self.fill(end)
        } else {
            Ok(())
        };
        match how {
            Ok(()) => panic!(
                "bytes after the response: {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
            Err(NoBytes::TimedOut) => panic!("the server has not closed within {deadline:?}"),
            Err(closed) => closed,
        }
    }

    /// Reads whatever comes until the server has closed, in whatever way.
    ///
    /// # Panics
    /// When it has not in time.
    #[track_caller]
    pub fn read_until_closed(&mut self, deadline: Duration) -> Vec<u8> {
        let end = Instant::now() + deadline;
        loop {
            match self.fill(end) {
                Ok(()) => {}
                Err(NoBytes::TimedOut) => panic!("the server has not closed within {deadline:?}"),
                Err(_) => return std::mem::take(&mut self.buffer),
            }
        }
    }

    /// Whether the server has sent anything that was not read yet, or closed.
    pub fn has_news(&mut self) -> bool {
        !self.buffer.is_empty()
            || self.fill(Instant::now() + Duration::from_millis(1)) != Err(NoBytes::TimedOut)
    }

    /// Says that nothing more is sent (a FIN), and reads on.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("half closing");
    }

    /// The socket beneath, for a test that reads it in its own way.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Leaves with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Reads once into the buffer.
    fn fill(&mut self, end: Instant) -> Result<(), NoBytes> {
        let mut piece = [0; 64 * 1024];
        loop {
            // A timeout of zero is refused by the system; a millisecond still takes what is there.
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(left))
                .expect("setting a read timeout");
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(NoBytes::Eof),
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(NoBytes::TimedOut);
                }
                Err(_) => return Err(NoBytes::Reset),
            }
        }
    }
}

/// Where two bodies differ, without printing megabytes.
pub fn describe(got: &[u8], wanted: &[u8]) -> String {
    let at = got
        .iter()
        .zip(wanted)
        .position(|(a, b)| a != b)
        .unwrap_or(got.len().min(wanted.len()));
    let near =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 60)]).into_owned();
    let (g, w) = (got.len(), wanted.len());
    format!(
        "{g} bytes, not {w}; from byte {at}: {:?}, not {:?}",
        near(got),
        near(wanted)
    )
}
