//! The table of answers: methods, origins in trouble, requests that are doubtful.

use crate::common::answer::{Answer, Reply, Then};
use crate::common::client::{Client, NoBytes};
use crate::common::deaf::DeafPort;
use crate::common::fetch::{fetch, get, get_with, send_raw};
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::response::Response;
use crate::common::{SOON, wait::wait_until};

/// A live stream, a playlist and a segment, as a player asks for them.
fn kinds() -> [String; 3] {
    [
        "/live/a.flv".into(),
        "/live/a.m3u8".into(),
        format!("/live/a-1.ts?spbhid={}", live_id("a")),
    ]
}

/// An error of ours: one line for the player, and nothing about the origin.
#[track_caller]
fn assert_error(response: &Response, status: u16, origin: Option<&Origin>, what: &str) {
    assert_eq!(response.status(), status, "{what}: {}", response.text());
    let content_type = response.headers().one("content-type");
    assert!(
        content_type.starts_with("text/plain"),
        "{what}: {content_type}"
    );
    let text = response.text();
    assert!(
        !text.trim().is_empty() && text.trim_end().lines().count() == 1,
        "{what}: {text:?}"
    );
    assert_eq!(
        response.headers().one("access-control-allow-origin"),
        "*",
        "{what}"
    );
    if let Some(origin) = origin {
        let port = origin.port().to_string();
        assert!(
            !text.contains("127.0.0.1") && !text.contains(&port),
            "{what}: {text:?} names the origin"
        );
        for (name, value) in &response.headers().0 {
            assert!(
                !value.contains(&port),
                "{what}: {name}: {value} names the origin"
            );
        }
    }
}

#[test]
fn options_is_answered_without_an_origin() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let page = [
        ("Origin", "https://page.example"),
        ("Access-Control-Request-Method", "GET"),
    ];
    let private = [
        page[0],
        page[1],
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let kinds = kinds();
    for target in kinds
        .iter()
        .map(String::as_str)
        .chain(["/", "/nothing", "*"])
    {
        let response = fetch(proxy.http, "OPTIONS", target, &page);
        assert_eq!(response.status(), 200, "{target}");
        for name in [
            "Allow-Origin",
            "Allow-Headers",
            "Allow-Methods",
            "Expose-Headers",
        ] {
            assert_eq!(
                response.headers().one(&format!("Access-Control-{name}")),
                "*",
                "{target}"
            );
        }
        assert!(
            !response
                .headers()
                .has("access-control-allow-private-network"),
            "{target}"
        );
        let response = fetch(proxy.http, "OPTIONS", target, &private);
        assert_eq!(
            response
                .headers()
                .one("access-control-allow-private-network"),
            "true",
            "{target}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn other_methods_are_not_allowed() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let kinds = kinds();
    for target in kinds
        .iter()
        .map(String::as_str)
        .chain(["/", "/nothing", "/api/v1/versions"])
    {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"] {
            let response = fetch(proxy.http, method, target, &[]);
            assert_error(&response, 405, None, &format!("{method} {target}"));
            for allowed in ["GET", "HEAD", "OPTIONS"] {
                assert!(
                    response.headers().lists("allow", allowed),
                    "{method} {target}"
                );
            }
        }
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn without_an_origin_it_is_a_503() {
    let proxy = Proxy::start(&[]);
    for target in kinds() {
        assert_error(&get(proxy.http, &target), 503, None, &target);
    }
}

#[test]
fn an_origin_that_cannot_be_connected_is_a_502() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    origin.stop();
    for target in kinds() {
        assert_error(&get(proxy.http, &target), 502, Some(&origin), &target);
        assert!(!proxy.log_lines().is_empty());
    }
    let deaf = DeafPort::start();
    let proxy = Proxy::start(&[("PROXY_CONNECT_TIMEOUT", "300ms")]);
    proxy.register_addr(deaf.addr());
    for target in kinds() {
        assert_error(&get(proxy.http, &target), 502, None, &target);
    }
}

#[test]
fn an_origin_that_breaks_the_protocol_is_a_502() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for rubbish in [
        "rubbish\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\n\r\n\r\n",
    ] {
        for target in kinds() {
            let path = target.split('?').next().unwrap();
            origin.on(path, Answer::Raw(rubbish.into(), Then::Close));
            let response = get(proxy.http, &target);
            assert_error(
                &response,
                502,
                Some(&origin),
                &format!("{target}: {rubbish:?}"),
            );
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn closes_without_a_head_are_a_502_once_each_origin_was_asked() {
    for refusal in [Answer::CloseWithoutHead, Answer::ResetWithoutHead] {
        for target in kinds() {
            let origins = [Origin::start(), Origin::start()];
            let proxy = Proxy::start(&[]);
            for origin in &origins {
                let refusal = refusal.clone();
                origin.otherwise(move |_| refusal.clone());
                proxy.register(origin);
            }
            assert_error(&get(proxy.http, &target), 502, Some(&origins[0]), &target);
            // No API says that it was a refusal: the origin may be broken, and the other one have the stream.
            let asked = origins.iter().map(|o| o.requests().len());
            assert_eq!(asked.collect::<Vec<_>>(), [1, 1], "{target}");
        }
    }
}

#[test]
fn an_origin_that_is_too_slow_is_a_504() {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::Silence);
    let proxy = Proxy::before(&origin, &[("PROXY_RESPONSE_TIMEOUT", "500ms")]);
    for target in kinds() {
        assert_error(&get(proxy.http, &target), 504, Some(&origin), &target);
        wait_until("the origin's connection is gone", SOON, || {
            origin.open_connections() == 0
        });
    }
}

#[test]
fn any_other_status_goes_through_with_its_headers_and_body() {
    let origin = Origin::start();
    // What the origin says changes from request to request: nothing of it may be shared.
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    for status in [
        203, 206, 301, 302, 307, 400, 401, 403, 404, 407, 410, 416, 418, 429, 451, 500, 501, 503,
        599,
    ] {
        for target in kinds() {
            let path = target.split('?').next().unwrap();
            let body = format!("the origin says {status}\nin two lines\n");
            let reply = Reply::new(status)
                .header("Content-Type", "video/x-own")
                .header("X-Own", "1")
                .body(&body);
            origin.on(
                path,
                reply
                    .header("Location", "http://elsewhere.example/x")
                    .header("Retry-After", "7"),
            );
            let response = get(proxy.http, &target);
            assert_eq!(
                (response.status(), response.text()),
                (status, body),
                "{target}"
            );
            for (name, value) in [
                ("content-type", "video/x-own"),
                ("x-own", "1"),
                ("location", "http://elsewhere.example/x"),
                ("retry-after", "7"),
            ] {
                assert_eq!(response.headers().one(name), value, "{target} {status}");
            }
        }
    }
    for status in [204, 304] {
        for target in kinds() {
            origin.on(
                target.split('?').next().unwrap(),
                Reply::new(status).header("ETag", "\"e\""),
            );
            let mut client = Client::connect(proxy.http);
            for _ in 0..2 {
                let response = client.get(&target, &[]);
                assert_eq!(
                    (response.status(), response.headers().one("etag")),
                    (status, "\"e\""),
                    "{target}"
                );
            }
        }
    }
}

#[test]
fn informational_responses_are_not_the_answer() {
    let origin = Origin::start();
    let raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n\
               HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n#EXTM3U\n";
    origin.otherwise(move |_| Answer::Raw(raw.into(), Then::Close));
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let response = get(proxy.http, &target);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "#EXTM3U\n"),
            "{target}"
        );
    }
}

