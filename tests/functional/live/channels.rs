//! Live channels: all viewers of a stream share one connection to its origin.

use super::viewer::Viewer;
use crate::common::answer::Reply;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::flv::{audio, audio_opening, config, inter, key, metadata, opening};
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{ABOUT_A_SECOND, SOON, wait::wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A proxy before one origin, a first viewer, and what the origin sends to it: an opening and a key frame.
fn begin(settings: &[(&str, &str)]) -> (Origin, LiveRoute, Proxy, Live, Viewer) {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, settings);
    let client = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    live.send(&opening());
    live.send(&key(0, 0));
    let mut viewer = Viewer::of(client);
    viewer.expect_frames([0]);
    (origin, route, proxy, live, viewer)
}

/// Requests for live streams that run or wait.
fn live_requests(proxy: &Proxy) -> usize {
    let metrics = get(proxy.api, "/metrics").text();
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("srs_proxy_live_streams "));
    value.expect("the metric").parse().expect("a number")
}

#[test]
fn all_viewers_share_one_connection_and_get_every_frame() {
    let (origin, _, proxy, mut live, first) = begin(&[]);
    live.send(&inter(40, 1));
    let mut viewers = vec![first];
    // More than the reading thread serves by itself: sender threads take them over.
    for _ in 0..200 {
        let mut viewer = Viewer::join(proxy.http, "/live/a.flv");
        assert_eq!(viewer.headers.one("content-type"), "video/x-flv");
        let kinds: Vec<u8> = (0..2).map(|_| viewer.tag().kind).collect();
        assert_eq!(kinds, [18, 9], "metadata and configuration come first");
        let frame = viewer.tag();
        assert!(frame.is_key(), "then a key frame");
        viewers.push(viewer);
    }
    for n in 2..60 {
        live.send(&if n % 20 == 0 {
            key(u32::from(n) * 40, n)
        } else {
            inter(u32::from(n) * 40, n)
        });
    }
    for viewer in &mut viewers {
        viewer.expect_frames(1..60);
    }
    let mut late = Viewer::join(proxy.http, "/live/a.flv");
    assert_eq!(late.frame().fill(), 40, "the last key frame");
    late.expect_frames(41..60);
    assert_eq!(origin.requests().len(), 1);
    live.finish();
    for viewer in viewers {
        assert_eq!(viewer.rest(SOON), (vec![], BodyEnd::Complete));
    }
    proxy.assert_no_panic();
}

#[test]
fn without_a_gop_cache_a_viewer_begins_at_the_next_key_frame() {
    let (_origin, _, proxy, mut live, _first) = begin(&[("PROXY_GOP_CACHE", "off")]);
    live.send(&inter(40, 1));
    let mut viewer = Viewer::join(proxy.http, "/live/a.flv");
    live.send(&inter(80, 2));
    live.send(&key(120, 3));
    assert_eq!([viewer.tag().kind, viewer.tag().kind], [18, 9]);
    live.send(&inter(160, 4));
    viewer.expect_frames([3, 4]);
}

#[test]
fn the_first_viewer_gets_each_byte_at_once_and_others_whole_units() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let mut first = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    let bytes = [opening(), key(0, 0), inter(40, 1), inter(80, 2)].concat();
    let mut pieces = bytes.chunks(7);
    // Up to the first whole tag nobody can tell what it is.
    let begin = pieces.next().unwrap();
    live.send(begin);
    assert_eq!(first.read_head(SOON).status, 200);
    first.expect_bytes(begin, SOON);
    let second = Viewer::ask(proxy.http, "/live/a.flv");
    for piece in pieces {
        live.send(piece);
    }
    first.expect_bytes(&bytes[7..], SOON);
    let mut second = Viewer::of(second);
    second.expect_frames([0, 1, 2]);
    let next = inter(120, 3);
    live.send(&next[..100]);
    live.send(&next[100..]);
    first.expect_bytes(&next, SOON);
    second.expect_frames([3]);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn configuration_that_changes_is_what_a_newcomer_gets() {
    let (_origin, _, proxy, mut live, mut first) = begin(&[]);
    live.send(&metadata());
    live.send(&config(0xe0));
    live.send(&key(40, 1));
    first.expect_frames([1]);
    let mut viewer = Viewer::join(proxy.http, "/live/a.flv");
    assert_eq!(viewer.tag().kind, 18);
    assert_eq!(viewer.tag().body[7], 0xe0);
    viewer.expect_frames([1]);
}

