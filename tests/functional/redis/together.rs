//! Several proxies, one picture: origins, pins, sessions and drains in a real Redis, with the values of
//! the SRS project's proxy beside ours.

use crate::common::answer::{Answer, Reply};
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, post};
use crate::common::hls::{live_id, uris};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::redis::RedisServer;
use crate::common::shared::{
    ALL, api, id, key, origin, origins, register_as_go, state, wait_known, word,
};
use crate::common::wait::{wait_for, wait_until};
use crate::common::{ABOUT_A_SECOND, SOON};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[test]
fn an_origin_that_registers_at_one_is_picked_by_all() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxies = [redis.proxy(&[]), redis.proxy(&[]), redis.proxy(&[])];
    proxies[0].register(&origin);
    for proxy in &proxies {
        wait_known(proxy, 1);
        assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
        assert_eq!(origins(proxy)[0]["state"], "alive");
    }
    // One that starts later knows it from its first request on.
    assert_eq!(word(redis.proxy(&[]).http, "/live/a.flv"), "hello");
}

#[test]
fn what_is_written_is_what_the_go_proxy_reads() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    assert_eq!(redis.json(ALL), json!([key(&origin)]));
    assert_eq!(redis.ttl(ALL), -1);
    let mut value = redis.json(&key(&origin));
    let at = value["update_at"].take();
    humantime::parse_rfc3339(at.as_str().expect("a text")).expect("a time of RFC 3339");
    let server = format!("vid-{}", origin.id());
    assert_eq!(
        value,
        json!({"ip": "127.0.0.1", "device_id": server, "server_id": server, "service_id": "84l9f067", "pid": "7901",
            "rtmp": ["1935"], "http": [origin.port().to_string()], "api": [], "srt": [], "rtc": [], "update_at": null})
    );
    assert!((295..=300).contains(&redis.ttl(&key(&origin))));

    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    let pin = "srs-proxy-url:__defaultVhost__/live/a";
    wait_until("the pin is written", SOON, || {
        redis.get(pin) == Some(key(&origin))
    });
    assert!((3590..=3600).contains(&redis.ttl(pin)));
    let named = [("Host", "ts.example.com")];
    assert_eq!(get_with(proxy.http, "/live/b.flv", &named).status(), 200);
    wait_until("the pin is written", SOON, || {
        redis.get("srs-proxy-url:ts.example.com/live/b") == Some(key(&origin))
    });
}

#[test]
fn a_stream_pinned_by_one_is_pinned_for_all() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let proxies = [redis.proxy(&[]), redis.proxy(&[]), redis.proxy(&[])];
    proxies[0].register(&one);
    proxies[1].register(&two);
    proxies.iter().for_each(|proxy| wait_known(proxy, 2));
    let mut words = BTreeSet::new();
    for n in 0..8 {
        let target = format!("/live/{n}.flv");
        let first = word(proxies[n % 3].http, &target);
        let pin = format!("srs-proxy-url:__defaultVhost__/live/{n}");
        wait_until("the pin is written", SOON, || redis.get(&pin).is_some());
        for proxy in &proxies {
            assert_eq!(word(proxy.http, &target), first, "{target}");
        }
        words.insert(first);
    }
    assert_eq!(words.len(), 2, "streams go to both origins");
}

#[test]
fn the_go_proxys_origins_and_pins_are_followed() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let proxy = redis.proxy(&[]);
    register_as_go(&redis, &one);
    register_as_go(&redis, &two);
    wait_known(&proxy, 2);
    for (stream, at) in [("a", &one), ("b", &two), ("c", &two), ("d", &one)] {
        let pin = format!("srs-proxy-url:__defaultVhost__/live/{stream}");
        redis.run::<()>(&["SET", &pin, &key(at)]);
        let wanted = if std::ptr::eq(at, &one) { "one" } else { "two" };
        for _ in 0..2 {
            assert_eq!(
                word(proxy.http, &format!("/live/{stream}.flv")),
                wanted,
                "{stream}"
            );
        }
        assert_eq!(redis.ttl(&pin), -1, "the Go proxy's pin stays as it is");
    }
    // Its publisher goes to another origin: within the copy's second we follow.
    redis.run::<()>(&["SET", "srs-proxy-url:__defaultVhost__/live/a", &key(&two)]);
    wait_until("the pin is followed", ABOUT_A_SECOND, || {
        word(proxy.http, "/live/a.flv") == "two"
    });
}

