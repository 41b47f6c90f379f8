//! Heads that are too large, too slow, or wrong: cut or refused, with nothing of them anywhere else.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch;
use crate::common::hostile::{Footprint, connect, pour, read_to_end, statuses, talk};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use proptest::prelude::*;
use std::io::Write;
use std::time::{Duration, Instant};

/// What a hostile client may cost in memory, in kB.
const ROOM: usize = 20_000;

#[test]
fn endless_heads_are_cut() {
    let proxy = Proxy::builder().over_tls().start();
    let before = Footprint::at_rest(&proxy);
    let most = 400_000_000;
    for server in [proxy.plain, proxy.http, proxy.api] {
        for (what, first, piece, wanted) in [
            (
                "one header line",
                "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ",
                "x".repeat(100_000),
                431,
            ),
            (
                "header lines",
                "GET / HTTP/1.1\r\nHost: x\r\n",
                "X-Line: y\r\n".repeat(10_000),
                431,
            ),
            (
                "header lines without a name",
                "GET / HTTP/1.1\r\nHost: x\r\n",
                ":\r\n".repeat(30_000),
                431,
            ),
            ("a request line", "GET /", "a".repeat(100_000), 414),
            ("a method", "G", "G".repeat(100_000), 414),
            ("no line at all", "", "\0".repeat(100_000), 414),
        ] {
            let (answer, sent) = pour(server, first.as_bytes(), piece.as_bytes(), most);
            assert!(sent < most, "{what}: all was taken");
            assert_eq!(statuses(&answer), [wanted], "{what}: {answer}");
        }
    }
    before.wait_back(&proxy);
    before.assert_peak(&proxy, ROOM);
    proxy.assert_no_panic();
}

#[test]
fn the_limits_are_where_they_are_said_to_be() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    let status = |head: String| statuses(&talk(proxy.http, head.as_bytes()));
    let get = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n")
    };
    // 100 lines with the two, and one more.
    assert_eq!(
        status(get("/live/a.flv", &"X-Line: y\r\n".repeat(98))),
        [200]
    );
    assert_eq!(origin.last_request().headers.all("x-line").len(), 98);
    assert_eq!(
        status(get("/live/a.flv", &"X-Line: y\r\n".repeat(99))),
        [431]
    );
    // A target of 8 KiB, and one byte more.
    let query = "x".repeat(8 * 1024 - "/live/a.flv?".len());
    assert_eq!(status(get(&format!("/live/a.flv?{query}"), "")), [200]);
    assert_eq!(origin.last_request().query(), query);
    assert_eq!(status(get(&format!("/live/a.flv?{query}x"), "")), [414]);
    // A head of 32 KiB, and one byte more.
    let rest = 32 * 1024 - get("/live/a.flv", "X-Long: \r\n").len();
    assert_eq!(
        status(get(
            "/live/a.flv",
            &format!("X-Long: {}\r\n", "y".repeat(rest))
        )),
        [200]
    );
    assert_eq!(origin.last_request().headers.one("x-long").len(), rest);
    assert_eq!(
        status(get(
            "/live/a.flv",
            &format!("X-Long: {}\r\n", "y".repeat(rest + 1))
        )),
        [431]
    );
    // A method of 32 bytes, and one more; no real one is half as long.
    let method = |n: usize| {
        format!(
            "{} /live/a.flv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "M".repeat(n)
        )
    };
    assert_eq!(status(method(32)), [405]);
    assert_eq!(status(method(33)), [501]);
}