#[test]
fn old_players_share_too() {
    let (origin, _, proxy, mut live, _first) = begin(&[]);
    let mut old = Client::connect(proxy.http);
    old.request10("GET", "/live/a.flv", &[("Host", "a")]);
    let mut old = Viewer::of(old);
    assert!(!old.headers.has("transfer-encoding"));
    live.send(&inter(40, 1));
    old.expect_frames([0, 1]);
    live.finish();
    assert_eq!(old.rest(SOON), (vec![], BodyEnd::Complete));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn the_last_viewers_leaving_ends_the_connection_and_the_next_gets_a_stream() {
    for reset in [false, true] {
        let (_origin, route, proxy, mut live, first) = begin(&[]);
        let mut second = Viewer::join(proxy.http, "/live/a.flv");
        second.expect_frames([0]);
        first.client.reset();
        live.send(&inter(40, 1));
        second.expect_frames([1]);
        assert!(!live.is_closed(), "another one is left");
        if reset {
            second.client.reset();
        } else {
            drop(second);
        }
        // In silence, too.
        live.wait_closed(ABOUT_A_SECOND);
        let client = Viewer::ask(proxy.http, "/live/a.flv");
        let mut live = route.next();
        live.send(&opening());
        live.send(&key(0, 7));
        Viewer::of(client).expect_frames([7]);
        proxy.assert_no_panic();
    }
}

#[test]
fn viewers_who_come_and_go_at_once_all_get_a_stream() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let done = Arc::new(AtomicBool::new(false));
    let serving = std::thread::spawn({
        let (route, done) = (route.clone(), done.clone());
        move || {
            let mut lives: Vec<Live> = Vec::new();
            while !done.load(Ordering::Relaxed) || !lives.is_empty() {
                while let Some(mut live) = route.try_next() {
                    if live.try_send(&[opening(), key(0, 1)].concat()).is_ok() {
                        lives.push(live);
                    }
                }
                lives.retain(|live| !live.is_closed());
            }
        }
    });
    // Each leaves as soon as it has a frame, often as the last, while others come.
    let viewers: Vec<_> = (0..8)
        .map(|_| {
            let server = proxy.http;
            std::thread::spawn(move || {
                for _ in 0..25 {
                    Viewer::join(server, "/live/a.flv").expect_frames([1]);
                }
            })
        })
        .collect();
    for viewer in viewers {
        viewer.join().expect("every viewer gets a stream");
    }
    done.store(true, Ordering::Relaxed);
    wait_until("no connection is left", SOON, || {
        origin.open_connections() == 0
    });
    serving.join().expect("the origin");
    proxy.assert_no_panic();
}

#[test]
fn who_waits_for_the_first_viewers_head_gets_the_stream_when_that_one_leaves() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let first = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    let others: Vec<_> = (0..3)
        .map(|_| Viewer::ask(proxy.http, "/live/a.flv"))
        .collect();
    wait_until("they wait", SOON, || live_requests(&proxy) == 4);
    drop(first);
    live.send(&opening());
    live.send(&key(0, 5));
    for other in others {
        Viewer::of(other).expect_frames([5]);
    }
    assert_eq!(origin.requests().len(), 1);
    proxy.assert_no_panic();
}

#[test]
fn what_is_not_everybodys_is_relayed_alone() {
    let (origin, route, proxy, _live, _first) = begin(&[]);
    let personal = [
        ("Range", "bytes=100-"),
        ("Authorization", "Basic eA=="),
        ("Cookie", "a=b"),
    ];
    for (asked, header) in personal.iter().enumerate() {
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv", &[*header]);
        route.next().send(b"its own");
        assert_eq!(client.read_head(SOON).status, 200);
        client.expect_bytes(b"its own", SOON);
        assert_eq!(origin.requests().len(), asked + 2, "{header:?}");
    }
    for reply in [
        (200, "Content-Encoding", "gzip"),
        (200, "Set-Cookie", "a=b"),
        (206, "Content-Range", "bytes 0-1/*"),
    ] {
        let (status, name, value) = reply;
        let reply = Reply::new(status)
            .header("Content-Type", "video/x-flv")
            .header(name, value)
            .chunked();
        let route = origin.live("/live/b.flv", LiveRoute::of(reply));
        let clients = [0, 1].map(|n| {
            let client = Viewer::ask(proxy.http, "/live/b.flv");
            let mut live = route.next();
            live.send(&[n]);
            (n, client, live)
        });
        for (n, mut client, _live) in clients {
            assert_eq!(client.read_head(SOON).status, status);
            client.expect_bytes(&[n], SOON);
        }
    }
}

