//! Shared segments: one request to the origin, whatever the audience.

use crate::common::answer::{Answer, Framing, Reply};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, get10};
use crate::common::hls::live_id;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{ABOUT_A_SECOND, SOON};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATH: &str = "/live/a-1.ts";

/// The segment as a player asks for it.
fn target() -> String {
    format!("{PATH}?spbhid={}", live_id("a"))
}

fn segment(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 188) as u8).collect()
}

fn ts(body: impl AsRef<[u8]>) -> Reply {
    Reply::ok("video/MP2T", body)
}

/// A segment whose bytes the test sends.
fn route(origin: &Origin, length: usize) -> LiveRoute {
    let framing = Framing::Length(length as u64);
    origin.live(PATH, LiveRoute::new(framing, "video/MP2T"))
}

/// What operators see of it.
fn counters(proxy: &Proxy) -> Value {
    get(proxy.api, "/api/v1/streams").json()["data"]["totals"]["hls_cache"].clone()
}

/// Asks for the segment and does not read yet.
fn ask(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.http);
    client.request("GET", &target(), &[]);
    client
}

/// A proxy whose log tells who waits.
fn talking_proxy(origin: &Origin) -> Proxy {
    Proxy::before(origin, &[("PROXY_LOG_LEVEL", "debug")])
}

/// How many log lines have these words.
fn said(proxy: &Proxy, words: &str) -> usize {
    let lines = proxy.log_lines();
    lines.iter().filter(|line| line.contains(words)).count()
}

/// Asks with so many clients: the first has its request at the origin, the others share its fetch then.
fn ask_and_wait(proxy: &Proxy, origin: &Origin, many: usize) -> Vec<Client> {
    let words = "waits for a shared fetch";
    let (before, asked) = (said(proxy, words), origin.requests().len());
    let mut clients = vec![ask(proxy)];
    wait_until("the first has asked", SOON, || {
        origin.requests().len() > asked
    });
    clients.extend((1..many).map(|_| ask(proxy)));
    wait_until("all but the first share its fetch", SOON, || {
        said(proxy, words) == before + many - 1
    });
    clients
}

#[test]
fn following_requests_are_served_from_memory() {
    let origin = Origin::start();
    let body = segment(300_000);
    origin.on(PATH, ts(&body).header("X-Own", "1"));
    let proxy = Proxy::before(&origin, &[]);
    let first = get(proxy.http, &target());
    assert_eq!((first.status(), first.body == body), (200, true));
    assert!(!first.headers().has("age"), "it came from the origin");
    let mut kept = Client::connect(proxy.http);
    for session in ["", "&hls_ctx=x", "&hls_ctx=y"] {
        let next = kept.get(&format!("{}{session}", target()), &[]);
        assert_eq!((next.status(), next.body == body), (200, true));
        assert_eq!(next.headers().one("content-length"), "300000");
        assert_eq!(next.headers().one("content-type"), "video/MP2T");
        assert_eq!(next.headers().one("x-own"), "1");
        assert!(next.headers().one("age").parse::<u64>().is_ok());
    }
    let old = get10(proxy.http, &target(), &[("Host", "127.0.0.1")]);
    assert_eq!((old.status(), old.body == body), (200, true));
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(
        counters(&proxy),
        json!({"hits": 4, "shares": 0, "fetches": 1, "saved": 4, "bytes": 300_000})
    );
    let line = |line: &str| line.contains("origin memory") && line.contains(" 300000 bytes");
    proxy.wait_for_log(line, SOON);
    let streams = get(proxy.api, "/api/v1/streams").json();
    assert_eq!(streams["data"]["totals"]["bytes"], 5 * 300_000);
}

