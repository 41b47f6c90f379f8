//! Redis is away, frozen, emptied, not to be had at all, or holds what nobody can read.

use crate::common::client::Client;
use crate::common::fetch::{fetch, get, post};
use crate::common::process::own_binary;
use crate::common::proxy::Proxy;
use crate::common::redis::RedisServer;
use crate::common::shared::{ALL, count_log, go_value, id, key, origin, state, wait_known, word};
use crate::common::tools;
use crate::common::wait::{wait_for, wait_until};
use crate::common::{ABOUT_A_SECOND, SOON};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn redis_dies_and_comes_back_empty() {
    let mut redis = RedisServer::start();
    let (one, two) = (origin("one"), origin("two"));
    let live = one.live_flv("/live/show.flv");
    let (left, right) = (redis.proxy(&[]), redis.proxy(&[]));
    left.register(&one);
    right.register(&two);
    wait_known(&left, 2);
    wait_known(&right, 2);
    let pin = |name: &str| format!("srs-proxy-url:__defaultVhost__/live/{name}");
    redis.run::<()>(&["SET", &pin("show"), &key(&one)]);
    let known = word(left.http, "/live/a.flv");
    let known_key = wait_for("the pin is written", SOON, || redis.get(&pin("a")));
    let path = format!("/api/v1/origins/{}/drain", id(&two));
    assert_eq!(post(left.api, &path, &[], b"").status(), 200);

    let mut viewer = Client::connect(left.http);
    viewer.request("GET", "/live/show.flv", &[]);
    let mut body = live.next();
    body.send(b"before");
    assert_eq!(viewer.read_head(SOON).status, 200);
    viewer.expect_bytes(b"before", SOON);

    redis.kill();
    left.wait_for_log(|line| line.contains("is away ("), SOON);
    body.send(b"during");
    viewer.expect_bytes(b"during", SOON);
    assert_eq!(word(left.http, "/live/a.flv"), known, "a known stream");
    assert_eq!(get(left.http, "/live/unknown.flv").status(), 200);
    let fresh = json!({"ip": "127.0.0.1", "server": "vid-fresh", "service": "s", "pid": "1", "rtmp": ["1935"], "http": ["1"]});
    let refused = left.register_raw(fresh.to_string().as_bytes());
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("Redis"), "{}", refused.text());
    assert!(
        refused.json()["code"]
            .as_i64()
            .is_some_and(|code| code != 0)
    );
    assert_eq!(post(left.api, &path, &[], b"").status(), 503);
    let removed = path.trim_end_matches("/drain");
    assert_eq!(fetch(left.api, "DELETE", removed, &[]).status(), 503);

    redis.restart();
    for proxy in [&left, &right] {
        proxy.wait_for_log(|line| line.contains("is back after"), SOON);
        assert_eq!(count_log(proxy, "[WARN] Redis at"), 1);
        assert_eq!(count_log(proxy, "[INFO] Redis at"), 1);
    }
    // What this proxy knows is there at once, and after a heartbeat round everything is.
    assert_eq!(redis.get(&pin("a")), Some(known_key));
    assert_eq!(redis.get(&pin("show")), Some(key(&one)));
    left.register(&one);
    right.register(&two);
    let list: Vec<String> = serde_json::from_value(redis.json(ALL)).expect("keys");
    let list: BTreeSet<String> = list.into_iter().collect();
    assert_eq!(list, BTreeSet::from([key(&one), key(&two)]));
    assert_eq!(
        left.register_raw(fresh.to_string().as_bytes()).status(),
        200
    );
    wait_known(&right, 3);
    assert_eq!(state(&right, &id(&two)), "draining");
    body.send(b"after");
    viewer.expect_bytes(b"after", SOON);
    left.assert_no_panic();
}

#[test]
fn a_frozen_redis_holds_nobody_up() {
    use rustix::process::{Signal, kill_process};
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    kill_process(redis.pid(), Signal::STOP).expect("stopping Redis");
    let before = std::time::Instant::now();
    for n in 0..20 {
        assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
        assert_eq!(word(proxy.http, &format!("/live/{n}.flv")), "hello");
    }
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
    proxy.wait_for_log(|line| line.contains("is away ("), SOON);
    kill_process(redis.pid(), Signal::CONT).expect("waking Redis");
    proxy.wait_for_log(|line| line.contains("is back after"), SOON);
    wait_until("pins are written again", SOON, || {
        word(proxy.http, "/live/3.flv");
        redis.get("srs-proxy-url:__defaultVhost__/live/3") == Some(key(&origin))
    });
}

