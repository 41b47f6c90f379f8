//! What goes through a session, over real sockets, with rustls as the client.

use super::*;
use crate::listener::tls::{CertificateFiles, TlsAcceptor};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A session whose handshake is over, its socket, and the client.
fn pair() -> (TlsSession, TcpStream, Client) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let chain = directory.path().join("tls.pem");
    std::fs::write(&chain, cert.pem() + &signing_key.serialize_pem()).unwrap();
    let acceptor = TlsAcceptor::new(CertificateFiles { chain, key: None }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(listener.local_addr().unwrap(), cert.der().clone());
    let (socket, _) = listener.accept().unwrap();
    // So that a client that reads nothing is soon seen.
    socket2::SockRef::from(&socket)
        .set_send_buffer_size(16 * 1024)
        .unwrap();
    let session = acceptor.session().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    session.handshake(&socket, &[], end).unwrap();
    (session, socket, client.join().unwrap())
}

fn client(
    server: std::net::SocketAddr,
    root: CertificateDer<'static>,
) -> thread::JoinHandle<Client> {
    thread::spawn(move || {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut client = StreamOwned::new(connection, TcpStream::connect(server).unwrap());
        client.conn.complete_io(&mut client.sock).unwrap();
        client
    })
}

/// Bytes of which no two portions look alike.
fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| (n % 251) as u8 ^ (n / 1000) as u8)
        .collect()
}

#[test]
fn what_the_socket_takes_in_part_arrives_whole_and_in_order() {
    let (session, socket, mut client) = pair();
    let sent = bytes(3_000_000);
    let expected = sent.clone();
    let reader = thread::spawn(move || {
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == expected);
        client
    });
    let (mut at, mut waits) = (0, 0);
    // Parts of all sizes, the end of one call in the middle of another's part.
    while at < sent.len() {
        let end = sent.len().min(at + 1 + at * 7 % 200_000);
        let (head, tail) = sent[at..end].split_at((end - at) / 3);
        match session.send_some(&socket, &[IoSlice::new(head), IoSlice::new(tail)]) {
            Ok(some) => at += some,
            Err(Errno::AGAIN) => {
                waits += 1;
                wait_for(&socket, PollFlags::OUT, Some(Duration::from_secs(20))).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(waits > 0, "the socket was never full");
    assert!(session.say_goodbye(&socket));
    let mut client = reader.join().unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "a clean end");
}

#[test]
fn what_the_socket_did_not_take_is_not_counted_as_taken_and_is_bounded() {
    let (session, socket, _client) = pair();
    let piece = bytes(300_000);
    let mut taken = 0;
    let taken_last = loop {
        match session.send_some(&socket, &[IoSlice::new(&piece)]) {
            Ok(some) if some < piece.len() => break taken + some,
            Ok(some) => taken += some,
            Err(error) => panic!("a part was not taken, and it was not told: {error}"),
        }
    };
    let offset = (taken_last - taken).min(piece.len());
    for _ in 0..3 {
        let again = session.send_some(&socket, &[IoSlice::new(&piece[offset..])]);
        assert_eq!(again, Err(Errno::AGAIN), "it is full");
    }
    let mut records = 0;
    let mut state = session.lock();
    let mut sink = Count(&mut records);
    while state.connection.wants_write() {
        state.connection.write_tls(&mut sink).unwrap();
    }
    assert!(
        records > 0 && records < BATCH + 4096,
        "{records} bytes wait"
    );
}

/// Takes all.
struct Count<'a>(&'a mut usize);

