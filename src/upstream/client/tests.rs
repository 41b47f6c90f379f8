//! What becomes of a request, by what the other end does: real sockets on loopback, no HTTP library behind them.

use super::*;
use crate::upstream::tls::OriginTrust;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

const HEAD_TIME: Duration = Duration::from_millis(200);
/// Far more than a busy machine needs.
const LONG: Duration = Duration::from_secs(20);
const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the client tells of its calls: `connected`, `answered`, and the name of each error.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl UpstreamObserver for Told {
    fn connected(&self, _: Duration) {
        self.0.lock().push("connected".to_owned());
    }

    fn answered(&self, _: SocketAddr, _: Duration) {
        self.0.lock().push("answered".to_owned());
    }

    fn failed(&self, _: SocketAddr, error: &OriginError) {
        self.0.lock().push(name(error).to_owned());
    }
}

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

fn name(error: &OriginError) -> &'static str {
    match error {
        OriginError::Connect(..) => "Connect",
        OriginError::Here(..) => "Here",
        OriginError::Closed(_) => "Closed",
        OriginError::Protocol(..) => "Protocol",
        OriginError::Timeout(_) => "Timeout",
        OriginError::Left => "Left",
    }
}

/// A client that gives up soon where no head comes.
fn client() -> (OriginClient, Arc<Told>) {
    client_that_waits(HEAD_TIME)
}

fn client_that_waits(response: Duration) -> (OriginClient, Arc<Told>) {
    let told = Arc::new(Told::default());
    let times = OriginTimes {
        connect: Duration::from_secs(5),
        response,
        stall: Duration::from_secs(5),
    };
    (
        OriginClient::new(
            times,
            8,
            OriginTls::new(&OriginTrust::System).unwrap(),
            told.clone(),
        ),
        told,
    )
}

/// A port on which each connection is given to `serve`, with its number from 0.
fn origin(serve: impl Fn(TcpStream, usize) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(stream.unwrap(), number);
        }
    });
    address
}

/// Reads a request's head; gives its first line, empty where the connection has ended.
fn request(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let mut line = first.clone();
    while line.len() > 2 {
        line.clear();
        lines.read_line(&mut line).unwrap();
    }
    first.trim_end().to_owned()
}

fn get(address: SocketAddr, target: &str, live: bool) -> OriginRequest<'_> {
    static NONE: std::sync::LazyLock<Headers> = std::sync::LazyLock::new(Headers::default);
    OriginRequest {
        address,
        secured_by: None,
        head_only: false,
        target,
        headers: &NONE,
        live,
        timeout: None,
        blocks: None,
    }
}

/// The error's name, or the status.
fn outcome(result: Result<OriginResponse, OriginError>) -> String {
    match result {
        Ok(response) => response.status.to_string(),
        Err(error) => name(&error).to_owned(),
    }
}

