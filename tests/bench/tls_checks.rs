//! Whether players read by TLS what was sent, from the server whose certificate they were given and no other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificate::{self, Certificate};
use crate::flv::Frame;
use crate::transport::Transport;
use crate::viewer::{End, Viewer, Watching};
use crate::{WINDOW, body, frame};

/// A certificate, and the directory of its files.
fn new_certificate() -> (Certificate, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let certificate = certificate::make(directory.path()).expect("a certificate");
    (certificate, directory)
}

/// Answers one viewer by TLS with so many frames, in pieces that are no records of the reader's, and leaves.
fn serve_by_tls(frames: u64) -> (SocketAddr, Certificate) {
    let (certificate, _directory) = new_certificate();
    let chain = CertificateDer::from_pem_file(&certificate.chain).expect("a chain");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![chain], key)
        })
        .expect("settings");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || -> std::io::Result<()> {
        let (socket, _) = listener.accept()?;
        let tls = ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut stream = StreamOwned::new(tls, socket);
        // A client that does not accept the certificate never asks.
        if stream.read(&mut [0; 2048])? > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            let frames: Vec<Frame> = (0..frames).map(frame).collect();
            for piece in body(&frames).chunks(7777) {
                stream.write_all(piece)?;
            }
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        Ok(())
    });
    (address, certificate)
}

/// Watches by TLS to the end. Returns what was seen, and why the response is over.
fn watch_by_tls(address: SocketAddr, accepted: &Certificate) -> (Watching, End) {
    let players = accepted.players().expect("settings");
    let transport = Transport::connect(address, Some(&players)).expect("a connection");
    let mut viewer = Viewer::new(transport, Watching::new());
    let wait = |viewer: &Viewer, flags| {
        let deadline = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let mut waited = [PollFd::new(&viewer.transport, flags)];
        let ready = poll(&mut waited, Some(&deadline)).expect("to poll");
        assert_eq!(ready, 1, "nothing came in 10 s");
    };
    wait(&viewer, PollFlags::OUT);
    viewer.ask(address, "/live/one.flv").expect("to ask");
    let mut buffer = vec![0; 50_000];
    loop {
        wait(&viewer, PollFlags::IN);
        if let Err(end) = viewer.read(&mut buffer, &WINDOW, |_| ()) {
            return (viewer.into_watching(), end);
        }
    }
}

#[test]
fn a_stream_is_read_by_tls() {
    let (address, certificate) = serve_by_tls(60);
    let (mut watching, end) = watch_by_tls(address, &certificate);
    assert!(matches!(end, End::Gone(_)), "{end:?}");
    assert_eq!((watching.seen.missing, watching.seen.repeated), (0, 0));
    // All came: the next one is the first that is missing.
    watching.note(&frame(61), &WINDOW);
    assert_eq!(watching.seen.missing, 1);
}

#[test]
fn a_certificate_of_somebody_else_is_found() {
    let (address, _) = serve_by_tls(1);
    let (watching, end) = watch_by_tls(address, &new_certificate().0);
    let End::Gone(words) = end else {
        panic!("{end:?}");
    };
    assert!(words.contains("certificate"), "{words}");
    assert!(watching.seen.first_frame_us.is_none());
}
