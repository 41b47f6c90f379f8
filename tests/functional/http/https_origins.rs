//! Origins that are asked by HTTPS. Another proxy is the origin: a server of HTTPS before a scripted origin.

use crate::common::answer::{Framing, Reply};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::{Proxy, ProxyBuilder};
use crate::common::tls::TestRoot;
use crate::common::{ABOUT_A_SECOND, SOON};
use serde_json::json;
use std::collections::HashSet;

/// A proxy that serves what `origin` has by HTTPS, and is an origin for another one.
fn secure_origin(origin: &Origin, root: &TestRoot) -> Proxy {
    let proxy = Proxy::builder()
        .https(root)
        .env("PROXY_LIVE_RESUME", "0s")
        .env("PROXY_HLS_CACHE", "0")
        .start();
    proxy.register(origin);
    proxy
}

fn before(secure: &Proxy, host: &str) -> ProxyBuilder {
    Proxy::builder()
        .env(
            "PROXY_ORIGINS",
            format!("https://{host}:{}", secure.https().port()),
        )
        .env("PROXY_LIVE_RESUME", "0s")
        .env("PROXY_STREAM_WAIT", "0s")
        .env("PROXY_TRY_UNLISTED", "first")
}

#[test]
fn streams_playlists_and_segments_come_by_https() {
    let origin = Origin::start();
    let root = TestRoot::new();
    let segment: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", segment.clone()));
    let route = origin.live_flv("/live/a.flv");
    let secure = secure_origin(&origin, &root);
    // By address and by name: the certificate is for both.
    for host in ["127.0.0.1", "localhost"] {
        let proxy = before(&secure, host)
            .file("root.pem", &root.pem)
            .env("PROXY_ORIGIN_CA", "root.pem")
            .env("PROXY_HLS_CACHE", "0")
            .start();
        for _ in 0..3 {
            let list = get(proxy.http, "/live/a.m3u8");
            assert!(list.text().contains("a-1.ts?spbhid="), "{}", list.text());
            let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
            let response = get(proxy.http, &target);
            assert_eq!((response.status(), response.end), (200, BodyEnd::Complete));
            assert!(response.body == segment, "{host}");
        }
        let asked = origin.last_request();
        assert_eq!(
            asked.headers.one("x-forwarded-proto"),
            "http",
            "the player's"
        );
        // A live stream; its viewer's leaving ends the connections behind it.
        let mut viewer = Client::connect(proxy.http);
        viewer.request("GET", "/live/a.flv", &[]);
        let mut live = route.next();
        live.send(b"frame");
        assert_eq!(viewer.read_head(SOON).status, 200);
        viewer.expect_bytes(b"frame", SOON);
        drop(viewer);
        live.wait_closed(ABOUT_A_SECOND);
    }
    // Connections were kept, whatever TLS sends by itself after a handshake: of twelve requests most came by another's.
    let lines = secure.log_lines();
    let of_hls = lines
        .iter()
        .filter(|line| line.contains(" GET /live/a-1.ts ") || line.contains(" GET /live/a.m3u8 "));
    let clients: Vec<&str> = of_hls.filter_map(|line| line.split(' ').nth(3)).collect();
    let connections: HashSet<&str> = clients.iter().copied().collect();
    assert!(clients.len() >= 12 && connections.len() <= 4, "{clients:?}");
}

#[test]
fn a_body_that_breaks_off_behind_https_is_broken_for_the_player() {
    let origin = Origin::start();
    let root = TestRoot::new();
    let secure = secure_origin(&origin, &root);
    let proxy = before(&secure, "127.0.0.1")
        .env("PROXY_ORIGIN_INSECURE", "on")
        .start();
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for framing in [Framing::Chunked, Framing::Length(100)] {
        for target in ["/live/a.flv", &segment] {
            let path = target.split('?').next().expect("a path");
            let route = origin.live(path, LiveRoute::new(framing, "video/x"));
            let mut client = Client::connect(proxy.http);
            client.request("GET", target, &[]);
            let mut live = route.next();
            live.send(b"the first bytes");
            assert_eq!(client.read_head(SOON).status, 200);
            client.expect_bytes(b"the first bytes", SOON);
            live.close();
            let (rest, end) = client.read_rest(SOON);
            assert!(
                rest.is_empty() && end != BodyEnd::Complete,
                "{target} {framing:?}"
            );
        }
    }
    proxy.assert_no_panic();
}

#[test]
fn an_origin_whose_certificate_is_not_trusted_is_not_asked() {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    let (root, other) = (TestRoot::new(), TestRoot::new());
    let secure = secure_origin(&origin, &root);
    // The system's roots do not know it, and another root has not signed it.
    let by_system = before(&secure, "127.0.0.1");
    let by_another = before(&secure, "127.0.0.1")
        .file("root.pem", &other.pem)
        .env("PROXY_ORIGIN_CA", "root.pem");
    for builder in [by_system, by_another] {
        let proxy = builder.start();
        let response = get(proxy.http, "/live/a.flv");
        assert_eq!(response.status(), 502, "{}", response.text());
        let line = proxy.wait_for_log(|line| line.contains(" GET /live/a.flv 502 "), SOON);
        assert!(
            line.contains("certificate") || line.contains("ca-certificates"),
            "{line}"
        );
    }
    assert!(origin.requests().is_empty());
    let proxy = before(&secure, "127.0.0.1")
        .env("PROXY_ORIGIN_INSECURE", "on")
        .start();
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "flv");
    // One that speaks no TLS at that port, and one that says nothing.
    let proxy = Proxy::builder()
        .env("PROXY_ORIGINS", format!("https://{}", origin.addr()))
        .env("PROXY_ORIGIN_INSECURE", "on")
        .start();
    assert_eq!(get(proxy.http, "/live/a.flv").status(), 502);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binding");
    let address = silent.local_addr().expect("an address");
    let proxy = Proxy::builder()
        .env("PROXY_ORIGINS", format!("https://{address}"))
        .env("PROXY_CONNECT_TIMEOUT", "300ms")
        .start();
    assert_eq!(get(proxy.http, "/live/a.flv").status(), 502);
}

#[test]
fn a_heartbeat_with_ports_of_https_alone_is_asked_by_https() {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    let root = TestRoot::new();
    let secure = secure_origin(&origin, &root);
    let proxy = Proxy::builder()
        .file("root.pem", &root.pem)
        .env("PROXY_ORIGIN_CA", "root.pem")
        .start();
    for endpoint in [
        secure.https().port().to_string(),
        format!("localhost:{}", secure.https().port()),
    ] {
        let heartbeat = json!({
            "ip": "127.0.0.1", "server": "s", "service": "1", "pid": "1", "rtmp": ["1935"], "https": [endpoint],
        });
        let response = proxy.register_raw(heartbeat.to_string().as_bytes());
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "flv", "{endpoint}");
    }
}
