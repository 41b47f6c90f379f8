//! Connections on which nothing is asked, or no answer is taken: they cost little, go in time, and keep nobody waiting.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::{Client, NoBytes};
use crate::common::fetch;
use crate::common::hls::live_id;
use crate::common::hostile::{
    Footprint, connect, connect_small, raise_descriptors, read_to_end, statuses,
};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::tls::{self, TestRoot};
use crate::common::wait::wait_until;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

#[test]
fn three_thousand_idle_connections_delay_nobody_and_go_in_time() {
    let alone = crate::common::alone();
    const CROWD: usize = 3000;
    assert!(
        raise_descriptors() > 2 * CROWD as u64,
        "this test needs {} descriptors",
        2 * CROWD
    );
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    let proxy = Proxy::before(&origin, &[("PROXY_IDLE_TIMEOUT", "15s")]);
    let before = Footprint::at_rest(&proxy);
    let began = Instant::now();
    // Half of them have been served once.
    let crowd: Vec<Client> = (0..CROWD)
        .map(|n| {
            let mut client = Client::connect(proxy.http);
            if n % 2 == 0 {
                assert_eq!(client.get("/api/v1/versions", &[]).status(), 200);
            }
            client
        })
        .collect();
    wait_until("all were let in", SOON, || {
        proxy.threads() >= before.threads + CROWD - 10
    });
    for _ in 0..50 {
        assert_eq!(fetch::get(proxy.http, "/live/a.flv").status(), 200);
        assert_eq!(fetch::get(proxy.api, "/api/v1/origins").status(), 200);
    }
    // All the while they were there, and have cost their threads' stacks.
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "too slow to tell: {:?}",
        began.elapsed()
    );
    assert!(proxy.threads() >= CROWD);
    before.assert_peak(&proxy, CROWD * 40);
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    for mut client in crowd {
        assert_eq!(client.expect_closed(SOON), NoBytes::Eof);
    }
}

#[test]
fn three_thousand_idle_connections_by_tls_cost_little_and_go_in_time() {
    let alone = crate::common::alone();
    const CROWD: usize = 3000;
    assert!(
        raise_descriptors() > 2 * CROWD as u64,
        "this test needs {} descriptors",
        2 * CROWD
    );
    let root = TestRoot::new();
    let proxy = Proxy::builder()
        .https(&root)
        .env("PROXY_IDLE_TIMEOUT", "25s")
        .start();
    let before = Footprint::at_rest(&proxy);
    let (server, config) = (proxy.https(), root.client());
    let began = Instant::now();
    let mut secure: Vec<_> = (0..CROWD / 2)
        .map(|_| tls::connect(server, &config))
        .collect();
    // Half of them never begin their handshake, which has ten seconds.
    let silent: Vec<_> = (0..CROWD / 2).map(|_| connect(server)).collect();
    wait_until("all were let in", SOON / 2, || proxy.threads() >= CROWD);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "too slow to tell: {:?}",
        began.elapsed()
    );
    assert_eq!(fetch::get(proxy.plain, "/api/v1/versions").status(), 200);
    before.assert_peak(&proxy, CROWD * 80);
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    for client in &mut secure {
        client.sock.set_read_timeout(Some(SOON)).expect("a timeout");
        assert_eq!(client.read(&mut [0; 1]).expect("a goodbye"), 0);
    }
    drop(silent);
}

#[test]
fn pipelines_that_are_not_read_delay_nobody_and_do_not_grow() {
    let alone = crate::common::alone();
    let origin = Origin::start();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", vec![7; 200_000]));
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "4s")]);
    let before = Footprint::at_rest(&proxy);
    let segment = format!(
        "GET /live/a-1.ts?spbhid={} HTTP/1.1\r\nHost: x\r\n\r\n",
        live_id("a")
    );
    let small = "GET /api/v1/versions HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    // Their receive buffers are small: else each takes thousands of answers before it is seen not to read.
    let mut pipelines: Vec<_> = (0..60)
        .map(|n| {
            let requests = if n % 6 == 0 { &small } else { &segment };
            (connect_small(proxy.http), requests.repeat(20))
        })
        .collect();
    for (stream, _) in &pipelines {
        stream.set_nonblocking(true).expect("not blocking");
    }
    // They send for as long as anything is taken, or for three seconds, and read nothing.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for (stream, requests) in &mut pipelines {
            let taken = stream.write_all(requests.as_bytes());
            let full = taken.is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
            assert!(full || Instant::now() < end + SOON);
        }
        assert_eq!(fetch::get(proxy.http, "/api/v1/versions").status(), 200);
    }
    before.assert_peak(&proxy, 30_000);
    // One that does read gets its answers, one after the other.
    let mut good = connect(proxy.http);
    let last = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    good.write_all((small.repeat(500) + last).as_bytes())
        .expect("sending");
    let answers = statuses(&read_to_end(&mut good, SOON * 3));
    assert_eq!((answers.len(), answers.last()), (501, Some(&404)));
    // The others are dropped although they stay.
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    drop(pipelines);
    proxy.assert_no_panic();
}

#[test]
fn a_client_that_sends_during_its_stream_keeps_no_thread_busy() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    for proxy in Proxy::both(&origin) {
        let mut viewers: Vec<_> = (0..20)
            .map(|_| {
                let mut viewer = Client::connect(proxy.http);
                viewer.request("GET", "/live/a.flv", &[]);
                let mut live = route.next();
                live.send(b"frame");
                assert_eq!(viewer.read_head(SOON).status, 200);
                viewer.send(b"GET /api/v1/versions HTTP/1.1\r\nHost: x\r\n\r\n and more");
                (viewer, live)
            })
            .collect();
        let before = proxy.cpu_ticks();
        std::thread::sleep(Duration::from_secs(2)); // the time over which its work is measured
        let ticks = proxy.cpu_ticks() - before;
        // A tick is 10 ms: 20 threads that spin would take all of 2 cores for 2 s, 400 ticks.
        assert!(ticks < 60, "{ticks} ticks in two seconds of silence");
        // Its leaving is seen all the same.
        for (viewer, live) in viewers.drain(..) {
            drop(viewer);
            live.wait_closed(crate::common::ABOUT_A_SECOND);
        }
    }
}
