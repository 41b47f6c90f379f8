//! The fixture tried on itself: a scripted origin and the strict client, without the proxy between them.

use crate::common::answer::{Answer, Framing, Reply, Then};
use crate::common::api::Trouble;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes, Piece};
use crate::common::deaf::DeafPort;
use crate::common::live::LiveRoute;
use crate::common::nginx::Nginx;
use crate::common::origin::{Manner, Origin};
use crate::common::proxy::Proxy;
use crate::common::{SOON, fetch, media, tools, wait::wait_until};
use rustix::process::Signal;
use std::net::TcpStream;
use std::time::Duration;

const A_MOMENT: Duration = Duration::from_millis(300);

#[test]
fn a_reply_arrives_as_scripted_and_the_request_is_remembered() {
    let origin = Origin::start();
    origin.on(
        "/a",
        Reply::ok("text/plain", "hello")
            .header("X-One", "1")
            .header("x-one", "2"),
    );
    let mut client = Client::connect(origin.addr());
    let response = client.get("/a?b=c", &[("X-Spelt", "So")]);
    assert_eq!(
        (response.status(), response.text().as_str()),
        (200, "hello")
    );
    assert_eq!(response.end, BodyEnd::Complete);
    assert_eq!(response.headers().all("x-ONE"), ["1", "2"]);
    assert_eq!(response.headers().one("content-length"), "5");
    assert_eq!(client.get("/nothing", &[]).status(), 404);

    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].path(), requests[0].query()), ("/a", "b=c"));
    assert_eq!(requests[0].query_value("b"), Some("c"));
    assert!(requests[0].headers.spelt("X-Spelt") && !requests[0].headers.spelt("x-spelt"));
    assert_eq!((requests[0].connection, requests[0].nth), (0, 0));
    assert_eq!((requests[1].connection, requests[1].nth), (0, 1));
    assert!(
        requests[0]
            .raw
            .starts_with(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    );
    assert_eq!(requests[0].peer, client.local_addr());
    assert_eq!((origin.connections(), origin.open_connections()), (1, 1));
    drop(client);
    wait_until("the origin saw the client leave", SOON, || {
        origin.open_connections() == 0
    });
}

#[test]
fn every_framing_is_read_to_its_end() {
    let origin = Origin::start();
    let body: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
    origin.on("/length", Reply::ok("a/b", &body));
    origin.on("/chunked", Reply::ok("a/b", &body).chunked());
    origin.on("/close", Reply::ok("a/b", &body).until_close());
    for path in ["/length", "/chunked", "/close"] {
        let mut client = Client::connect(origin.addr());
        let response = client.get(path, &[]);
        assert!(response.body == body, "{path}");
        assert_eq!(response.end, BodyEnd::Complete, "{path}");
    }
    let mut client = Client::connect(origin.addr());
    client.request("HEAD", "/length", &[]);
    let head = client.read_response(SOON);
    assert_eq!(
        (head.headers().one("content-length"), head.body.len()),
        ("5000", 0)
    );
    assert_eq!(
        client.get("/length", &[]).body.len(),
        5000,
        "the connection goes on after HEAD"
    );
}

#[test]
fn a_broken_body_is_seen_as_broken() {
    let origin = Origin::start();
    for (framing, name) in [
        (Framing::Chunked, "chunked"),
        (Framing::Length(100), "length"),
        (Framing::UntilClose, "close"),
    ] {
        let route = origin.live(&format!("/{name}"), LiveRoute::new(framing, "video/x-flv"));
        for reset in [false, true] {
            let mut client = Client::connect(origin.addr());
            client.request("GET", &format!("/{name}"), &[]);
            let mut live = route.next();
            client.read_head(SOON);
            live.send(b"first");
            client.expect_bytes(b"first", SOON);
            if reset {
                live.reset()
            } else {
                live.close()
            }
            let wanted = match (reset, framing) {
                (true, _) => BodyEnd::Reset,
                (false, Framing::UntilClose) => BodyEnd::Complete,
                (false, _) => BodyEnd::Truncated,
            };
            assert_eq!(
                client.read_rest(SOON),
                (vec![], wanted),
                "{name}, reset: {reset}"
            );
        }
    }
}

#[test]
fn a_live_body_is_the_tests_own() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut client = Client::connect(origin.addr());
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    assert!(!client.has_news(), "SRS sends its head with the first byte");
    live.send(b"one");
    assert_eq!(
        client.read_head(SOON).headers.one("transfer-encoding"),
        "chunked"
    );
    client.expect_bytes(b"one", SOON);
    assert_eq!(client.read_piece(A_MOMENT), Piece::TimedOut);
    live.send(b"two");
    client.expect_bytes(b"two", SOON);
    assert!(!live.is_closed());
    live.finish();
    assert_eq!(client.read_rest(SOON), (vec![], BodyEnd::Complete));
    client.request("GET", "/live/a.flv", &[]);
    let live = route.next();
    assert_eq!(
        (live.request().connection, live.request().nth),
        (0, 1),
        "kept alive after a finished body"
    );
    client.reset();
    live.wait_closed(SOON);
}

