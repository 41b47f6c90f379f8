//! Bodies that nobody asked for, of any length and framing: refused, never read as requests, at no cost.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::hls::live_id;
use crate::common::hostile::{Footprint, connect, pour, read_to_end, statuses, talk};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::io::Write;
use std::time::Duration;

const INNER: &str = "GET /live/smuggled.flv HTTP/1.1\r\nHost: x\r\n\r\n";

/// Framings that announce a body which is not all there, or say two things.
const FRAMINGS: [&str; 14] = [
    "Content-Length: 1000000000000",
    "Content-Length: 9223372036854775808",
    "Content-Length: 18446744073709551615",
    "Content-Length: 18446744073709551616",
    "Content-Length: 99999999999999999999999999999999999999999",
    "Content-Length: 1000000000000\r\nExpect: 100-continue",
    "Content-Length: 1000000000000\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "Content-Length: 45\r\nContent-Length: 45",
    "Content-Length: 4 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nExpect: 100-continue",
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Transfer-Encoding: x, chunked",
    "Transfer-Encoding:\tchunked",
];

#[test]
fn any_framing_with_any_method_on_any_path_of_both_servers() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    let before = Footprint::at_rest(&proxy);
    let players = [
        "/live/a.flv",
        "/live/a.m3u8",
        "/live/a-1.ts?spbhid=x",
        "/",
        "/nothing",
        "/api/v1/versions",
    ];
    let operators = [
        "/api/v1/srs/register",
        "/api/v1/origins",
        "/api/v1/origins/x/drain",
        "/",
        "/nothing",
        "/metrics",
    ];
    // Four at once, for the rate.
    std::thread::scope(|scope| {
        for (server, paths, half) in [
            (proxy.http, players, 0),
            (proxy.http, players, 1),
            (proxy.api, operators, 0),
            (proxy.api, operators, 1),
        ] {
            scope.spawn(move || {
                for (n, framing) in FRAMINGS.iter().enumerate().filter(|(n, _)| n % 2 == half) {
                    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "FOO"] {
                        for path in paths {
                            let what = format!("{method} {path} {framing:?} at {server}");
                            let answer = talk(
                                server,
                                format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n{INNER}").as_bytes(),
                            );
                            let statuses = statuses(&answer);
                            assert_eq!(statuses.len(), 1, "{what}, framing {n}: {answer}");
                            assert!([400, 405, 411, 413].contains(&statuses[0]), "{what}: {answer}");
                            assert!(answer.contains("\r\nConnection: close\r\n"), "{what}: {answer}");
                        }
                    }
                }
            });
        }
    });
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    assert!(
        !proxy
            .log_lines()
            .iter()
            .any(|line| line.contains("smuggled"))
    );
    before.wait_back(&proxy);
    before.assert_peak(&proxy, 20_000);
    proxy.assert_no_panic();
}

#[test]
fn a_body_that_is_read_ends_where_its_length_says() {
    let proxy = Proxy::start(&[]);
    let body = "{\"not\": \"a heartbeat\"}";
    let post = format!(
        "POST /api/v1/srs/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let last = "GET /api/v1/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    assert_eq!(
        statuses(&talk(proxy.api, format!("{post}{post}{last}").as_bytes())),
        [400, 400, 200]
    );
    // One byte less is one byte of the next request: that is the client's fault, and ends the connection.
    let short = post.replace(
        &format!("Content-Length: {}", body.len()),
        &format!("Content-Length: {}", body.len() - 1),
    );
    assert_eq!(
        statuses(&talk(proxy.api, format!("{short}{last}").as_bytes())),
        [400, 400]
    );
}

#[test]
fn expectations() {
    let proxy = Proxy::start(&[("PROXY_IDLE_TIMEOUT", "2s")]);
    let ask = |path: &str, lines: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n\r\n")
    };
    // Nobody is asked to send what is not read.
    for (server, path, lines, status) in [
        (
            proxy.http,
            "/live/a.flv",
            "Content-Length: 3\r\nExpect: 100-continue",
            405,
        ),
        (
            proxy.http,
            "/live/a.flv",
            "Content-Length: 3\r\nExpect: wonders",
            417,
        ),
        (
            proxy.api,
            "/api/v1/srs/register",
            "Content-Length: 65537\r\nExpect: 100-continue",
            413,
        ),
        (
            proxy.api,
            "/api/v1/origins",
            "Content-Length: 3\r\nExpect: 100-continue",
            405,
        ),
    ] {
        assert_eq!(
            statuses(&talk(server, ask(path, lines).as_bytes())),
            [status],
            "{path} {lines}"
        );
    }
    // Who is asked and does not send it is let go.
    let before = Footprint::of(&proxy);
    let lines = "Content-Length: 10\r\nExpect: 100-continue";
    let mut silent: Vec<_> = (0..50).map(|_| connect(proxy.api)).collect();
    for stream in &mut silent {
        stream
            .write_all(ask("/api/v1/srs/register", lines).as_bytes())
            .expect("sending");
    }
    for stream in &mut silent {
        assert_eq!(statuses(&read_to_end(stream, SOON)), [100, 408]);
    }
    before.wait_back(&proxy);
}

