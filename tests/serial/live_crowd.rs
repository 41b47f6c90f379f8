//! Crowds before live channels: thousands of viewers who come and go, a hundred channels, a thousand short ones.

use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::flv::{Reader, frame, key, opening};
use crate::common::hostile::raise_descriptors;
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{SOON, wait::wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const VIEWERS: usize = 4000;
/// Those among them who read now and then only.
const SLOW: usize = 500;
/// How long those read nothing: longer than the kernel's buffers and what is kept of the stream last.
const PAUSE: Duration = Duration::from_secs(15);
/// Threads that the viewers are spread over.
const THREADS: usize = 8;
/// How long they come and go, in seconds: enough for the slow ones to fall out of what is kept. `CROWD_SECONDS` in the
/// environment sets another time.
const SECONDS: u64 = 20;
/// Memory of the proxy in kB: a test build, its threads, and 16 MiB of pieces.
const MOST_MEMORY: usize = 400_000;

/// What all viewers count.
#[derive(Default)]
struct Counts {
    frames: AtomicU64,
    joined: AtomicUsize,
    left: AtomicUsize,
    /// Slow viewers who went on at a key frame.
    skips: AtomicU64,
    /// Quick ones.
    missed: AtomicU64,
}

/// A viewer who takes bytes when there are some, and checks every one of them.
struct Viewer {
    socket: TcpStream,
    head: Vec<u8>,
    /// The chunked body: what has not been understood yet, and bytes that are left of a chunk.
    wire: Vec<u8>,
    left: usize,
    begun: bool,
    reader: Reader,
    last: Option<u32>,
    slow: bool,
    until: Instant,
    next_read: Instant,
}

/// A connection that holds little on its way: small segments, for which the kernel keeps a small send buffer, and a
/// small receive buffer. Over loopback's own segments 2 MB would wait in the kernel before anybody is behind.
fn connect_slow(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(1000).expect("small segments");
    socket
        .set_recv_buffer_size(4096)
        .expect("a small receive buffer");
    socket.connect(&server.into()).expect("connecting");
    socket.into()
}

impl Viewer {
    fn join(server: SocketAddr, slow: bool, stay: Duration) -> Viewer {
        let socket = if slow {
            connect_slow(server)
        } else {
            TcpStream::connect(server).expect("connecting")
        };
        let request = format!("GET /live/a.flv HTTP/1.1\r\nHost: {server}\r\n\r\n");
        (&socket).write_all(request.as_bytes()).expect("asking");
        socket.set_nonblocking(true).expect("not blocking");
        let now = Instant::now();
        Viewer {
            socket,
            head: Vec::new(),
            wire: Vec::new(),
            left: 0,
            begun: false,
            reader: Reader::default(),
            last: None,
            slow,
            until: now + stay,
            next_read: now,
        }
    }

    /// Takes what has come.
    fn read(&mut self, counts: &Counts) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => panic!("the stream of a viewer ended"),
                Ok(got) => self.take(&buffer[..got], counts),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the stream of a viewer broke off: {error}"),
            }
        }
        if self.slow {
            self.next_read = Instant::now() + PAUSE;
        }
    }

    fn take(&mut self, bytes: &[u8], counts: &Counts) {
        self.wire.extend_from_slice(bytes);
        if !self.begun {
            let Some(end) = self.wire.windows(4).position(|it| it == b"\r\n\r\n") else {
                return;
            };
            self.head = self.wire.drain(..end + 4).collect();
            assert!(
                self.head.starts_with(b"HTTP/1.1 200 "),
                "{:?}",
                String::from_utf8_lossy(&self.head)
            );
            self.begun = true;
        }
        while !self.wire.is_empty() {
            if self.left == 0 {
                let Some(end) = self.wire.windows(2).position(|it| it == b"\r\n") else {
                    return;
                };
                let line: Vec<u8> = self.wire.drain(..end + 2).collect();
                let size = std::str::from_utf8(&line[..end]).expect("a chunk size");
                self.left = usize::from_str_radix(size, 16).expect("a chunk size") + 2;
                assert!(self.left > 2, "the stream of a viewer was ended");
            }
            let some = self.left.min(self.wire.len());
            let mut piece: Vec<u8> = self.wire.drain(..some).collect();
            self.left -= some;
            // The line end after a chunk is no part of it.
            let over = piece
                .len()
                .saturating_sub((self.left + piece.len()).saturating_sub(2));
            piece.truncate(piece.len() - over.min(piece.len()));
            for tag in self.reader.feed(&piece) {
                if !tag.is_frame() {
                    continue;
                }
                counts.frames.fetch_add(1, Ordering::Relaxed);
                let is_next = self.last.is_some_and(|last| tag.timestamp == last + 40);
                if !is_next {
                    assert!(
                        tag.is_key(),
                        "a viewer begins or goes on in the middle of a group"
                    );
                    assert!(
                        self.last.is_none_or(|last| last < tag.timestamp),
                        "time goes back"
                    );
                    if self.last.is_some() {
                        let count = if self.slow {
                            &counts.skips
                        } else {
                            &counts.missed
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                self.last = Some(tag.timestamp);
            }
        }
    }
}

/// Sends ten frames a second of 1 KB, a key frame of 20 KB each second, until it is told to stop.
fn publish(mut live: Live, stop: &AtomicBool) {
    live.send(&opening());
    let mut n = 0_u32;
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let is_key = n.is_multiple_of(10);
        live.send(&frame(
            is_key,
            n * 40,
            1,
            if is_key { 20_000 } else { 1000 },
        ));
        n += 1;
        thread::sleep(
            (begin + Duration::from_millis(100) * n).saturating_duration_since(Instant::now()),
        );
    }
    live.finish();
}

/// A share of the viewers: each is replaced when its time is over.
fn share_of_viewers(server: SocketAddr, seed: u64, counts: &Counts, end: Instant) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut viewers: Vec<Viewer> = Vec::new();
    let wanted = VIEWERS / THREADS;
    while Instant::now() < end {
        // A crowd comes in some seconds, not in one.
        for _ in 0..20 {
            if viewers.len() < wanted {
                let slow = viewers.iter().filter(|viewer| viewer.slow).count() < SLOW / THREADS;
                let stay = Duration::from_millis(random.u64(2_000..60_000));
                viewers.push(Viewer::join(server, slow, stay));
                counts.joined.fetch_add(1, Ordering::Relaxed);
            }
        }
        let now = Instant::now();
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = viewers
                .iter()
                .map(|viewer| PollFd::new(&viewer.socket, PollFlags::IN))
                .collect();
            let time = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            let _ = poll(&mut fds, Some(&time));
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (viewer, ready) in viewers.iter_mut().zip(ready) {
            if ready && now >= viewer.next_read {
                viewer.read(counts);
            }
        }
        if viewers.iter().all(|viewer| viewer.next_read > now) {
            thread::sleep(Duration::from_millis(10));
        }
        let before = viewers.len();
        viewers.retain(|viewer| viewer.until > now);
        counts
            .left
            .fetch_add(before - viewers.len(), Ordering::Relaxed);
    }
}

