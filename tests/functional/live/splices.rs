//! The stream goes on: its origin breaks off, and viewers see one response.

use super::viewer::Viewer;
use crate::common::body::BodyEnd;
use crate::common::fetch::{fetch, get};
use crate::common::flv::{config, inter, key, opening};
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::response::Response;
use crate::common::{ABOUT_A_SECOND, SOON};
use std::time::{Duration, Instant};

/// The contract's time for going on from another origin, and noise.
const GOES_ON: Duration = Duration::from_secs(4);

/// Two origins with APIs, the first of which has the stream.
struct Stage {
    origins: [Origin; 2],
    routes: [LiveRoute; 2],
    proxy: Proxy,
}

impl Stage {
    fn new(settings: &[(&str, &str)]) -> Self {
        let origins = [0, 1].map(|_| Origin::start_with_api());
        let routes = [0, 1].map(|n: usize| origins[n].live_flv("/live/a.flv"));
        origins[0].api().publish("/live/a");
        let proxy = Proxy::start(settings);
        origins.iter().for_each(|origin| proxy.register(origin));
        Self {
            origins,
            routes,
            proxy,
        }
    }

    /// Viewers of the first origin's stream, of which they have a key frame and one after it, filled with 0 and 1.
    fn play(&self, viewers: usize) -> (Live, Vec<Viewer>) {
        let first = Viewer::ask(self.proxy.http, "/live/a.flv");
        let mut live = self.routes[0].next();
        live.send(&opening());
        live.send(&key(1000, 0));
        let mut all = vec![Viewer::of(first)];
        while all.len() < viewers {
            all.push(Viewer::join(self.proxy.http, "/live/a.flv"));
        }
        live.send(&inter(1040, 1));
        all.iter_mut()
            .for_each(|viewer| viewer.expect_frames([0, 1]));
        (live, all)
    }

    /// The next request of that origin that the proxy has not given up: it asks for a moment where the stream was.
    fn next(&self, origin: usize) -> Live {
        loop {
            let live = self.routes[origin].next();
            if !live.is_closed() {
                return live;
            }
        }
    }

    /// The publisher is at the second origin now.
    fn moves(&self) {
        self.origins[0].api().unpublish("/live/a");
        self.origins[1].api().publish("/live/a");
    }
}

/// The viewers go on at `frames`: a key frame comes next, no time goes back or far ahead, and nothing is in the way.
#[track_caller]
fn expect_to_go_on(viewers: &mut [Viewer], from: u32, frames: &[u8]) -> u32 {
    let mut last = 0;
    for viewer in viewers {
        last = from;
        for (n, fill) in frames.iter().enumerate() {
            let tag = viewer.tag_within(SOON * 2);
            assert!(tag.is_frame(), "a tag of kind {} comes again", tag.kind);
            assert_eq!(tag.fill(), *fill);
            assert_eq!(tag.is_key(), n == 0);
            assert!(tag.timestamp > last, "{} after {last}", tag.timestamp);
            assert!(
                tag.timestamp < last + 1000,
                "{} after {last}",
                tag.timestamp
            );
            last = tag.timestamp;
        }
    }
    last
}

