//! What an id of a session reaches at an origin: media, and nothing else.

use crate::common::answer::Reply;
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;

#[test]
fn neither_apis_nor_status_pages_are_served_for_a_session() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("application/json", r#"{"secret":1}"#).into());
    origin.on(
        "/nginx_status",
        Reply::ok("text/plain", "Active connections: 1"),
    );
    origin.on(
        "/page",
        Reply::ok("text/html; charset=utf-8", "<html>secret"),
    );
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "media"));
    origin.on("/live/a.key", Reply::ok("text/plain", "0123456789abcdef"));
    origin.on("/live/a.vtt", Reply::ok("text/vtt", "WEBVTT"));
    origin.on(
        "/live/gone.ts",
        Reply::new(404)
            .header("Content-Type", "text/html")
            .body("gone"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    for path in [
        "/api/v1/raw",
        "/api/v1/raw?rpc=reload",
        "//api/v1/raw",
        "/%61pi/v1/raw",
        "/live/../api/v1/raw",
        "/rtc/v1/whip",
        "/console/ng_index.html",
        "/metrics",
        "/api/v1/x.m3u8",
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let response = get(proxy.http, &format!("{path}{separator}spbhid={id}"));
        assert!(
            matches!(response.status(), 400 | 404),
            "{path}: {}",
            response.status()
        );
        assert!(!response.text().contains("secret"), "{path}");
    }
    assert_eq!(origin.requests().len(), 0, "{:?}", origin.requests());
    for (path, status, body) in [
        ("/live/a-1.ts", 200, Some("media")),
        ("/live/a.key", 200, Some("0123456789abcdef")),
        ("/live/a.vtt", 200, Some("WEBVTT")),
        ("/live/data.json", 200, Some(r#"{"secret":1}"#)),
        ("/live/gone.ts", 404, None),
        ("/nginx_status", 404, None),
        ("/page", 404, None),
    ] {
        let response = get(proxy.http, &format!("{path}?spbhid={id}"));
        assert_eq!(response.status(), status, "{path}");
        match body {
            Some(body) => assert_eq!(response.text(), body, "{path}"),
            None => {
                assert!(!response.text().contains("Active") && !response.text().contains("secret"))
            }
        }
    }
}

#[test]
fn an_id_that_names_no_stream_reaches_nobody() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/MP2T", "media").into());
    let proxy = Proxy::before(&origin, &[]);
    for id in ["x", "", "%00", "Li4vLi4", &"a".repeat(5000)] {
        let response = get(proxy.http, &format!("/live/a-1.m4s?spbhid={id}"));
        assert_eq!(response.status(), 404, "{id:.20}: {}", response.text());
    }
    assert_eq!(origin.requests().len(), 0, "{:?}", origin.requests());
}