#[test]
fn a_reader_that_does_not_read_blocks_the_origin() {
    let origin = Origin::start();
    let route = origin.live("/a", LiveRoute::new(Framing::UntilClose, "a/b"));
    let mut client = Client::connect_small(origin.addr(), 4096);
    client.request10("GET", "/a", &[]);
    let sent = route.next().send_until_blocked(&[7; 10_000], A_MOMENT);
    client.read_head(SOON);
    let (body, _) = client.read_rest(SOON);
    assert!(body.len() >= sent && body.iter().all(|b| *b == 7));
}

#[test]
fn connections_are_treated_as_told() {
    let origin = Origin::start();
    origin.on("/a", Reply::ok("a/b", "x"));
    origin.on("/refused", Answer::CloseWithoutHead);
    origin.on("/reset", Answer::ResetWithoutHead);
    origin.on("/raw", Answer::Raw(b"rubbish".to_vec(), Then::Close));
    origin.on("/silent", Answer::Silence);
    origin.on_each(
        "/each",
        vec![Reply::new(503).into(), Reply::new(200).into()],
    );

    let close = |path: &str, headers: &[(&str, &str)]| {
        let mut client = Client::connect(origin.addr());
        client.request("GET", path, headers);
        (client.try_read_head(A_MOMENT).map(|h| h.status), client)
    };
    assert_eq!(close("/refused", &[]).0, Err(NoBytes::Eof));
    assert_eq!(close("/reset", &[]).0, Err(NoBytes::Reset));
    assert_eq!(close("/each", &[]).0, Ok(503));
    assert_eq!(close("/each", &[]).0, Ok(200));
    assert_eq!(close("/each", &[]).0, Ok(200));
    let (nothing, client) = close("/silent", &[]);
    assert_eq!(nothing, Err(NoBytes::TimedOut));
    drop(client);
    wait_until("all were closed", SOON, || origin.open_connections() == 0);

    origin.behave(Manner::CloseAfter(2));
    let mut client = Client::connect(origin.addr());
    assert_eq!(
        (
            client.get("/a", &[]).status(),
            client.get("/a", &[]).status()
        ),
        (200, 200)
    );
    assert_eq!(client.expect_closed(SOON), NoBytes::Eof);

    origin.behave(Manner::CloseOnReuse);
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/a", &[]).status(), 200);
    client.request("GET", "/a", &[]);
    assert_eq!(
        client.try_read_head(SOON).map(|h| h.status),
        Err(NoBytes::Eof)
    );

    origin.behave(Manner::Srs);
    let (status, mut client) = close("/a", &[("Connection", "close")]);
    assert_eq!(
        (status, client.read_rest(SOON)),
        (Ok(200), (b"x".to_vec(), BodyEnd::Complete))
    );
    assert_eq!(client.expect_closed(SOON), NoBytes::Eof);
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/a", &[]).headers().one("connection"), "Close");
    client.request("GET", "/a", &[]);
    assert_eq!(
        client.try_read_head(A_MOMENT).map(|h| h.status),
        Err(NoBytes::TimedOut)
    );
}