#[test]
fn playlists_and_segments_come_from_different_proxies() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    for (origin, name) in [(&one, "one"), (&two, "two")] {
        let playlist = "#EXTM3U\n#EXTINF:2,\na-1.ts\n";
        origin.on(
            "/live/a.m3u8",
            Reply::ok("application/vnd.apple.mpegurl", playlist),
        );
        origin.on("/live/a-1.ts", Reply::ok("video/MP2T", name));
    }
    let (left, right) = (redis.proxy(&[]), redis.proxy(&[]));
    left.register(&one);
    left.register(&two);
    wait_known(&right, 2);

    let playlist = word(left.http, "/live/a.m3u8");
    let segment = format!("/live/{}", uris(&playlist)[0]);
    let pin = wait_for("the pin is written", SOON, || {
        redis.get("srs-proxy-url:__defaultVhost__/live/a")
    });
    let at = if pin == key(&one) { "one" } else { "two" };
    assert_eq!(word(right.http, &segment), at);

    // The Go proxy finds the stream of our segments.
    let session = format!("srs-proxy-spbhid:{}", live_id("a"));
    let written = redis.json(&session);
    let full = format!("http://{}/live/a.m3u8", left.http);
    assert_eq!(
        written,
        json!({"spbhid": live_id("a"), "stream_url": "__defaultVhost__/live/a", "full_url": full})
    );
    assert_eq!(redis.json("srs-proxy-hls:__defaultVhost__/live/a"), written);
    assert!((110..=120).contains(&redis.ttl(&session)));

    // And we find the stream of its: each id leads to the origin of its stream.
    for (id, origin, word_of) in [("k3x9f2a", &one, "one"), ("zz81h0q", &two, "two")] {
        let stream = format!("__defaultVhost__/live/go-{id}");
        let value =
            json!({"spbhid": id, "stream_url": stream, "full_url": "http://x/live/go.m3u8"});
        let session = format!("srs-proxy-spbhid:{id}");
        redis.run::<()>(&["SET", &session, &value.to_string(), "EX", "50"]);
        redis.run::<()>(&["SET", &format!("srs-proxy-url:{stream}"), &key(origin)]);
        for proxy in [&left, &right] {
            let target = format!("/live/a-1.ts?spbhid={id}");
            assert_eq!(word(proxy.http, &target), word_of);
        }
        assert!(redis.ttl(&session) > 100, "it is renewed by use");
    }
    // An id that nobody knows names no stream: no origin is asked for it.
    let asked = one.requests().len() + two.requests().len();
    assert_eq!(get(left.http, "/live/a-1.ts?spbhid=nobody").status(), 404);
    assert_eq!(one.requests().len() + two.requests().len(), asked);
}

#[test]
fn fifty_origins_register_at_three_proxies_at_once() {
    let redis = RedisServer::start();
    let proxies = [redis.proxy(&[]), redis.proxy(&[]), redis.proxy(&[])];
    let wanted: BTreeSet<String> = (0..50)
        .map(|n| format!("srs-proxy-server:vid-{n}-s-1"))
        .collect();
    std::thread::scope(|scope| {
        for n in 0..50 {
            let at = proxies[n % 3].api;
            scope.spawn(move || {
                let body = json!({"ip": "127.0.0.1", "server": format!("vid-{n}"), "service": "s", "pid": "1",
                    "rtmp": ["1935"], "http": [(20_000 + n).to_string()], "device_id": "x"});
                // The same `server` and `ip` only once: each is an origin of its own.
                let answer = post(at, "/api/v1/srs/register", &[], body.to_string().as_bytes());
                assert_eq!(answer.status(), 200, "{}", answer.text());
            });
        }
    });
    let listed = redis.json(ALL);
    let listed = listed.as_array().expect("an array").iter();
    let listed: Vec<&str> = listed.map(|key| key.as_str().expect("a key")).collect();
    assert_eq!(listed.len(), 50, "none twice");
    let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
    assert_eq!(listed, wanted);
    proxies.iter().for_each(|proxy| wait_known(proxy, 50));
}