/// What the proxy counts of all live channels.
fn live_totals(proxy: &Proxy) -> serde_json::Value {
    get(proxy.api, "/api/v1/streams").json()["data"]["totals"]["live"].clone()
}

#[test]
fn four_thousand_viewers_come_and_go() {
    let alone = crate::common::alone();
    raise_descriptors();
    let seconds = std::env::var("CROWD_SECONDS").map(|text| text.parse().expect("seconds"));
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let settings = [
        ("PROXY_MAX_STREAMS", "5000"),
        ("PROXY_LIVE_BUFFER", "16MiB"),
    ];
    let proxy = Proxy::before(&origin, &settings);
    let (threads, fds) = (proxy.threads(), proxy.fds());
    let mut first = Client::connect(proxy.http);
    first.request("GET", "/live/a.flv", &[]);
    let live = route.next();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = thread::spawn({
        let stop = stop.clone();
        move || publish(live, &stop)
    });
    first.read_head(SOON);
    // The first viewer stays, so that the stream does.
    let reading = thread::spawn(move || first.read_rest(time * 3));
    let counts = Arc::new(Counts::default());
    let end = Instant::now() + time;
    let shares: Vec<_> = (0..THREADS)
        .map(|n| {
            let (counts, server) = (counts.clone(), proxy.http);
            thread::spawn(move || share_of_viewers(server, n as u64, &counts, end))
        })
        .collect();
    for share in shares {
        share.join().expect("viewers who get what they should");
    }
    let skips = live_totals(&proxy)["skips"].as_u64().unwrap_or_default();
    stop.store(true, Ordering::Relaxed);
    publisher.join().expect("the publisher");
    reading.join().expect("the first viewer");
    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{} frames to {} viewers, {} of whom left; slow ones left out {skips} times, and saw {}; {} quick ones missed frames; {} kB at the peak",
        counts.frames.load(Ordering::Relaxed),
        load(&counts.joined),
        load(&counts.left),
        counts.skips.load(Ordering::Relaxed),
        counts.missed.load(Ordering::Relaxed),
        proxy.peak_rss_kb(),
    );
    assert!(
        load(&counts.joined) > VIEWERS,
        "some came after others had left"
    );
    assert!(
        proxy.peak_rss_kb() < MOST_MEMORY,
        "{} kB",
        proxy.peak_rss_kb()
    );
    assert!(
        skips > 0,
        "slow ones fell out of what is kept, and went on at a key frame"
    );
    // Who reads misses nothing, but where the machine itself has no time for a thread for two seconds, which is what is kept.
    let missed = counts.missed.load(Ordering::Relaxed);
    assert!(
        missed * 100 < load(&counts.joined) as u64,
        "{missed} quick viewers missed frames"
    );
    assert_eq!(origin.requests().len(), 1, "one connection for all");
    drop(alone); // from here on it only waits
    wait_until("descriptors are back", SOON * 3, || proxy.fds() <= fds + 20);
    wait_until("threads are back", SOON * 6, || {
        proxy.threads() <= threads + 20
    });
    let live = live_totals(&proxy);
    for name in ["channels", "origin_connections", "behind", "buffer_bytes"] {
        assert_eq!(live[name], 0, "{name} is left: {live}");
    }
    proxy.assert_no_panic();
}

