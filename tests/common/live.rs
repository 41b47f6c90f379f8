//! Bodies that the test writes itself, piece by piece: live streams, and whatever must break off in the middle.

use super::answer::{Framing, Reply, chunk};
use super::origin::Request;
use super::{SOON, wait::wait_until};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A path of a scripted origin whose bodies the test writes. Each request on it becomes a [`Live`].
#[derive(Clone)]
pub struct LiveRoute {
    reply: Reply,
    head_at_once: bool,
    arrived: Arc<Arrivals>,
}

struct Arrivals {
    sender: Mutex<Sender<Live>>,
    receiver: Mutex<Receiver<Live>>,
}

impl LiveRoute {
    /// Bodies with this framing and content type, whose head leaves as soon as the request is there.
    pub fn new(framing: Framing, content_type: &str) -> LiveRoute {
        let mut reply = Reply::new(200).header("Content-Type", content_type);
        reply.framing = framing;
        LiveRoute::of(reply)
    }

    /// Bodies with the status, headers and framing of `reply`.
    pub fn of(reply: Reply) -> LiveRoute {
        let (sender, receiver) = channel();
        LiveRoute {
            reply,
            head_at_once: true,
            arrived: Arc::new(Arrivals {
                sender: Mutex::new(sender),
                receiver: Mutex::new(receiver),
            }),
        }
    }

    /// The head leaves with the first byte of the body, as SRS does it.
    pub fn head_with_first_byte(mut self) -> LiveRoute {
        self.head_at_once = false;
        self
    }

    /// The next request's body.
    ///
    /// # Panics
    /// When no request comes within ten seconds.
    #[track_caller]
    pub fn next(&self) -> Live {
        match self
            .arrived
            .receiver
            .lock()
            .expect("receiver")
            .recv_timeout(SOON)
        {
            Ok(live) => live,
            Err(RecvTimeoutError::Timeout) => panic!("no request reached the origin"),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the route holds its sender"),
        }
    }

    /// A request's body, when one has come.
    pub fn try_next(&self) -> Option<Live> {
        self.arrived
            .receiver
            .lock()
            .expect("receiver")
            .try_recv()
            .ok()
    }

    /// Hands a request's connection to the test, and gives it back when its body was finished.
    pub(super) fn serve(
        &self,
        stream: Arc<TcpStream>,
        request: Request,
        more: &[(&str, &str)],
    ) -> Option<Arc<TcpStream>> {
        let (done, back) = channel();
        let head = self.reply.head(more);
        let mut live = Live {
            stream: Some(stream),
            request,
            framing: self.reply.framing,
            head,
            done,
        };
        if self.head_at_once && live.try_send_head().is_err() {
            return None;
        }
        self.arrived
            .sender
            .lock()
            .expect("sender")
            .send(live)
            .ok()?;
        back.recv().ok()
    }
}

/// A response on its way: the test writes its body and says how it ends. Dropped, it closes its connection.
pub struct Live {
    stream: Option<Arc<TcpStream>>,
    request: Request,
    framing: Framing,
    /// The head, while it was not sent.
    head: Vec<u8>,
    done: Sender<Arc<TcpStream>>,
}

impl Live {
    /// The request that this answers.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Sends a piece of the body, in one write: one chunk where it is chunked.
    ///
    /// # Panics
    /// When the connection is gone, or takes nothing for ten seconds.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes)
            .unwrap_or_else(|e| panic!("the origin cannot send {} bytes: {e}", bytes.len()));
    }

    /// Sends a piece of the body; fails when the connection is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut wire = std::mem::take(&mut self.head);
        match self.framing {
            Framing::Chunked => wire.extend(chunk(bytes)),
            _ => wire.extend_from_slice(bytes),
        }
        self.stream().write_all(&wire)
    }

    /// Sends bytes as they are, past the framing.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.try_send_head();
        self.stream().write_all(bytes).expect("sending raw bytes");
    }

    /// Sends the head, when it is still held back.
    pub fn try_send_head(&mut self) -> std::io::Result<()> {
        let head = std::mem::take(&mut self.head);
        self.stream().write_all(&head)
    }

    /// Sends until nothing is taken for `pause`: every buffer on the way is full. Gives the bytes of body sent.
    pub fn send_until_blocked(&mut self, piece: &[u8], pause: Duration) -> usize {
        self.stream()
            .set_write_timeout(Some(pause))
            .expect("a write timeout");
        let mut sent = 0;
        while self.try_send(piece).is_ok() {
            sent += piece.len();
            assert!(
                sent < 1 << 30,
                "a gigabyte went into a reader that does not read"
            );
        }
        sent
    }

    /// Ends the body as its framing wants it; the connection goes on, unless the body ends with it.
    #[track_caller]
    pub fn finish(mut self) {
        let _ = self.try_send_head();
        if self.framing == Framing::Chunked {
            self.stream()
                .write_all(b"0\r\n\r\n")
                .expect("sending the last chunk");
        }
        if self.framing != Framing::UntilClose
            && let Some(stream) = self.stream.take()
        {
            // The origin may be gone by now, then the connection ends here.
            let _ = self.done.send(stream);
        }
    }

    /// Closes with a FIN and without the last chunk, as SRS does when a publisher stops.
    pub fn close(self) {}

    /// Resets the connection.
    pub fn reset(self) {
        SockRef::from(self.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Waits until the peer has closed this connection, by FIN or by reset; gives how long that took.
    ///
    /// # Panics
    /// When it is still open at the deadline.
    #[track_caller]
    pub fn wait_closed(&self, deadline: Duration) -> Duration {
        let begin = Instant::now();
        wait_until("the origin's connection was closed", deadline, || {
            self.is_closed()
        });
        begin.elapsed()
    }

    /// Whether the peer has closed this connection.
    pub fn is_closed(&self) -> bool {
        let mut stream = self.stream();
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a read timeout");
        loop {
            match stream.read(&mut [0; 1024]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        stream.set_read_timeout(None).expect("no read timeout");
        false
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_deref().expect("a connection until the end")
    }
}
