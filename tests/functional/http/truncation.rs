//! A body that the origin did not finish never looks finished.

use crate::common::answer::Framing;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::hls::live_id;
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{ABOUT_A_SECOND, SOON};

/// How an origin breaks a body off.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// It closes, in the middle of what it announced.
    Close,
    /// It resets.
    Reset,
    /// It closes in the middle of a chunk.
    InChunk,
    /// It sends what is no chunk.
    NoChunk,
}

const BREAKS: [(Framing, Break); 7] = [
    (Framing::Chunked, Break::Close),
    (Framing::Chunked, Break::Reset),
    (Framing::Chunked, Break::InChunk),
    (Framing::Chunked, Break::NoChunk),
    (Framing::Length(100), Break::Close),
    (Framing::Length(100), Break::Reset),
    // A close is the proper end of a close-delimited body; a reset is not.
    (Framing::UntilClose, Break::Reset),
];

fn break_off(mut live: Live, how: Break) {
    match how {
        Break::Close => live.close(),
        Break::Reset => live.reset(),
        Break::InChunk => {
            live.send_raw(b"100\r\n");
            live.close();
        }
        Break::NoChunk => {
            live.send_raw(b"no chunk\r\n");
            live.close();
        }
    }
}

fn ask(proxy: &Proxy, version: &str, target: &str) -> Client {
    let mut client = Client::connect(proxy.http);
    client.send(format!("GET {target} {version}\r\nHost: {}\r\n\r\n", proxy.http).as_bytes());
    client
}

#[test]
fn a_broken_body_is_broken_for_the_player() {
    let origin = Origin::start();
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for proxy in &Proxy::both(&origin) {
        for (framing, how) in BREAKS {
            for target in ["/live/a.flv", "/live/a.ts", &segment] {
                let route = origin.live(
                    target.split('?').next().unwrap(),
                    LiveRoute::new(framing, "video/x"),
                );
                for version in ["HTTP/1.1", "HTTP/1.0"] {
                    let case = format!("{target} for {version}, {framing:?}, {how:?}");
                    let mut client = ask(proxy, version, target);
                    let mut live = route.next();
                    live.send(b"the first bytes");
                    let head = client.read_head(SOON);
                    assert_eq!(head.status, 200, "{case}");
                    client.expect_bytes(b"the first bytes", SOON);
                    break_off(live, how);
                    let (rest, end) = client.read_rest(ABOUT_A_SECOND);
                    assert!(
                        rest.is_empty(),
                        "{case}: appended {:?}",
                        String::from_utf8_lossy(&rest)
                    );
                    assert_ne!(end, BodyEnd::Complete, "{case}");
                    let close_delimited = !head.headers.has("content-length")
                        && !head.headers.has("transfer-encoding");
                    assert_eq!(
                        close_delimited,
                        version == "HTTP/1.0" && !matches!(framing, Framing::Length(_)),
                        "{case}"
                    );
                    if close_delimited {
                        assert_eq!(end, BodyEnd::Reset, "{case}: a FIN would look like the end");
                    }
                }
            }
        }
        proxy.assert_no_panic();
    }
}

#[test]
fn a_close_delimited_body_that_is_closed_is_whole() {
    let origin = Origin::start();
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for proxy in &Proxy::both(&origin) {
        for target in ["/live/a.flv", &segment] {
            let path = target.split('?').next().unwrap();
            let route = origin.live(path, LiveRoute::new(Framing::UntilClose, "video/x"));
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let mut client = ask(proxy, version, target);
                let mut live = route.next();
                live.send(b"all of it");
                live.close();
                assert_eq!(client.read_head(SOON).status, 200);
                assert_eq!(
                    client.read_rest(SOON),
                    (b"all of it".to_vec(), BodyEnd::Complete),
                    "{target} {version}"
                );
            }
        }
    }
}

#[test]
fn a_body_that_breaks_off_at_once_is_broken_for_the_player() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for (framing, how) in BREAKS {
        let route = origin.live("/live/a.flv", LiveRoute::new(framing, "video/x-flv"));
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut client = ask(&proxy, version, "/live/a.flv");
            break_off(route.next(), how);
            // A reset may overtake the origin's head: then there is none to pass on.
            match client.read_head(SOON).status {
                200 => assert_ne!(
                    client.read_rest(ABOUT_A_SECOND).1,
                    BodyEnd::Complete,
                    "{version} {framing:?} {how:?}"
                ),
                status => assert_eq!(status, 502, "{version} {framing:?} {how:?}"),
            }
        }
    }
}

#[test]
fn a_broken_big_segment_is_broken_for_the_player() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for framing in [Framing::Chunked, Framing::Length(10_000_000)] {
        let route = origin.live("/live/a-1.ts", LiveRoute::new(framing, "video/MP2T"));
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut client = ask(&proxy, version, &target);
            let mut live = route.next();
            let sender = std::thread::spawn(move || {
                for _ in 0..90 {
                    live.send(&[5; 100_000]);
                }
                live.close();
            });
            assert_eq!(client.read_head(SOON).status, 200);
            let (body, end) = client.read_rest(SOON);
            sender.join().expect("sending");
            assert!(
                body.len() <= 9_000_000 && body.iter().all(|b| *b == 5),
                "{version} {framing:?}"
            );
            assert_ne!(end, BodyEnd::Complete, "{version} {framing:?}");
        }
    }
}

#[test]
fn half_a_playlist_is_a_502() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for (framing, how) in BREAKS {
        let route = origin.live(
            "/live/a.m3u8",
            LiveRoute::new(framing, "application/vnd.apple.mpegurl"),
        );
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let case = format!("{version}, {framing:?}, {how:?}");
            let mut client = ask(&proxy, version, "/live/a.m3u8");
            let mut live = route.next();
            live.send(b"#EXTM3U\n#EXTINF:2,\nhalf-1.ts\n");
            break_off(live, how);
            let response = client.read_response(SOON);
            assert_eq!(response.status(), 502, "{case}");
            assert_eq!(response.end, BodyEnd::Complete, "{case}");
            assert!(
                !response.text().contains("half-1.ts"),
                "{case}: {}",
                response.text()
            );
        }
    }
}

#[test]
fn a_playlist_until_the_close_is_whole() {
    let origin = Origin::start();
    let route = origin.live(
        "/live/a.m3u8",
        LiveRoute::new(Framing::UntilClose, "application/vnd.apple.mpegurl"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let mut client = ask(&proxy, "HTTP/1.1", "/live/a.m3u8");
    let mut live = route.next();
    live.send(b"#EXTM3U\na-1.ts\n");
    live.close();
    let response = client.read_response(SOON);
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.text(),
        format!("#EXTM3U\na-1.ts?spbhid={}\n", live_id("a"))
    );
}
