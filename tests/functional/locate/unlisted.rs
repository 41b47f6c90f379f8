//! Streams that no API lists: edges and files, names that nobody has, and hits that lead nowhere.

use crate::common::answer::{Answer, Reply};
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{ABOUT_A_SECOND, SOON, srs};
use std::time::{Duration, Instant};

fn before(origins: &[Origin], settings: &[(&str, &str)]) -> Proxy {
    let proxy = Proxy::start(settings);
    for origin in origins {
        proxy.register(origin);
    }
    proxy
}

/// An edge: its API lists nothing, and it pulls for three seconds, which the one second of a short request would cut.
fn edge(names: &[&str]) -> Origin {
    let edge = srs::start();
    for name in names {
        let pulled = Reply::ok("video/x-flv", "pulled").chunked();
        let path = format!("/live/{name}.flv");
        edge.on(&path, pulled.after(Duration::from_millis(3000)));
    }
    edge
}

#[test]
fn an_edge_is_asked_when_the_wait_is_over_and_then_at_once() {
    let origins = [edge(&["a", "b"]), srs::start()];
    let proxy = before(&origins, &[("PROXY_STREAM_WAIT", "2s")]);
    let began = Instant::now();
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "pulled");
    assert!(
        began.elapsed() >= Duration::from_secs(5),
        "held, then pulled"
    );
    let began = Instant::now();
    assert_eq!(get(proxy.http, "/live/b.flv").text(), "pulled");
    let time = began.elapsed();
    assert!(
        time < Duration::from_millis(4900),
        "it was held for {time:?}"
    );
    for name in ["a", "b"] {
        assert_eq!(srs::asked_for(&origins[0], name), 1, "{name}");
        assert_eq!(srs::asked_for(&origins[1], name), 0, "{name}");
    }
}

#[test]
fn what_began_to_be_published_in_that_moment_makes_no_edge() {
    let origins = [srs::start()];
    let proxy = before(&origins, &[("PROXY_STREAM_WAIT", "2s")]);
    srs::serve(&origins[0], "a", "here");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "here");
    origins[0].api().publish("/live/a");
    // The next round tells so.
    let rounds = origins[0].api().rounds();
    wait_until("there was one", SOON, || {
        get(proxy.http, "/live/a.flv");
        origins[0].api().rounds() > rounds
    });
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/b.flv", &[]);
    let rounds = origins[0].api().rounds();
    wait_until("it is held", SOON, || origins[0].api().rounds() > rounds);
    assert_eq!(srs::asked_for(&origins[0], "b"), 0, "it is no edge");
}

#[test]
fn at_most_two_origins_are_asked_and_none_with_never() {
    let origins: Vec<Origin> = (0..5).map(|_| srs::start()).collect();
    for origin in &origins {
        origin.otherwise(|_| Reply::new(404).into());
    }
    for (when, asked) in [("last", 2), ("never", 0), ("first", 2)] {
        let settings = [("PROXY_STREAM_WAIT", "1s"), ("PROXY_TRY_UNLISTED", when)];
        let proxy = before(&origins, &settings);
        let total = || -> usize { origins.iter().map(|it| it.requests().len()).sum() };
        let before = total();
        let began = Instant::now();
        let response = get(proxy.http, "/live/nobody.flv");
        assert_eq!(response.status(), 404, "{when}");
        assert!(response.headers().has("retry-after"));
        assert!(began.elapsed() >= Duration::from_secs(1), "{when}");
        assert_eq!(total() - before, asked, "{when}");
    }
}

#[test]
fn first_asks_edges_at_once() {
    let origins = [edge(&["a"])];
    let settings = [
        ("PROXY_STREAM_WAIT", "60s"),
        ("PROXY_TRY_UNLISTED", "first"),
    ];
    let proxy = before(&origins, &settings);
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "pulled");
}