#[test]
fn heads_that_trickle_are_cut_while_others_are_served() {
    let builder = Proxy::builder().over_tls();
    let proxy = builder.env("PROXY_IDLE_TIMEOUT", "3s").start();
    let before = Footprint::at_rest(&proxy);
    let began = Instant::now();
    let servers = [proxy.plain, proxy.http, proxy.api];
    let mut slow: Vec<_> = (0..200)
        .map(|n| (connect(servers[n % servers.len()]), n))
        .collect();
    let head = "GET /api/v1/versions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Never: ends here";
    let mut cut = Vec::new();
    for at in 0.. {
        assert!(
            began.elapsed() < SOON * 2,
            "{} heads trickle still",
            slow.len()
        );
        slow.retain_mut(|(stream, n)| {
            // Some send nothing but empty lines, which a server may skip (RFC 9112 section 2.2).
            let byte = if *n % 5 == 4 {
                b'\n'
            } else {
                head.as_bytes()[at % head.len()]
            };
            if stream.write_all(&[byte]).is_ok() && !answered(stream) {
                return true;
            }
            cut.push(read_to_end(stream, SOON));
            false
        });
        if slow.is_empty() {
            break;
        }
        assert_eq!(fetch::get(proxy.http, "/api/v1/versions").status(), 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    for answer in &cut {
        assert_eq!(statuses(answer), [408], "{answer:?}");
    }
    before.wait_back(&proxy);
    before.assert_peak(&proxy, ROOM);
}

fn answered(stream: &std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).expect("not blocking");
    let answered = stream.peek(&mut [0; 1]).is_ok();
    stream.set_nonblocking(false).expect("blocking");
    answered
}

#[test]
fn wrong_heads_get_the_right_answer_and_go_no_further() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    let asked = origin.requests().len();
    let long_host = format!("Host: {}\r\n", "h".repeat(300));
    let table: &[(u16, &str, &str)] = &[
        // Host: none, two, a bad one.
        (400, "GET /live/a.flv HTTP/1.1", ""),
        (400, "GET /live/a.flv HTTP/1.1", "Host: a\r\nHost: a\r\n"),
        (
            400,
            "GET http://a/live/a.flv HTTP/1.1",
            "Host: a\r\nHost: a\r\n",
        ),
        (400, "GET http://a/live/a.flv HTTP/1.1", ""),
        (400, "GET http:///live/a.flv HTTP/1.1", "Host: a\r\n"),
        (400, "GET http://u@a/live/a.flv HTTP/1.1", "Host: a\r\n"),
        (400, "GET ftp://a/live/a.flv HTTP/1.1", "Host: a\r\n"),
        (400, "CONNECT a:80 HTTP/1.1", "Host: a\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: a,b c\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: \u{fc}\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: a:65536\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: [::1]x\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", &long_host),
        // Lines.
        (
            400,
            "GET /live/a.flv HTTP/1.1",
            "Host: x\r\nX-A: a\rX-B: b\r\n",
        ),
        (400, "GET /live/a.flv HTTP/1.1", "Host: x\r\nX-A: a\r\r\n"),
        (
            400,
            "GET /live/a.flv HTTP/1.1",
            "Host: x\r\nX-A: a\r\n folded\r\n",
        ),
        (400, "GET /live/a.flv HTTP/1.1", "Host: x\r\n\tfolded\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: x\r\nX A: a\r\n"),
        (400, "GET /live/a.flv HTTP/1.1", "Host: x\r\nX-A\r\n"),
        (
            400,
            "GET /live/a.flv HTTP/1.1",
            "Host: x\r\nX-\u{e9}: a\r\n",
        ),
        (
            400,
            "GET /live/a.flv HTTP/1.1",
            "Host: x\r\nX-A: \u{1b}[2J\r\n",
        ),
        // Methods, versions, targets.
        (405, "FOO /live/a.flv HTTP/1.1", "Host: x\r\n"),
        (405, "get /live/a.flv HTTP/1.1", "Host: x\r\n"),
        (
            405,
            "!#$%&'*+-.^_`|~09azAZ /live/a.flv HTTP/1.1",
            "Host: x\r\n",
        ),
        (400, "G(T /live/a.flv HTTP/1.1", "Host: x\r\n"),
        (400, "G\u{e9}T /live/a.flv HTTP/1.1", "Host: x\r\n"),
        (400, "GET /live/a.flv http/1.1", "Host: x\r\n"),
        (400, "GET /live/a.flv HTTP/1.1x", "Host: x\r\n"),
        (400, "GET /live/a.flv", "Host: x\r\n"),
        (505, "GET /live/a.flv HTTP/1.9", "Host: x\r\n"),
        (505, "GET /live/a.flv HTTP/2", "Host: x\r\n"),
        (400, "GET /live/a.flv#x HTTP/1.1", "Host: x\r\n"),
        (400, "GET /live/a\\\u{1}.flv HTTP/1.1", "Host: x\r\n"),
        (400, "GET \\live\\a.flv HTTP/1.1", "Host: x\r\n"),
        (400, "GET * HTTP/1.1", "Host: x\r\n"),
        // Good heads whose path names no stream.
        (400, "GET /live/%00.flv HTTP/1.1", "Host: x\r\n"),
        (
            400,
            "GET /live/a%0d%0aX-Injected:%201.flv HTTP/1.1",
            "Host: x\r\n",
        ),
        (400, "GET /live/../secret.flv HTTP/1.1", "Host: x\r\n"),
        (400, "GET /live/%2e%2e/secret.flv HTTP/1.1", "Host: x\r\n"),
        (400, "GET /live/%ff.flv HTTP/1.1", "Host: x\r\n"),
        // Files that are none.
        (404, "GET /%00 HTTP/1.1", "Host: x\r\n"),
        (404, "GET /..%2f..%2fetc/passwd HTTP/1.1", "Host: x\r\n"),
        (404, "GET /..\\..\\etc\\passwd HTTP/1.1", "Host: x\r\n"),
        (404, "GET /../../etc/passwd HTTP/1.1", "Host: x\r\n"),
        (404, "GET /a%0d%0ab HTTP/1.1", "Host: x\r\n"),
    ];
    for (wanted, first, lines) in table {
        let head = format!("{first}\r\n{lines}Connection: close\r\n\r\n");
        let answer = talk(proxy.http, head.as_bytes());
        assert_eq!(statuses(&answer), [*wanted], "{head:?}: {answer}");
        assert!(
            !answer.to_ascii_lowercase().contains("injected"),
            "{answer}"
        );
    }
    assert_eq!(origin.requests().len(), asked, "{:?}", origin.requests());
    // One line each, none of them ours to be read as somebody else's.
    let of_requests = || {
        let log = proxy.log_lines();
        log.iter().filter(|line| line.contains(" bytes ")).count()
    };
    wait_until("each had its line", SOON, || of_requests() >= table.len());
    assert_eq!(of_requests(), table.len());
    for line in proxy.log_lines() {
        assert!(line.contains(" [INFO] "), "{line:?}");
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert!(!line.contains("[2J"), "{line:?}");
    }
    proxy.assert_no_panic();
}

