//! The live origin's own process: encoders whose streams are found at `/live/NAME.flv`, and an API as SRS has it.
//!
//! The stream `one` has run since the process began. Any other begins when it is first asked for, as if it had run since
//! then too, and each with a phase of its own: a thousand encoders do not have their frames at the same moment.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::encoded_stream::{EncodedStream, Encoder};
use crate::{Result, clock, system};

/// The argument that makes this program such an origin: `encoder PORT RUN FIRST_TIMESTAMP_MS`.
pub const ARGUMENT: &str = "encoder";

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Type: video/x-flv\r\n\
    Server: encoder\r\nTransfer-Encoding: chunked\r\n\r\n";

/// How soon a viewer who could not take all is tried again, in nanoseconds.
const RETRY: u64 = 2_000_000;

/// What the origin tells about itself at `/counts`, as numbers in this order.
#[derive(Default)]
pub struct Counts {
    /// Connections with a stream now.
    viewers: AtomicU64,
    /// The most of them at once.
    peak: AtomicU64,
    /// Frames made, of all streams.
    frames: AtomicU64,
}

/// Runs the origin until its parent ends or kills it.
pub fn run(arguments: &[String]) -> Result<()> {
    // Without this a benchmark that was killed would leave its origins behind.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("asking to end with the benchmark: {error}"))?;
    let number = |index: usize| -> Result<u32> {
        let text = arguments.get(index).map_or("", String::as_str);
        text.parse()
            .map_err(|error| format!("{ARGUMENT}: argument {index}, {text:?}: {error}"))
    };
    let port = u16::try_from(number(0)?).map_err(|error| format!("{ARGUMENT}: port: {error}"))?;
    let encoder = Encoder {
        began: clock::now(),
        run: number(1)?,
        first_timestamp: number(2)?,
    };
    let address: SocketAddr = system::loopback(port);
    let listener =
        system::listen_at(address).map_err(|error| format!("listening on {address}: {error}"))?;
    let counts = Arc::<Counts>::default();
    let (viewers, arrivals) = channel();
    let shared = Arc::clone(&counts);
    thread::Builder::new()
        .spawn(move || accept(&listener, &viewers, &shared))
        .map_err(|error| format!("starting the accepting thread: {error}"))?;
    send(&encoder, &arrivals, &counts);
    Ok(())
}

type Arrival = (String, TcpStream);

fn accept(listener: &TcpListener, viewers: &Sender<Arrival>, counts: &Arc<Counts>) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                let (viewers, counts) = (viewers.clone(), Arc::clone(counts));
                // A thread of a moment: a client that is slow with its head must not hold up the others.
                let _ = thread::Builder::new().stack_size(64 * 1024).spawn(move || {
                    if let Ok(Some(arrival)) = greet(client, &counts) {
                        let _ = viewers.send(arrival);
                    }
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Reads a request's head and answers. Returns the stream's name and the connection if it is now a stream.
fn greet(mut client: TcpStream, counts: &Counts) -> io::Result<Option<Arrival>> {
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
    let head = String::from_utf8_lossy(&head);
    let target = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    if let Some(name) = path.strip_suffix(".flv") {
        client.write_all(STREAM_HEAD.as_bytes())?;
        client.set_nonblocking(true)?;
        return Ok(Some((name.to_owned(), client)));
    }
    let (status, body) = match path {
        "/counts" => {
            let numbers = [&counts.viewers, &counts.peak, &counts.frames];
            let words = numbers.map(|number| number.load(Relaxed).to_string());
            ("200 OK", words.join(" "))
        }
        "/api/v1/streams/" => (
            "200 OK",
            r#"{"code":0,"streams":[{"id":"vid-1","name":"one","app":"live","url":"/live/one","publish":{"active":true}}]}"#
                .to_owned(),
        ),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    client.write_all(
        format!("HTTP/1.1 {status}\r\nConnection: Close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
            .as_bytes(),
    )?;
    Ok(None)
}

/// Sends each frame of each stream to all its viewers when it is due.
fn send(encoder: &Encoder, arrivals: &Receiver<Arrival>, counts: &Counts) {
    let mut streams = Streams::default();
    streams.find("/live/one".to_owned(), encoder);
    loop {
        let due = streams.queue.peek().map(|Reverse((due, _))| *due);
        let moment = due.into_iter().chain(streams.retry).min();
        let wait = moment.map_or(u64::MAX, |moment| moment.saturating_sub(clock::now()));
        let first = match arrivals.recv_timeout(Duration::from_nanos(wait)) {
            Ok(arrival) => Some(arrival),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for (name, socket) in first.into_iter().chain(arrivals.try_iter()) {
            let index = streams.find(name, encoder);
            streams.change(index, |stream| stream.join(encoder, socket));
        }
        let now = clock::now();
        while let Some(&Reverse((due, index))) = streams.queue.peek() {
            if due > now {
                break;
            }
            streams.queue.pop();
            let next = streams.change(index, |stream| {
                stream.send_frame(encoder);
                stream.due
            });
            streams.queue.push(Reverse((next, index)));
            counts.frames.fetch_add(1, Relaxed);
        }
        streams.send_rests(now);
        counts.viewers.store(streams.viewers as u64, Relaxed);
        counts.peak.fetch_max(streams.viewers as u64, Relaxed);
    }
}

/// All streams of the origin.
#[derive(Default)]
struct Streams {
    names: HashMap<String, usize>,
    all: Vec<EncodedStream>,
    /// When each stream's next frame is due.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    /// Viewers of all streams.
    viewers: usize,
    /// Streams that have viewers who could not take all, and when these are tried again.
    behind: HashSet<usize>,
    retry: Option<u64>,
}

impl Streams {
    /// The stream of that name, which begins if nobody has asked for it yet.
    fn find(&mut self, name: String, encoder: &Encoder) -> usize {
        let next = self.all.len();
        let index = *self.names.entry(name).or_insert(next);
        if index == next {
            let stream = EncodedStream::new(encoder, index);
            self.queue.push(Reverse((stream.due, index)));
            self.all.push(stream);
        }
        index
    }

    /// Does something with a stream, and keeps what is known of all.
    fn change<T>(&mut self, index: usize, work: impl FnOnce(&mut EncodedStream) -> T) -> T {
        let stream = &mut self.all[index];
        let before = stream.viewers();
        let result = work(stream);
        self.viewers = self.viewers + stream.viewers() - before;
        if stream.is_behind() {
            self.behind.insert(index);
            self.retry.get_or_insert(clock::now() + RETRY);
        }
        result
    }

    fn send_rests(&mut self, now: u64) {
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            for index in mem::take(&mut self.behind) {
                self.change(index, EncodedStream::send_rests);
            }
        }
    }
}
