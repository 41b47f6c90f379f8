//! Who may ask the System API what, without a token and with one.

use crate::common::SOON;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get_with, get10, post};
use crate::common::hostile::{statuses, talk};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;

/// What no proxy leaves out.
const PROXIED: [(&str, &str); 5] = [
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("x-forwarded-anything", "1"),
    ("Forwarded", "for=203.0.113.7"),
    ("Via", "1.1 nginx"),
];

#[test]
fn through_a_reverse_proxy_the_token_is_needed() {
    let proxy = Proxy::start(&[]);
    for header in PROXIED {
        for path in ["/api/v1/origins", "/api/v1/streams", "/metrics", "/"] {
            let response = get_with(proxy.api, path, &[header]);
            assert_eq!(response.status(), 403, "{header:?} {path}");
            assert!(
                response.text().contains("PROXY_SYSTEM_API_TOKEN"),
                "{}",
                response.text()
            );
        }
        let response = post(proxy.api, "/api/v1/srs/register", &[header], b"{}");
        assert_eq!(response.status(), 403, "{header:?}");
    }
    let guarded = Proxy::start(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    for header in PROXIED {
        let response = get_with(guarded.api, "/api/v1/origins?token=s3cret", &[header]);
        assert_eq!(response.status(), 200, "{header:?}");
        assert_eq!(
            get_with(guarded.api, "/api/v1/origins", &[header]).status(),
            401
        );
    }
}

#[test]
fn names_that_no_public_page_can_have_need_no_token() {
    let proxy = Proxy::start(&[]);
    for (host, status) in [
        ("proxy:12025", 200),
        ("proxy.video.svc", 200),
        ("proxy.video.svc.cluster.local:12025", 200),
        ("proxy.internal", 200),
        ("studio.local", 200),
        ("tv.localhost:12025", 200),
        ("proxy.example", 403),
        ("svc.example", 403),
    ] {
        let response = get_with(proxy.api, "/api/v1/origins", &[("Host", host)]);
        assert_eq!(response.status(), status, "{host}: {}", response.text());
    }
}

#[test]
fn health_and_version_are_told_to_anybody() {
    let origin = Origin::start();
    for settings in [&[][..], &[("PROXY_SYSTEM_API_TOKEN", "s3cret")]] {
        let proxy = Proxy::start(settings);
        // Alive, and not ready: no origin is known.
        let evil = [("Host", "evil.example"), PROXIED[0]];
        for (path, status) in [
            ("/livez", 200),
            ("/healthz", 503),
            ("/api/v1/versions", 200),
        ] {
            assert_eq!(get_with(proxy.api, path, &evil).status(), status, "{path}");
            assert_eq!(get10(proxy.api, path, &[]).status(), status, "{path}");
            let head = fetch(proxy.api, "HEAD", path, &evil);
            assert_eq!((head.status(), head.body.len()), (status, 0), "{path}");
        }
        if settings.is_empty() {
            proxy.register(&origin);
            assert_eq!(get_with(proxy.api, "/healthz", &evil).status(), 200);
        }
        assert_eq!(post(proxy.api, "/livez", &[], b"").status(), 405);
    }
}

#[test]
fn a_heartbeat_may_come_in_chunks() {
    let proxy = Proxy::start(&[]);
    let body = r#"{"ip":"127.0.0.1","server":"s","service":"s","pid":1,"rtmp":[1935],"http":[8080],"api":["1985"]}"#;
    let (one, two) = body.split_at(40);
    let chunked = format!(
        "{:x};x=y\r\n{one}\r\n{:X}\r\n{two}\r\n0\r\nTrailer: x\r\n\r\n",
        one.len(),
        two.len()
    );
    let head =
        "POST /api/v1/srs/register HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n";
    let mut client = Client::connect(proxy.api);
    // Byte by byte, and the connection goes on after it.
    for byte in format!("{head}\r\n{chunked}").as_bytes().chunks(1) {
        client.send(byte);
    }
    client.expect_answer_to("POST");
    let response = client.read_response(SOON);
    assert_eq!(response.status(), 200, "{}", response.text());
    let origins = client.get("/api/v1/origins", &[]).json();
    assert_eq!(
        origins["data"]["origins"][0]["address"], "127.0.0.1:8080",
        "{origins}"
    );

    let close = "Connection: close\r\n\r\n";
    for (body, status) in [
        ("5\r\nhello\r\n0\r\n\r\n".to_owned(), 400), // read, and no JSON
        ("5\nhello".to_owned(), 400),
        ("x\r\n".to_owned(), 400),
        ("10001\r\n".to_owned(), 413),
        (
            "8000\r\n".to_owned() + &" ".repeat(0x8000) + "\r\n8001\r\n",
            413,
        ),
    ] {
        let answer = talk(proxy.api, format!("{head}{close}{body}").as_bytes());
        assert_eq!(
            statuses(&answer),
            [status],
            "{:?}",
            &body[..body.len().min(20)]
        );
    }
    // Nobody else reads one.
    for (server, request) in [
        (proxy.api, "GET /api/v1/origins"),
        (proxy.api, "POST /nothing"),
        (proxy.http, "POST /live/a.flv"),
    ] {
        let text = format!(
            "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        assert_eq!(statuses(&talk(server, text.as_bytes())), [411], "{request}");
    }
    proxy.assert_no_panic();
}