#[test]
fn the_proxy_of_the_environment_is_not_for_origins() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::playlist("#EXTM3U\n").into());
    let elsewhere = "http://127.0.0.1:1";
    let proxy = Proxy::before(
        &origin,
        &[
            ("HTTP_PROXY", elsewhere),
            ("http_proxy", elsewhere),
            ("ALL_PROXY", elsewhere),
        ],
    );
    for target in kinds() {
        assert_eq!(get(proxy.http, &target).status(), 200, "{target}");
    }
}

/// Sends `bytes` and takes the one response to it, one of `statuses`; then the connection must end with nothing more on it.
#[track_caller]
fn refused(proxy: &Proxy, bytes: &[u8], statuses: &[u16]) {
    let what = String::from_utf8_lossy(bytes).into_owned();
    let mut client = Client::connect(proxy.http);
    client.send(bytes);
    let response = client.read_response(SOON);
    assert!(
        statuses.contains(&response.status()),
        "{what:?}: {}",
        response.status()
    );
    assert_error(&response, response.status(), None, &what);
    client.expect_closed(SOON);
}

const DOUBTFUL: [u16; 4] = [400, 405, 411, 413];

#[test]
fn a_body_is_never_a_second_request() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    let inner = "GET /live/smuggled.flv HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = inner.len();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"] {
        for target in ["/live/a.flv", "/live/a.m3u8", "/", "/nothing"] {
            for framing in [
                format!("Content-Length: {length}"),
                format!("content-length:{length}"),
                format!("Content-Length: {length}\r\nContent-Length: {length}"),
                format!("Content-Length: 0\r\nContent-Length: {length}"),
                format!("Content-Length: {length}, {length}"),
                format!("Content-Length: +{length}"),
                "Content-Length: 0x0".into(),
                "Content-Length: -1".into(),
                "Content-Length: ".into(),
                "Content-Length: 1000000000000".into(),
                "Content-Length: 18446744073709551616".into(),
                format!("Content-Length : {length}"),
                "Transfer-Encoding: chunked".into(),
                "Transfer-Encoding : chunked".into(),
                format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
                "Transfer-Encoding: gzip".into(),
                "Transfer-Encoding: identity".into(),
                "Transfer-Encoding: chunked, gzip".into(),
                "Transfer-Encoding: xchunked".into(),
                "Transfer-Encoding: \x0bchunked".into(),
            ] {
                let request =
                    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{inner}");
                let mut client = Client::connect(proxy.http);
                client.send(request.as_bytes());
                // Taken raw: where the head was doubtful, a HEAD may get the error's line too.
                let bytes = client.read_until_closed(SOON);
                let text = String::from_utf8_lossy(&bytes);
                let what = format!("{method} {target} {framing:?}: {text}");
                assert_eq!(text.matches("HTTP/1.").count(), 1, "one answer to {what}");
                let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
                assert!(DOUBTFUL.contains(&status.unwrap_or(0)), "{what}");
            }
        }
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    proxy.assert_no_panic();
}

