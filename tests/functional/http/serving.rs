//! Connections, workers and their bounds.

use crate::common::answer::{Framing, Reply};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::{get, get10};
use crate::common::hls::live_id;
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{SOON, wait::wait_until};
use std::time::{Duration, Instant};

fn small_origin() -> Origin {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
    origin
}

/// Starts a live stream and waits for its first byte.
fn play(proxy: &Proxy, route: &LiveRoute, path: &str) -> (Client, Live) {
    let mut client = Client::connect(proxy.http);
    client.request("GET", path, &[]);
    let mut live = route.next();
    live.send(b"first");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"first", SOON);
    (client, live)
}

#[test]
fn six_connections_of_a_browser_are_all_served() {
    // Fresh starts: a pool that counts wrongly does so when its threads are new.
    for _ in 0..5 {
        let origin = small_origin();
        let proxy = Proxy::before(&origin, &[]);
        let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(proxy.http)).collect();
        for round in 0..3 {
            clients
                .iter_mut()
                .for_each(|client| client.request("GET", "/live/a.m3u8", &[]));
            for (n, client) in clients.iter_mut().enumerate() {
                assert_eq!(
                    client.read_response(SOON).status(),
                    200,
                    "connection {n}, round {round}"
                );
            }
        }
    }
}

#[test]
fn four_hundred_connections_at_once_are_all_served() {
    let origin = small_origin();
    let proxy = Proxy::before(&origin, &[]);
    let mut clients: Vec<Client> = (0..400).map(|_| Client::connect(proxy.http)).collect();
    for target in ["/", "/live/a.m3u8"] {
        clients
            .iter_mut()
            .for_each(|client| client.request("GET", target, &[]));
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.read_response(SOON * 3).status(),
                200,
                "{target} on connection {n}"
            );
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn four_hundred_live_streams_leave_room_for_playlists() {
    let origin = small_origin();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_LIVE_SHARE", "off")]);
    let (threads, fds) = (proxy.threads(), proxy.fds());
    let mut players: Vec<Client> = (0..400).map(|_| Client::connect(proxy.http)).collect();
    players
        .iter_mut()
        .for_each(|client| client.request("GET", "/live/a.flv", &[]));
    let mut streams: Vec<Live> = (0..400).map(|_| route.next()).collect();
    let mut frame = |frame: &[u8], begin: bool| {
        streams.iter_mut().for_each(|live| live.send(frame));
        for client in &mut players {
            if begin {
                assert_eq!(client.read_head(SOON * 3).status, 200);
            }
            client.expect_bytes(frame, SOON * 3);
        }
    };
    frame(b"the first frame", true);
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
        assert_eq!(
            get(proxy.http, &format!("/live/a-1.ts?spbhid={}", live_id("a"))).status(),
            200
        );
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    }
    frame(&[7; 5000], false);
    streams.into_iter().for_each(Live::finish);
    for client in &mut players {
        assert_eq!(client.read_rest(SOON), (vec![], BodyEnd::Complete));
    }
    drop(players);
    wait_until("descriptors are back", SOON, || proxy.fds() <= fds + 20);
    wait_until("idle workers ended", SOON * 6, || {
        proxy.threads() <= threads + 20
    });
    proxy.assert_no_panic();
}

#[test]
fn beyond_the_bound_a_stream_is_refused_at_once_and_the_rest_goes_on() {
    let origin = small_origin();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_MAX_STREAMS", "2")]);
    let (mut first, mut first_live) = play(&proxy, &route, "/live/a.flv");
    let (second, _second_live) = play(&proxy, &route, "/live/a.flv");
    let refused = get(proxy.http, "/live/a.flv");
    assert_eq!(refused.status(), 503);
    let after = refused.headers().one("retry-after");
    assert!(
        after.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        "{after}"
    );
    assert_eq!(refused.text().trim_end().lines().count(), 1);
    assert!(route.try_next().is_none(), "the origin was not asked");
    for _ in 0..10 {
        assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
        assert_eq!(
            get(proxy.http, &format!("/live/a-1.ts?spbhid={}", live_id("a"))).status(),
            200
        );
        assert_eq!(get(proxy.http, "/").status(), 200);
    }
    first_live.send(b"still there");
    first.expect_bytes(b"still there", SOON);
    drop(second);
    // A player has left: there is room for one again.
    wait_until("another stream is served", SOON, || {
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv", &[]);
        // Refused, it has its head at once; taken, the origin is asked.
        let mut live = None;
        wait_until("it is refused or taken", SOON, || {
            live = route.try_next();
            live.is_some() || client.has_news()
        });
        let Some(mut live) = live else {
            return client.read_response(SOON).status() != 503;
        };
        live.send(b"room");
        client.read_head(SOON).status == 200
    });
}

