//! Live streams: byte for byte, as they come, until either side ends.

use crate::common::answer::{Framing, Reply};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::{self, get};
use crate::common::live::LiveRoute;
use crate::common::origin::{Manner, Origin};
use crate::common::proxy::Proxy;
use crate::common::{ABOUT_A_SECOND, SOON, wait::wait_until};

const FRAMINGS: [Framing; 3] = [Framing::Chunked, Framing::Length(6), Framing::UntilClose];

#[test]
fn each_read_from_the_origin_is_flushed_at_once() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"FLV\x01");
    let head = client.read_head(SOON);
    assert_eq!((head.status, head.version.as_str()), (200, "HTTP/1.1"));
    assert_eq!(head.headers.one("content-type"), "video/x-flv");
    assert_eq!(head.headers.one("transfer-encoding"), "chunked");
    assert!(!head.headers.has("content-length"));
    client.expect_bytes(b"FLV\x01", SOON);
    // Nothing more is sent before the last piece has arrived: a buffer that waits to fill would wait for ever.
    for frame in 0..50_u8 {
        let frame = vec![frame; 1 + usize::from(frame) * 40];
        live.send(&frame);
        client.expect_bytes(&frame, SOON);
    }
    live.finish();
    assert_eq!(client.read_rest(SOON), (vec![], BodyEnd::Complete));
    client.request("GET", "/live/a.flv", &[]);
    route.next().send(b"again");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"again", SOON);
}

#[test]
fn every_format_over_every_framing_to_both_versions() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let types = [
        ("flv", "video/x-flv"),
        ("ts", "video/MP2T"),
        ("aac", "audio/aac"),
        ("mp3", "audio/mpeg"),
    ];
    for (extension, content_type) in types {
        for framing in FRAMINGS {
            let path = format!("/live/a.{extension}");
            let route = origin.live(&path, LiveRoute::new(framing, content_type));
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let case = format!("{path} {framing:?} {version}");
                let mut client = Client::connect(proxy.http);
                client.send(
                    format!("GET {path} {version}\r\nHost: {}\r\n\r\n", proxy.http).as_bytes(),
                );
                let mut live = route.next();
                live.send(b"one");
                let head = client.read_head(SOON);
                client.expect_bytes(b"one", SOON);
                live.send(b"two");
                client.expect_bytes(b"two", SOON);
                live.finish();
                assert_eq!(
                    client.read_rest(SOON),
                    (vec![], BodyEnd::Complete),
                    "{case}"
                );

                assert_eq!(head.status, 200, "{case}");
                assert_eq!(head.headers.one("content-type"), content_type, "{case}");
                let length = head.headers.maybe("content-length");
                let coding = head.headers.maybe("transfer-encoding");
                let wanted = match (framing, version) {
                    (Framing::Length(_), _) => (Some("6"), None),
                    (_, "HTTP/1.1") => (None, Some("chunked")),
                    _ => (None, None),
                };
                assert_eq!((length, coding), wanted, "{case}");
                if version == "HTTP/1.0" {
                    client.expect_closed(SOON);
                }
            }
        }
    }
}

#[test]
fn a_long_stream_is_the_same_byte_for_byte() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let route = origin.live("/live/a.ts", LiveRoute::new(framing, "video/MP2T"));
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.ts", &[]);
        let mut live = route.next();
        let mut random = fastrand::Rng::with_seed(7);
        let pieces: Vec<Vec<u8>> = (0..300)
            .map(|_| {
                (0..random.usize(1..40_000))
                    .map(|_| random.u8(..))
                    .collect()
            })
            .collect();
        let sent = pieces.concat();
        let sender = std::thread::spawn(move || {
            for piece in &pieces {
                live.send(piece);
            }
            live.finish();
        });
        client.read_head(SOON);
        let (body, end) = client.read_rest(SOON * 3);
        sender.join().expect("sending");
        assert_eq!(end, BodyEnd::Complete);
        assert!(
            body == sent,
            "{}",
            crate::common::client::describe(&body, &sent)
        );
    }
}

#[test]
fn a_player_that_leaves_frees_its_origin_connection_also_in_silence() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for reset in [false, true] {
        // Silent before its head, as SRS is while nobody publishes.
        let route = origin.live_flv("/live/a.flv");
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv", &[]);
        let live = route.next();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        live.wait_closed(ABOUT_A_SECOND);
        drop(live);

        // Silent in mid-stream.
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv", &[]);
        let mut live = route.next();
        live.send(b"frame");
        client.read_head(SOON);
        client.expect_bytes(b"frame", SOON);
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        live.wait_closed(ABOUT_A_SECOND);
        drop(live);

        // Held by an origin that never answers at all.
        origin.on("/live/held.flv", crate::common::answer::Answer::Silence);
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/held.flv", &[]);
        wait_until("the origin was asked", SOON, || {
            !origin.requests_for("/live/held.flv").is_empty()
        });
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        wait_until("the held connection is gone", ABOUT_A_SECOND, || {
            origin.open_connections() == 0
        });
    }
    proxy.assert_no_panic();
}

#[test]
fn a_player_that_leaves_a_running_stream_frees_its_origin_connection() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    client.read_head(SOON);
    drop(client);
    wait_until("the origin cannot send any more", ABOUT_A_SECOND, || {
        live.try_send(b"frame").is_err()
    });
    proxy.assert_no_panic();
}

