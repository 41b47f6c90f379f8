//! Clients that misuse TLS.

use crate::common::SOON;
use crate::common::fetch::get;
use crate::common::hostile::{Footprint, connect as connect_plain, read_to_end, statuses, talk};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::tls::{TestRoot, connect};
use crate::common::tools::command;
use crate::common::wait::wait_until;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The first flight of a client: its hello.
fn hello(root: &TestRoot) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(root.client(), name).expect("a session");
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).expect("a hello");
    bytes
}

#[test]
fn handshakes_that_trickle_or_are_left_are_cut_and_cost_no_worker() {
    let root = TestRoot::new();
    let proxy = Proxy::builder()
        .https(&root)
        .env("PROXY_IDLE_TIMEOUT", "2s")
        .start();
    let server = proxy.https();
    let before = Footprint::at_rest(&proxy);
    let hello = hello(&root);
    let began = Instant::now();
    // Nothing, a part, all of it and then nothing; and a byte now and then.
    let mut clients: Vec<_> = (0..80)
        .map(|n| {
            let mut client = connect_plain(server);
            let most = [0, 1, 40, hello.len()][n % 4];
            client.write_all(&hello[..most]).expect("sending");
            client
        })
        .collect();
    let mut trickling = connect_plain(server);
    let mut sent = 0;
    while began.elapsed() < SOON * 2 && trickling.write_all(&hello[sent..=sent]).is_ok() {
        sent += 1;
        assert!(
            sent < hello.len() - 1,
            "it went on for {:?}",
            began.elapsed()
        );
        assert_eq!(get(proxy.plain, "/api/v1/versions").status(), 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    for client in &mut clients {
        read_to_end(client, SOON); // it ends
    }
    // Some leave in the middle of it, by a reset or not.
    for n in 0..80 {
        let mut client = connect_plain(server);
        client
            .write_all(&hello[..hello.len() - n % 2])
            .expect("sending");
        if n % 3 == 0 {
            let _ = client.shutdown(Shutdown::Write);
        }
        if n % 5 == 0 {
            let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
        }
    }
    before.wait_back(&proxy);
    proxy.assert_no_panic();
    assert_eq!(answer(&proxy, &root), [200]);
}

fn answer(proxy: &Proxy, root: &TestRoot) -> Vec<u16> {
    let mut client = connect(proxy.https(), &root.client());
    client
        .write_all(b"GET /api/v1/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("asking");
    let mut text = String::new();
    client.read_to_string(&mut text).expect("an answer");
    statuses(&text)
}

#[test]
fn garbage_and_huge_records_end_the_connection_and_nothing_else() {
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    let server = proxy.https();
    let before = Footprint::at_rest(&proxy);
    let huge = [&[23, 3, 3, 0xff, 0xff][..], &[0; 70_000]].concat();
    let hello = hello(&root);
    let mut garbled = hello.clone();
    for byte in &mut garbled[9..] {
        *byte ^= 0x55;
    }
    let handshake = |length: usize| {
        // One hello of 16 MB, announced.
        let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        bytes.resize(length, 7);
        bytes
    };
    for (what, bytes) in [
        ("nothing known", vec![0xff; 5000]),
        ("zeros", vec![0; 5000]),
        ("a huge record", huge.clone()),
        ("a garbled hello", garbled),
        (
            "SSL 2",
            b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10".repeat(100),
        ),
        ("a hello twice", [&hello[..], &hello].concat()),
        ("an endless hello", handshake(1_000_000)),
    ] {
        let began = Instant::now();
        talk(server, &bytes); // it ends
        assert!(began.elapsed() < SOON, "{what}: at once");
    }
    // After the handshake.
    for bytes in [
        huge,
        vec![0; 100_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [&[23, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat(),
        [&[22, 3, 3, 0, 4][..], &[1, 0, 0, 0]].concat(),
    ] {
        let mut client = connect(server, &root.client());
        let _ = client.sock.write_all(&bytes);
        read_to_end(&mut client.sock, SOON);
    }
    // Records without a byte in them are no request, and many of them no work for a worker.
    let mut client = connect(server, &root.client());
    for _ in 0..2000 {
        client.conn.refresh_traffic_keys().expect("new keys");
        if client.conn.complete_io(&mut client.sock).is_err() {
            break;
        }
    }
    drop(client);
    before.wait_back(&proxy);
    before.assert_peak(&proxy, 20_000);
    proxy.assert_no_panic();
    assert_eq!(answer(&proxy, &root), [200]);
}

#[test]
fn who_says_goodbye_to_its_stream_has_left() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    proxy.register(&origin);
    // By close_notify alone, the TCP connection stays; and by FIN alone.
    for by_tls in [true, false] {
        let mut viewer = connect(proxy.https(), &root.client());
        viewer
            .write_all(b"GET /live/a.flv HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("asking");
        let mut live = route.next();
        live.send(b"frame");
        viewer.read_exact(&mut [0; 1]).expect("a head");
        if by_tls {
            viewer.conn.send_close_notify();
            viewer.conn.complete_io(&mut viewer.sock).expect("goodbye");
        } else {
            viewer.sock.shutdown(Shutdown::Write).expect("a FIN");
        }
        live.wait_closed(crate::common::ABOUT_A_SECOND);
    }
    // A short answer still gets through to who has no more to ask.
    let mut client = connect(proxy.https(), &root.client());
    client
        .write_all(b"GET /api/v1/versions HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("asking");
    client.conn.send_close_notify();
    client.conn.complete_io(&mut client.sock).expect("goodbye");
    let mut text = String::new();
    let _ = client.read_to_string(&mut text);
    assert_eq!(statuses(&text), [200]);
}

#[test]
fn a_renegotiation_is_refused() {
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    let seconds = SOON.as_secs().to_string();
    let address = proxy.https().to_string();
    let mut openssl = command("timeout")
        .args([
            &seconds, "openssl", "s_client", "-tls1_2", "-connect", &address,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    // Its command for that is a line with an R; its input stays open.
    let mut input = openssl.stdin.take().expect("its input");
    input.write_all(b"R\n").expect("the command");
    let output = openssl.wait_with_output().expect("its end");
    drop(input);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    wait_until("its connection is gone", SOON, || {
        get(proxy.api, "/metrics")
            .text()
            .contains("srs_proxy_connections 0\n")
    });
}