#[test]
fn odd_targets_reach_the_origin_as_one_target_and_harm_no_origin() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    for (target, wanted) in [
        (
            "/live/a.flv?x=%00%0d%0aX-Injected:%201",
            "/live/a.flv?x=%00%0d%0aX-Injected:%201",
        ),
        ("/live/a\\b.flv?c\\d", "/live/a\\b.flv?c\\d"),
        (
            "/live/a.flv?x=..%2f..%2f&y=../..",
            "/live/a.flv?x=..%2f..%2f&y=../..",
        ),
        ("/live/\u{fc}.flv", "/live/%C3%BC.flv"),
        ("/live/a`b.flv?c`d", "/live/a%60b.flv?c`d"),
        ("/live/{a}|[b]^.flv?{a}|[b]^", "/live/{a}|[b]^.flv?{a}|[b]^"),
        ("/live/a\"<b>.flv?\"<>", "/live/a%22%3Cb%3E.flv?%22%3C%3E"),
        ("/live/a%zz%.flv", "/live/a%zz%.flv"),
        ("//live//a.flv", "//live//a.flv"),
        ("http://other:1/live/a.flv?b", "/live/a.flv?b"),
        ("HTTP://other/live/@a.flv", "/live/@a.flv"),
    ] {
        let answer = talk(
            proxy.http,
            format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        assert_eq!(statuses(&answer), [200], "{target}: {answer}");
        let request = origin.last_request();
        assert_eq!(request.target, wanted);
        assert!(!request.headers.has("x-injected"), "{request:?}");
        let host = if target.starts_with("http") {
            "other:1"
        } else if target.starts_with("HTTP") {
            "other"
        } else {
            "x"
        };
        assert_eq!(request.headers.one("host"), host, "{target}");
    }
    // Values keep every byte that may be in one, and the door's own header is nobody else's.
    let mut client = Client::connect(proxy.http);
    client.send(b"GET /live/a.flv HTTP/1.1\r\nHost: x\r\nx-client: 1\r\nX-Client: 18446744073709551615\r\nX-Odd: \t\xe9\xff \"\r\n\r\n");
    assert_eq!(client.read_response(SOON).status(), 200);
    assert!(
        origin
            .last_request()
            .raw
            .windows(4)
            .any(|four| four == b"\xe9\xff \"")
    );
    for origin in fetch::get(proxy.api, "/api/v1/origins").json()["data"]["origins"]
        .as_array()
        .expect("origins")
    {
        assert_eq!(origin["state"], "alive", "{origin}");
    }
    proxy.assert_no_panic();
}

