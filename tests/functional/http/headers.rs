//! Which headers travel, which stay on their hop, and which are ours.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, get10};
use crate::common::hls::live_id;
use crate::common::origin::{Origin, Request};
use crate::common::proxy::Proxy;
use crate::common::response::Response;

/// A live stream, a playlist and a segment, as a player asks for them.
fn kinds() -> [String; 3] {
    [
        "/live/a.flv".into(),
        "/live/a.m3u8".into(),
        format!("/live/a-1.ts?spbhid={}", live_id("a")),
    ]
}

/// An origin that answers every path with `headers`.
fn origin_with(headers: &[(&str, &str)]) -> Origin {
    let origin = Origin::start();
    let reply = Reply::ok("video/x", "#EXTM3U\n");
    let reply = headers
        .iter()
        .fold(reply, |reply, (name, value)| reply.header(name, value));
    origin.otherwise(move |_| reply.clone().into());
    origin
}

#[track_caller]
fn asked(proxy: &Proxy, origin: &Origin, target: &str, headers: &[(&str, &str)]) -> Request {
    let response = get_with(proxy.http, target, headers);
    assert_eq!(
        response.status(),
        200,
        "{target} {headers:?}: {}",
        response.text()
    );
    origin.last_request()
}

#[test]
fn path_and_query_reach_the_origin_as_they_were_sent() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    for target in [
        "/live/a.flv?token=a%2Fb&x=%20y&z",
        "/live/a.flv?",
        "/live/%e4%bd%a0%2D%41.flv?a=b=c&&d",
        "/live/a.flv?vhost=v.example.com&token=1;2,3",
        "/live/a+b;c=d,e@f:g.ts?x=/../?y",
        "/live/sub/dir/a.m3u8?hls_ctx=1",
    ] {
        assert_eq!(asked(&proxy, &origin, target, &[]).target, target);
    }
}

#[test]
fn end_to_end_headers_reach_the_origin_and_nothing_is_made_up() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    let headers = [
        ("User-Agent", "VLC/3.0.18 LibVLC/3.0.18"),
        ("Accept", "*/*;q=0.5"),
        ("Accept-Language", "de"),
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("Cookie", "a=b; c=d"),
        ("Referer", "http://example.com/page?x"),
        ("Origin", "http://example.com"),
        ("Icy-MetaData", "1"),
        ("X-Playback-Session-Id", "é"),
    ];
    for target in kinds() {
        let mut all = headers.to_vec();
        all.push(("Host", "ts.example.com:18080"));
        let request = asked(&proxy, &origin, &target, &all);
        for (name, value) in all {
            assert_eq!(request.headers.one(name), value, "{target}");
        }
        let plain = asked(&proxy, &origin, &target, &[]);
        assert_eq!(plain.headers.one("host"), proxy.http.to_string());
        for name in [
            "user-agent",
            "accept",
            "accept-language",
            "content-length",
            "transfer-encoding",
        ] {
            assert!(
                !plain.headers.has(name),
                "{target}: {name} is not the player's"
            );
        }
        // A playlist has to be read: no encoding is welcome, which silence would not say.
        let encodings = plain.headers.all("accept-encoding");
        let wanted = if target.contains(".m3u8") {
            vec!["identity"]
        } else {
            vec![]
        };
        assert_eq!(encodings, wanted, "{target}");
    }
    // A part of what is in memory would be cut from it.
    let segment = kinds()[2].replace("a-1", "a-2");
    for target in ["/live/a.flv", &segment] {
        let request = asked(
            &proxy,
            &origin,
            target,
            &[("Accept-Encoding", "gzip"), ("Range", "bytes=1-")],
        );
        assert_eq!(request.headers.one("accept-encoding"), "gzip");
        assert_eq!(request.headers.one("range"), "bytes=1-");
    }
    let cookies = asked(
        &proxy,
        &origin,
        "/live/a.flv",
        &[("X-Two", "1"), ("X-Two", "2")],
    );
    assert_eq!(
        cookies.headers.all("x-two").join(", ").replace(", ", ","),
        "1,2"
    );
}

#[test]
fn hop_by_hop_headers_of_the_player_stay_on_its_hop() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let headers = [
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Upgrade", "websocket"),
            ("Connection", "upgrade , x-hop2,TE"),
            ("X-Hop2", "2"),
            ("X-End", "3"),
        ];
        let request = asked(&proxy, &origin, &target, &headers);
        for name in [
            "x-hop",
            "x-hop2",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
        ] {
            assert!(
                !request.headers.has(name),
                "{target}: {name} in {:?}",
                request.headers
            );
        }
        assert!(!request.headers.lists("connection", "x-hop"));
        assert_eq!(request.headers.one("x-end"), "3");
    }
}

