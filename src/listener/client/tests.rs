//! The phases of a connection: which step leads where, and what the peer sees of it.

use super::*;
use crate::http::head::parse;
use crate::listener::ids::RequestIds;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

/// Far more than a busy machine needs.
const LONG: Duration = Duration::from_secs(20);

/// A connection and its peer's socket.
fn pair() -> (ClientConnection, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, address) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    (ClientConnection::new(1, socket, address), peer)
}

fn request() -> ReceivedRequest {
    ReceivedRequest {
        is_long: false,
        head: Arc::new(parse(b"GET /live/a.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap()),
        body: Vec::new(),
        id: RequestIds::new("x").next(),
        since: Instant::now(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Name {
    Idle,
    Reading,
    Busy,
    Closed,
    Reset,
}

fn name(client: &ClientConnection) -> Name {
    match client.phase() {
        Phase::Idle(_) => Name::Idle,
        Phase::Reading => Name::Reading,
        Phase::Busy => Name::Busy,
        Phase::Over { reset: false } => Name::Closed,
        Phase::Over { reset: true } => Name::Reset,
    }
}

/// A connection in that phase.
fn at(phase: Name) -> (ClientConnection, TcpStream) {
    let (client, peer) = pair();
    if phase != Name::Idle {
        assert!(client.begin_reading());
    }
    if phase != Name::Idle && phase != Name::Reading {
        assert!(client.pass(request()));
    }
    match phase {
        Name::Closed => client.finish(Ending::Close),
        Name::Reset => client.finish(Ending::Broken { reset: true }),
        _ => {}
    }
    assert_eq!(name(&client), phase);
    (client, peer)
}

/// What the peer reads: `None` when nothing comes for a moment, else the end's kind.
fn end_seen_by(mut peer: &TcpStream) -> Option<io::Result<usize>> {
    peer.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    match peer.read(&mut [0; 1]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        seen => Some(seen),
    }
}

#[test]
fn each_step_is_taken_in_its_phase_only() {
    use Name::{Busy, Closed, Idle, Reading, Reset};
    type Step = fn(&ClientConnection) -> bool;
    let read: Step = ClientConnection::begin_reading;
    let pass: Step = |client| client.pass(request());
    let end: Step = ClientConnection::end_if_idle;
    for (from, step, taken, to) in [
        (Idle, read, true, Reading),
        (Reading, read, false, Reading),
        (Busy, read, false, Busy),
        (Closed, read, false, Closed),
        (Reset, read, false, Reset),
        (Idle, pass, false, Idle),
        (Reading, pass, true, Busy),
        (Busy, pass, false, Busy),
        (Closed, pass, false, Closed),
        (Reset, pass, false, Reset),
        (Idle, end, true, Closed),
        (Reading, end, true, Closed),
        (Busy, end, false, Busy),
        (Closed, end, false, Closed),
        (Reset, end, false, Reset),
    ] {
        let (client, _peer) = at(from);
        assert_eq!(step(&client), taken, "{from:?} to {to:?}");
        assert_eq!(name(&client), to, "after {from:?}");
    }
}

#[test]
fn a_worker_leaves_the_connection_as_it_says() {
    for (ending, phase, end) in [
        (Ending::KeepAlive, Name::Idle, None),
        (Ending::Close, Name::Closed, Some(0)),
        (Ending::Broken { reset: false }, Name::Closed, Some(0)),
        // No FIN: it would look like the end of the body. The reset comes when the socket is closed.
        (Ending::Broken { reset: true }, Name::Reset, None),
    ] {
        let (client, peer) = at(Name::Busy);
        client.finish(ending);
        assert_eq!(name(&client), phase, "{ending:?}");
        let seen = end_seen_by(&peer).map(|seen| seen.expect("no reset"));
        assert_eq!(seen, end, "{ending:?}");
        assert!(!client.cancel.is_cancelled(), "nobody left: {ending:?}");
    }
}

#[test]
fn a_kept_connection_counts_as_one_that_was_served() {
    let (client, _peer) = at(Name::Idle);
    assert!(matches!(client.idle_since(), Some((false, _))));
    for phase in [Name::Busy, Name::Closed, Name::Reset] {
        assert!(at(phase).0.idle_since().is_none(), "{phase:?}");
    }
    let before = Instant::now();
    let (reading, _peer) = at(Name::Reading);
    let (served, since) = reading.idle_since().expect("half a head is no request");
    assert!(!served && since >= before, "counted from its first byte");
    let (client, _peer) = at(Name::Busy);
    let before = Instant::now();
    client.finish(Ending::KeepAlive);
    let (served, since) = client.idle_since().expect("idle again");
    assert!(served && since >= before);
    assert!(client.begin_reading(), "and it may ask again");
}

#[test]
fn a_request_is_taken_once() {
    let (client, _peer) = at(Name::Busy);
    let path = |passed: &ReceivedRequest| passed.head.target.clone();
    assert_eq!(client.with_request(path).as_deref(), Some("/live/a.flv"));
    assert_eq!(
        client.take().map(|passed| passed.id.to_string()).as_deref(),
        Some("x-1")
    );
    assert!(client.take().is_none() && client.with_request(path).is_none());
    let (client, _peer) = at(Name::Reading);
    assert!(client.take().is_none(), "nothing was passed on");
}

#[test]
fn an_answer_that_ends_the_connection_is_not_lost_for_what_was_pipelined() {
    let (client, mut peer) = at(Name::Busy);
    peer.write_all(b"GET /next HTTP/1.1\r\n").unwrap();
    while !client.transport.has_unread() {
        thread::yield_now();
    }
    assert!(client.send_at_once(b"the answer"));
    client.finish(Ending::Close);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("an end, and no reset");
    assert_eq!(got, b"the answer");
}

#[test]
fn who_leaves_while_served_cancels_the_request_and_is_reset() {
    let (client, peer) = at(Name::Busy);
    client.left();
    assert!(client.cancel.is_cancelled());
    let seen = end_seen_by(&peer).expect("an end at once");
    assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(name(&client), Name::Busy, "until its worker is done");
    assert!(client.send(&mut [IoSlice::new(b"x")], LONG).is_err());
}

#[test]
fn the_connections_thread_waits_for_the_worker() {
    let (client, _peer) = at(Name::Busy);
    assert_eq!(client.wait_finished(Duration::from_millis(10)), Phase::Busy);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            client.finish(Ending::Close);
        });
        let since = Instant::now();
        let phase = client.wait_finished(LONG);
        assert_eq!(phase, Phase::Over { reset: false });
        assert!(since.elapsed() < LONG / 2, "woken, not timed out");
    });
}

#[test]
fn sending_waits_for_a_slow_peer_and_gives_up_on_one_that_takes_nothing() {
    let large = vec![7; 16 << 20];
    let (client, mut peer) = at(Name::Busy);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut got = vec![0; large.len()];
            peer.read_exact(&mut got).map(|()| got)
        });
        let (head, body) = large.split_at(100);
        let mut taken = 0;
        let mut parts = [IoSlice::new(b""), IoSlice::new(head), IoSlice::new(body)];
        client.send_counting(&mut parts, LONG, &mut taken).unwrap();
        assert_eq!(taken, large.len() as u64);
        assert!(reader.join().unwrap().unwrap() == large);
    });
    let (client, _peer) = at(Name::Busy);
    let mut taken = 0;
    let mut parts = [IoSlice::new(&large)];
    let error = client.send_counting(&mut parts, Duration::from_millis(100), &mut taken);
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(taken > 0 && taken < large.len() as u64, "{taken}");
    assert!(!client.send_at_once(&large), "the socket is full");
}