#[test]
fn each_gets_bytes_as_they_come_from_the_start() {
    let origin = Origin::start();
    let body = segment(400_000);
    let route = route(&origin, body.len());
    let proxy = Proxy::before(&origin, &[]);
    let mut first = ask(&proxy);
    let mut live = route.next();
    assert_eq!(first.read_head(SOON).status, 200);
    live.send(&body[..1000]);
    first.expect_bytes(&body[..1000], SOON);
    live.send(&body[1000..150_000]);
    let mut second = ask(&proxy);
    let head = second.read_head(SOON);
    assert_eq!((head.status, head.headers.one("age")), (200, "0"));
    second.expect_bytes(&body[..150_000], SOON);
    // One byte after the other: each leaves when it comes.
    for at in 150_000..150_020 {
        live.send(&body[at..=at]);
        second.expect_bytes(&body[at..=at], SOON);
    }
    live.send(&body[150_020..]);
    live.finish();
    let mut late = ask(&proxy);
    assert_eq!(late.read_head(SOON).status, 200);
    late.expect_bytes(&body, SOON);
    second.expect_bytes(&body[150_020..], SOON);
    first.expect_bytes(&body[1000..], SOON);
    // All three connections serve on.
    for client in [&mut first, &mut second, &mut late] {
        assert!(client.get(&target(), &[]).body == body);
    }
    assert_eq!(origin.requests().len(), 1);
    proxy.wait_for_log(|line| line.ends_with(" - shared"), SOON);
}

#[test]
fn a_crowd_that_comes_at_once_is_one_request() {
    let origin = Origin::start();
    let body = segment(200_000);
    let route = route(&origin, body.len()).head_with_first_byte();
    origin.on(PATH, &route);
    let proxy = talking_proxy(&origin);
    let clients = ask_and_wait(&proxy, &origin, 40);
    let mut live = route.next();
    live.send(&body);
    live.finish();
    for mut client in clients {
        assert!(client.read_response(SOON).body == body);
    }
    assert_eq!(origin.requests().len(), 1);
    let counters = counters(&proxy);
    assert_eq!(
        (&counters["fetches"], &counters["saved"]),
        (&json!(1), &json!(39))
    );
}