#[test]
fn an_origin_stops_and_comes_back_on_its_port() {
    let origin = Origin::start();
    origin.on("/a", Reply::ok("a/b", "x"));
    let mut client = Client::connect(origin.addr());
    assert_eq!(client.get("/a", &[]).status(), 200);
    origin.stop();
    client.expect_closed(SOON);
    for _ in 0..3 {
        let refused = TcpStream::connect(origin.addr()).expect_err("a closed port");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    origin.restart();
    assert_eq!(fetch::get(origin.addr(), "/a").status(), 200);
}

#[test]
fn a_deaf_port_accepts_nobody() {
    let deaf = DeafPort::start();
    let error = TcpStream::connect_timeout(&deaf.addr(), A_MOMENT).expect_err("a deaf port");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn the_api_pages_as_srs_does() {
    let origin = Origin::start_with_api();
    let api = origin.api();
    let at = api.server().addr();
    for n in 0..25 {
        api.publish(&format!("/live/{n}"));
    }
    api.unpublish("/live/3");
    let urls = |target: &str| -> Vec<(String, bool)> {
        let json = fetch::get(at, target).json();
        let streams = json["streams"].as_array().expect("streams").clone();
        streams
            .iter()
            .map(|s| {
                (
                    s["url"].as_str().unwrap().to_owned(),
                    s["publish"]["active"] == true,
                )
            })
            .collect()
    };
    assert_eq!(fetch::get(at, "/api/v1/streams").status(), 302);
    assert_eq!(urls("/api/v1/streams/").len(), 10);
    assert_eq!(urls("/api/v1/streams/?count=1").len(), 10);
    assert_eq!(urls("/api/v1/streams/?start=20&count=20").len(), 5);
    let all = urls("/api/v1/streams/?count=100");
    assert_eq!(all.len(), 25);
    assert!(all.contains(&("/live/3".into(), false)) && all.contains(&("/live/24".into(), true)));
    assert_eq!(api.rounds(), 3);
    api.forget("/live/3");
    assert_eq!(urls("/api/v1/streams/?count=100").len(), 24);

    api.trouble(Some(Trouble::Rubbish(b"{".to_vec())));
    assert_eq!(fetch::get(at, "/api/v1/streams/").text(), "{");
    api.trouble(Some(Trouble::Status(500)));
    assert_eq!(fetch::get(at, "/api/v1/streams/").status(), 500);
    api.trouble(Some(Trouble::Slow(A_MOMENT)));
    assert_eq!(fetch::get(at, "/api/v1/streams/").status(), 200);
    api.trouble(Some(Trouble::Hangs));
    let mut client = Client::connect(at);
    client.request("GET", "/api/v1/streams/", &[]);
    assert_eq!(
        client.try_read_head(A_MOMENT).map(|h| h.status),
        Err(NoBytes::TimedOut)
    );
}

/// A stand-in for the proxy: says what the proxy says, and ends as it does.
const STAND_IN: &str = "
    echo \"2026-01-01T00:00:00Z INFO listening for players on 127.0.0.1:4001\" >&2
    echo \"2026-01-01T00:00:00Z INFO listening for origins and operators on 127.0.0.1:4002\" >&2
    env | grep ^PROXY_ | sort >&2
    pwd >&2
    trap 'exit 7' TERM
    echo ready >&2
    while :; do sleep 0.05; done";

#[test]
fn a_proxy_is_started_read_signalled_and_measured() {
    let builder = Proxy::builder()
        .program("/bin/sh")
        .arg("-c")
        .arg(STAND_IN)
        .env("PROXY_X", 5)
        .file("a/b", "c");
    assert_eq!(
        std::fs::read(builder.directory().join("a/b")).unwrap(),
        b"c"
    );
    let mut proxy = builder.start();
    assert_eq!((proxy.http.port(), proxy.api.port()), (4001, 4002));
    proxy.wait_for_log(|line| line == "ready", SOON);
    let log = proxy.log_lines();
    let settings = [
        "PROXY_HTTP_SERVER=127.0.0.1:0",
        "PROXY_SYSTEM_API=127.0.0.1:0",
        "PROXY_X=5",
    ];
    assert_eq!(log[2..5], settings);
    assert!(log.contains(&proxy.directory().to_string_lossy().into_owned()));
    proxy.assert_no_panic();
    assert_eq!(proxy.threads(), 1);
    assert!(proxy.fds() >= 3 && proxy.rss_kb() > 100 && proxy.peak_rss_kb() >= proxy.rss_kb());
    assert_eq!(proxy.try_exit(), None);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 7);
}

#[test]
#[should_panic(expected = "the proxy ended with Some(2)")]
fn a_proxy_that_does_not_start_is_told_apart_from_a_slow_one() {
    Proxy::builder()
        .program("/bin/sh")
        .arg("-c")
        .arg("echo bad setting >&2; exit 2")
        .start();
}

#[test]
#[should_panic(expected = "install the Debian package nginx-light")]
fn a_missing_tool_is_named_with_its_package() {
    // The check that names the package must not depend on the program being missing here.
    tools::missing("nginx");
}

#[test]
fn ffmpeg_makes_media_and_nginx_serves_them() {
    let nginx = Nginx::start(media::directory());
    for name in [
        "a.flv",
        "a.ts",
        "a.aac",
        "a.mp3",
        "ts.m3u8",
        "fmp4.m3u8",
        "aes.m3u8",
        "master.m3u8",
        "aes.key",
    ] {
        assert_eq!(
            fetch::get(nginx.addr(), &format!("/live/{name}")).status(),
            200,
            "{name}"
        );
    }
    let at = |name: &str| format!("http://{}/live/{name}", nginx.addr());
    let frames = media::frames(&at("a.flv"));
    assert_eq!(
        frames.lines().filter(|l| l.starts_with("0,")).count(),
        100,
        "{frames}"
    );
    for name in ["ts.m3u8", "fmp4.m3u8", "aes.m3u8", "master.m3u8"] {
        assert!(
            media::frames(&at(name))
                .lines()
                .filter(|l| l.starts_with("0,"))
                .count()
                == 100,
            "{name}"
        );
    }
    for name in ["a.ts", "a.aac", "a.mp3"] {
        assert!(media::frames(&at(name)).lines().count() > 100, "{name}");
    }
    assert!(nginx.access_log().contains("GET /live/a.flv 200"));
}