#[test]
fn a_player_cannot_take_away_what_the_proxy_says() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[("PROXY_TRUSTED_PROXIES", "192.0.2.0/24")]);
    let named =
        "host, x-forwarded-for, X-Real-IP, x-forwarded-host, x-forwarded-proto, via, connection";
    let request = asked(&proxy, &origin, "/live/a.flv", &[("Connection", named)]);
    assert_eq!(request.headers.one("host"), proxy.http.to_string());
    assert_eq!(request.headers.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.headers.one("x-real-ip"), "127.0.0.1");
    assert!(request.headers.has("x-forwarded-host") && request.headers.has("x-forwarded-proto"));
    assert!(request.headers.has("via"));
}

const SPOOFED: [(&str, &str); 5] = [
    ("X-Forwarded-For", "203.0.113.7, 198.51.100.2"),
    ("x-real-ip", "203.0.113.7"),
    ("X-Forwarded-Host", "public.example.com"),
    ("X-Forwarded-Proto", "https"),
    ("x-forwarded-FOR", "198.51.100.3"),
];

#[test]
fn the_viewers_address_is_told() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let request = asked(&proxy, &origin, &target, &[("Host", "ts.example.com")]);
        for (name, value) in [
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", "ts.example.com"),
            ("X-Forwarded-Proto", "http"),
            ("X-Real-IP", "127.0.0.1"),
        ] {
            assert_eq!(request.headers.one(name), value, "{target}");
            assert!(
                request.headers.spelt(name),
                "SRS takes {name} only in this spelling: {:?}",
                request.headers
            );
        }
    }
}

#[test]
fn a_trusted_peer_is_believed_and_extended() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let request = asked(&proxy, &origin, &target, &SPOOFED);
        let chain = request.headers.all("x-forwarded-for").join(", ");
        assert_eq!(
            chain, "198.51.100.3, 127.0.0.1",
            "{target}: what stands before the viewer is the viewer's own word"
        );
        assert_eq!(request.headers.one("x-real-ip"), "198.51.100.3");
        assert_eq!(
            request.headers.one("x-forwarded-host"),
            "public.example.com"
        );
        assert_eq!(request.headers.one("x-forwarded-proto"), "https");
        for name in [
            "X-Forwarded-For",
            "X-Real-IP",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
        ] {
            assert!(
                request.headers.spelt(name),
                "{target}: {name} in {:?}",
                request.headers
            );
        }
    }
}

#[test]
fn any_other_peer_is_not_believed() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(
        &origin,
        &[("PROXY_TRUSTED_PROXIES", "127.0.0.1/32,10.0.0.0/8")],
    );
    for target in kinds() {
        let mut client = Client::connect_from([127, 0, 0, 2].into(), proxy.http);
        client.request("GET", &target, &SPOOFED);
        assert_eq!(client.read_response(SOON).status(), 200);
        let request = origin.last_request();
        assert_eq!(
            request.headers.one("x-forwarded-for"),
            "127.0.0.2",
            "{target}"
        );
        assert_eq!(request.headers.one("x-real-ip"), "127.0.0.2");
        assert_eq!(
            request.headers.one("x-forwarded-host"),
            proxy.http.to_string()
        );
        assert_eq!(request.headers.one("x-forwarded-proto"), "http");
    }
    let request = asked(&proxy, &origin, "/live/a.flv", &SPOOFED);
    assert!(
        request
            .headers
            .one("x-forwarded-for")
            .starts_with("198.51.100.3"),
        "127.0.0.1 is trusted"
    );
}

#[test]
fn http_1_0_without_a_host_is_the_default_vhost() {
    let origin = origin_with(&[]);
    let proxy = Proxy::before(&origin, &[]);
    assert_eq!(get10(proxy.http, "/live/a.flv", &[]).status(), 200);
    // An HTTP/1.1 origin must get one; SRS takes an address for the default vhost.
    let host = origin.last_request().headers.one("host").to_owned();
    let address = host
        .rsplit_once(':')
        .map_or(host.as_str(), |(address, _)| address);
    assert!(
        address == "__defaultVhost__" || address.parse::<std::net::IpAddr>().is_ok(),
        "{host}"
    );
    origin.on("/live/b.m3u8", Reply::playlist("#EXTM3U\nb-1.ts\n"));
    let list = get10(proxy.http, "/live/b.m3u8", &[]).text();
    assert_eq!(list, format!("#EXTM3U\nb-1.ts?spbhid={}\n", live_id("b")));
}

#[test]
fn the_player_sees_the_origins_end_to_end_headers() {
    let headers = [
        ("ETag", "W/\"x\""),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Cache-Control", "max-age=3, must-revalidate"),
        ("Content-Disposition", "inline"),
        ("X-Content-Duration", "2.0"),
        ("icy-name", "é"),
        ("Vary", "Origin"),
        ("Warning", "199 - \"x\""),
    ];
    let mut all = headers.to_vec();
    all.extend([("Set-Cookie", "a=b; Path=/"), ("Set-Cookie", "c=d, e")]);
    let origin = origin_with(&all);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let response = get(proxy.http, &target);
        assert_eq!(
            response.headers().one("content-type"),
            "video/x",
            "{target}"
        );
        assert_eq!(response.headers().one("content-length"), "8", "{target}");
        // A rewritten playlist is not the bytes that the origin's tag is for.
        let rewritten = target.ends_with(".m3u8");
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| !(rewritten && *name == "ETag"))
        {
            assert_eq!(response.headers().one(name), *value, "{target}");
        }
        assert_eq!(
            response.headers().all("set-cookie"),
            ["a=b; Path=/", "c=d, e"],
            "{target}"
        );
    }
}