#[test]
fn the_range_from_0_is_the_whole() {
    let (origin, _, proxy, mut live, mut first) = begin(&[]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[("Range", "bytes=0-")]);
    let mut viewer = Viewer::of(client);
    viewer.expect_frames([0]);
    live.send(&inter(40, 1));
    viewer.expect_frames([1]);
    first.expect_frames([1]);
    assert_eq!(
        origin.requests().len(),
        1,
        "ffmpeg's way of asking shares, too"
    );
}

#[test]
fn what_is_no_flv_stays_with_its_viewer() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    // One opens it, the others wait; they all find that it cannot be shared, and have connections of their own.
    let clients: Vec<_> = (0..4)
        .map(|_| Viewer::ask(proxy.http, "/live/a.flv"))
        .collect();
    let mut lives: Vec<Live> = Vec::new();
    wait_until("four connections", SOON, || {
        lives.extend(route.try_next().map(|mut live| {
            live.send(b"FLW");
            live
        }));
        lives.len() == 4
    });
    for mut client in clients {
        assert_eq!(client.read_head(SOON).status, 200);
        client.expect_bytes(b"FLW", SOON);
    }
}

#[test]
fn another_token_another_site_another_vhost_is_another_channel() {
    let (origin, route, proxy, _live, _first) = begin(&[]);
    let others: [(&str, &[(&str, &str)]); 5] = [
        ("/live/a.flv?token=1", &[]),
        ("/live/a.flv?token=2", &[]),
        ("/live/a.flv", &[("Host", "b.example")]),
        ("/live/a.flv", &[("Referer", "http://c.example/page")]),
        ("/live/a.flv", &[("Origin", "http://d.example")]),
    ];
    let mut lives = Vec::new();
    let before = origin.requests().len();
    for (n, (target, headers)) in others.iter().enumerate() {
        let mut client = Client::connect(proxy.http);
        client.request("GET", target, headers);
        let mut live = route.next();
        live.send(&opening());
        live.send(&key(0, 9));
        let mut viewer = Viewer::of(client);
        viewer.expect_frames([9]);
        assert_eq!(origin.requests().len(), before + n + 1);
        // The same once more is the same channel.
        let mut again = Client::connect(proxy.http);
        again.request("GET", target, headers);
        Viewer::of(again).expect_frames([9]);
        assert_eq!(origin.requests().len(), before + n + 1);
        lives.push((live, viewer));
    }
}

#[test]
fn a_refusal_is_the_first_viewers_own() {
    let origin = Origin::start();
    origin.on(
        "/live/a.flv",
        Reply::new(403).header("Content-Type", "text/plain"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let clients: Vec<_> = (0..5)
        .map(|_| Viewer::ask(proxy.http, "/live/a.flv"))
        .collect();
    for mut client in clients {
        assert_eq!(client.read_response(SOON).status(), 403);
    }
    assert_eq!(origin.requests().len(), 5, "each was asked for");
}

#[test]
fn sharing_can_be_turned_off() {
    let (_origin, route, proxy, _live, _first) = begin(&[("PROXY_LIVE_SHARE", "off")]);
    let client = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    live.send(&opening());
    live.send(&key(0, 1));
    Viewer::of(client).expect_frames([1]);
}

#[test]
fn what_comes_after_a_viewers_head_is_its_own() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    let mut first = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    // Sound alone: a viewer begins with the newest frame, so that one that came too early is lost to it for good.
    live.send(&[audio_opening(), audio(0, 0)].concat());
    assert_eq!(first.read_head(SOON).status, 200);
    let mut viewers = Vec::new();
    for n in 1..=200_u8 {
        let mut client = Viewer::ask(proxy.http, "/live/a.flv");
        assert_eq!(client.read_head(SOON).status, 200);
        // The head is there, the body has perhaps not begun.
        live.send(&audio(u32::from(n) * 23, n));
        live.send(&audio(u32::from(n) * 23 + 1, n));
        viewers.push((n, client));
    }
    live.finish();
    for (n, mut client) in viewers {
        let (body, end) = client.read_rest(SOON);
        assert_eq!(end, BodyEnd::Complete);
        let frame = audio(u32::from(n) * 23, n);
        let found = body.windows(frame.len()).any(|part| part == frame);
        assert!(found, "viewer {n} has missed what came after its head");
    }
}