#[test]
fn each_way_of_failing_has_its_error() {
    type Serve = fn(TcpStream, usize);
    let rows: [(&str, Serve, &str); 9] = [
        (
            "a whole answer",
            |mut it, _| {
                request(&it);
                it.write_all(WHOLE).unwrap();
            },
            "200",
        ),
        ("closed at once", |it, _| drop(it), "Closed"),
        (
            "closed after the request",
            |it, _| drop(request(&it)),
            "Closed",
        ),
        (
            "silence",
            |it, _| {
                request(&it);
                // Until the client has gone.
                let _ = (&it).read(&mut [0; 1]);
            },
            "Timeout",
        ),
        (
            "half a head and silence",
            |mut it, _| {
                request(&it);
                it.write_all(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap();
                let _ = it.read(&mut [0; 1]);
            },
            "Timeout",
        ),
        (
            "half a head and the end",
            |mut it, _| {
                request(&it);
                it.write_all(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap();
            },
            "Protocol",
        ),
        (
            "no HTTP",
            |mut it, _| {
                request(&it);
                it.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap();
            },
            "Protocol",
        ),
        (
            "two lengths",
            |mut it, _| {
                request(&it);
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
                it.write_all(head).unwrap();
            },
            "Protocol",
        ),
        (
            "a head without an end",
            |mut it, _| {
                request(&it);
                let _ = it.write_all(b"HTTP/1.1 200 OK\r\n");
                while it
                    .write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                    .is_ok()
                {}
            },
            "Protocol",
        ),
    ];
    for (what, serve, wanted) in rows {
        let address = origin(serve);
        let (client, told) = client();
        for live in [true, false] {
            let result = client.send(get(address, "/live/a.flv", live), &CancelToken::new());
            assert_eq!(outcome(result), wanted, "{what}, live: {live}");
            let end = if wanted == "200" { "answered" } else { wanted };
            assert_eq!(told.take(), ["connected", end], "{what}, live: {live}");
        }
    }
}

#[test]
fn an_origin_that_cannot_be_connected_is_told_from_a_fault_of_ours() {
    let (client, told) = client();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    for live in [true, false] {
        let result = client.send(get(closed, "/a", live), &CancelToken::new());
        assert_eq!(outcome(result), "Connect");
        assert_eq!(told.take(), ["Connect"], "once, and no connection");
    }
    // What cannot be put into a request line says nothing of an origin.
    let result = client.send(get(closed, "/a b\u{7f}", true), &CancelToken::new());
    assert_eq!(outcome(result), "Here");
    assert_eq!(told.take(), ["Here"]);
}

#[test]
fn errors_of_connecting_are_the_hosts_or_the_origins() {
    use rustix::io::Errno;
    for (errno, whose) in [
        (Errno::CONNREFUSED, Unconnected::Origin),
        (Errno::HOSTUNREACH, Unconnected::Origin),
        (Errno::NETUNREACH, Unconnected::Origin),
        (Errno::TIMEDOUT, Unconnected::Origin),
        (Errno::CONNRESET, Unconnected::Origin),
        (Errno::MFILE, Unconnected::Here),
        (Errno::NFILE, Unconnected::Here),
        (Errno::NOMEM, Unconnected::Here),
        (Errno::NOBUFS, Unconnected::Here),
        (Errno::ADDRNOTAVAIL, Unconnected::Here),
    ] {
        assert_eq!(Unconnected::by(&errno.into()), whose, "{errno:?}");
    }
}

#[test]
fn a_client_that_leaves_ends_its_request_and_blames_nobody() {
    let address = origin(|it, _| {
        request(&it);
        let _ = (&it).read(&mut [0; 1]);
    });
    let (client, told) = client_that_waits(LONG);
    let gone = CancelToken::new();
    gone.cancel();
    assert_eq!(
        outcome(client.send(get(address, "/a", true), &gone)),
        "Left"
    );
    let leaves = CancelToken::new();
    let other = leaves.clone();
    let leaver = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        other.cancel();
    });
    let since = Instant::now();
    let result = client.send(get(address, "/a", true), &leaves);
    assert_eq!(outcome(result), "Left");
    assert!(since.elapsed() < LONG / 2);
    leaver.join().unwrap();
    let ends: Vec<String> = told.take();
    assert_eq!(
        ends.iter().filter(|it| *it == "Left").count(),
        2,
        "{ends:?}"
    );
}

#[test]
fn a_kept_connection_that_was_closed_is_no_answer() {
    // Each connection serves one request, keeps quiet about its end, and closes at the second.
    let address = origin(|mut it, _| {
        thread::spawn(move || {
            request(&it);
            it.write_all(WHOLE).unwrap();
            request(&it);
        });
    });
    let (client, told) = client();
    for round in 0..3 {
        let response = client.send(get(address, "/a", false), &CancelToken::new());
        let mut body = String::new();
        response.unwrap().body.read_to_string(&mut body).unwrap();
        assert_eq!(body, "ok");
        let told = told.take();
        assert_eq!(
            told,
            ["connected", "answered"],
            "round {round}: no failure is told"
        );
    }
}

#[test]
fn a_short_timeout_holds_for_the_head_and_a_look_up_for_all() {
    let address = origin(|mut it, _| {
        thread::spawn(move || {
            request(&it);
            let _ = it.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
            while it.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
    });
    let (client, _) = client_that_waits(LONG);
    let since = Instant::now();
    let time = Duration::from_millis(100);
    let response = client
        .look_up(address, None, "/api/v1/streams/", &Headers::default(), time)
        .unwrap();
    let mut body = response.body;
    assert!(body.read_to_end(&mut Vec::new()).is_err(), "it trickles on");
    assert!(since.elapsed() < LONG / 2, "{:?}", since.elapsed());
    let silent = origin(|it, _| {
        let _ = (&it).read_to_end(&mut Vec::new());
    });
    let request = OriginRequest {
        timeout: Some(Duration::from_millis(20)),
        ..get(silent, "/a", true)
    };
    let since = Instant::now();
    assert_eq!(
        outcome(client.send(request, &CancelToken::new())),
        "Timeout"
    );
    assert!(since.elapsed() < LONG / 2, "{:?}", since.elapsed());
}
