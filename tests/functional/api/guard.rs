//! The System API is for the operator and its origins: not for strangers, and not for web pages.

use crate::common::SOON;
use crate::common::client::Client;
use crate::common::fetch;
use crate::common::hostile::{statuses, talk};
use crate::common::proxy::Proxy;
use crate::common::response::Response;
use serde_json::json;

const TOKEN: &str = "s3cret-Token.42";

fn heartbeat() -> String {
    json!({
        "device_id": "o", "ip": "127.0.0.1", "server": "vid-1", "service": "s", "pid": "1",
        "rtmp": ["1935"], "http": ["8080"], "api": [],
    })
    .to_string()
}

fn guarded() -> Proxy {
    Proxy::start(&[
        ("PROXY_SYSTEM_API_TOKEN", TOKEN),
        ("PROXY_LOG_LEVEL", "debug"),
    ])
}

fn assert_refused(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status(), status, "{what}: {}", response.text());
    assert!(
        response
            .text()
            .starts_with(&format!("{{\"code\":{status},\"message\":\"")),
        "{what}: {}",
        response.text()
    );
    assert!(!response.text().contains(TOKEN), "{what}");
}

#[test]
fn the_token_is_taken_in_three_places() {
    let proxy = guarded();
    let bearer = format!("Bearer {TOKEN}");
    let bearer = [("Authorization", bearer.as_str())];
    let query = format!("/api/v1/srs/register?token={TOKEN}");
    let segment = format!("/api/v1/srs/register/{TOKEN}");
    let body = heartbeat();
    for (what, target, headers) in [
        ("query", query.as_str(), &[][..]),
        ("bearer", "/api/v1/srs/register", &bearer[..]),
        ("last segment", segment.as_str(), &[][..]),
    ] {
        let response = fetch::post(proxy.api, target, headers, body.as_bytes());
        assert_eq!(response.status(), 200, "{what}: {}", response.text());
    }
    for path in ["/api/v1/origins", "/api/v1/streams"] {
        assert_eq!(
            fetch::get_with(proxy.api, path, &bearer).status(),
            200,
            "{path}"
        );
        assert_eq!(
            fetch::get(proxy.api, &format!("{path}?x=1&token={TOKEN}")).status(),
            200,
            "{path}"
        );
    }
    assert_eq!(fetch::get(proxy.api, "/api/v1/origins").status(), 401);
}

#[test]
fn without_the_token_or_with_another_it_is_a_401() {
    let proxy = guarded();
    let body = heartbeat();
    let almost = &TOKEN[..TOKEN.len() - 1];
    for wrong in [
        "",
        "x",
        almost,
        "s3cret-Token.43",
        "S3CRET-TOKEN.42",
        &format!("{TOKEN}x"),
    ] {
        let bearer = format!("Bearer {wrong}");
        for (target, headers) in [
            (format!("/api/v1/srs/register?token={wrong}"), vec![]),
            (format!("/api/v1/srs/register/{wrong}"), vec![]),
            (
                "/api/v1/srs/register".to_owned(),
                vec![("Authorization", bearer.as_str())],
            ),
        ] {
            let response = fetch::post(proxy.api, &target, &headers, body.as_bytes());
            assert_refused(&response, 401, &target);
            assert_eq!(response.headers().one("www-authenticate"), "Bearer");
        }
    }
    let basic = [("Authorization", "Basic czNjcmV0LVRva2VuLjQy")];
    for target in [
        "/api/v1/origins",
        "/api/v1/streams",
        "/metrics",
        "/nothing",
        "/api/v1/origins?Token=x",
        "//api/v1/origins",
    ] {
        assert_refused(&fetch::get_with(proxy.api, target, &basic), 401, target);
    }
    for target in ["/api/v1/origins/x/drain", "/api/v1/origins/x/undrain"] {
        assert_refused(&fetch::post(proxy.api, target, &[], b""), 401, target);
    }
    // Open to all: what says nothing of the streams.
    for (target, status) in [("/api/v1/versions", 200), ("/healthz", 503), ("/", 200)] {
        assert_eq!(fetch::get(proxy.api, target).status(), status, "{target}");
    }
    let view = fetch::get(proxy.api, &format!("/api/v1/origins?token={TOKEN}")).json();
    assert_eq!(
        view["data"]["origins"].as_array().map(Vec::len),
        Some(0),
        "{view}"
    );
}

#[test]
fn the_token_is_in_no_log_line() {
    let proxy = guarded();
    let body = heartbeat();
    let bearer = format!("Bearer {TOKEN}");
    for server in [proxy.api, proxy.http] {
        for target in [
            format!("/api/v1/srs/register/{TOKEN}"),
            format!("/api/v1/srs/register//{TOKEN}"),
            format!("/api/v1/srs/register/{TOKEN}/more"),
            format!("//api/v1/srs/register/{TOKEN}"),
            format!("/wrong/prefix/srs/register/{TOKEN}"),
            format!("/api/v1/srs/register?token={TOKEN}"),
            format!("/api/v1/origins/x/drain?token={TOKEN}"),
            format!("/{}?token={TOKEN}", "x".repeat(100)),
            format!("http://127.0.0.1/api/v1/srs/register/{TOKEN}"),
        ] {
            for method in ["POST", "GET", "PUT"] {
                let length = body.len();
                let _ = talk(
                    server,
                    format!(
                        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer}\r\n\
                         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    )
                    .as_bytes(),
                );
            }
        }
        // Refused before it is understood.
        let _ = talk(
            server,
            format!("POST /api/v1/srs/register/{TOKEN} HTTP/1.1\r\n\r\n").as_bytes(),
        );
        let _ = talk(server, format!("POST /{TOKEN} HTTP/3.0\r\n\r\n").as_bytes());
    }
    let log = proxy.log_lines();
    assert!(
        log.iter()
            .filter(|line| line.contains("/register/…"))
            .count()
            > 10,
        "{log:#?}"
    );
    for line in log {
        assert!(!line.contains(TOKEN), "{line}");
    }
}

