//! Viewers who are slow, stall or leave delay nobody, and never get half a unit.

use super::viewer::Viewer;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::flv::{frame, inter, key, opening};
use crate::common::live::Live;
use crate::common::origin::Origin;
use crate::common::proxy::{Proxy, ProxyBuilder};
use crate::common::{SOON, wait::wait_until};
use std::time::{Duration, Instant};

/// A stream with a first viewer who has got a key frame, and one with a small receive buffer who reads nothing yet.
fn begin(settings: &[(&str, &str)]) -> (Origin, Proxy, Live, Viewer, Client) {
    let set = |builder: ProxyBuilder, (name, value): &(&str, &str)| builder.env(name, value);
    begin_at(settings.iter().fold(Proxy::builder(), set))
}

fn begin_at(builder: ProxyBuilder) -> (Origin, Proxy, Live, Viewer, Client) {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = builder.start();
    proxy.register(&origin);
    let first = Viewer::ask(proxy.http, "/live/a.flv");
    let mut live = route.next();
    live.send(&opening());
    live.send(&key(0, 0));
    let mut first = Viewer::of(first);
    first.expect_frames([0]);
    let mut slow = Client::connect_small(proxy.http, 4096);
    slow.request("GET", "/live/a.flv", &[]);
    (origin, proxy, live, first, slow)
}

fn behind(proxy: &Proxy) -> u64 {
    let view = get(proxy.api, "/api/v1/streams").json();
    view["data"]["totals"]["live"]["behind"]
        .as_u64()
        .expect("a number")
}

/// Sends frames of 20 KB, a key frame every ten, until there is somebody behind, and some more; gives the last.
fn send_until_behind(proxy: &Proxy, live: &mut Live, first: &mut Viewer, more: u32) -> u32 {
    let mut left = None;
    for n in 1..2000 {
        live.send(&frame(n % 10 == 0, n * 40, (n % 200) as u8, 20_000));
        let sent = Instant::now();
        assert_eq!(first.frame().timestamp, n * 40);
        assert!(
            sent.elapsed() < Duration::from_secs(3),
            "a slow viewer delays another"
        );
        if left.is_none() && n % 20 == 0 && behind(proxy) == 1 {
            left = Some(more);
        }
        match &mut left {
            Some(0) => return n,
            Some(more) => *more -= 1,
            None => {}
        }
    }
    panic!("nobody is behind after 40 MB");
}

#[test]
fn a_viewer_who_is_behind_gets_all_that_it_missed() {
    gets_all_that_it_missed(Proxy::builder());
    gets_all_that_it_missed(Proxy::builder().over_tls());
}

fn gets_all_that_it_missed(builder: ProxyBuilder) {
    let (_origin, proxy, mut live, mut first, slow) = begin_at(builder);
    let last = send_until_behind(&proxy, &mut live, &mut first, 20);
    // All of it is younger than two seconds, or of the last group... or it is not there any more.
    let mut slow = Viewer::of(slow);
    let mut times = vec![slow.frame().timestamp];
    while *times.last().expect("a time") < last * 40 {
        times.push(slow.frame().timestamp);
    }
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    // At the edge again it gets each frame as it comes.
    wait_until("it has caught up", SOON, || behind(&proxy) == 0);
    live.send(&key(1_000_000, 250));
    slow.expect_frames([250]);
    proxy.assert_no_panic();
}

#[test]
fn a_viewer_who_falls_out_of_what_is_kept_goes_on_at_a_key_frame() {
    goes_on_at_a_key_frame(Proxy::builder());
    goes_on_at_a_key_frame(Proxy::builder().over_tls());
}

fn goes_on_at_a_key_frame(builder: ProxyBuilder) {
    let builder = builder.env("PROXY_LIVE_BUFFER", "512KiB");
    let (_origin, proxy, mut live, mut first, slow) = begin_at(builder);
    let last = send_until_behind(&proxy, &mut live, &mut first, 200);
    let mut slow = Viewer::of(slow);
    let (mut gaps, mut before) = (0, slow.frame().timestamp);
    while before < last * 40 {
        let tag = slow.frame();
        if tag.timestamp != before + 40 {
            assert!(
                tag.is_key(),
                "it goes on at {} after {before}",
                tag.timestamp
            );
            assert!(tag.timestamp > before);
            gaps += 1;
        }
        before = tag.timestamp;
    }
    assert!(gaps > 0, "nothing was left out");
    let view = get(proxy.api, "/api/v1/streams").json()["data"].clone();
    assert!(view["streams"][0]["channels"][0]["skips"].as_u64() >= Some(1));
    let told = |line: &str| line.contains("too far behind");
    proxy.wait_for_log(told, SOON);
    assert_eq!(
        proxy.log_lines().iter().filter(|line| told(line)).count(),
        1
    );
    // The buffer's limit holds, and what the viewer holds beyond it is one piece.
    let bytes = view["totals"]["live"]["buffer_bytes"]
        .as_u64()
        .expect("bytes");
    assert!(bytes <= 512 * 1024 + 300_000, "{bytes}");
}

#[test]
fn a_viewer_who_takes_nothing_is_dropped_and_the_others_go_on() {
    let (_origin, proxy, mut live, mut first, slow) = begin(&[("PROXY_STALL_TIMEOUT", "2s")]);
    send_until_behind(&proxy, &mut live, &mut first, 0);
    let mut n = 100_000;
    let dropped = |proxy: &Proxy| {
        let lines = proxy.log_lines();
        lines.iter().any(|line| line.contains("takes no bytes"))
    };
    let since = Instant::now();
    while !dropped(&proxy) {
        assert!(since.elapsed() < SOON, "it is not dropped");
        n += 1;
        live.send(&inter(n * 40, 1));
        assert_eq!(first.frame().timestamp, n * 40);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (_, end) = Viewer::of(slow).client.read_rest(SOON);
    assert_ne!(end, BodyEnd::Complete);
    assert_eq!(behind(&proxy), 0);
    live.finish();
    assert_eq!(first.rest(SOON).1, BodyEnd::Complete);
}

#[test]
fn a_viewer_who_is_behind_at_the_end_gets_the_rest_and_the_end() {
    let (_origin, proxy, mut live, mut first, slow) = begin(&[]);
    let last = send_until_behind(&proxy, &mut live, &mut first, 5);
    live.finish();
    assert_eq!(first.rest(SOON).1, BodyEnd::Complete);
    let (tags, end) = Viewer::of(slow).rest(SOON * 2);
    assert_eq!(end, BodyEnd::Complete);
    assert_eq!(tags.last().expect("tags").timestamp, last * 40);
}

#[test]
fn a_viewer_who_is_behind_and_leaves_leaves_nothing() {
    let (origin, proxy, mut live, mut first, slow) = begin(&[]);
    send_until_behind(&proxy, &mut live, &mut first, 0);
    let fds = proxy.fds();
    slow.reset();
    wait_until("it is gone", SOON, || behind(&proxy) == 0);
    wait_until("its descriptor is back", SOON, || proxy.fds() < fds);
    drop(first);
    wait_until("the origin's connection is gone", SOON, || {
        origin.open_connections() == 0 || live.is_closed()
    });
    proxy.assert_no_panic();
}