#[test]
fn a_head_that_is_wrong_is_a_400() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::before(&origin, &[]);
    let host = "Host: x\r\n";
    for (first, rest) in [
        // Host: none, two, a bad one.
        ("GET /live/a.flv HTTP/1.1", String::new()),
        ("GET /live/a.flv HTTP/1.1", "Host: a\r\nHost: a\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: a\r\nhost: b\r\n".into()),
        ("GET /live/a.flv HTTP/1.0", "Host: a\r\nHost: b\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: a b\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: a/b\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: user@a\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: a:port\r\n".into()),
        ("GET /live/a.flv HTTP/1.1", "Host: a?b\r\n".into()),
        ("GET /live/a.flv HTTP/1.0", "Host: a#b\r\n".into()),
        // Header names and values.
        ("GET /live/a.flv HTTP/1.1", format!("{host}Bad Name: x\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}: x\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}B@d: x\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}N\u{e9}: x\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}X-A : x\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}no colon\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}X-A: a\x01b\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}X-A: a\0b\r\n")),
        ("GET /live/a.flv HTTP/1.1", format!("{host}X-A: a\x7fb\r\n")),
        (
            "GET /live/a.flv HTTP/1.1",
            format!("{host}X-A: a\rX-B: b\r\n"),
        ),
        (
            "GET /live/a.flv HTTP/1.1",
            format!("{host}X-A: a\r\n folded\r\n"),
        ),
        (" GET /live/a.flv HTTP/1.1", host.into()),
        ("GET /live/a.flv  HTTP/1.1", host.into()),
        ("GET  /live/a.flv HTTP/1.1", host.into()),
        ("GET /live/a b.flv HTTP/1.1", host.into()),
        ("GET /live/a\x01.flv HTTP/1.1", host.into()),
        ("G=T /live/a.flv HTTP/1.1", host.into()),
        ("GET live/a.flv HTTP/1.1", host.into()),
        ("GET /live/a.flv HTP/1.1", host.into()),
        ("GET /live/a.flv HTTP/x", host.into()),
    ] {
        let request = format!("{first}\r\n{rest}\r\n");
        // A version that cannot be read is a bad request or an unknown version.
        let statuses: &[u16] = if first.ends_with(" /live/a.flv HTTP/1.1")
            || first.ends_with(" /live/a.flv HTTP/1.0")
        {
            &[400]
        } else {
            &[400, 505]
        };
        refused(&proxy, request.as_bytes(), statuses);
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    proxy.assert_no_panic();
}

#[test]
fn other_versions_of_http_are_a_505() {
    let proxy = Proxy::start(&[]);
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
        refused(
            &proxy,
            format!("GET / {version}\r\nHost: x\r\n\r\n").as_bytes(),
            &[505],
        );
    }
    // HTTP/2 with prior knowledge.
    let mut client = Client::connect(proxy.http);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64");
    match client.try_read_head(SOON) {
        Ok(head) => assert_eq!(head.status, 505),
        Err(why) => assert_ne!(why, NoBytes::TimedOut),
    }
}

#[test]
fn a_refused_connection_leaves_nothing_behind() {
    let proxy = Proxy::start(&[]);
    get(proxy.http, "/");
    let (threads, fds) = (proxy.threads(), proxy.fds());
    for _ in 0..50 {
        assert_eq!(
            send_raw(proxy.http, b"GET / HTTP/2.0\r\n\r\n").status(),
            505
        );
        assert_eq!(
            send_raw(proxy.http, b"GET / HTTP/1.1\r\n\r\n").status(),
            400
        );
        Client::connect(proxy.http).reset();
    }
    wait_until("descriptors are back", SOON, || proxy.fds() <= fds + 2);
    wait_until("threads are back", SOON, || proxy.threads() <= threads + 4);
    proxy.assert_no_panic();
}

#[test]
fn an_error_of_ours_can_be_found_in_the_log() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    origin.stop();
    let response = get_with(
        proxy.http,
        "/live/a.flv?token=secret",
        &[("Host", "ts.example.com")],
    );
    let id = response.headers().one("x-request-id").to_owned();
    let address = origin.addr().to_string();
    proxy.wait_for_log(|line| line.contains(&id) && line.contains(&address), SOON);
}