#[test]
fn the_dead_go_from_the_list() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[("PROXY_ORIGIN_SERVER_TTL", "1s")]);
    let gone = "srs-proxy-server:vid-gone-s-1";
    redis.run::<()>(&["SET", ALL, &json!([gone]).to_string()]);
    wait_until("the dead one is off the list", ABOUT_A_SECOND, || {
        redis.json(ALL) == json!([])
    });
    proxy.register(&origin);
    assert_eq!(redis.json(ALL), json!([key(&origin)]));
    wait_until("it has sent no heartbeat", SOON, || {
        redis.json(ALL) == json!([])
    });
    wait_until("it is stale", SOON, || {
        state(&proxy, &id(&origin)) == "stale"
    });
    assert_eq!(
        word(proxy.http, "/live/a.flv"),
        "hello",
        "the last one is asked all the same"
    );
}

#[test]
fn a_restarted_origin_replaces_itself_and_keeps_its_pins() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let (left, right) = (redis.proxy(&[]), redis.proxy(&[]));
    left.register(&one);
    left.register(&two);
    wait_known(&right, 2);
    let first = word(left.http, "/live/a.flv");
    let pin = "srs-proxy-url:__defaultVhost__/live/a";
    wait_until("the pin is written", SOON, || redis.get(pin).is_some());
    let pinned = if first == "one" { &one } else { &two };
    let heartbeat = json!({"ip": "127.0.0.1", "server": format!("vid-{}", pinned.id()), "service": "new", "pid": "2",
        "rtmp": ["1935"], "http": [pinned.port().to_string()]});
    let answer = right.register_raw(heartbeat.to_string().as_bytes());
    assert_eq!(answer.status(), 200);
    let renewed = format!("srs-proxy-server:vid-{}-new-2", pinned.id());
    let list: Vec<String> = serde_json::from_value(redis.json(ALL)).expect("keys");
    assert!(list.contains(&renewed) && list.len() == 2, "{list:?}");
    assert_eq!(redis.get(&key(pinned)), None, "the old entry is gone");
    for proxy in [&left, &right] {
        assert_eq!(word(proxy.http, "/live/a.flv"), first);
        wait_known(proxy, 2);
    }
    wait_until("the pin has the new key", ABOUT_A_SECOND, || {
        word(left.http, "/live/a.flv");
        redis.get(pin).as_deref() == Some(&renewed)
    });
}

#[test]
fn drains_and_suspicions_reach_all() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let (left, right) = (redis.proxy(&[]), redis.proxy(&[]));
    left.register(&one);
    left.register(&two);
    wait_known(&right, 2);
    let change = |at: &Proxy, what: &str| {
        let path = format!("/api/v1/origins/{}/{what}", id(&one));
        assert_eq!(post(at.api, &path, &[], b"").status(), 200);
    };
    change(&left, "drain");
    assert_eq!(state(&left, &id(&one)), "draining");
    wait_until("the other knows", ABOUT_A_SECOND, || {
        state(&right, &id(&one)) == "draining"
    });
    left.register(&one);
    for n in 0..4 {
        assert_eq!(word(right.http, &format!("/live/{n}.flv")), "two");
    }
    assert_eq!(state(&redis.proxy(&[]), &id(&one)), "draining", "a new one");
    change(&right, "undrain");
    wait_until("the other knows", ABOUT_A_SECOND, || {
        state(&left, &id(&one)) == "alive"
    });

    // Failover: the one that cannot be connected is asked last by all, and the pin moves for all.
    redis.run::<()>(&["SET", "srs-proxy-url:__defaultVhost__/live/m", &key(&one)]);
    assert_eq!(word(right.http, "/live/m.flv"), "one");
    one.stop();
    assert_eq!(word(left.http, "/live/m.flv"), "two");
    wait_until("the other knows", ABOUT_A_SECOND, || {
        state(&right, &id(&one)) == "suspect"
    });
    let known = get(right.api, "/api/v1/origins").text();
    let why = format!("connecting to {}", one.addr());
    assert!(known.contains(&why), "{known}");
    wait_until("the pin has moved", SOON, || {
        redis.get("srs-proxy-url:__defaultVhost__/live/m") == Some(key(&two))
    });
    wait_until("the other follows", ABOUT_A_SECOND, || {
        word(right.http, "/live/m.flv") == "two"
    });
    let suspicion = format!("srs-stream-proxy:suspect:vid-{}@127.0.0.1", one.id());
    one.restart();
    redis.run::<()>(&["SET", &suspicion, "one that lasts"]);
    left.register(&one);
    assert_eq!(redis.get(&suspicion), None);
    wait_until("a heartbeat clears it", ABOUT_A_SECOND, || {
        state(&right, &id(&one)) == "alive"
    });
}

