//! Ending: what runs may finish, nothing new comes in, and the process is gone in time.

use crate::common::answer::Framing;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes};
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{ABOUT_A_SECOND, SOON, wait::wait_until};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[track_caller]
fn wait_until_refused(server: SocketAddr) {
    wait_until("connections are refused", SOON, || {
        Client::try_connect(server).is_err()
    });
}

fn play(proxy: &Proxy, route: &LiveRoute, target: &str) -> (Client, Live) {
    let mut client = Client::connect(proxy.http);
    client.request("GET", target, &[]);
    let mut live = route.next();
    live.send(b"first");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"first", SOON);
    (client, live)
}

#[test]
fn with_nothing_running_it_is_gone_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start(&[]);
        proxy.signal(signal);
        assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0, "{signal:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn idle_connections_do_not_hold_it() {
    let mut proxy = Proxy::start(&[]);
    let mut never = Client::connect(proxy.http);
    let mut once = Client::connect(proxy.http);
    let mut operator = Client::connect(proxy.api);
    assert_eq!(once.get("/", &[]).status(), 200);
    assert_eq!(operator.get("/api/v1/versions", &[]).status(), 200);
    let mut half = Client::connect(proxy.http);
    half.send(b"GET / HT");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
    never.expect_closed(SOON);
    once.expect_closed(SOON);
    operator.expect_closed(SOON);
}

#[test]
fn a_segment_in_flight_is_finished() {
    let origin = Origin::start();
    let route = origin.live(
        "/live/a-1.ts",
        LiveRoute::new(Framing::Length(10), "video/MP2T"),
    );
    let mut proxy = Proxy::before(&origin, &[]);
    let (mut client, mut live) = play(
        &proxy,
        &route,
        &format!("/live/a-1.ts?spbhid={}", live_id("a")),
    );
    proxy.signal(Signal::TERM);
    wait_until_refused(proxy.http);
    assert_eq!(proxy.try_exit(), None, "it waits for the segment");
    live.send(b"rest.");
    live.finish();
    assert_eq!(
        client.read_rest(SOON),
        (b"rest.".to_vec(), BodyEnd::Complete)
    );
    // Nothing is left to wait for, so the connection is not kept and the grace timeout (20 s) is not waited for.
    client.expect_closed(SOON);
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
}

#[test]
fn a_live_stream_runs_on_until_the_grace_timeout() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let grace = Duration::from_secs(4);
    let mut proxy = Proxy::before(&origin, &[("PROXY_GRACE_QUIT_TIMEOUT", "4s")]);
    let (mut client, mut live) = play(&proxy, &route, "/live/a.flv");
    let begin = Instant::now();
    proxy.signal(Signal::TERM);
    wait_until_refused(proxy.http);
    live.send(b"more");
    client.expect_bytes(b"more", SOON);
    let (rest, end) = client.read_rest(SOON);
    assert!(
        begin.elapsed() >= grace - Duration::from_millis(200),
        "cut after {:?}",
        begin.elapsed()
    );
    assert!(rest.is_empty());
    assert_ne!(end, BodyEnd::Complete, "a cut stream is not a finished one");
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
    live.wait_closed(ABOUT_A_SECOND);
}

#[test]
fn a_live_stream_that_ends_meanwhile_is_the_last() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(
        &origin,
        &[
            ("PROXY_GRACE_QUIT_TIMEOUT", "60s"),
            ("PROXY_FORCE_QUIT_TIMEOUT", "70s"),
        ],
    );
    let (mut client, mut live) = play(&proxy, &route, "/live/a.flv");
    proxy.signal(Signal::INT);
    wait_until_refused(proxy.http);
    live.send(b"last");
    live.finish();
    assert_eq!(
        client.read_rest(SOON),
        (b"last".to_vec(), BodyEnd::Complete)
    );
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
}

#[test]
fn a_stream_that_waits_for_its_origin_is_cut_too() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/silent.flv");
    let mut proxy = Proxy::before(&origin, &[("PROXY_GRACE_QUIT_TIMEOUT", "1s")]);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/silent.flv", &[]);
    let live = route.next();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 0);
    live.wait_closed(ABOUT_A_SECOND);
    // Cut, or told why; but never served.
    match client.try_read_head(SOON) {
        Ok(head) => assert!(head.status >= 500, "{}", head.status),
        Err(why) => assert_ne!(why, NoBytes::TimedOut),
    }
}

#[test]
fn nothing_new_is_accepted_meanwhile() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(
        &origin,
        &[
            ("PROXY_GRACE_QUIT_TIMEOUT", "60s"),
            ("PROXY_FORCE_QUIT_TIMEOUT", "70s"),
        ],
    );
    let mut idle = Client::connect(proxy.http);
    assert_eq!(idle.get("/", &[]).status(), 200);
    let (mut client, mut live) = play(&proxy, &route, "/live/a.flv");
    assert_eq!(get(proxy.http, "/").status(), 200);
    proxy.signal(Signal::TERM);
    wait_until_refused(proxy.http);
    for _ in 0..5 {
        assert!(Client::try_connect(proxy.http).is_err());
    }
    idle.expect_closed(SOON);
    live.send(b"runs on");
    client.expect_bytes(b"runs on", SOON);
    assert_eq!(proxy.try_exit(), None);
}

#[test]
fn what_waits_to_be_accepted_is_still_served() {
    let mut proxy = Proxy::start(&[]);
    // Who comes while the process cannot run waits in the kernel's queues.
    proxy.signal(Signal::STOP);
    let connect = |server| {
        let mut client = Client::connect(server);
        client.request("GET", "/api/v1/versions", &[]);
        client
    };
    let clients: Vec<Client> = (0..40)
        .map(|n| connect([proxy.http, proxy.api][n % 2]))
        .collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for (n, mut client) in clients.into_iter().enumerate() {
        match client.try_read_head(SOON) {
            Ok(head) => assert_eq!(head.status, 200, "client {n}"),
            Err(why) => panic!("client {n}: {why:?}"),
        }
    }
    assert_eq!(proxy.wait_exit(SOON), 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    for second in [Signal::TERM, Signal::INT] {
        let settings = [
            ("PROXY_GRACE_QUIT_TIMEOUT", "60s"),
            ("PROXY_FORCE_QUIT_TIMEOUT", "70s"),
        ];
        let mut proxy = Proxy::before(&origin, &settings);
        let (mut client, live) = play(&proxy, &route, "/live/a.flv");
        proxy.signal(Signal::TERM);
        wait_until_refused(proxy.http);
        assert_eq!(proxy.try_exit(), None);
        proxy.signal(second);
        proxy.wait_exit(ABOUT_A_SECOND);
        assert_ne!(client.read_rest(SOON).1, BodyEnd::Complete);
        live.wait_closed(ABOUT_A_SECOND);
    }
}
