//! Connections on which nothing is asked, or no answer is taken: they cost little, go in time, and keep nobody waiting.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes, Piece};
use crate::common::fetch;
use crate::common::hls::live_id;
use crate::common::hostile::{
    Footprint, connect, connect_small, raise_descriptors, read_to_end, statuses, talk,
};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

#[test]
fn three_thousand_idle_connections_delay_nobody_and_go_in_time() {
    let _alone = crate::common::alone();
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
    before.wait_back(&proxy);
    for mut client in crowd {
        assert_eq!(client.expect_closed(SOON), NoBytes::Eof);
    }
}

#[test]
fn a_connection_in_use_is_not_cut() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
    let route = origin.live_flv("/live/a.flv");
    let idle = Duration::from_secs(2);
    let proxy = Proxy::before(&origin, &[("PROXY_IDLE_TIMEOUT", "2s")]);
    let mut viewer = Client::connect(proxy.http);
    viewer.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    assert_eq!(viewer.read_head(SOON).status, 200);
    let mut player = Client::connect(proxy.http);
    let began = Instant::now();
    let mut rounds = 0;
    // An HLS player asks, waits for less than the timeout, asks again; for several times the timeout.
    while began.elapsed() < idle * 4 {
        let playlist = player.get("/live/a.m3u8", &[]);
        assert_eq!(playlist.status(), 200, "round {rounds}");
        let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
        assert_eq!(player.get(&target, &[]).text(), "segment", "round {rounds}");
        live.send(b"frame");
        rounds += 1;
        std::thread::sleep(idle / 2);
    }
    viewer.expect_bytes(&b"frame".repeat(rounds + 1), SOON);
    // The stream has fallen silent for longer than the idle timeout: that is the stall timeout's business.
    assert_eq!(viewer.read_piece(idle * 2), Piece::TimedOut);
    live.finish();
    assert_eq!(viewer.read_rest(SOON).1, BodyEnd::Complete);
    assert_eq!(player.expect_closed(SOON), NoBytes::Eof);
}

#[test]
fn at_the_bound_strangers_go_before_a_player_between_its_requests() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    let proxy = few_connections();
    proxy.register(&origin);
    let mut players: Vec<Client> = (0..4).map(|_| Client::connect(proxy.http)).collect();
    for round in 0..5 {
        for player in &mut players {
            assert_eq!(
                player.get("/live/a.m3u8", &[]).status(),
                200,
                "round {round}"
            );
        }
        // More than there are places for; the proxy makes room for each.
        let strangers: Vec<_> = (0..30).map(|_| connect(proxy.http)).collect();
        let mut last = Client::connect(proxy.http);
        assert_eq!(
            last.get("/api/v1/versions", &[]).status(),
            200,
            "round {round}"
        );
        drop(strangers);
    }
}

#[test]
fn a_full_house_turns_nobody_out_for_nobody() {
    let _alone = crate::common::alone();
    let proxy = few_connections();
    let line = proxy.wait_for_log(|line| line.contains(" connections and "), SOON);
    let bound = line
        .split("up to ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    let bound: usize = bound.expect("the bound in the log");
    let mut house: Vec<Client> = (0..bound).map(|_| Client::connect(proxy.http)).collect();
    for client in &mut house {
        assert_eq!(client.get("/api/v1/versions", &[]).status(), 200);
    }
    std::thread::sleep(Duration::from_secs(1)); // in which nobody knocks
    for client in &mut house {
        assert!(
            !client.has_news(),
            "an idle connection was closed although nobody waited"
        );
        assert_eq!(client.get("/api/v1/versions", &[]).status(), 200);
    }
}

fn few_connections() -> Proxy {
    let builder = Proxy::builder();
    let binary = env!("CARGO_BIN_EXE_srs-stream-proxy");
    builder
        .env("PROXY_LOG_LEVEL", "debug")
        .program("prlimit")
        .arg("--nofile=80:80")
        .arg(binary)
        .start()
}

#[test]
fn http_2_with_prior_knowledge_is_refused_at_once_and_leaves_nothing() {
    let _alone = crate::common::alone();
    let proxy = Proxy::start(&[]);
    let before = Footprint::at_rest(&proxy);
    // A client's preface and its SETTINGS frame (RFC 9113 section 3.4).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x02\x00\x00\x00\x00\x02\x00\x00\x00\x00";
    for server in [proxy.http, proxy.api] {
        for _ in 0..150 {
            let began = Instant::now();
            assert_eq!(statuses(&talk(server, preface)), [505]);
            assert!(began.elapsed() < SOON, "at once");
        }
    }
    // TLS, too, is another language.
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n";
    assert_eq!(statuses(&talk(proxy.http, hello)), [400]);
    before.wait_back(&proxy);
    proxy.assert_no_panic();
}

#[test]
fn pipelines_that_are_not_read_delay_nobody_and_do_not_grow() {
    let _alone = crate::common::alone();
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
    before.wait_back(&proxy);
    drop(pipelines);
    proxy.assert_no_panic();
}

#[test]
fn a_client_that_sends_during_its_stream_keeps_no_thread_busy() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
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

#[test]
fn who_is_cut_off_never_takes_the_end_for_the_end_of_the_body() {
    let _alone = crate::common::alone();
    // HTTP/1.0: the body ends with the connection, so an end that is none must be a reset.
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_GRACE_QUIT_TIMEOUT", "500ms")]);
    let play = || {
        let mut viewer = Client::connect(proxy.http);
        viewer.request10("GET", "/live/a.flv", &[]);
        let mut live = route.next();
        live.send(b"frame");
        assert_eq!(viewer.read_head(SOON).status, 200);
        viewer.expect_bytes(b"frame", SOON);
        (viewer, live)
    };
    // It has shut its own half, which the proxy takes for leaving.
    let (mut viewer, live) = play();
    viewer.half_close();
    live.wait_closed(crate::common::ABOUT_A_SECOND);
    assert_eq!(viewer.read_rest(SOON).1, BodyEnd::Reset);
    // The grace is over.
    let (mut viewer, _live) = play();
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(viewer.read_rest(SOON).1, BodyEnd::Reset);
}