#[test]
fn a_fetch_goes_on_without_its_first_client() {
    let origin = Origin::start();
    let body = segment(100_000);
    let route = route(&origin, body.len()).head_with_first_byte();
    origin.on(PATH, &route);
    let proxy = talking_proxy(&origin);
    // Before the head.
    let mut others = ask_and_wait(&proxy, &origin, 3);
    let mut live = route.next();
    drop(others.remove(0));
    let goes_on = |line: &str| line.contains("goes on for 2 who wait");
    proxy.wait_for_log(goes_on, SOON);
    live.send(&body[..50_000]);
    for other in &mut others {
        assert_eq!(other.read_head(SOON).status, 200);
        other.expect_bytes(&body[..50_000], SOON);
    }
    // In the middle of the body.
    drop(others.remove(0));
    live.send(&body[50_000..]);
    live.finish();
    others[0].expect_bytes(&body[50_000..], SOON);
    assert!(get(proxy.http, &target()).body == body);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_fetch_ends_with_its_last_client() {
    let origin = Origin::start();
    let route = route(&origin, 100_000);
    let late_head = route.clone().head_with_first_byte();
    let proxy = talking_proxy(&origin);
    // While the head is waited for.
    origin.on(PATH, &late_head);
    let clients = ask_and_wait(&proxy, &origin, 3);
    let live = late_head.next();
    drop(clients);
    live.wait_closed(ABOUT_A_SECOND);
    // In the middle of the body.
    origin.on(PATH, &route);
    let mut clients: Vec<Client> = (0..3).map(|_| ask(&proxy)).collect();
    let mut live = route.next();
    live.send(&segment(50_000));
    for client in &mut clients {
        client.read_head(SOON);
        client.expect_bytes(&segment(50_000), SOON);
    }
    drop(clients.pop());
    drop(clients.pop());
    assert!(!live.is_closed());
    drop(clients);
    live.wait_closed(ABOUT_A_SECOND);
    // Nothing of it is left.
    origin.on(PATH, ts("whole"));
    assert_eq!(get(proxy.http, &target()).text(), "whole");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn what_breaks_off_is_cut_for_all_and_kept_for_nobody() {
    let origin = Origin::start();
    let route = route(&origin, 100_000);
    let proxy = Proxy::before(&origin, &[]);
    for reset in [false, true] {
        origin.on(PATH, &route);
        let mut first = ask(&proxy);
        let mut live = route.next();
        live.send(&segment(70_000));
        let mut second = ask(&proxy);
        for client in [&mut first, &mut second] {
            client.read_head(SOON);
            client.expect_bytes(&segment(70_000), SOON);
        }
        if reset {
            live.reset()
        } else {
            live.close()
        }
        for client in [&mut first, &mut second] {
            let (rest, end) = client.read_rest(ABOUT_A_SECOND);
            assert!(rest.is_empty());
            assert_ne!(end, BodyEnd::Complete, "reset {reset}");
        }
        let asked = origin.requests().len();
        origin.on(PATH, ts("whole").header("Cache-Control", "max-age=0"));
        assert_eq!(get(proxy.http, &target()).text(), "whole");
        assert_eq!(origin.requests().len(), asked + 1);
    }
}

#[test]
fn other_parameters_and_hosts_are_never_shared_across() {
    let origin = Origin::start();
    origin.otherwise(|request| {
        let host = request.headers.one("host");
        ts(format!("{host} {}", request.target)).into()
    });
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    for round in 0..2 {
        for (host, query) in [
            ("127.0.0.1", "?token=x"),
            ("127.0.0.1", "?token=y"),
            ("127.0.0.1", "?token=x&user=1"),
            ("127.0.0.1", ""),
            ("ts.example.com", ""),
        ] {
            let joined = if query.is_empty() { "?" } else { "&" };
            let asked = format!("{PATH}{query}{joined}spbhid={id}");
            let response = get_with(proxy.http, &asked, &[("Host", host)]);
            assert_eq!(response.text(), format!("{host} {PATH}{query}"));
            assert_eq!(response.headers().has("age"), round == 1, "{asked}");
        }
    }
    let other = format!("{PATH}?spbhid={}", live_id("b"));
    assert!(!get(proxy.http, &other).headers().has("age"));
    assert_eq!(origin.requests().len(), 6);
}

/// Answers that are one player's alone.
fn private() -> Vec<Reply> {
    let body = segment(1000);
    let with = |name: &str, value: &str| ts(&body).header(name, value);
    vec![
        with("Cache-Control", "no-store"),
        with("Cache-Control", "max-age=60, Private"),
        with("Cache-Control", "max-age=60, no-cache"),
        with("Set-Cookie", "a=b"),
        with("Vary", "*"),
        with("Vary", "Accept-Encoding, Origin"),
        with("Content-Encoding", "gzip"),
        ts(&body).chunked(),
        ts(&body).until_close(),
        Reply::new(206)
            .header("Content-Range", "bytes 0-999/1000")
            .body(&body),
        Reply::new(403).body("no"),
        Reply::new(500).body("no"),
        Reply::new(301).header("Location", "/x"),
        ts(vec![0; (16 << 20) + 1]),
    ]
}

#[test]
fn what_is_one_players_alone_is_not_shared() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for (n, reply) in private().into_iter().enumerate() {
        let path = format!("/live/private-{n}.ts");
        let shown = format!("{:.200}", format!("{reply:?}"));
        // The crowd waits for the first one's head, and then goes on its own.
        origin.on(&path, reply.after(Duration::from_millis(200)));
        let asked = format!("{path}?spbhid={}", live_id("a"));
        let mut crowd: Vec<Client> = (0..3).map(|_| Client::connect(proxy.http)).collect();
        crowd
            .iter_mut()
            .for_each(|client| client.request("GET", &asked, &[]));
        for client in &mut crowd {
            let response = client.read_response(SOON);
            assert_eq!(response.end, BodyEnd::Complete, "{shown}");
            assert!(!response.headers().has("age"), "{shown}");
        }
        get(proxy.http, &asked);
        assert_eq!(origin.requests_for(&path).len(), 4, "{shown}");
    }
    let counters = counters(&proxy);
    assert_eq!(
        (&counters["saved"], &counters["bytes"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn what_may_be_shared_is() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let with = |name: &str, value: &str| ts("x").header(name, value);
    for (n, reply) in [
        with("Vary", "Accept-Encoding"),
        with("Cache-Control", "public, max-age=60"),
        with("Cache-Control", "max-age=0, s-maxage=60"),
        with("Access-Control-Allow-Origin", "http://a"),
        ts(""),
        ts(vec![7; 16 << 20]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/live/public-{n}.ts");
        origin.on(&path, reply);
        let asked = format!("{path}?spbhid={}", live_id("a"));
        let one = get_with(proxy.http, &asked, &[("Accept-Encoding", "gzip, br")]);
        let two = get(proxy.http, &asked);
        assert!(one.body == two.body && two.headers().has("age"), "{n}");
        let requests = origin.requests_for(&path);
        assert_eq!(requests.len(), 1, "{n}");
        assert!(!requests[0].headers.has("accept-encoding"));
    }
}

#[test]
fn personal_and_partial_requests_pass_by() {
    let origin = Origin::start();
    origin.on(PATH, ts("whole"));
    let proxy = Proxy::before(&origin, &[]);
    let personal = [
        ("If-None-Match", "\"x\""),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-Range", "\"x\""),
        ("Authorization", "Basic x"),
        ("Cookie", "a=b"),
        ("Cache-Control", "no-store"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
    ];
    // Neither do they leave anything behind, nor do they get what is there.
    for round in 0..2 {
        for header in personal {
            let asked = origin.requests().len();
            let response = get_with(proxy.http, &target(), &[header]);
            assert!(!response.headers().has("age"), "{header:?}");
            assert_eq!(origin.requests().len(), asked + 1, "{header:?}");
            assert_eq!(origin.last_request().headers.one(header.0), header.1);
        }
        if round == 0 {
            // A part, and a head, leave nothing behind.
            let range = ("Range", "bytes=1-");
            assert_eq!(get_with(proxy.http, &target(), &[range]).status(), 200);
            assert_eq!(origin.last_request().headers.one(range.0), range.1);
            assert_eq!(fetch(proxy.http, "HEAD", &target(), &[]).status(), 200);
            assert_eq!(origin.last_request().method, "HEAD");
        }
        let plain = get(proxy.http, &target());
        assert_eq!(plain.headers().has("age"), round == 1);
    }
}

#[test]
fn it_is_kept_as_long_as_the_origin_says_and_freed_then() {
    let origin = Origin::start();
    origin.on(PATH, ts("x").header("Cache-Control", "max-age=1"));
    let proxy = Proxy::before(&origin, &[]);
    get(proxy.http, &target());
    assert_eq!(counters(&proxy)["bytes"], 1);
    wait_until("it was freed though nobody asked", SOON, || {
        counters(&proxy)["bytes"] == 0
    });
    get(proxy.http, &target());
    assert_eq!(origin.requests().len(), 2);
    // To be asked for anew: those who wait share it, nobody after them.
    origin.on(
        PATH,
        ts("x")
            .header("Cache-Control", "max-age=0")
            .after(Duration::from_millis(300)),
    );
    wait_until("it was freed", SOON, || counters(&proxy)["bytes"] == 0);
    let asked = origin.requests().len();
    let mut first = ask(&proxy);
    wait_until("it is on its way", SOON, || origin.requests().len() > asked);
    let mut second = ask(&proxy);
    for client in [&mut first, &mut second] {
        assert_eq!(client.read_response(SOON).text(), "x");
    }
    get(proxy.http, &target());
    assert_eq!(origin.requests().len(), asked + 2);
}

#[test]
fn a_404_is_shared_for_a_moment_and_nothing_else_that_failed() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    origin.on(PATH, Reply::new(404).body("not here").header("X-Own", "1"));
    let begun = Instant::now();
    for n in 0..3 {
        let response = get(proxy.http, &target());
        assert_eq!(
            (response.status(), response.text().as_str()),
            (404, "not here")
        );
        assert_eq!(response.headers().one("x-own"), "1");
        if begun.elapsed() < Duration::from_millis(200) {
            assert_eq!((n, origin.requests().len()), (n, 1));
        }
    }
    origin.on(PATH, ts("here"));
    wait_until("it was asked for again", SOON, || {
        get(proxy.http, &target()).status() == 200
    });
    assert!(begun.elapsed() >= Duration::from_millis(250));
    for (n, status) in [403, 500, 503].into_iter().enumerate() {
        let path = format!("/live/no-{n}.ts");
        origin.on(&path, Reply::new(status));
        for _ in 0..2 {
            let asked = format!("{path}?spbhid={}", live_id("a"));
            assert_eq!(get(proxy.http, &asked).status(), status);
        }
        assert_eq!(origin.requests_for(&path).len(), 2, "{status}");
    }
}

/// A heartbeat of an origin, as the process `pid`.
fn register_as(proxy: &Proxy, origin: &Origin, pid: &str) {
    let heartbeat = json!({
        "device_id": "o", "ip": origin.addr().ip().to_string(), "pid": pid,
        "server": format!("vid-{}", origin.id()), "service": format!("service-{pid}"),
        "rtmp": ["1935"], "http": [origin.port().to_string()],
    });
    let response = proxy.register_raw(heartbeat.to_string().as_bytes());
    assert_eq!(response.json()["code"], 0);
}

#[test]
fn a_restarted_origins_old_segments_are_forgotten() {
    for playlist_first in [true, false] {
        let origin = Origin::start();
        origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
        origin.on(PATH, ts("old"));
        let proxy = Proxy::start(&[]);
        register_as(&proxy, &origin, "1");
        if playlist_first {
            get(proxy.http, "/live/a.m3u8");
        }
        get(proxy.http, &target());
        origin.on(PATH, ts("new"));
        register_as(&proxy, &origin, "1");
        assert_eq!(
            get(proxy.http, &target()).text(),
            "old",
            "a heartbeat is no restart"
        );
        register_as(&proxy, &origin, "2");
        assert_eq!(get(proxy.http, &target()).text(), "new");
        assert!(get(proxy.http, &target()).headers().has("age"));
    }
}

#[test]
fn a_stream_that_moved_gets_no_old_segments() {
    let origins = [Origin::start_with_api(), Origin::start_with_api()];
    for (n, origin) in origins.iter().enumerate() {
        origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
        origin.on(PATH, ts(format!("origin {n}")));
    }
    let proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    origins[0].api().publish("/live/a");
    get(proxy.http, "/live/a.m3u8");
    assert_eq!(get(proxy.http, &target()).text(), "origin 0");
    for (from, to) in [(0, 1), (1, 0)] {
        origins[0].on(PATH, ts(format!("origin 0 after {from}")));
        origins[from].api().unpublish("/live/a");
        origins[to].api().publish("/live/a");
        // The playlist is what moves the stream.
        let asked = origins[to].requests_for("/live/a.m3u8").len();
        wait_until("the stream has moved", SOON, || {
            get(proxy.http, "/live/a.m3u8");
            origins[to].requests_for("/live/a.m3u8").len() > asked
        });
    }
    // It was away and is back, though nobody asked for the segment meanwhile.
    assert_eq!(get(proxy.http, &target()).text(), "origin 0 after 1");
}

#[test]
fn the_least_recently_used_goes_first() {
    let origin = Origin::start();
    origin.otherwise(|_| ts(segment(400_000)).into());
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "1MiB")]);
    let ask = |n: usize| {
        let response = get(
            proxy.http,
            &format!("/live/a-{n}.ts?spbhid={}", live_id("a")),
        );
        assert!(response.body == segment(400_000));
        response.headers().has("age")
    };
    assert_eq!([ask(1), ask(2), ask(1)], [false, false, true]);
    assert!(!ask(3), "for which the second has to go");
    assert_eq!([ask(1), ask(3), ask(2)], [true, true, false]);
    wait_until("no more than the setting is kept", SOON, || {
        counters(&proxy)["bytes"] == 800_000
    });
    // What does not fit is shared while it comes, and not kept.
    origin.on("/live/large.ts", ts(segment(2 << 20)));
    for _ in 0..2 {
        let asked = format!("/live/large.ts?spbhid={}", live_id("a"));
        assert!(!get(proxy.http, &asked).headers().has("age"));
    }
}

#[test]
fn nothing_is_shared_when_it_is_off() {
    let origin = Origin::start();
    origin.on(PATH, ts("x"));
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    for _ in 0..3 {
        assert!(!get(proxy.http, &target()).headers().has("age"));
    }
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(counters(&proxy)["fetches"], 0);
}

#[test]
fn a_slow_reader_neither_holds_up_nor_is_left_out() {
    let origin = Origin::start();
    let body = segment(12 << 20);
    origin.on(PATH, ts(&body).header("Cache-Control", "max-age=0"));
    let proxy = Proxy::before(&origin, &[]);
    let mut slow = Client::connect_small(proxy.http, 4096);
    slow.request("GET", &target(), &[]);
    assert_eq!(slow.read_head(SOON).status, 200);
    // The whole is in, and out again, though its first reader has hardly begun.
    assert!(get(proxy.http, &target()).body == body);
    origin.on(PATH, ts("new"));
    wait_until("it is not kept", SOON, || {
        get(proxy.http, &target()).text() == "new"
    });
    let (rest, end) = slow.read_rest(Duration::from_secs(60));
    assert!(rest == body && end == BodyEnd::Complete);
}

#[test]
fn five_hundred_slow_readers_hold_references() {
    const SEGMENTS: usize = 20;
    const READERS: usize = 500;
    const BYTES: usize = 2 << 20;
    let origin = Origin::start();
    let reply = ts(segment(BYTES)); // made once: an origin that takes a second to answer is asked once more
    origin.otherwise(move |_| Answer::from(reply.clone()));
    let proxy = Proxy::before(&origin, &[]);
    let mut clients: Vec<Client> = (0..READERS)
        .map(|n| {
            let mut client = Client::connect_small(proxy.http, 4096);
            let target = format!("/live/a-{}.ts?spbhid={}", n % SEGMENTS, live_id("a"));
            client.request("GET", &target, &[]);
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.read_head(SOON).status, 200);
        client.read_at_least(1000, SOON);
    }
    assert_eq!(origin.requests().len(), SEGMENTS);
    assert_eq!(counters(&proxy)["saved"], READERS - SEGMENTS);
    let bodies = SEGMENTS * BYTES / 1024;
    // Copies would be 1 000 000 kB. Threads and sockets of 500 clients take some, debug builds more.
    let peak = proxy.peak_rss_kb();
    assert!(
        peak < bodies + 90_000,
        "{peak} kB for bodies of {bodies} kB"
    );
    // They are served to their end all the same.
    let mut last = clients.pop().expect("a client");
    let (rest, end) = last.read_rest(Duration::from_secs(60));
    assert!(rest.len() >= BYTES - 200_000 && end == BodyEnd::Complete);
}
