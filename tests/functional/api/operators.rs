//! What operators see and do: origins and streams, draining.

use crate::common::answer::{Framing, Reply};
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, post};
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use serde_json::Value;
use std::time::{Duration, Instant};

fn origins(proxy: &Proxy) -> Vec<Value> {
    let json = get(proxy.api, "/api/v1/origins").json();
    assert_eq!(json["code"], 0);
    json["data"]["origins"].as_array().expect("origins").clone()
}

#[track_caller]
fn view(proxy: &Proxy, origin: &Origin) -> Value {
    let own = |it: &Value| it["http"] == origin.port();
    origins(proxy).into_iter().find(own).expect("the origin")
}

fn streams(proxy: &Proxy) -> Vec<Value> {
    let json = get(proxy.api, "/api/v1/streams").json();
    assert_eq!(json["code"], 0);
    json["data"]["streams"].as_array().expect("streams").clone()
}

fn command(proxy: &Proxy, origin: &Origin, verb: &str) {
    let id = view(proxy, origin)["id"].as_str().unwrap().to_owned();
    let response = post(proxy.api, &format!("/api/v1/origins/{id}/{verb}"), &[], b"");
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(response.json()["code"], 0);
}

#[test]
fn an_origin_is_shown_with_all_that_is_known_of_it() {
    let origin = srs::start();
    let proxy = Proxy::start(&[]);
    assert!(origins(&proxy).is_empty() && streams(&proxy).is_empty());
    proxy.register(&origin);
    let seen = view(&proxy, &origin);
    assert_eq!(seen["ip"], "127.0.0.1");
    assert_eq!(seen["address"], origin.addr().to_string());
    assert_eq!(seen["api"], origin.api().port());
    assert_eq!(seen["rtmp"], 1935);
    assert_eq!(seen["device_id"], format!("vid-{}", origin.id()));
    assert_eq!(seen["state"], "alive");
    let age = |proxy: &Proxy| view(proxy, &origin)["heartbeat_age_ms"].as_u64().unwrap();
    assert!(age(&proxy) < 5000);
    wait_until("the heartbeat ages", SOON, || age(&proxy) > 300);
    proxy.register(&origin);
    assert!(age(&proxy) < 300, "and a new one is new");
    assert_eq!(origins(&proxy).len(), 1);
}

#[test]
fn the_four_states() {
    let (stale, alive) = (Origin::start(), Origin::start());
    let proxy = Proxy::start(&[("PROXY_ORIGIN_SERVER_TTL", "3s")]);
    proxy.register(&stale);
    wait_until("it is stale", SOON, || {
        view(&proxy, &stale)["state"] == "stale"
    });
    proxy.register(&alive);
    assert_eq!(view(&proxy, &alive)["state"], "alive");
    command(&proxy, &alive, "drain");
    assert_eq!(view(&proxy, &alive)["state"], "draining");
    command(&proxy, &alive, "undrain");
    assert_eq!(view(&proxy, &alive)["state"], "alive");
    alive.stop();
    assert_ne!(get(proxy.http, "/live/a.flv").status(), 200);
    assert_eq!(view(&proxy, &alive)["state"], "suspect");
}

#[test]
fn a_stream_is_shown_with_its_origin_viewers_and_rate() {
    let origin = srs::start();
    let route = origin.live(
        "/live/a.flv",
        LiveRoute::new(Framing::Chunked, "video/x-flv"),
    );
    srs::publish(&origin, "hls", "here");
    origin.api().publish("/live/a");
    let proxy = Proxy::before(&origin, &[]);
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(proxy.http);
            client.request("GET", "/live/a.flv", &[]);
            assert_eq!(client.read_head(SOON).status, 200);
            client
        })
        .collect();
    let mut lives: Vec<_> = (0..3).map(|_| route.next()).collect();
    for live in &mut lives {
        live.send(&[7; 100_000]);
    }
    for client in &mut clients {
        client.read_at_least(100_000, SOON);
    }
    assert_eq!(get(proxy.http, "/live/hls.m3u8").status(), 200);
    let own = |url: &str| streams(&proxy).into_iter().find(|it| it["url"] == url);
    let live = own("__defaultVhost__/live/a").expect("the stream");
    assert_eq!(live["viewers"], 3);
    assert_eq!(live["bytes"], 300_000);
    assert_eq!(live["origin"], view(&proxy, &origin)["id"]);
    assert_eq!(live["origin_address"], origin.addr().to_string());
    let since = humantime::parse_rfc3339(live["since"].as_str().unwrap()).unwrap();
    assert!(since.elapsed().unwrap_or_default() < Duration::from_secs(60));
    assert_eq!(own("__defaultVhost__/live/hls").expect("it")["viewers"], 1);
    let seen = view(&proxy, &origin);
    assert_eq!((&seen["streams"], &seen["viewers"]), (&2.into(), &4.into()));
    // 300 kB within a look of 5 s: 480 kb/s, or twice that where the look was shorter.
    wait_until("the bit rate is there", SOON, || {
        let kbps = own("__defaultVhost__/live/a").map(|it| it["kbps"].as_u64().unwrap());
        kbps.is_some_and(|kbps| kbps > 0)
    });
    let totals = get(proxy.api, "/api/v1/streams").json()["data"]["totals"].clone();
    assert_eq!(
        (&totals["streams"], &totals["viewers"]),
        (&2.into(), &4.into())
    );
    assert_eq!(totals["origins"], 1);
    assert!(totals["bytes"].as_u64().unwrap() > 300_000);
    drop(clients);
    wait_until("they are gone", SOON, || {
        own("__defaultVhost__/live/a").is_none_or(|it| it["viewers"] == 0)
    });
}