#[test]
fn hop_by_hop_headers_of_the_origin_stay_on_its_hop() {
    let origin = origin_with(&[
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Upgrade", "h2c"),
        ("Trailer", "X-Sum"),
        ("X-End", "3"),
    ]);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let mut client = Client::connect(proxy.http);
        let response = client.get(&target, &[]);
        for name in ["x-hop", "proxy-connection", "upgrade", "trailer"] {
            assert!(!response.headers().has(name), "{target}: {name}");
        }
        assert!(!response.headers().lists("connection", "x-hop"));
        assert_ne!(response.headers().maybe("keep-alive"), Some("timeout=5"));
        assert_eq!(response.headers().one("x-end"), "3");
    }
}

#[test]
fn what_is_ours_replaces_what_is_the_origins() {
    let origin = origin_with(&[
        ("Access-Control-Allow-Origin", "http://example.com"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Headers", "X-Origin"),
        ("Access-Control-Allow-Methods", "GET"),
        ("Access-Control-Expose-Headers", "X-Origin"),
        ("Access-Control-Max-Age", "1"),
        ("Server", "SRS/7.0.18(Kai)"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("X-Request-Id", "the-origins"),
    ]);
    let proxy = Proxy::before(&origin, &[]);
    for target in kinds() {
        let response = get_with(proxy.http, &target, &[("Origin", "http://example.com")]);
        assert_ours(&response, &target);
        assert!(
            !response.headers().has("access-control-allow-credentials"),
            "{target}"
        );
        assert!(
            !response.headers().has("access-control-max-age"),
            "{target}"
        );
        assert_ne!(
            response.headers().one("x-request-id"),
            "the-origins",
            "{target}"
        );
        assert!(
            !response.headers().one("server").contains("SRS/7"),
            "{target}"
        );
        assert_ne!(
            response.headers().one("date"),
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "{target}"
        );
    }
}

#[track_caller]
fn assert_ours(response: &Response, what: &str) {
    let headers = response.headers();
    for name in [
        "Allow-Origin",
        "Allow-Headers",
        "Allow-Methods",
        "Expose-Headers",
    ] {
        assert_eq!(
            headers.one(&format!("Access-Control-{name}")),
            "*",
            "{what}"
        );
    }
    assert!(
        !headers.one("server").is_empty() && !headers.one("x-request-id").is_empty(),
        "{what}"
    );
}

#[test]
fn every_response_carries_cors_a_server_and_an_id() {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "ts"));
    origin.on("/live/gone.flv", Reply::new(410));
    origin.on(
        "/live/refused.flv",
        crate::common::answer::Answer::CloseWithoutHead,
    );
    let proxy = Proxy::before(&origin, &[]);
    let mut seen = std::collections::BTreeSet::new();
    let mut check = |response: Response, status: u16, what: &str| {
        assert_eq!(response.status(), status, "{what}");
        assert_ours(&response, what);
        let id = response.headers().one("x-request-id").to_owned();
        assert!(id.bytes().all(|b| b.is_ascii_graphic()), "{id:?}");
        assert!(seen.insert(id), "{what}: an id that was there before");
    };
    for target in kinds() {
        check(get(proxy.http, &target), 200, &target);
        check(fetch(proxy.http, "HEAD", &target, &[]), 200, &target);
        check(fetch(proxy.http, "OPTIONS", &target, &[]), 200, &target);
        check(fetch(proxy.http, "DELETE", &target, &[]), 405, &target);
        check(get10(proxy.http, &target, &[]), 200, &target);
    }
    check(get(proxy.http, "/"), 200, "the page");
    check(get(proxy.http, "/nothing"), 404, "no file");
    check(get(proxy.http, "/api/v1/versions"), 200, "versions");
    check(get(proxy.http, "/live/nothing.flv"), 404, "no stream");
    check(get(proxy.http, "/live/gone.flv"), 410, "gone");
    check(get(proxy.http, "/live/refused.flv"), 502, "refused");
    check(
        crate::common::fetch::send_raw(proxy.http, b"GET / HTTP/1.1\r\n\r\n"),
        400,
        "no host",
    );
    check(
        crate::common::fetch::send_raw(proxy.http, b"GET / HTTP/2.0\r\n\r\n"),
        505,
        "version",
    );
    let empty = Proxy::start(&[]);
    check(get(empty.http, "/live/a.flv"), 503, "no origin");
}