impl Write for Count<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_a_goodbye_and_garbage_are_told_apart() {
    let wait = |session: &TlsSession, socket: &TcpStream| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match session.look(socket) {
                Arrived::Nothing if Instant::now() < end => {
                    wait_for(socket, PollFlags::IN, Some(Duration::from_secs(1))).unwrap();
                }
                arrived => return arrived,
            }
        }
    };
    let (session, socket, mut client) = pair();
    assert_eq!(session.look(&socket), Arrived::Nothing);
    client.write_all(b"GET").unwrap();
    assert_eq!(wait(&session, &socket), Arrived::Bytes);
    assert!(session.has_waiting());
    let mut got = [0; 8];
    assert_eq!(session.receive_some(&socket, &mut got).unwrap(), Some(3));
    assert_eq!(session.receive_some(&socket, &mut got).unwrap(), None);
    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).unwrap();
    assert_eq!(wait(&session, &socket), Arrived::End);
    assert_eq!(session.receive_some(&socket, &mut got).unwrap(), Some(0));

    let (session, socket, mut client) = pair();
    let record = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
    client.sock.write_all(&record).unwrap();
    assert_eq!(wait(&session, &socket), Arrived::End);
    let refused = session.send_some(&socket, &[IoSlice::new(b"x")]);
    assert_eq!(refused, Err(Errno::PIPE));
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[test]
fn bytes_that_the_caller_has_read_are_decrypted_whatever_records_they_are() {
    let wait_all = |socket: &TcpStream, buffer: &mut [u8]| {
        wait_for(socket, PollFlags::IN, Some(Duration::from_secs(20))).unwrap();
        NonBlocking(socket).read(buffer).unwrap()
    };
    let (session, socket, mut client) = pair();
    let mut buffer = [0; 4096];
    client.write_all(b"GET").unwrap();
    let got = wait_all(&socket, &mut buffer);
    let taken = session.receive_read(&socket, &mut buffer, got).unwrap();
    assert_eq!((taken, &buffer[..3]), (Some(3), &b"GET"[..]));
    // Half a record, and then its rest.
    client.write_all(b" /").unwrap();
    let got = wait_all(&socket, &mut buffer);
    let mut half = buffer;
    assert_eq!(
        session.receive_read(&socket, &mut half, got / 2).unwrap(),
        None
    );
    buffer.copy_within(got / 2..got, 0);
    let taken = session
        .receive_read(&socket, &mut buffer, got - got / 2)
        .unwrap();
    assert_eq!((taken, &buffer[..2]), (Some(2), &b" /"[..]));
    // More than the caller has room for waits.
    client.write_all(b"live/a").unwrap();
    let got = wait_all(&socket, &mut buffer);
    let mut small = [0; 64];
    small[..got].copy_from_slice(&buffer[..got]);
    assert_eq!(
        session
            .receive_read(&socket, &mut small[..got], got)
            .unwrap(),
        Some(6)
    );
    // What TLS needs for itself is no byte of a request.
    client.conn.refresh_traffic_keys().unwrap();
    client.conn.complete_io(&mut client.sock).unwrap();
    let got = wait_all(&socket, &mut buffer);
    assert_eq!(
        session.receive_read(&socket, &mut buffer, got).unwrap(),
        None
    );
    // Bytes with a goodbye behind them, and the goodbye.
    client.write_all(b"x").unwrap();
    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).unwrap();
    let got = wait_all(&socket, &mut buffer);
    assert_eq!(
        session.receive_read(&socket, &mut buffer, got).unwrap(),
        Some(1)
    );
    while session.look(&socket) != Arrived::End {}
    assert_eq!(session.receive_some(&socket, &mut buffer).unwrap(), Some(0));
    // Garbage, and the end of the connection.
    let (session, socket, mut client) = pair();
    client.sock.write_all(&[23, 3, 3, 0, 64]).unwrap();
    client.sock.write_all(&[7; 64]).unwrap();
    let got = wait_all(&socket, &mut buffer);
    let garbage = match session.receive_read(&socket, &mut buffer, got) {
        Ok(None) => {
            let got = wait_all(&socket, &mut buffer);
            session.receive_read(&socket, &mut buffer, got)
        }
        early => early,
    };
    assert_eq!(garbage.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let (session, socket, _client) = pair();
    assert_eq!(
        session.receive_read(&socket, &mut buffer, 0).unwrap(),
        Some(0)
    );
}