#[test]
fn held_streams_count_and_starve_nobody() {
    let origin = small_origin();
    let route = origin.live_flv("/live/silent.flv");
    let settings = [("PROXY_MAX_STREAMS", "30"), ("PROXY_LIVE_SHARE", "off")];
    let proxy = Proxy::before(&origin, &settings);
    let mut waiting: Vec<Client> = (0..30).map(|_| Client::connect(proxy.http)).collect();
    waiting
        .iter_mut()
        .for_each(|client| client.request("GET", "/live/silent.flv", &[]));
    let held: Vec<Live> = (0..30).map(|_| route.next()).collect();
    assert_eq!(get(proxy.http, "/live/silent.flv").status(), 503);
    for _ in 0..10 {
        assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    }
    drop(waiting);
    held.iter().for_each(|live| {
        live.wait_closed(SOON);
    });
}

#[test]
fn a_connection_is_used_again() {
    let origin = small_origin();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv").chunked());
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for (method, target, status) in [
        ("GET", "/", 200),
        ("GET", "/live/a.m3u8", 200),
        ("GET", &segment, 200),
        ("HEAD", &segment, 200),
        ("GET", "/live/a.flv", 200),
        ("HEAD", "/live/a.flv", 200),
        ("GET", "/nothing", 404),
        ("GET", "/live/nothing.flv", 404),
        ("OPTIONS", "/", 200),
        ("DELETE", "/", 405),
        ("GET", "/api/v1/versions", 200),
        ("GET", "/", 200),
    ] {
        client.request(method, target, &[]);
        let response = client.read_response(SOON);
        assert_eq!(
            (response.status(), response.end),
            (status, BodyEnd::Complete),
            "{method} {target}"
        );
        assert!(
            !response.headers().lists("connection", "close"),
            "{method} {target}"
        );
    }
    client.request("GET", "/", &[("Connection", "close")]);
    assert_eq!(client.read_response(SOON).status(), 200);
    client.expect_closed(SOON);
}

#[test]
fn http_1_0_is_closed_unless_it_asks_to_be_kept() {
    let origin = small_origin();
    let proxy = Proxy::before(&origin, &[]);
    assert_eq!(get10(proxy.http, "/live/a.m3u8", &[]).status(), 200);
    let mut client = Client::connect(proxy.http);
    client.request10("GET", "/live/a.m3u8", &[("Connection", "keep-alive")]);
    let response = client.read_response(SOON);
    assert_eq!(response.status(), 200);
    if response.headers().lists("connection", "keep-alive") {
        client.request10("GET", "/live/a.m3u8", &[]);
        assert_eq!(client.read_response(SOON).status(), 200);
    }
    client.expect_closed(SOON);
}

#[test]
fn one_request_at_a_time_on_a_connection() {
    let origin = small_origin();
    let route = origin.live(
        "/live/slow.flv",
        LiveRoute::new(Framing::Chunked, "video/x-flv"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send(
        [get("/live/slow.flv"), get("/live/a.m3u8"), get("/nothing")]
            .concat()
            .as_bytes(),
    );
    let mut live = route.next();
    live.send(b"slow");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"slow", SOON);
    // Another connection is served meanwhile; what is pipelined on this one is not even asked for.
    assert_eq!(
        crate::common::fetch::get(proxy.http, "/live/a.m3u8").status(),
        200
    );
    assert_eq!(origin.requests_for("/live/a.m3u8").len(), 1);
    live.finish();
    assert_eq!(client.read_rest(SOON), (vec![], BodyEnd::Complete));
    assert!(client.read_response(SOON).text().starts_with("#EXTM3U"));
    assert_eq!(client.read_response(SOON).status(), 404);
    assert_eq!(origin.requests_for("/live/a.m3u8").len(), 2);
}

#[test]
fn a_head_may_come_in_pieces() {
    let origin = small_origin();
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    for byte in b"GET /live/a.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n" {
        client.send(&[*byte]);
    }
    assert_eq!(client.read_response(SOON).status(), 200);
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let origin = small_origin();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_IDLE_TIMEOUT", "1s")]);
    let (mut player, mut live) = play(&proxy, &route, "/live/a.flv");
    // A request that the origin lets wait for longer than the idle timeout.
    origin.on(
        "/live/slow.m3u8",
        Reply::playlist("#EXTM3U\n").after(Duration::from_millis(2500)),
    );
    let mut slow = Client::connect(proxy.http);
    slow.request("GET", "/live/slow.m3u8", &[]);

    let mut never = Client::connect(proxy.http);
    let mut once = Client::connect(proxy.http);
    assert_eq!(once.get("/live/a.m3u8", &[]).status(), 200);
    never.expect_closed(SOON);
    once.expect_closed(SOON);

    assert_eq!(slow.read_response(SOON).status(), 200);
    live.send(b"still there");
    player.expect_bytes(b"still there", SOON);
    live.finish();
    assert_eq!(player.read_rest(SOON), (vec![], BodyEnd::Complete));
    // Counted from its last response, not from its first byte.
    assert_eq!(player.get("/live/a.m3u8", &[]).status(), 200);
    player.expect_closed(SOON);
}