#[test]
fn nothing_new_goes_to_a_draining_origin_and_what_runs_goes_on() {
    for with_api in [true, false] {
        let start = || {
            if with_api {
                srs::start()
            } else {
                Origin::start()
            }
        };
        let origins = [start(), start()];
        let route = origins[0].live(
            "/live/runs.flv",
            LiveRoute::new(Framing::Chunked, "video/x-flv"),
        );
        // What is shared for half a second goes nowhere: here each request is to go somewhere.
        let proxy = Proxy::start(&[("PROXY_HLS_CACHE", "0")]);
        for origin in &origins {
            proxy.register(origin);
        }
        let publish = |n: usize, name: &str, word: &str| {
            srs::serve(&origins[n], name, word);
            if with_api {
                origins[n].api().publish(&format!("/live/{name}"));
            }
        };
        if with_api {
            origins[0].api().publish("/live/runs");
        }
        publish(0, "both", "first");
        publish(1, "both", "second");
        publish(0, "own", "first");
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/runs.flv", &[]);
        let mut live = route.next();
        live.send(b"before");
        assert_eq!(client.read_head(SOON).status, 200);
        client.expect_bytes(b"before", SOON);
        assert_eq!(get(proxy.http, "/live/own.flv").text(), "first");

        command(&proxy, &origins[0], "drain");
        live.send(b"after");
        client.expect_bytes(b"after", SOON);
        for kind in ["flv", "m3u8"] {
            let response = get(proxy.http, &format!("/live/both.{kind}"));
            assert!(response.text().contains("second"), "{with_api} {kind}");
            // Nobody else can serve this one, and it is served without delay.
            let began = Instant::now();
            let response = get(proxy.http, &format!("/live/own.{kind}"));
            assert!(response.text().contains("first"), "{with_api} {kind}");
            assert!(began.elapsed() < Duration::from_secs(3));
        }
        // A restart leaves it draining.
        proxy.register(&origins[0]);
        assert_eq!(view(&proxy, &origins[0])["state"], "draining");

        command(&proxy, &origins[0], "undrain");
        command(&proxy, &origins[1], "drain");
        assert!(get(proxy.http, "/live/both.m3u8").text().contains("first"));
        live.send(b"still");
        client.expect_bytes(b"still", SOON);
    }
}

#[test]
fn a_drained_stream_moves_to_one_that_has_it() {
    let origins = [Origin::start(), Origin::start()];
    let proxy = Proxy::start(&[]);
    for (origin, word) in origins.iter().zip(["first", "second"]) {
        proxy.register(origin);
        origin.otherwise(move |_| Reply::ok("video/x-flv", word).into());
    }
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    command(&proxy, &origins[0], "drain");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "second");
    command(&proxy, &origins[1], "drain");
    // Both drain: somebody has to.
    assert_eq!(get(proxy.http, "/live/b.flv").status(), 200);
}

#[test]
fn a_draining_origin_with_the_only_publisher_is_not_left_for_one_that_holds_players() {
    let origins = [srs::start(), srs::start()];
    let proxy = Proxy::start(&[]);
    // Neither API can be asked: trying is all there is, and the second holds whom it has nothing for.
    for origin in &origins {
        origin.api().server().stop();
        proxy.register(origin);
    }
    srs::serve(&origins[0], "a", "first");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    command(&proxy, &origins[0], "drain");
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn clones_can_be_told_apart() {
    let origins_here = [
        Origin::start(),
        Origin::start_at("127.0.0.2:0".parse().unwrap()),
    ];
    let proxy = Proxy::start(&[]);
    for _ in 0..2 {
        for origin in &origins_here {
            let body = serde_json::json!({
                "ip": origin.addr().ip().to_string(), "server": "vid-clone", "service": "s", "pid": "1",
                "rtmp": ["1935"], "http": [origin.port().to_string()],
            });
            assert_eq!(
                proxy.register_raw(body.to_string().as_bytes()).status(),
                200
            );
        }
    }
    assert_eq!(origins(&proxy).len(), 2);
    command(&proxy, &origins_here[1], "drain");
    assert_eq!(view(&proxy, &origins_here[0])["state"], "alive");
    assert_eq!(view(&proxy, &origins_here[1])["state"], "draining");
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    for verb in ["drain", "undrain"] {
        for id in ["nobody", "a%2Fb", "%00", "..", "%ff"] {
            let response = post(proxy.api, &format!("/api/v1/origins/{id}/{verb}"), &[], b"");
            assert_eq!(response.status(), 404, "{id} {verb}");
            assert_ne!(response.json()["code"], 0);
        }
        let id = view(&proxy, &origin)["id"].as_str().unwrap().to_owned();
        for method in ["GET", "PUT", "DELETE"] {
            let target = format!("/api/v1/origins/{id}/{verb}");
            let response = fetch(proxy.api, method, &target, &[]);
            assert_eq!(response.status(), 405, "{method}");
            assert!(response.headers().lists("allow", "POST"));
        }
    }
    for target in ["/api/v1/origins", "/api/v1/streams"] {
        let response = post(proxy.api, target, &[], b"");
        assert_eq!(response.status(), 405, "{target}");
        assert!(response.headers().lists("allow", "GET"));
    }
    assert_eq!(view(&proxy, &origin)["state"], "alive");
}