#[test]
fn operators_see_which_proxy_serves_what() {
    let (redis, origin) = (RedisServer::start(), Origin::start());
    let live = origin.live_flv("/live/show.flv");
    let proxies = [redis.proxy(&[]), redis.proxy(&[]), redis.proxy(&[])];
    proxies[0].register(&origin);
    proxies.iter().for_each(|proxy| wait_known(proxy, 1));
    let mut viewers = Vec::new();
    for (proxy, count) in proxies.iter().zip([2, 1, 0]) {
        for _ in 0..count {
            let mut viewer = Client::connect(proxy.http);
            viewer.request("GET", "/live/show.flv", &[]);
            let mut body = live.next();
            body.send(b"x");
            assert_eq!(viewer.read_head(SOON).status, 200);
            viewers.push((viewer, body));
        }
    }
    for proxy in &proxies {
        let view = wait_for("the picture is whole", SOON, || {
            let view = api(proxy, "/api/v1/streams");
            (view["streams"][0]["viewers"] == 3).then_some(view)
        });
        let stream = &view["streams"][0];
        assert_eq!(stream["url"], "__defaultVhost__/live/show");
        assert_eq!(stream["origin"], id(&origin));
        let mut shares: Vec<u64> = stream["proxies"]
            .as_array()
            .expect("proxies")
            .iter()
            .map(|share| share["viewers"].as_u64().expect("a number"))
            .collect();
        shares.sort_unstable();
        assert_eq!(shares, [1, 2]);
        wait_until("all proxies are seen", SOON, || {
            let view = api(proxy, "/api/v1/streams");
            view["proxies"].as_array().map(Vec::len) == Some(3)
        });
        let own = api(proxy, "/api/v1/streams")["proxies"][0]["players"].clone();
        assert_eq!(own, proxy.http.to_string(), "the asked one comes first");
        let origins = origins(proxy);
        assert_eq!(
            (&origins[0]["streams"], &origins[0]["viewers"]),
            (&json!(1), &json!(3))
        );
        assert_eq!(origins[0]["proxies"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn an_origin_that_is_removed_at_one_is_gone_from_all() {
    let redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let (left, right) = (redis.proxy(&[]), redis.proxy(&[]));
    left.register(&one);
    right.register(&two);
    wait_known(&left, 2);
    wait_known(&right, 2);
    let path = format!("/api/v1/origins/{}", id(&one));
    let drain = format!("{path}/drain");
    assert_eq!(post(left.api, &drain, &[], b"").status(), 200);
    assert_eq!(fetch(right.api, "DELETE", &path, &[]).status(), 200);
    assert_eq!(redis.json(ALL), json!([key(&two)]));
    assert_eq!(redis.get(&key(&one)), None);
    wait_known(&left, 1);
    assert_eq!(state(&left, &id(&one)), "unknown");
    for (n, proxy) in [&left, &right].into_iter().enumerate() {
        assert_eq!(word(proxy.http, &format!("/live/{n}.flv")), "two");
    }
    assert_eq!(fetch(left.api, "DELETE", &path, &[]).status(), 404);
    // Its next heartbeat brings it back, and it is not drained any more.
    left.register(&one);
    wait_until("both know it again", ABOUT_A_SECOND, || {
        [&left, &right].map(|proxy| state(proxy, &id(&one))) == ["alive", "alive"]
    });
}

#[test]
fn each_proxy_has_the_table_of_all_and_their_sums() {
    let (redis, origin) = (RedisServer::start(), Origin::start());
    let live = origin.live_flv("/live/show.flv");
    let segment = Reply::ok("video/MP2T", vec![7; 100_000]);
    origin.on("/live/a-1.ts", segment);
    let proxies = [redis.proxy(&[]), redis.proxy(&[])];
    proxies[0].register(&origin);
    proxies.iter().for_each(|proxy| wait_known(proxy, 1));
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    let mut viewers = Vec::new();
    // The first serves one viewer and three segments, the second two viewers and two segments.
    for (proxy, watch, segments) in [(&proxies[0], 1, 3), (&proxies[1], 2, 2)] {
        for _ in 0..watch {
            let mut viewer = Client::connect(proxy.http);
            viewer.request("GET", "/live/show.flv", &[]);
            let mut body = live.next();
            body.send(b"x");
            assert_eq!(viewer.read_head(SOON).status, 200);
            viewers.push((viewer, body));
        }
        for _ in 0..segments {
            assert_eq!(get(proxy.http, &segment).body.len(), 100_000);
        }
    }
    let own_name = |proxy: &Proxy| api(proxy, "/api/v1/streams")["proxy"].clone();
    let names = [own_name(&proxies[0]), own_name(&proxies[1])];
    for (number, proxy) in proxies.iter().enumerate() {
        let view = wait_for("the sums are whole", SOON, || {
            let view = api(proxy, "/api/v1/streams");
            let totals = &view["totals"];
            let whole = totals["requests"] == 8
                && totals["viewers"] == 3
                && totals["bytes"].as_u64() >= Some(500_003);
            whole.then_some(view)
        });
        let table = view["proxies"].as_array().expect("a table");
        let column = |name: &str| -> Vec<Value> {
            let mut values: Vec<Value> = table.iter().map(|row| row[name].clone()).collect();
            // The one that is asked comes first.
            if number == 1 {
                values.reverse();
            }
            values
        };
        assert_eq!(column("proxy"), names);
        assert_eq!(
            column("players"),
            [0, 1].map(|n| json!(proxies[n].http.to_string()))
        );
        assert_eq!(column("version"), [env!("CARGO_PKG_VERSION"); 2]);
        assert_eq!(column("viewers"), [1, 2]);
        assert_eq!(column("requests"), [4, 4]);
        for row in table {
            let started = row["started"].as_str().expect("a time");
            humantime::parse_rfc3339(started).expect("a time of RFC 3339");
        }
        // Two streams, though both serve them; three of five segments came from memory.
        let totals = &view["totals"];
        assert_eq!(
            (&totals["streams"], &totals["origins"]),
            (&json!(2), &json!(1))
        );
        let cache = &totals["hls_cache"];
        assert_eq!((&cache["hits"], &cache["fetches"]), (&json!(3), &json!(2)));
        assert_eq!(cache["saved"], 3, "requests that no origin had");
        let sum: u64 = table.iter().filter_map(|row| row["bytes"].as_u64()).sum();
        assert_eq!(totals["bytes"], sum);
    }
}

#[test]
fn redis_is_not_on_the_way_of_a_byte() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let live = origin.live_flv("/live/show.flv");
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    let mut viewer = Client::connect(proxy.http);
    viewer.request("GET", "/live/show.flv", &[]);
    let mut body = live.next();
    body.send(b"x");
    assert_eq!(viewer.read_head(SOON).status, 200);
    viewer.expect_bytes(b"x", SOON);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    let (pin_a, pin_show) = ("live/a\"", "live/show\"");
    wait_until("the pins are written", SOON, || {
        redis.get("srs-proxy-url:__defaultVhost__/live/a").is_some()
    });

    let monitor = redis.monitor();
    let begin = Instant::now();
    let mut requests = 0;
    while begin.elapsed() < Duration::from_millis(2500) {
        assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
        body.send(b"y");
        viewer.expect_bytes(b"y", SOON);
        requests += 1;
    }
    let seconds = usize::try_from(begin.elapsed().as_secs()).expect("a few");
    let asked = monitor.count(&["\"GET\"", pin_a]);
    assert!(
        asked <= seconds + 1,
        "{asked} round trips for {requests} requests"
    );
    assert!(asked >= 1, "and yet it looks");
    assert_eq!(
        monitor.count(&["EVAL", pin_a]),
        0,
        "a pin is not written at each use"
    );
    assert_eq!(monitor.count(&[pin_show]), 0, "nothing while a stream runs");
    assert!(
        monitor.count(&["srs-proxy-all-servers"]) > 0,
        "the monitor sees commands"
    );
}

#[test]
fn pins_are_renewed_where_they_have_an_expiry() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    let pin = "srs-proxy-url:__defaultVhost__/live/a";
    redis.run::<()>(&["SET", pin, &key(&origin), "EX", "60"]);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    wait_until("it is renewed", SOON, || redis.ttl(pin) > 3500);
    // Gone for all: nobody has used it for an hour, or its stream was not there any more.
    redis.run::<()>(&["DEL", pin]);
    wait_until("this proxy has forgotten it and pins anew", SOON, || {
        word(proxy.http, "/live/a.flv");
        redis.get(pin) == Some(key(&origin))
    });
}

#[test]
fn an_answer_is_an_answer() {
    // A 404 of one origin moves a stream's pin for all, and a pin without expiry is not deleted.
    let redis = RedisServer::start();
    let (one, two) = (Origin::start(), origin("two"));
    one.otherwise(|_| -> Answer { Reply::new(404).body("not here").into() });
    let proxy = redis.proxy(&[]);
    proxy.register(&one);
    proxy.register(&two);
    let pin = "srs-proxy-url:__defaultVhost__/live/a";
    redis.run::<()>(&["SET", pin, &key(&one)]);
    assert_eq!(word(proxy.http, "/live/a.flv"), "two");
    wait_until("the pin has moved", SOON, || {
        redis.get(pin) == Some(key(&two))
    });
    let both = "srs-proxy-url:__defaultVhost__/live/b";
    two.on("/live/b.flv", Reply::new(404).body("nor here"));
    redis.run::<()>(&["SET", both, &key(&one)]);
    assert_eq!(get(proxy.http, "/live/b.flv").status(), 404);
    assert_eq!(
        redis.get(both),
        Some(key(&one)),
        "its publisher may be about to begin"
    );
}

/// An id file that was copied from one server to another on the same host, or two servers that share a directory.
#[test]
fn two_servers_with_one_id_at_one_address_both_stay_for_all() {
    let redis = RedisServer::start();
    let servers = [origin("one"), origin("two")];
    let proxies = [redis.proxy(&[]), redis.proxy(&[])];
    let beat = || {
        for (origin, service) in servers.iter().zip(["s1", "s2"]) {
            let heartbeat = json!({
                "device_id": "d", "ip": "127.0.0.1", "server": "vid-same", "service": service, "pid": "1",
                "rtmp": ["1935"], "http": [origin.port().to_string()],
            });
            let response = proxies[0].register_raw(heartbeat.to_string().as_bytes());
            assert_eq!(response.status(), 200, "{}", response.text());
        }
    };
    // The second one may be the first one's restart; that the first goes on beating tells that it is not.
    for proxy in &proxies {
        wait_until("both are known, as they go on beating", SOON, || {
            beat();
            origins(proxy).len() == 2
        });
    }
    for proxy in &proxies {
        let words: BTreeSet<String> = (0..4)
            .map(|n| word(proxy.http, &format!("/live/{n}.flv")))
            .collect();
        assert_eq!(words.len(), 2, "both are used: {words:?}");
    }
    beat();
    for proxy in &proxies {
        wait_known(proxy, 2);
    }
    for proxy in &proxies {
        let lines = proxy.log_lines();
        let warnings = lines
            .iter()
            .filter(|line| line.contains("[WARN]") && line.contains("vid-same"));
        assert_eq!(warnings.count(), 1, "{lines:#?}");
    }
}

/// Names that somebody makes up are no streams that are watched.
#[test]
fn names_of_one_use_do_not_fill_redis() {
    const NAMES: usize = 800;
    let (redis, origin) = (RedisServer::start(), Origin::start());
    origin.otherwise(|_| Reply::ok("application/vnd.apple.mpegurl", "#EXTM3U\n").into());
    let proxy = redis.proxy(&[("PROXY_HLS_CACHE", "0")]);
    proxy.register(&origin);
    let keys = |what: &str| {
        let keys: Vec<String> = redis.run(&["KEYS", &format!("srs-proxy-{what}:*")]);
        keys.len()
    };
    let began = Instant::now();
    let mut client = Client::connect(proxy.http);
    for n in 0..NAMES {
        let target = format!("/live/a.m3u8?vhost=v{n}.example");
        assert_eq!(client.get(&target, &[]).status(), 200, "{target}");
    }
    wait_until("what is written is there", SOON, || {
        keys("url") >= 200 && keys("hls") >= 200
    });
    // Ten more come each second, however slow the machine is.
    let most = 220 + 10 * began.elapsed().as_secs() as usize;
    for what in ["url", "hls", "spbhid"] {
        let there = keys(what);
        assert!(there <= most, "{there} of {what}, {most} at most");
    }
    // A name that is used again is a stream that somebody watches. The last ones were not written.
    let pin = format!("srs-proxy-url:v{}.example/live/a", NAMES - 1);
    wait_until("it is written once it is used again", SOON, || {
        let target = format!("/live/a.m3u8?vhost=v{}.example", NAMES - 1);
        assert_eq!(client.get(&target, &[]).status(), 200);
        redis.get(&pin).is_some()
    });
    // Nor are they written when Redis has lost everything.
    redis.run::<()>(&["FLUSHALL"]);
    wait_until("it is whole again", SOON, || keys("url") >= 200);
    assert!(keys("url") <= most + 1, "{} after {most}", keys("url"));
}