#[test]
fn names_that_nobody_has_leave_the_places_to_those_who_watch() {
    let origins = [srs::start()];
    let settings = [("PROXY_STREAM_WAIT", "60s"), ("PROXY_MAX_STREAMS", "8")];
    let proxy = before(&origins, &settings);
    srs::publish(&origins[0], "a", "here");
    let ask = |n: usize| {
        let mut client = Client::connect(proxy.http);
        client.request("GET", &format!("/live/nobody{n}.flv"), &[]);
        client
    };
    let mut held: Vec<Client> = (0..2).map(ask).collect();
    wait_until("they wait", SOON, || origins[0].api().rounds() >= 3);
    for n in 2..60 {
        let response = ask(n).read_response(ABOUT_A_SECOND * 3);
        assert_eq!(response.status(), 404, "{n}");
        assert!(response.headers().has("retry-after"));
    }
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "here");
    assert!(
        held.iter_mut().all(|client| !client.has_news()),
        "two are held"
    );
    drop(held.pop());
    // Its place is another's.
    let mut next = ask(60);
    srs::publish(&origins[0], "nobody60", "at last");
    wait_until("it is served", SOON, || next.has_news());
    assert_eq!(next.read_response(SOON).text(), "at last");
}

#[test]
fn what_a_relay_has_seen_voids_what_an_api_said_before() {
    for share in ["on", "off"] {
        let origins = [srs::start(), srs::start()];
        let settings = [
            ("PROXY_LIVE_SHARE", share),
            ("PROXY_RESPONSE_TIMEOUT", "60s"),
        ];
        let proxy = before(&origins, &settings);
        let live = origins[0].live_flv("/live/a.flv");
        origins[0].api().publish("/live/a");
        let mut player = Client::connect(proxy.http);
        player.request("GET", "/live/a.flv", &[]);
        let mut feed = live.next();
        feed.send(b"no flv, but bytes");
        assert_eq!(player.read_head(SOON).status, 200);
        // The encoder moves; SRS holds whoever comes to the old origin from now on.
        origins[0].on("/live/a.flv", Answer::Silence);
        origins[0].api().unpublish("/live/a");
        srs::publish(&origins[1], "a", "second");
        feed.reset();
        player.read_rest(SOON);
        let began = Instant::now();
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "second", "{share}");
        let time = began.elapsed();
        assert!(time < Duration::from_secs(4), "{share}: {time:?}");
        assert_eq!(origins[0].requests_for("/live/a.flv").len(), 1, "{share}");
    }
}

/// An encoder that is gone without a word: SRS lists its stream for seconds, and holds whoever comes.
#[test]
fn where_a_relay_broke_off_a_listing_has_a_second_while_another_may_have_the_stream() {
    let (listing, other) = (srs::start(), Origin::start());
    let settings = [
        ("PROXY_LIVE_SHARE", "off"),
        ("PROXY_RESPONSE_TIMEOUT", "60s"),
    ];
    let proxy = Proxy::start(&settings);
    proxy.register(&listing);
    let live = listing.live_flv("/live/a.flv");
    listing.api().publish("/live/a");
    let mut player = Client::connect(proxy.http);
    player.request("GET", "/live/a.flv", &[]);
    let mut feed = live.next();
    feed.send(b"no flv, but bytes");
    assert_eq!(player.read_head(SOON).status, 200);
    proxy.register(&other);
    srs::serve(&other, "a", "second");
    listing.on("/live/a.flv", Answer::Silence);
    feed.reset();
    player.read_rest(SOON);
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "second");
    // Where no other has it, the listing is right after all.
    other.on("/live/a.flv", Reply::new(404));
    let slow = Reply::ok("video/x-flv", "first").after(Duration::from_millis(2500));
    listing.on("/live/a.flv", slow);
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
}

#[test]
fn a_request_before_the_first_heartbeat_is_held_for_it() {
    let origin = srs::start();
    srs::publish(&origin, "a", "here");
    let proxy = Proxy::start(&[("PROXY_STREAM_WAIT", "60s")]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(proxy.http)).collect();
    let targets = [
        "/live/a.flv",
        "/live/a.m3u8",
        "/live/a-1.ts?spbhid=X19kZWZhdWx0Vmhvc3RfXy9saXZlL2E",
    ];
    for (client, target) in clients.iter_mut().zip(targets) {
        client.request("GET", target, &[]);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        clients.iter_mut().all(|client| !client.has_news()),
        "they are held"
    );
    proxy.register(&origin);
    for (client, target) in clients.iter_mut().zip(targets) {
        let response = client.read_response(SOON);
        assert!(
            response.text().contains("here"),
            "{target}: {}",
            response.text()
        );
    }
    // Without any within the time it is a 503.
    let proxy = Proxy::start(&[("PROXY_STREAM_WAIT", "300ms")]);
    let began = Instant::now();
    assert_eq!(get(proxy.http, "/live/a.flv").status(), 503);
    assert!(began.elapsed() >= Duration::from_millis(300));
}