#[test]
fn bodies_have_a_limit() {
    let proxy = Proxy::start(&[]);
    let padded = |size: usize| {
        let body = heartbeat();
        format!("{}{}", " ".repeat(size - body.len()), body)
    };
    let most = fetch::post(
        proxy.api,
        "/api/v1/srs/register",
        &[],
        padded(64 * 1024).as_bytes(),
    );
    assert_eq!(most.status(), 200, "{}", most.text());
    let more = fetch::post(
        proxy.api,
        "/api/v1/srs/register",
        &[],
        padded(64 * 1024 + 1).as_bytes(),
    );
    assert_refused(&more, 413, "one byte more");
    for path in ["/api/v1/srs/register", "/api/v1/srs/register/x", "/nothing"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 18446744073709551616\r\n\r\n"
        );
        assert_eq!(statuses(&talk(proxy.api, head.as_bytes())), [413], "{path}");
    }
}

#[test]
fn deep_and_broken_bodies_are_refused() {
    let proxy = Proxy::start(&[]);
    for body in [
        "[".repeat(60_000),
        "{\"a\":".repeat(12_000),
        format!("{}{}", "[".repeat(127), "]".repeat(127)),
        format!("{{\"ip\":{}1{}}}", "[".repeat(120), "]".repeat(120)),
        "\"".to_owned(),
        "\u{0}".repeat(1000),
        "1e999999".to_owned(),
        "{\"ip\":\"\\ud800\"}".to_owned(),
        String::new(),
    ] {
        let response = fetch::post(proxy.api, "/api/v1/srs/register", &[], body.as_bytes());
        assert_eq!(response.status(), 400, "{:?}", body.get(..20));
    }
    proxy.assert_no_panic();
}

#[test]
fn a_foreign_page_changes_nothing_whatever_the_browser_sends_with_it() {
    for token in [None, Some(TOKEN)] {
        let settings: Vec<_> = token
            .iter()
            .map(|token| ("PROXY_SYSTEM_API_TOKEN", *token))
            .collect();
        let proxy = Proxy::start(&settings);
        let query = token.map_or(String::new(), |token| format!("?token={token}"));
        let register = format!("/api/v1/srs/register{query}");
        for origin in [
            "http://evil.example",
            "https://evil.example:12025",
            "null",
            "http://localhost",
            "",
        ] {
            for target in [register.clone(), format!("/api/v1/origins/x/drain{query}")] {
                let headers = [("Origin", origin), ("Content-Type", "text/plain")];
                let response = fetch::post(proxy.api, &target, &headers, heartbeat().as_bytes());
                assert_refused(&response, 403, &format!("{origin:?} {target}"));
            }
        }
        // A page may send a GET, but reads nothing of the answer: there are no CORS headers.
        for method in ["GET", "OPTIONS", "HEAD"] {
            for target in [
                format!("/api/v1/origins{query}"),
                "/api/v1/versions".to_owned(),
            ] {
                let headers = [
                    ("Origin", "http://evil.example"),
                    ("Access-Control-Request-Method", "POST"),
                ];
                let response = fetch::fetch(proxy.api, method, &target, &headers);
                let cors = response
                    .headers()
                    .0
                    .iter()
                    .find(|(name, _)| name.to_ascii_lowercase().starts_with("access-control"));
                assert_eq!(cors, None, "{method} {target}");
            }
        }
        // The console's own page may.
        let own = format!("http://{}", proxy.api);
        let response = fetch::post(
            proxy.api,
            &register,
            &[("Origin", &own)],
            heartbeat().as_bytes(),
        );
        assert_eq!(response.status(), 200, "{}", response.text());
    }
}

#[test]
fn a_name_that_was_made_to_point_here_is_refused() {
    let proxy = Proxy::start(&[]);
    for (host, status) in [
        ("evil.example", 403),
        ("evil.example:12025", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]:12025", 200),
        ("192.168.1.5:12025", 200),
    ] {
        for target in ["/api/v1/origins", "/metrics", "/api/v1/streams", "/"] {
            let response = fetch::get_with(proxy.api, target, &[("Host", host)]);
            assert_eq!(
                response.status(),
                status,
                "{host} {target}: {}",
                response.text()
            );
        }
        let origin = format!("http://{host}");
        let headers = [("Host", host), ("Origin", origin.as_str())];
        let response = fetch::post(
            proxy.api,
            "/api/v1/srs/register",
            &headers,
            heartbeat().as_bytes(),
        );
        assert_eq!(response.status(), status, "{host}: {}", response.text());
    }
    // In absolute form the authority is the host.
    let mut client = Client::connect(proxy.api);
    client.send(b"GET http://evil.example/api/v1/origins HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(client.read_response(SOON).status(), 403);
    // With a token the name does not matter.
    let proxy = guarded();
    let target = format!("/api/v1/origins?token={TOKEN}");
    assert_eq!(
        fetch::get_with(proxy.api, &target, &[("Host", "proxy.example")]).status(),
        200
    );
}

#[test]
fn any_address_of_this_machine_is_near() {
    // Peers of other networks cannot be had on loopback: `api::guard` has unit tests for them. From any address
    // of this machine it is open.
    let proxy = Proxy::start(&[]);
    let mut client = Client::connect_from("127.0.0.9".parse().expect("an address"), proxy.api);
    assert_eq!(client.get("/api/v1/origins", &[]).status(), 200);
}