/// Hands on what both sides send; Redis's answers, once it is told to, a byte each 20 ms.
fn trickling(redis: SocketAddr, slow: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let address = listener.local_addr().expect("an address");
    let slow = slow.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(redis) else {
                return;
            };
            let (mut from, mut to) = (
                client.try_clone().expect("a copy"),
                server.try_clone().expect("a copy"),
            );
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (slow, mut from, mut to) = (slow.clone(), server, client);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(got @ 1..) = from.read(&mut bytes) {
                    let step = if slow.load(Ordering::Relaxed) { 1 } else { got };
                    for piece in bytes[..got].chunks(step) {
                        if to.write_all(piece).is_err() {
                            return;
                        }
                        if step < got {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_redis_that_trickles_its_answers_costs_one_wait() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let slow = Arc::new(AtomicBool::new(false));
    let port = trickling(redis.addr(), &slow).port().to_string();
    let proxy = redis.proxy(&[("PROXY_REDIS_PORT", port.as_str())]);
    proxy.register(&origin);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    slow.store(true, Ordering::Relaxed);
    // The first ones may have to find out.
    for n in 0..3 {
        assert_eq!(word(proxy.http, &format!("/live/early{n}.flv")), "hello");
    }
    let before = Instant::now();
    for n in 0..20 {
        assert_eq!(word(proxy.http, &format!("/live/{n}.flv")), "hello");
    }
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    slow.store(false, Ordering::Relaxed);
    wait_until("Redis is used again", SOON, || {
        word(proxy.http, "/live/late.flv");
        redis.get("srs-proxy-url:__defaultVhost__/live/late") == Some(key(&origin))
    });
    proxy.assert_no_panic();
}

#[test]
fn a_redis_that_is_full_holds_nobody_up() {
    let (redis, known) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[]);
    proxy.register(&known);
    assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]); // it reads on, and refuses to write
    let fresh = json!({"ip": "127.0.0.1", "server": "vid-fresh", "service": "s", "pid": "1", "rtmp": ["1935"], "http": ["1"]});
    let refused = proxy.register_raw(fresh.to_string().as_bytes());
    assert_eq!(refused.status(), 503, "{}", refused.text());
    for n in 0..20 {
        assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
        assert_eq!(word(proxy.http, &format!("/live/{n}.flv")), "hello");
    }
    let warnings = || count_log(&proxy, "[WARN]");
    proxy.wait_for_log(|line| line.contains("refused a command: OOM"), SOON);
    assert_eq!(warnings(), 2, "one for the heartbeat, one for all the pins");
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_until("it registers again", SOON, || {
        proxy.register_raw(fresh.to_string().as_bytes()).status() == 200
    });
    wait_until("pins are written again", SOON, || {
        word(proxy.http, "/live/3.flv");
        redis.get("srs-proxy-url:__defaultVhost__/live/3") == Some(key(&known))
    });
    proxy.assert_no_panic();
}

#[test]
fn flushed_by_hand_it_is_whole_again() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    redis.run::<()>(&["FLUSHALL"]);
    wait_until("the origin is there again", ABOUT_A_SECOND, || {
        redis.json(ALL) == json!([key(&origin)]) && redis.get(&key(&origin)).is_some()
    });
}

#[test]
fn foreign_and_broken_values_are_skipped_with_one_line() {
    let (redis, origin) = (RedisServer::start(), origin("hello"));
    let (bad, odd) = (
        "srs-proxy-server:vid-bad-s-1",
        "srs-proxy-server:vid-odd-s-1",
    );
    redis.run::<()>(&["SET", bad, "{not json"]);
    redis.run::<()>(&["HSET", odd, "a", "b"]);
    let list = json!([bad, odd, 7, "another-key", {"x": 1}, key(&origin)]);
    redis.run::<()>(&["SET", ALL, &list.to_string()]);
    redis.run::<()>(&["SET", &key(&origin), &go_value(&origin), "EX", "300"]);
    redis.run::<()>(&["SET", "srs-proxy-url:__defaultVhost__/live/a", "7"]);
    redis.run::<()>(&["HSET", "srs-proxy-url:__defaultVhost__/live/b", "a", "b"]);
    redis.run::<()>(&["SET", "srs-proxy-spbhid:broken1", "[]"]);
    let proxy = redis.proxy(&[]);
    for target in ["/live/a.flv", "/live/b.flv"] {
        assert_eq!(word(proxy.http, target), "hello", "{target}");
    }
    let broken = get(proxy.http, "/live/c-1.ts?spbhid=broken1");
    assert_eq!(broken.status(), 404, "it names no stream");
    for (about, name) in [
        (bad, "a broken server"),
        (odd, "a server of another type"),
        ("srs-proxy-all-servers", "the list"),
        ("srs-proxy-url:__defaultVhost__/live/a", "a strange pin"),
        (
            "srs-proxy-url:__defaultVhost__/live/b",
            "a pin of another type",
        ),
        ("srs-proxy-spbhid:broken1", "a broken session"),
    ] {
        let about = format!("skipping {about} ");
        proxy.wait_for_log(|line| line.contains(&about), SOON);
        assert_eq!(count_log(&proxy, &about), 1, "{name}");
    }
    // Serving overwrites strange pins, and registering a list that is none.
    wait_until("the pin is ours", SOON, || {
        redis.get("srs-proxy-url:__defaultVhost__/live/a") == Some(key(&origin))
    });
    redis.run::<()>(&["DEL", ALL]);
    redis.run::<()>(&["HSET", ALL, "a", "b"]);
    proxy.register(&origin);
    assert_eq!(redis.json(ALL), json!([key(&origin)]));
}