/// Opens a channel of each name, with two viewers.
fn open(proxy: &Proxy, routes: &[(String, LiveRoute)]) -> Vec<(Live, [Client; 2])> {
    let opened = routes.iter().map(|(path, route)| {
        let mut first = Client::connect(proxy.http);
        first.request("GET", path, &[]);
        let mut live = route.next();
        live.send(&[opening(), key(0, 1)].concat());
        assert_eq!(first.read_head(SOON).status, 200);
        let mut second = Client::connect(proxy.http);
        second.request("GET", path, &[]);
        assert_eq!(second.read_head(SOON).status, 200);
        (live, [first, second])
    });
    opened.collect()
}

#[test]
fn a_hundred_channels_at_once_and_a_thousand_after_each_other() {
    let alone = crate::common::alone();
    let origin = Origin::start();
    let names = (0..100).map(|n| format!("/live/s{n}.flv"));
    let routes: Vec<_> = names
        .map(|path| {
            let route = origin.live_flv(&path);
            (path, route)
        })
        .collect();
    let proxy = Proxy::before(&origin, &[]);
    let (threads, fds) = (proxy.threads(), proxy.fds());
    let frame = key(40, 2);
    let at_rest = || {
        wait_until("descriptors are back", SOON * 3, || proxy.fds() <= fds + 20);
        wait_until("threads are back", SOON * 6, || {
            proxy.threads() <= threads + 20
        });
        assert_eq!(live_totals(&proxy)["buffer_bytes"], 0);
    };
    for (mut live, clients) in open(&proxy, &routes) {
        live.send(&frame);
        live.finish();
        for mut client in clients {
            let (body, _) = client.read_rest(SOON);
            assert!(body.ends_with(&frame));
        }
    }
    at_rest();
    let before = proxy.rss_kb();
    for round in 0..10 {
        // Every second one ends with its viewers, the others with their origin.
        for (live, clients) in open(&proxy, &routes) {
            if round % 2 == 0 {
                drop(clients);
                live.wait_closed(SOON);
            } else {
                live.finish();
            }
        }
    }
    drop(alone); // from here on it only waits
    at_rest();
    let after = proxy.rss_kb();
    assert!(
        after < before + 20_000,
        "{before} kB before, {after} kB after"
    );
    assert_eq!(origin.requests().len(), 1100);
    proxy.assert_no_panic();
}
