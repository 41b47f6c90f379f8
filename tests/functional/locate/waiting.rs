//! Nobody publishes the stream: its players are held for somebody who does.

use crate::common::answer::Reply;
use crate::common::api::Trouble;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use std::time::{Duration, Instant};

/// Origins that are asked only for what their APIs list.
fn before(origins: &[Origin], wait: &str) -> Proxy {
    start(
        origins,
        &[("PROXY_STREAM_WAIT", wait), ("PROXY_TRY_UNLISTED", "never")],
    )
}

fn start(origins: &[Origin], settings: &[(&str, &str)]) -> Proxy {
    let proxy = Proxy::start(settings);
    for origin in origins {
        proxy.register(origin);
    }
    proxy
}

fn whole_seconds(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap()
}

#[test]
fn a_player_is_served_as_soon_as_somebody_publishes() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, "60s");
    for (kind, word) in [("flv", "here"), ("m3u8", "#EXTM3U")] {
        let name = format!("late-{kind}");
        let mut client = Client::connect(proxy.http);
        client.request("GET", &format!("/live/{name}.{kind}"), &[]);
        let rounds = origins[0].api().rounds();
        wait_until("it goes on looking", SOON, || {
            origins[0].api().rounds() > rounds + 1
        });
        assert!(!client.has_news(), "it is held");
        let asked: usize = origins.iter().map(|o| srs::asked_for(o, &name)).sum();
        assert_eq!(
            asked, 0,
            "SRS would hold the request, and remember its name"
        );
        srs::publish(&origins[0], &name, "here");
        let began = Instant::now();
        let response = client.read_response(SOON);
        assert!(response.text().contains(word), "{}", response.text());
        // A look each second, and noise.
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn then_it_is_a_404() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, "3s");
    for target in ["/live/a.flv", "/live/b.m3u8"] {
        let began = Instant::now();
        let response = get(proxy.http, target);
        let time = began.elapsed();
        assert_eq!(response.status(), 404, "{target}");
        assert!(response.headers().has("retry-after"), "{target}");
        assert_eq!(response.text().lines().count(), 1);
        assert!(time >= Duration::from_secs(3), "held for {time:?} only");
        assert!(time < Duration::from_secs(3 + 3), "held for {time:?}");
        let json = get(proxy.api, "/api/v1/origins").json();
        for origin in json["data"]["origins"].as_array().unwrap() {
            assert_eq!(origin["pinned"], 0);
            assert_eq!(origin["state"], "alive", "slow is not dead");
        }
    }
}

#[test]
fn an_api_that_goes_meanwhile_keeps_no_thread_busy() {
    let origins = [srs::start()];
    let proxy = before(&origins, "60s");
    let mut players: Vec<Client> = (0..10)
        .map(|n| {
            let mut client = Client::connect(proxy.http);
            client.request("GET", &format!("/live/{n}.flv"), &[]);
            client
        })
        .collect();
    let server = origins[0].api().server();
    let rounds = |more: usize| {
        let before = server.requests().len();
        wait_until("they go on looking", SOON, || {
            server.requests().len() >= before + more
        });
    };
    rounds(2); // by now all are held
    origins[0].api().trouble(Some(Trouble::Status(404)));
    rounds(2);
    let before = proxy.cpu_ticks();
    rounds(3);
    // A tick is 10 ms: players that asked without end would take all of 2 cores for 3 s, 600 ticks.
    let ticks = proxy.cpu_ticks() - before;
    assert!(ticks < 100, "{ticks} ticks in three rounds");
    assert!(players.iter_mut().all(|it| !it.has_news()), "they are held");
    origins[0].api().trouble(None);
    srs::publish(&origins[0], "7", "here");
    assert_eq!(players[7].read_response(SOON).text(), "here");
}

#[test]
fn an_origin_that_answers_404_does_not_shorten_it() {
    let origins = [srs::start(), srs::start()];
    for origin in &origins {
        origin.otherwise(|_| Reply::new(404).body("the origin's own").into());
    }
    let proxy = before(&origins, "3s");
    let began = Instant::now();
    let response = get(proxy.http, "/live/a.m3u8");
    assert_eq!(response.status(), 404);
    assert!(response.headers().has("retry-after"));
    assert!(began.elapsed() >= Duration::from_secs(3));
}

#[test]
fn an_origin_that_is_down_does_not_shorten_it() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, "30s");
    origins[0].stop();
    origins[0].api().server().stop();
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    wait_until("the other was looked at", SOON, || {
        origins[1].api().rounds() >= 1
    });
    let rounds = origins[1].api().rounds();
    wait_until("it is held", SOON, || {
        origins[1].api().rounds() > rounds + 2
    });
    assert!(!client.has_news());
    srs::publish(&origins[1], "a", "here");
    assert_eq!(client.read_response(SOON).text(), "here");
}

#[test]
fn all_who_wait_are_one_round_a_second_and_no_request() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, "60s");
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = Client::connect(proxy.http);
            client.request("GET", "/live/a.flv", &[]);
            client
        })
        .collect();
    wait_until("they wait", SOON, || origins[0].api().rounds() >= 4);
    let most = 2 + whole_seconds(began.elapsed());
    let mut tries = 0;
    for origin in &origins {
        let rounds = origin.api().rounds();
        assert!(rounds <= most, "{rounds} rounds in {:?}", began.elapsed());
        tries += srs::asked_for(origin, "a");
    }
    assert_eq!(tries, 0, "an origin that holds players was asked in vain");
    srs::publish(&origins[1], "a", "here");
    for client in &mut clients {
        let response = client.read_response(SOON * 2);
        assert_eq!(response.text(), "here", "{:?}", response.head);
    }
}

#[test]
fn what_one_try_finds_is_for_all_who_wait() {
    // An edge pulls the stream when it is first asked, which takes a moment; its API never lists it.
    let edge = srs::start();
    edge.on(
        "/live/a.flv",
        Reply::ok("video/x-flv", "pulled")
            .chunked()
            .after(Duration::from_millis(100)),
    );
    let origins = [edge];
    let proxy = start(&origins, &[("PROXY_STREAM_WAIT", "1s")]);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(proxy.http)).collect();
    for client in &mut clients {
        client.request("GET", "/live/a.flv", &[]);
    }
    for client in &mut clients {
        assert_eq!(client.read_response(SOON * 3).text(), "pulled");
    }
}

#[test]
fn players_that_leave_cost_nothing_more() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, "300s");
    let (threads, fds) = (proxy.threads(), proxy.fds());
    let mut clients: Vec<Client> = (0..60)
        .map(|n| {
            let mut client = Client::connect(proxy.http);
            client.request("GET", &format!("/live/{n}.flv"), &[]);
            client
        })
        .collect();
    wait_until("all of them are held", SOON, || proxy.threads() >= 60);
    wait_until("they look", SOON, || origins[0].api().rounds() >= 3);
    assert!(clients.iter_mut().all(|client| !client.has_news()));
    drop(clients);
    // Workers end when they were idle for ten seconds.
    wait_until(
        "threads, descriptors and connections are gone",
        SOON * 3,
        || {
            let open: usize = origins
                .iter()
                .map(|o| o.open_connections() + o.api().server().open_connections())
                .sum();
            proxy.threads() <= threads + 6 && proxy.fds() <= fds + 6 && open <= 4
        },
    );
    let rounds = origins[0].api().rounds();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(origins[0].api().rounds(), rounds, "nobody waits any more");
}