#[test]
fn an_origin_that_stalls_ends_the_stream_visibly() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "1s")]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    client.read_head(SOON);
    let (body, end) = client.read_rest(SOON);
    assert_eq!(body, b"frame");
    assert_ne!(end, BodyEnd::Complete);
    live.wait_closed(ABOUT_A_SECOND);
}

#[test]
fn a_stream_that_goes_on_is_not_stalled() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let silent = origin.live_flv("/live/silent.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "2s")]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    client.read_head(SOON);
    client.expect_bytes(b"frame", SOON);
    // Twice a stream beside it stalls and is ended; this one has had a frame meanwhile every 100 ms.
    for _ in 0..2 {
        let mut other = Client::connect(proxy.http);
        other.request("GET", "/live/silent.flv", &[]);
        let mut quiet = silent.next();
        quiet.send(b"frame");
        wait_until("the silent stream was ended", SOON, || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            live.send(b"frame");
            client.expect_bytes(b"frame", SOON);
            quiet.is_closed()
        });
    }
    live.finish();
    assert_eq!(client.read_rest(SOON), (vec![], BodyEnd::Complete));
}

#[test]
fn a_player_that_takes_nothing_is_dropped() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "1s")]);
    let mut client = Client::connect_small(proxy.http, 4096);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    let sent = live.send_until_blocked(&[1; 20_000], SOON);
    assert!(sent > 0);
    live.wait_closed(ABOUT_A_SECOND);
    client.read_head(SOON);
    let (body, end) = client.read_rest(SOON);
    assert!(body.len() < sent + 20_000 && body.iter().all(|b| *b == 1));
    assert_ne!(end, BodyEnd::Complete);
}

#[test]
fn head_gives_the_head_and_nothing_of_the_body() {
    let origin = Origin::start();
    // SRS has no HEAD: it sends the stream, and some versions crash. It is asked by GET, and left at the head.
    let route = origin.live(
        "/live/a.flv",
        LiveRoute::new(Framing::Chunked, "video/x-flv"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("HEAD", "/live/a.flv?token=x", &[]);
    let mut live = route.next();
    assert_eq!(
        (
            live.request().method.as_str(),
            live.request().target.as_str()
        ),
        ("GET", "/live/a.flv?token=x")
    );
    let _ = live.try_send(b"not asked for");
    let head = client.read_response(SOON);
    assert_eq!(
        (head.status(), head.headers().one("content-type")),
        (200, "video/x-flv")
    );
    live.wait_closed(ABOUT_A_SECOND);
    // The connection is in step: what the origin sent is not taken for the next response.
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"asked for");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"asked for", SOON);

    origin.on(
        "/live/b.flv",
        Reply::ok("video/x-flv", "12345").body_on_head(),
    );
    let head = fetch::fetch(proxy.http, "HEAD", "/live/b.flv", &[]);
    assert_eq!(
        (head.headers().one("content-length"), head.body.len()),
        ("5", 0)
    );
    assert_eq!(get(proxy.http, "/live/b.flv").text(), "12345");
}

#[test]
fn an_origin_connection_that_turns_out_closed_is_not_the_players_problem() {
    for manner in [Manner::CloseAfter(1), Manner::CloseOnReuse, Manner::Srs] {
        let origin = Origin::start();
        origin.behave(manner);
        origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
        origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\n"));
        origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
        let proxy = Proxy::before(&origin, &[]);
        let segment = format!("/live/a-1.ts?spbhid={}", crate::common::hls::live_id("a"));
        for round in 0..4 {
            for path in ["/live/a.flv", "/live/a.m3u8", &segment] {
                assert_eq!(
                    get(proxy.http, path).status(),
                    200,
                    "{manner:?}, round {round}: {path}"
                );
            }
        }
    }
}

#[test]
fn a_loop_is_told_and_ended() {
    let proxy = Proxy::start(&[]);
    proxy.register_addr(proxy.http);
    for path in ["/live/a.flv", "/live/a.m3u8"] {
        assert_eq!(get(proxy.http, path).status(), 508, "{path}");
    }
}

#[test]
fn a_request_that_went_through_this_proxy_is_a_loop_and_through_another_is_none() {
    let origin = Origin::start();
    origin.on("/live/a.flv", Reply::ok("video/x-flv", "flv"));
    let proxy = Proxy::before(&origin, &[]);
    assert_eq!(
        fetch::get_with(proxy.http, "/live/a.flv", &[("Via", "1.1 other")]).status(),
        200
    );
    let via = origin.only_request().headers.all("via").join(", ");
    let (first, ours) = via.split_once(',').expect("a second entry");
    assert_eq!(first, "1.1 other");
    for headers in [
        vec![("Via", ours.trim())],
        vec![("Via", "1.1 other"), ("via", ours.trim())],
    ] {
        assert_eq!(
            fetch::get_with(proxy.http, "/live/a.flv", &headers).status(),
            508,
            "{headers:?}"
        );
    }
    assert_eq!(origin.requests().len(), 1, "a loop reaches no origin");
    let second = Proxy::before(&origin, &[]);
    let status = fetch::get_with(second.http, "/live/a.flv", &[("Via", ours.trim())]).status();
    assert_eq!(status, 200, "two proxies in a row are no loop");
}

#[test]
fn the_log_says_once_that_an_origin_broke_off() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_LIVE_SHARE", "off")]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"media");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"media", SOON);
    origin.reset_connections();
    assert_ne!(client.read_rest(SOON).1, BodyEnd::Complete);
    let line = proxy.wait_for_log(|line| line.contains("GET /live/a.flv"), SOON);
    assert_eq!(line.matches("broke off").count(), 1, "{line}");
}