#[test]
fn a_head_that_grows_on_its_way_reaches_the_origin_whole() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    // Lists go on longer than they came.
    let long = ["1.1 a"; 3000].join(",");
    let mut client = Client::connect(proxy.http);
    let response = client.get("/live/a.flv", &[("Via", &long)]);
    assert_eq!(response.status(), 200);
    let request = origin.last_request();
    let via = request.headers.one("via").to_owned();
    assert!(
        via.starts_with(&["1.1 a"; 3000].join(", ")),
        "{} bytes",
        via.len()
    );
    // Of hops there are never so many: the list of those who are trusted has an end.
    let long = ["::1"; 7500].join(",");
    let response = client.get("/live/a.flv", &[("X-Forwarded-For", &long)]);
    assert_eq!(response.status(), 200);
    let request = origin.last_request();
    assert_eq!(request.headers.one("x-real-ip"), "::1");
    let list = request.headers.one("x-forwarded-for").to_owned();
    assert!(
        list.len() < 1000 && list.ends_with(", ::1, 127.0.0.1"),
        "{list}"
    );
}

/// Requests that may be pipelined, and what each is answered.
const PIPELINE: [(u16, &str); 8] = [
    (200, "GET /api/v1/versions HTTP/1.1\r\nHost: x\r\n\r\n"),
    (200, "OPTIONS * HTTP/1.1\nHost: x\n\n"),
    (404, "GET /nothing HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\r\n"),
    (
        405,
        "DELETE /live/a.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ),
    (503, "\r\nGET /live/a.flv HTTP/1.1\r\nHost: x\r\n\r\n"),
    (503, "GET http://y/live/a.m3u8 HTTP/1.1\r\nHost: x\r\n\n"),
    (
        200,
        "GET /api/v1/versions HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ),
    (400, "GET /live/../a.flv HTTP/1.1\r\nHost: x\r\n\r\n"),
];

/// Requests that end a connection.
const LAST: [(u16, &str); 6] = [
    (
        404,
        "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ),
    (200, "GET /api/v1/versions HTTP/1.0\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (
        411,
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        413,
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nGET / HTT",
    ),
    (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
];

#[test]
fn however_a_pipeline_is_cut_into_pieces_its_answers_are_the_same() {
    // Without an origin each request for a stream would be held for the first heartbeat.
    let proxy = Proxy::start(&[("PROXY_STREAM_WAIT", "0s")]);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let pipeline = proptest::collection::vec(0..PIPELINE.len(), 0..8);
    let cuts = proptest::collection::vec(0.0..1.0_f64, 0..12);
    let check = runner.run(
        &(pipeline, 0..LAST.len(), cuts),
        |(pipeline, last, cuts)| {
            let parts: Vec<_> = pipeline
                .iter()
                .map(|n| PIPELINE[*n])
                .chain([LAST[last]])
                .collect();
            let text: String = parts.iter().map(|(_, text)| *text).collect();
            let wanted: Vec<u16> = parts.iter().map(|(status, _)| *status).collect();
            let mut cuts: Vec<usize> = cuts
                .iter()
                .map(|cut| (cut * text.len() as f64) as usize)
                .collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut stream = connect(proxy.http);
            let mut sent = 0;
            for cut in cuts {
                // What comes after the end of the connection is not taken, which is no matter.
                let _ = stream.write_all(&text.as_bytes()[sent..cut]);
                sent = cut;
                std::thread::sleep(Duration::from_millis(1)); // so that the pieces are pieces
            }
            let answer = read_to_end(&mut stream, SOON);
            prop_assert_eq!(statuses(&answer), wanted, "{:?}", text);
            Ok(())
        },
    );
    check.expect("the same answers");
    proxy.assert_no_panic();
}

#[test]
fn rubbish_ends_in_a_refusal_or_a_close() {
    let proxy = Proxy::start(&[("PROXY_IDLE_TIMEOUT", "300ms")]);
    let before = Footprint::at_rest(&proxy);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let piece = prop_oneof![
        Just(b"GET ".to_vec()),
        Just(b"/live/a.flv".to_vec()),
        Just(b" HTTP/1.1".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"Host: x".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"Content-Length: ".to_vec()),
        Just(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let rubbish = proptest::collection::vec(piece, 0..20);
    let check = runner.run(&(rubbish, any::<bool>()), |(pieces, api)| {
        let bytes = pieces.concat();
        let server = if api { proxy.api } else { proxy.http };
        // It ends, with good answers or without one.
        for status in statuses(&talk(server, &bytes)) {
            prop_assert!((200..600).contains(&status));
        }
        Ok(())
    });
    check.expect("every connection ended");
    before.wait_back(&proxy);
    proxy.assert_no_panic();
}
