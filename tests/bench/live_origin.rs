//! A paced live origin: every `GET …/NAME.flv` gets frames of its own, one each 40 ms from the moment it came, as SRS
//! sends them: chunked, without a length.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::frames::{FRAME_TIME, FrameChunk};
use crate::{Result, system};

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Type: video/x-flv\r\nServer: live-origin\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n";

/// How soon a frame that its reader could not take whole is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Starts the origin on a free port. It lasts as long as this process: one thread accepts, one sends.
pub fn start() -> Result<SocketAddr> {
    let listener = system::listen().map_err(|error| format!("live origin: {error}"))?;
    let address = listener
        .local_addr()
        .map_err(|error| format!("live origin: {error}"))?;
    let (viewers, arrivals) = channel();
    let spawned = thread::Builder::new()
        .name("live-accept".into())
        .spawn(move || accept(&listener, &viewers));
    spawned.map_err(|error| format!("live origin: {error}"))?;
    let spawned = thread::Builder::new()
        .name("live-send".into())
        .spawn(move || send(&arrivals));
    spawned.map_err(|error| format!("live origin: {error}"))?;
    Ok(address)
}

fn accept(listener: &TcpListener, viewers: &Sender<TcpStream>) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                let viewers = viewers.clone();
                // A thread of a moment: a client that is slow with its head must not hold up the others.
                let _ = thread::Builder::new().stack_size(64 * 1024).spawn(move || {
                    if let Ok(Some(viewer)) = greet(client) {
                        let _ = viewers.send(viewer);
                    }
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Reads a request's head and answers with a response's. Gives the connection if it is now a stream.
fn greet(mut client: TcpStream) -> io::Result<Option<TcpStream>> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = client.read(&mut piece)?;
        if count == 0 || head.len() > 64 * 1024 {
            return Ok(None);
        }
        head.extend_from_slice(&piece[..count]);
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    if !String::from_utf8_lossy(line).contains(".flv") {
        client.write_all(NOT_FOUND)?;
        return Ok(None);
    }
    client.write_all(HEAD)?;
    client.set_nonblocking(true)?;
    Ok(Some(client))
}

struct Viewer {
    socket: TcpStream,
    number: u32,
    due: Instant,
    /// What the socket did not take of the frame before.
    rest: Vec<u8>,
}

fn send(arrivals: &Receiver<TcpStream>) {
    let mut chunk = FrameChunk::new();
    let mut viewers: HashMap<u64, Viewer> = HashMap::new();
    let mut queue: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut next_id = 0;
    loop {
        let now = Instant::now();
        let wait = queue
            .peek()
            .map_or(Duration::from_secs(1), |Reverse((due, _))| {
                due.saturating_duration_since(now)
            });
        let first = match arrivals.recv_timeout(wait) {
            Ok(socket) => Some(socket),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // All who have come: an origin that is behind with its frames would else take one a turn, and some would
        // never get any.
        for socket in first.into_iter().chain(arrivals.try_iter()) {
            let due = Instant::now();
            let viewer = Viewer {
                socket,
                number: 0,
                due,
                rest: Vec::new(),
            };
            viewers.insert(next_id, viewer);
            queue.push(Reverse((due, next_id)));
            next_id += 1;
        }
        let now = Instant::now();
        while let Some(&Reverse((due, id))) = queue.peek() {
            if due > now {
                break;
            }
            queue.pop();
            let next = viewers.get_mut(&id).map(|viewer| viewer.send(&mut chunk));
            match next {
                Some(Ok(due)) => queue.push(Reverse((due, id))),
                _ => drop(viewers.remove(&id)),
            }
        }
    }
}

impl Viewer {
    /// Sends the frame that is due, or the rest of the one before; gives the time of the next attempt.
    fn send(&mut self, chunk: &mut FrameChunk) -> io::Result<Instant> {
        if self.rest.is_empty() {
            let bytes = chunk.stamped(self.number);
            let sent = write_some(&mut self.socket, bytes)?;
            self.rest.extend_from_slice(&bytes[sent..]);
            self.number = self.number.wrapping_add(1);
            // An origin that comes late does not hurry afterwards: a burst would be measured as the proxy's.
            self.due = (self.due + FRAME_TIME).max(Instant::now());
        } else {
            let sent = write_some(&mut self.socket, &self.rest)?;
            self.rest.drain(..sent);
        }
        Ok(if self.rest.is_empty() {
            self.due
        } else {
            Instant::now() + RETRY
        })
    }
}

fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