#[test]
fn an_upgrade_is_declined_by_serving_the_request() {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    let proxy = Proxy::before(&origin, &[]);
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    ] {
        let mut client = Client::connect(proxy.http);
        client.send(format!("GET /live/a.flv HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n").as_bytes());
        let response = client.read_response(SOON);
        assert_eq!((response.status(), response.text().as_str()), (200, "flv"));
        assert!(!response.headers().has("upgrade"));
        assert!(!origin.last_request().headers.has("upgrade"));
        // The connection is HTTP/1.1's still.
        assert_eq!(client.get("/live/a.flv", &[]).status(), 200);
    }
}

#[test]
fn who_sends_on_after_a_refusal_sees_the_status() {
    let proxy = Proxy::start(&[]);
    let head = "POST /live/a.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
    for n in 0..100 {
        let (answer, sent) = pour(proxy.http, head.as_bytes(), &[b'x'; 10_000], 50_000);
        assert_eq!(
            statuses(&answer),
            [405],
            "try {n}: {answer:?} after {sent} bytes"
        );
    }
    // And who never stops sending is not listened to for ever.
    let (answer, sent) = pour(proxy.http, head.as_bytes(), &[b'x'; 100_000], 100_000_000);
    assert!(sent < 100_000_000, "all {sent} bytes were taken");
    assert!(
        answer.is_empty() || statuses(&answer) == [405],
        "{answer:?}"
    );
}

#[test]
fn stray_bytes_after_the_last_request_cost_nothing_of_its_answer() {
    let origin = Origin::start();
    // More than the sockets hold, so that the stray bytes are there before the proxy is done.
    let segment: Vec<u8> = (0..16_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", &segment));
    let proxy = Proxy::before(&origin, &[]);
    let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for (version, line) in [("HTTP/1.1", "Connection: close\r\n"), ("HTTP/1.0", "")] {
        let mut client = Client::connect_small(proxy.http, 32 * 1024);
        client.send(format!("GET {target} {version}\r\nHost: x\r\n{line}\r\n").as_bytes());
        assert_eq!(client.read_head(SOON).status, 200);
        client.send(b"stray bytes");
        client.expect_bytes(&segment, SOON);
    }
}

#[test]
fn a_full_socket_delays_no_100_continue_for_ever() {
    let proxy = Proxy::start(&[("PROXY_STALL_TIMEOUT", "2s")]);
    let before = Footprint::at_rest(&proxy);
    let get = "GET /api/v1/versions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(50);
    let post = "POST /api/v1/srs/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    let streams: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = connect(proxy.api);
            stream.set_nonblocking(true).expect("not blocking");
            // Until the proxy reads no more: it waits for this client to take its answers.
            let end = std::time::Instant::now() + Duration::from_secs(2);
            while std::time::Instant::now() < end {
                if stream
                    .write_all(get.as_bytes())
                    .and_then(|()| stream.write_all(post.as_bytes()))
                    .is_err()
                {
                    break;
                }
            }
            stream
        })
        .collect();
    // It gives them up, though they stay.
    let held = before.threads + 2;
    crate::common::wait::wait_until("nobody is held", SOON * 3, || proxy.threads() <= held);
    drop(streams);
    proxy.assert_no_panic();
}