#[test]
fn a_stream_that_moves_goes_on_for_all_viewers() {
    let stage = Stage::new(&[]);
    let (live, mut viewers) = stage.play(3);
    stage.moves();
    live.close();
    let mut live = stage.next(1);
    live.send(&opening());
    // What comes before a key frame shows nothing.
    live.send(&inter(500_000, 8));
    live.send(&key(500_040, 2));
    live.send(&inter(500_080, 3));
    let last = expect_to_go_on(&mut viewers, 1040, &[2, 3]);
    let line = stage
        .proxy
        .wait_for_log(|line| line.contains("goes on from"), SOON);
    for part in [
        "channel",
        "live/a.flv",
        "s without bytes",
        &stage.origins[1].addr().to_string(),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // And back again, with another configuration.
    stage.origins[1].api().unpublish("/live/a");
    stage.origins[0].api().publish("/live/a");
    live.reset();
    let mut live = stage.next(0);
    live.send(&[&opening()[..13], &config(0xe0), &key(0, 4)].concat());
    for viewer in &mut viewers {
        let tag = viewer.tag_within(SOON * 2);
        assert_eq!((tag.kind, tag.body[7]), (9, 0xe0), "the new configuration");
    }
    expect_to_go_on(&mut viewers, last, &[4]);
    let mut late = Viewer::join(stage.proxy.http, "/live/a.flv");
    late.expect_frames([4]);
    live.finish();
    for viewer in viewers {
        assert_eq!(viewer.rest(SOON), (vec![], BodyEnd::Complete));
    }
    stage.proxy.assert_no_panic();
}

#[test]
fn an_encoder_that_comes_back_to_the_same_origin_is_gone_on_with() {
    let stage = Stage::new(&[]);
    let (live, mut viewers) = stage.play(2);
    stage.origins[0].api().unpublish("/live/a");
    live.close();
    stage
        .proxy
        .wait_for_log(|line| line.contains("looking for it again"), SOON);
    // A viewer who comes meanwhile waits with the others.
    let mut late = Viewer::join(stage.proxy.http, "/live/a.flv");
    late.expect_frames([0, 1]);
    viewers.push(late);
    stage.origins[0].api().publish("/live/a");
    let mut live = stage.next(0);
    live.send(&opening());
    live.send(&key(0, 2));
    live.send(&inter(40, 3));
    expect_to_go_on(&mut viewers, 1040, &[2, 3]);
    stage.proxy.assert_no_panic();
}

#[test]
fn an_origin_that_dies_is_left_for_another_that_has_the_stream() {
    let stage = Stage::new(&[]);
    let (live, mut viewers) = stage.play(2);
    stage.origins[1].api().publish("/live/a");
    let died = Instant::now();
    stage.origins[0].stop();
    live.reset();
    let mut live = stage.next(1);
    live.send(&opening());
    live.send(&key(70_000, 2));
    expect_to_go_on(&mut viewers, 1040, &[2]);
    assert!(died.elapsed() < GOES_ON, "{:?}", died.elapsed());
}

#[test]
fn an_origin_that_stalls_is_left() {
    let stage = Stage::new(&[("PROXY_STALL_TIMEOUT", "1s")]);
    let (live, mut viewers) = stage.play(2);
    stage.moves();
    let mut second = stage.next(1);
    second.send(&opening());
    second.send(&key(0, 2));
    expect_to_go_on(&mut viewers, 1040, &[2]);
    live.wait_closed(ABOUT_A_SECOND);
}

#[test]
fn when_nobody_publishes_it_again_responses_are_broken_off() {
    for (resume, least) in [("2s", 1500), ("0s", 0)] {
        let stage = Stage::new(&[("PROXY_LIVE_RESUME", resume), ("PROXY_STREAM_WAIT", "1s")]);
        let (live, viewers) = stage.play(2);
        stage.origins[0].api().unpublish("/live/a");
        let closed = Instant::now();
        live.close();
        for viewer in viewers {
            let (tags, end) = viewer.rest(SOON);
            assert!(tags.is_empty());
            assert_ne!(end, BodyEnd::Complete);
        }
        assert!(
            closed.elapsed() >= Duration::from_millis(least),
            "{:?}",
            closed.elapsed()
        );
        assert!(closed.elapsed() < Duration::from_millis(least) + GOES_ON);
        assert!(stage.routes[1].try_next().is_none());
    }
}

#[test]
fn when_the_last_viewer_leaves_the_search_ends() {
    let stage = Stage::new(&[("PROXY_LIVE_RESUME", "60s"), ("PROXY_STALL_TIMEOUT", "90s")]);
    let (live, viewers) = stage.play(2);
    stage.origins[0].api().unpublish("/live/a");
    live.close();
    stage
        .proxy
        .wait_for_log(|line| line.contains("looking for it again"), SOON);
    drop(viewers);
    stage
        .proxy
        .wait_for_log(|line| line.contains("nobody watches it"), SOON);
    while let Some(live) = stage.routes[0].try_next() {
        live.wait_closed(ABOUT_A_SECOND);
    }
}

#[test]
fn a_stream_that_was_ended_is_not_looked_for() {
    let stage = Stage::new(&[]);
    let (live, viewers) = stage.play(2);
    stage.moves();
    live.finish();
    for viewer in viewers {
        assert_eq!(viewer.rest(ABOUT_A_SECOND), (vec![], BodyEnd::Complete));
    }
    assert!(stage.routes[1].try_next().is_none());
}

#[test]
fn an_origin_that_says_nothing_is_left_where_another_has_the_stream() {
    let stage = Stage::new(&[]);
    let (silent, mut viewers) = stage.play(2);
    // A hung process: its connections stay, its API still lists what it did.
    stage.origins[1].api().publish("/live/a");
    let since = Instant::now();
    let mut live = stage.next(1);
    assert!(
        !silent.is_closed(),
        "nothing is ended before the other has begun"
    );
    live.send(&opening());
    live.send(&key(0, 2));
    expect_to_go_on(&mut viewers, 1040, &[2]);
    // The stall timeout is 30 s.
    assert!(
        since.elapsed() < Duration::from_secs(12),
        "{:?}",
        since.elapsed()
    );
    silent.wait_closed(ABOUT_A_SECOND);
}

#[test]
fn an_origin_that_says_nothing_is_kept_where_no_other_has_the_stream() {
    let stage = Stage::new(&[]);
    let (mut live, mut viewers) = stage.play(2);
    std::thread::sleep(Duration::from_secs(8));
    assert!(stage.routes[1].try_next().is_none());
    live.send(&key(1080, 2));
    viewers
        .iter_mut()
        .for_each(|viewer| viewer.expect_frames([2]));
}

/// Drains the first origin as an operator who empties it.
fn drain(stage: &Stage, query: &str) -> Response {
    let origins = get(stage.proxy.api, "/api/v1/origins").json();
    let port = stage.origins[0].port();
    let origins = origins["data"]["origins"]
        .as_array()
        .expect("origins")
        .clone();
    let own = origins
        .iter()
        .find(|it| it["http"] == port)
        .expect("the origin");
    let id = own["id"].as_str().expect("an id");
    fetch(
        stage.proxy.api,
        "POST",
        &format!("/api/v1/origins/{id}/drain{query}"),
        &[],
    )
}

#[test]
fn draining_moves_channels_when_it_is_told_to() {
    let stage = Stage::new(&[]);
    let (mut live, mut viewers) = stage.play(2);
    assert_eq!(drain(&stage, "?move=maybe").status(), 400);
    // The other one does not have it yet: the stream stays.
    assert_eq!(drain(&stage, "?move=1").json()["moving"], 1);
    live.send(&inter(1080, 2));
    viewers
        .iter_mut()
        .for_each(|viewer| viewer.expect_frames([2]));
    stage.origins[1].api().publish("/live/a");
    assert_eq!(drain(&stage, "").status(), 200);
    live.send(&inter(1120, 3));
    viewers
        .iter_mut()
        .for_each(|viewer| viewer.expect_frames([3]));
    // An API's answer may be two seconds old.
    let mut next = loop {
        assert_eq!(drain(&stage, "?move=1").status(), 200);
        std::thread::sleep(Duration::from_millis(500));
        if let Some(next) = stage.routes[1].try_next() {
            break next;
        }
        live.send(&inter(1120, 3));
        viewers
            .iter_mut()
            .for_each(|viewer| viewer.expect_frames([3]));
    };
    next.send(&opening());
    next.send(&key(9000, 4));
    next.send(&inter(9040, 5));
    expect_to_go_on(&mut viewers, 1120, &[4, 5]);
    live.wait_closed(ABOUT_A_SECOND);
    stage.proxy.assert_no_panic();
}

#[test]
fn operators_see_channels() {
    let stage = Stage::new(&[]);
    let (live, mut viewers) = stage.play(3);
    stage.moves();
    live.close();
    let mut live = stage.next(1);
    live.send(&opening());
    live.send(&key(0, 2));
    expect_to_go_on(&mut viewers, 1040, &[2]);
    let view = get(stage.proxy.api, "/api/v1/streams").json()["data"].clone();
    let stream = &view["streams"][0];
    assert_eq!(stream["viewers"], 3);
    let channel = &stream["channels"][0];
    let address = stage.origins[1].addr().to_string();
    assert_eq!(channel["origin_address"], *address);
    for (name, value) in [("viewers", 3), ("behind", 0), ("skips", 0), ("splices", 1)] {
        assert_eq!(channel[name], value, "{name}");
    }
    assert_eq!(channel["format"], "flv");
    let totals = &view["totals"]["live"];
    for (name, value) in [
        ("channels", 1),
        ("origin_connections", 1),
        ("viewers", 3),
        ("splices", 1),
        ("opened", 1),
    ] {
        assert_eq!(totals[name], value, "{name}");
    }
    let metrics = get(stage.proxy.api, "/metrics").text();
    for line in [
        "srs_proxy_channels 1",
        "srs_proxy_live_origin_connections 1",
        "srs_proxy_viewers_behind 0",
        "srs_proxy_channels_opened_total 1",
        "srs_proxy_viewer_skips_total 0",
        "srs_proxy_splices_total 1",
        "srs_proxy_live_buffer_limit_bytes 268435456",
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "no {line} in {metrics}"
        );
    }
    drop(viewers);
    let log = |what: &str| stage.proxy.wait_for_log(|line| line.contains(what), SOON);
    assert!(log("opens from").contains("/live/a.flv"));
    assert!(log("ends after").contains("nobody watches it"));
    let line = log(" GET /live/a.flv 200 ");
    assert!(
        line.contains(&format!("origin {address}")),
        "the log has the last origin: {line}"
    );
}
