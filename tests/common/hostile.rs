//! What hostile tests share: talking raw, many at once, and what the proxy holds.

use super::proxy::Proxy;
use super::{SOON, wait::wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the proxy needs to let go of what it holds: its workers end after ten idle seconds, its idle
/// connections to origins after some more.
pub const LET_GO: Duration = Duration::from_secs(60);

/// What the proxy holds at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    pub threads: usize,
    pub fds: usize,
    pub rss_kb: usize,
}

impl Footprint {
    /// Takes it of a proxy that has nothing to do, once it has served a first request on both servers, so that what
    /// is made once is there.
    pub fn at_rest(proxy: &Proxy) -> Footprint {
        for server in [proxy.http, proxy.api] {
            assert_eq!(super::fetch::get(server, "/api/v1/versions").status(), 200);
        }
        // The workers of these go after ten seconds: they are not waited for, two more do no harm.
        Footprint::of(proxy)
    }

    pub fn of(proxy: &Proxy) -> Footprint {
        Footprint {
            threads: proxy.threads(),
            fds: proxy.fds(),
            rss_kb: proxy.rss_kb(),
        }
    }

    /// Waits until the proxy has no more threads and descriptors than this.
    ///
    /// # Panics
    /// When it still has at the end of [`LET_GO`].
    #[track_caller]
    pub fn wait_back(&self, proxy: &Proxy) {
        wait_until(
            &format!("threads were {} again", self.threads),
            LET_GO,
            || proxy.threads() <= self.threads,
        );
        wait_until(
            &format!("descriptors were {} again", self.fds),
            LET_GO,
            || proxy.fds() <= self.fds,
        );
    }

    /// # Panics
    /// When the proxy has ever used more memory than this and `kb` kB.
    #[track_caller]
    pub fn assert_peak(&self, proxy: &Proxy, kb: usize) {
        let peak = proxy.peak_rss_kb();
        assert!(
            peak <= self.rss_kb + kb,
            "{peak} kB at the peak, {} before",
            self.rss_kb
        );
    }
}

/// Sends bytes on a connection of its own, and reads until the server closes. Bytes that are not taken any more are
/// no error: the server may close early.
///
/// # Panics
/// When the server does not close in time.
#[track_caller]
pub fn talk(server: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    let _ = stream.write_all(bytes);
    read_to_end(&mut stream, SOON * 2)
}

/// A connection with timeouts.
#[track_caller]
pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&server, SOON).expect("connecting");
    stream.set_nodelay(true).expect("no delay");
    stream
        .set_write_timeout(Some(SOON))
        .expect("a write timeout");
    stream
}

/// A connection with a receive buffer that is soon full.
#[track_caller]
pub fn connect_small(server: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
    socket
        .set_recv_buffer_size(8 * 1024)
        .expect("a small buffer");
    socket
        .connect_timeout(&server.into(), SOON)
        .expect("connecting");
    socket.into()
}

/// Reads until the server closes or resets.
///
/// # Panics
/// When it has not in time.
#[track_caller]
pub fn read_to_end(stream: &mut TcpStream, deadline: Duration) -> String {
    let end = Instant::now() + deadline;
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "still open after {deadline:?}, and {:?}",
            String::from_utf8_lossy(&bytes)
        );
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .expect("a read timeout");
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => bytes.extend_from_slice(&piece[..got]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes until the server takes no more or `most` bytes are sent, while another thread reads; gives what came back
/// and how many bytes went out.
#[track_caller]
pub fn pour(server: SocketAddr, first: &[u8], piece: &[u8], most: usize) -> (String, usize) {
    let mut stream = connect(server);
    let mut reader = stream.try_clone().expect("a second handle");
    let answer = std::thread::spawn(move || read_to_end(&mut reader, SOON * 3));
    let mut sent = 0;
    if stream.write_all(first).is_ok() {
        while sent < most && stream.write_all(piece).is_ok() {
            sent += piece.len();
        }
    }
    let answer = answer.join().expect("reading");
    (answer, sent)
}

/// The statuses in raw responses, in order.
pub fn statuses(text: &str) -> Vec<u16> {
    let after = text.split("HTTP/1.1 ").skip(1);
    after
        .filter_map(|rest| rest.get(..3)?.parse().ok())
        .collect()
}

/// Raises this process's own limit of descriptors, and gives it.
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A server that does whatever it likes with each connection.
pub struct Rogue {
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Rogue {
    /// Calls `act` with each connection and the path of its first request, on a thread of its own.
    pub fn start(act: impl Fn(TcpStream, &str) + Send + Sync + 'static) -> Rogue {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binding");
        let addr = listener.local_addr().expect("an address");
        let (stop, act) = (Arc::new(AtomicBool::new(false)), Arc::new(act));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let act = Arc::clone(&act);
                std::thread::spawn(move || {
                    let _ = stream.set_write_timeout(Some(SOON));
                    let _ = stream.set_read_timeout(Some(SOON));
                    if let Some(path) = read_path(&stream) {
                        act(stream, &path);
                    }
                });
            }
        });
        Rogue { addr, stop }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

/// Reads one request's head and gives its path.
pub fn read_path(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(got) if got > 0 => head.extend_from_slice(&piece[..got]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1)?;
    Some(target.split('?').next().unwrap_or_default().to_owned())
}

/// Keeps a rogue's connection open until its peer closes.
pub fn hold(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(SOON * 6));
    while stream.read(&mut [0; 1024]).is_ok_and(|got| got > 0) {}
    let _ = stream.shutdown(Shutdown::Both);
}