#[test]
fn a_redis_that_starts_at_the_same_time_is_waited_for() {
    let (mut redis, origin) = (RedisServer::start(), origin("hello"));
    let port = redis.addr().port().to_string();
    redis.kill();
    std::thread::scope(|scope| {
        let proxy = scope.spawn(|| {
            Proxy::start(&[
                ("PROXY_LOAD_BALANCER_TYPE", "redis"),
                ("PROXY_REDIS_PORT", port.as_str()),
                ("PROXY_LOG_LEVEL", "debug"),
            ])
        });
        // It has tried in vain, or will: the order is what compose leaves open.
        std::thread::sleep(Duration::from_millis(700));
        redis.restart();
        let proxy = proxy.join().expect("the proxy started");
        proxy.wait_for_log(|line| line.contains("waiting for Redis"), SOON);
        proxy.register(&origin);
        assert_eq!(word(proxy.http, "/live/a.flv"), "hello");
    });
}

/// What the proxy says when it does not start.
#[track_caller]
fn refused_start(settings: &[(&str, &str)]) -> String {
    let mut command = own_binary();
    let directory = tempfile::tempdir().expect("a temporary directory");
    command
        .current_dir(directory.path())
        .env("PROXY_LOAD_BALANCER_TYPE", "redis")
        .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
        .env("PROXY_SYSTEM_API", "127.0.0.1:0")
        .envs(settings.iter().copied());
    let output = tools::run(&mut command, SOON);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_start_without_redis_says_so() {
    let redis = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let port = redis.addr().port().to_string();
    let own = [("PROXY_REDIS_PORT", port.as_str())];
    let with = |more: (&'static str, &'static str)| refused_start(&[own[0], more]);

    let text = refused_start(&own);
    assert!(text.contains("PROXY_REDIS_PASSWORD"), "{text}");
    let text = refused_start(&[own[0], ("PROXY_REDIS_DB", "1")]);
    assert!(text.contains("PROXY_REDIS_PASSWORD"), "{text}");
    let text = with(("PROXY_REDIS_PASSWORD", "wrong-one"));
    assert!(
        text.contains("PROXY_REDIS_PASSWORD") && !text.contains("wrong-one"),
        "{text}"
    );
    let text = refused_start(&[
        own[0],
        ("PROXY_REDIS_PASSWORD", "s3cret"),
        ("PROXY_REDIS_DB", "99"),
    ]);
    assert!(
        text.contains("PROXY_REDIS_DB") && text.contains("99"),
        "{text}"
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port().to_string();
    let silent = refused_start(&[("PROXY_REDIS_PORT", &port)]);
    assert!(silent.contains(&format!("127.0.0.1:{port}")), "{silent}");
    drop(free);
    let nobody = refused_start(&[("PROXY_REDIS_PORT", &port)]);
    assert!(nobody.contains(&format!("127.0.0.1:{port}")), "{nobody}");
    let unknown = refused_start(&[("PROXY_REDIS_HOST", "no-such-host.invalid")]);
    assert!(unknown.contains("no-such-host.invalid:6379"), "{unknown}");

    // With the right one it starts, and in the database that was asked for.
    let proxy = redis.proxy(&[("PROXY_REDIS_PASSWORD", "s3cret"), ("PROXY_REDIS_DB", "3")]);
    let answer = proxy.register_raw(
        br#"{"ip":"192.0.2.2","server":"a","service":"b","pid":"c","rtmp":["1935"]}"#,
    );
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let mut connection = redis.connection_as("s3cret", 3);
    let list: String = redis::cmd("GET")
        .arg(ALL)
        .query(&mut connection)
        .expect("the list");
    assert_eq!(list, r#"["srs-proxy-server:a-b-c"]"#);
}
