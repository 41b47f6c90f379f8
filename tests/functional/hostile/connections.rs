//! Connections that are kept, crowded out, cut off, or speak another protocol.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes, Piece};
use crate::common::hls::live_id;
use crate::common::hostile::{Footprint, connect, statuses, talk};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::time::{Duration, Instant};

#[test]
fn a_connection_in_use_is_not_cut() {
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

#[test]
fn http_2_with_prior_knowledge_is_refused_at_once_and_leaves_nothing() {
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
fn who_is_cut_off_never_takes_the_end_for_the_end_of_the_body() {
    // HTTP/1.0: the body ends with the connection, so an end that is none must be a reset.
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    for builder in [Proxy::builder(), Proxy::builder().over_tls()] {
        let proxy = builder.env("PROXY_GRACE_QUIT_TIMEOUT", "500ms").start();
        proxy.register(&origin);
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
