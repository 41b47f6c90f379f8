//! `/metrics` and `/healthz`: that the figures are what happened, and in a form that Prometheus takes.

use crate::common::answer::{Answer, Framing, Reply};
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, post, send_raw};
use crate::common::hls::live_id;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs, tools};
use rustix::process::Signal;
use serde_json::json;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `GET /metrics` gives.
#[track_caller]
fn text(proxy: &Proxy) -> String {
    let response = get(proxy.api, "/metrics");
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text()
}

/// The value of a series, spelt as it is in the text; `None` where there is none.
fn find(text: &str, series: &str) -> Option<f64> {
    let mut values = text.lines().filter_map(|line| {
        let value = line.strip_prefix(series)?.strip_prefix(' ')?;
        Some(value.parse().expect("a number"))
    });
    let value = values.next();
    assert_eq!(values.next(), None, "{series} is there twice");
    value
}

/// The value of a series that must be there.
#[track_caller]
fn value(proxy: &Proxy, series: &str) -> f64 {
    let text = text(proxy);
    find(&text, series).unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// Waits until a series has a value: a request counts after its last byte.
#[track_caller]
fn wait_for_value(proxy: &Proxy, series: &str, wanted: f64) {
    wait_until(&format!("{series} is {wanted}"), SOON, || {
        find(&text(proxy), series) == Some(wanted)
    });
}

fn requests(kind: &str, code: &str) -> String {
    format!("srs_proxy_requests_total{{code=\"{code}\",kind=\"{kind}\"}}")
}

fn picks(outcome: &str) -> String {
    format!("srs_proxy_picks_total{{outcome=\"{outcome}\"}}")
}

/// An origin without an API, with a playlist of 8 bytes, a segment of 1000 and a live stream.
fn origin() -> Origin {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", [0; 1000]));
    origin
}

#[test]
fn promtool_has_nothing_to_say() {
    let origin = origin();
    let route = origin.live_flv("/live/a.flv");
    origin.otherwise(|_| Reply::ok("video/x-flv", "x").into());
    let proxy = Proxy::before(&origin, &[]);
    // Names that need care in a label.
    let odd = json!({"ip": "127.0.0.1", "server": "s\"\\\n{},", "service": "s", "pid": "1", "rtmp": ["1935"],
        "device_id": "Gerät \"1\"\\\n# HELP", "http": ["1"]});
    let registered = proxy.register_raw(odd.to_string().as_bytes());
    let status = registered.status();
    assert!(status == 200 || status == 400, "{}", registered.text());
    let plain = json!({"ip": "127.0.0.2", "server": "s", "service": "s", "pid": "1", "rtmp": ["1935"],
        "device_id": "Gerät \"1\"", "http": ["1"]});
    assert_eq!(
        proxy.register_raw(plain.to_string().as_bytes()).status(),
        200
    );
    let mut player = Client::connect(proxy.http);
    player.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"x");
    assert_eq!(player.read_head(SOON).status, 200);
    for target in [
        "/live/a.m3u8",
        "/live/q%22%5C%0A%C3%A9%7B%7D.flv",
        "/",
        "/nothing",
    ] {
        get(proxy.http, target);
    }
    send_raw(proxy.http, b"rubbish\r\n\r\n");
    wait_for_value(&proxy, &requests("refused", "400"), 1.0);
    let text = text(&proxy);
    assert!(find(&text, "srs_proxy_live_streams") == Some(1.0), "{text}");
    let file = proxy.directory().join("metrics.txt");
    std::fs::write(&file, &text).expect("writing the metrics");
    let mut check = Command::new("sh");
    check.args(["-c", "exec \"$0\" check metrics < \"$1\""]);
    check.arg(tools::find("promtool")).arg(&file);
    let output = tools::run(&mut check, SOON);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.is_empty(),
        "{}: {said}\n{text}",
        output.status
    );
}

#[test]
fn requests_are_counted_by_kind_and_status() {
    let origin = origin();
    let odd = Reply::new(299).header("Content-Type", "text/plain");
    origin.on("/live/odd.flv", odd);
    let proxy = Proxy::before(&origin, &[]);
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for (method, target, times) in [
        ("GET", "/live/a.m3u8", 3),
        ("HEAD", "/live/a.m3u8", 1),
        ("GET", segment.as_str(), 2),
        ("GET", "/live/odd.flv", 1),
        ("GET", "/", 1),
        ("GET", "/nothing", 2),
        ("OPTIONS", "/live/a.m3u8", 1),
        ("POST", "/live/a.m3u8", 1),
    ] {
        for _ in 0..times {
            fetch(proxy.http, method, target, &[]);
        }
    }
    send_raw(proxy.http, b"GET / HTTP/2.0\r\n\r\n");
    for (kind, code, count) in [
        ("playlist", "200", 5.0),
        ("playlist", "405", 1.0),
        ("segment", "200", 2.0),
        ("live", "2xx", 1.0),
        ("file", "200", 1.0),
        ("file", "404", 2.0),
        ("refused", "505", 1.0),
        ("heartbeat", "200", 1.0),
    ] {
        wait_for_value(&proxy, &requests(kind, code), count);
    }
    let heads = |kind| format!("srs_proxy_response_head_seconds_count{{kind=\"{kind}\"}}");
    assert_eq!(value(&proxy, &heads("playlist")), 6.0);
    assert_eq!(value(&proxy, &heads("segment")), 2.0);
    let text = text(&proxy);
    assert_eq!(find(&text, &heads("refused")), None, "{text}");
    // Each playlist has 8 bytes, also that which is asked for by HEAD and not sent.
    let sent = find(&text, "srs_proxy_send_bytes_total").expect("the bytes");
    assert!(
        (3.0 * 8.0 + 2000.0..=5.0 * 8.0 + 2000.0).contains(&sent),
        "{sent}"
    );
    let first = value(&proxy, &requests("api", "200"));
    wait_until("a look at the metrics counts, too", SOON, || {
        value(&proxy, &requests("api", "200")) > first
    });
}

#[test]
fn a_live_stream_is_seen_while_it_runs() {
    let origin = origin();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[("PROXY_MAX_STREAMS", "7")]);
    let viewers = "srs_proxy_viewers{stream=\"__defaultVhost__/live/a\"}";
    let mut players = Vec::new();
    for _ in 0..2 {
        let mut player = Client::connect(proxy.http);
        player.request("GET", "/live/a.flv", &[]);
        let mut live = route.next();
        live.send(&[7; 5000]);
        assert_eq!(player.read_head(SOON).status, 200);
        player.expect_bytes(&[7; 5000], SOON);
        players.push((player, live));
    }
    wait_for_value(&proxy, "srs_proxy_send_bytes_total", 10_000.0);
    let text = text(&proxy);
    for (series, wanted) in [
        ("srs_proxy_live_streams", 2.0),
        ("srs_proxy_live_streams_limit", 7.0),
        ("srs_proxy_streams", 1.0),
        ("srs_proxy_connections", 2.0),
        (viewers, 2.0),
        ("srs_proxy_viewers{stream=\"other\"}", 0.0),
    ] {
        assert_eq!(find(&text, series), Some(wanted), "{series}\n{text}");
    }
    assert_eq!(find(&text, &requests("live", "200")), None, "they run");
    drop(players);
    wait_for_value(&proxy, &requests("live", "200"), 2.0);
    wait_for_value(&proxy, "srs_proxy_live_streams", 0.0);
    wait_for_value(&proxy, viewers, 0.0);
}

#[test]
fn picks_are_counted_by_how_the_origin_was_found() {
    // Each request is to be searched for: none is answered from memory.
    let settings = [("PROXY_STREAM_WAIT", "10ms"), ("PROXY_HLS_CACHE", "0")];
    let proxy = Proxy::start(&settings);
    for outcome in ["pinned", "api", "tried", "waited", "not_found", "left"] {
        assert_eq!(value(&proxy, &picks(outcome)), 0.0);
    }
    get(proxy.http, "/live/a.m3u8");
    wait_for_value(&proxy, &picks("no_origin"), 1.0);
    let origin = origin();
    proxy.register(&origin);
    for _ in 0..3 {
        assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    }
    wait_for_value(&proxy, &picks("tried"), 1.0);
    wait_for_value(&proxy, &picks("pinned"), 2.0);
    get(proxy.http, "/live/nowhere.m3u8");
    wait_for_value(&proxy, &picks("exhausted"), 1.0);

    let origin = Origin::start_with_api();
    origin.on("/live/b.m3u8", Reply::playlist("#EXTM3U\n"));
    origin.api().publish("/live/b");
    let proxy = Proxy::before(&origin, &[("PROXY_STREAM_WAIT", "10ms")]);
    assert_eq!(get(proxy.http, "/live/b.m3u8").status(), 200);
    wait_for_value(&proxy, &picks("api"), 1.0);
    assert_eq!(get(proxy.http, "/live/nowhere.m3u8").status(), 404);
    wait_for_value(&proxy, &picks("not_found"), 1.0);
}

#[test]
fn origins_are_seen_with_their_state_and_their_times() {
    let origin = origin();
    let silent = Duration::from_secs(3);
    origin.on(
        "/live/slow.m3u8",
        Reply::playlist("#EXTM3U\n").after(silent),
    );
    origin.on("/live/no.m3u8", Answer::CloseWithoutHead);
    let proxy = Proxy::before(&origin, &[("PROXY_RESPONSE_TIMEOUT", "1s")]);
    let failures = |reason| {
        format!("srs_proxy_origin_failures_total{{endpoint=\"http\",reason=\"{reason}\"}}")
    };
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    assert_eq!(value(&proxy, &failures("timeout")), 0.0);
    let text = text(&proxy);
    let count = |name: &str| find(&text, &format!("{name}_count{{endpoint=\"http\"}}"));
    assert_eq!(count("srs_proxy_origin_connect_seconds"), Some(1.0));
    assert_eq!(count("srs_proxy_origin_response_head_seconds"), Some(1.0));
    assert_eq!(get(proxy.http, "/live/slow.m3u8").status(), 504);
    assert_eq!(value(&proxy, &failures("timeout")), 1.0);
    assert_eq!(get(proxy.http, "/live/no.m3u8").status(), 502);
    assert_eq!(value(&proxy, &failures("closed")), 1.0);

    let states = |state| format!("srs_proxy_origins{{state=\"{state}\"}}");
    assert_eq!(value(&proxy, &states("alive")), 1.0);
    origin.stop();
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 502);
    assert!(value(&proxy, &failures("connect")) >= 1.0);
    assert_eq!(value(&proxy, &states("alive")), 0.0);
    assert_eq!(value(&proxy, &states("suspect")), 1.0);
    let series = format!(
        "srs_proxy_origin_state{{address=\"{}\",device=\"vid-{id}\",origin=\"vid-{id}-84l9f067-7901\",state=\"suspect\"}}",
        origin.addr(),
        id = origin.id(),
    );
    assert_eq!(value(&proxy, &series), 1.0);
}

#[test]
fn the_process_is_seen() {
    let proxy = Proxy::start(&[]);
    let text = text(&proxy);
    let of = |name: &str| find(&text, name).unwrap_or_else(|| panic!("no {name}\n{text}"));
    let memory = of("process_resident_memory_bytes");
    assert!(memory > 1e6 && memory < 1e9, "{memory}");
    assert!(of("process_open_fds") >= 5.0 && of("process_open_fds") < of("process_max_fds"));
    assert!(of("process_threads") >= 3.0);
    assert!(of("process_cpu_seconds_total") < 60.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - of("process_start_time_seconds");
    assert!((-5.0..600.0).contains(&age), "{age}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        of(&format!("srs_proxy_build_info{{version=\"{version}\"}}")),
        1.0
    );
}

#[test]
fn only_who_has_the_token_may_look() {
    let proxy = Proxy::start(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    assert_eq!(get(proxy.api, "/metrics").status(), 401);
    let bearer = [("Authorization", "Bearer s3cret")];
    let whole = get_with(proxy.api, "/metrics", &bearer);
    assert_eq!(whole.status(), 200);
    let kind = whole.headers().one("content-type");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(whole.text().ends_with('\n'), "the last line must end, too");
    let head = fetch(proxy.api, "HEAD", "/metrics", &bearer);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.headers().one("content-type"), kind);
    let length: usize = head.headers().one("content-length").parse().unwrap();
    assert!(length > 1000, "{length}");
    assert_eq!(get(proxy.api, "/metrics?token=s3cret").status(), 200);
    let refused = post(proxy.api, "/metrics", &bearer, b"");
    assert_eq!(refused.status(), 405);
    assert_eq!(get(proxy.http, "/metrics").status(), 404, "not for players");
}

#[track_caller]
fn assert_ill(proxy: &Proxy, why: &str) {
    let response = get(proxy.api, "/healthz");
    assert_eq!(response.status(), 503, "{}", response.text());
    let message = response.json()["message"].to_string();
    assert!(message.contains(why), "{message}");
}

#[test]
fn it_is_healthy_with_an_alive_origin() {
    let ttl = ("PROXY_ORIGIN_SERVER_TTL", "1s");
    let proxy = Proxy::start(&[ttl, ("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    assert_ill(&proxy, "No origin has registered");
    let origin = origin();
    let heartbeat = json!({"ip": "127.0.0.1", "server": "s", "service": "s", "pid": "1",
        "rtmp": ["1935"], "http": [origin.port().to_string()]});
    let path = "/api/v1/srs/register/s3cret";
    let registered = post(proxy.api, path, &[], heartbeat.to_string().as_bytes());
    assert_eq!(registered.status(), 200);
    assert_eq!(get(proxy.api, "/healthz").status(), 200);
    let head = fetch(proxy.api, "HEAD", "/healthz", &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    wait_until("its heartbeat is too old", SOON, || {
        get(proxy.api, "/healthz").status() == 503
    });
    assert_ill(&proxy, "No origin has sent a heartbeat");
}

#[test]
fn it_is_not_healthy_while_it_ends() {
    let origin = origin();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(&origin, &[("PROXY_GRACE_QUIT_TIMEOUT", "20s")]);
    let mut player = Client::connect(proxy.http);
    player.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"x");
    assert_eq!(player.read_head(SOON).status, 200);
    let mut monitor = Client::connect(proxy.api);
    assert_eq!(monitor.get("/healthz", &[]).status(), 200);
    proxy.signal(Signal::TERM);
    // The port is closed to who asks anew, and nobody is told on a connection of before that it is well.
    wait_until("the port was closed", SOON, || {
        TcpStream::connect(proxy.api).is_err()
    });
    monitor.expect_closed(SOON);
    assert_eq!(proxy.try_exit(), None, "its player still watches");
    drop((player, live));
    assert_eq!(proxy.wait_exit(SOON), 0);
}

#[test]
fn it_is_not_healthy_while_all_connections_are_taken() {
    let origin = origin();
    // Its head leaves at once, and then nothing.
    let silent = LiveRoute::new(Framing::UntilClose, "video/x-flv");
    let _bodies = origin.live("/live/a.flv", silent);
    // As few descriptors as make for the fewest connections, which are eight.
    let builder = Proxy::builder().program("sh").arg("-c");
    let builder = builder.arg("ulimit -n 64 && exec \"$0\"");
    let proxy = builder.arg(env!("CARGO_BIN_EXE_srs-stream-proxy")).start();
    proxy.register(&origin);
    let mut players = Vec::new();
    wait_until("all connections are taken", SOON, || {
        let mut player = Client::connect(proxy.http);
        player.expect_answer_to("GET");
        let sent = player.try_send(b"GET /live/a.flv HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        if sent.is_ok() && player.try_read_head(SOON).is_ok() {
            players.push(player);
        }
        get(proxy.api, "/healthz").status() == 503
    });
    assert_eq!(players.len(), 8);
    assert_ill(&proxy, "connections");
    players.pop();
    wait_until("there is room again", SOON, || {
        get(proxy.api, "/healthz").status() == 200
    });
}

#[test]
fn it_is_not_healthy_while_all_workers_are_busy() {
    let origins = [srs::start(), srs::start(), srs::start()];
    // 131 connections and as many workers, of which half may wait for one origin.
    let proxy = Proxy::builder()
        .program("prlimit")
        .arg("--nofile=446:446")
        .arg(env!("CARGO_BIN_EXE_srs-stream-proxy"))
        .env("PROXY_HLS_CACHE", "0")
        .env("PROXY_RESPONSE_TIMEOUT", "120s")
        .start();
    let mut targets = Vec::new();
    for (n, origin) in origins.iter().enumerate() {
        proxy.register(origin);
        srs::publish(origin, &n.to_string(), "here");
        let target = format!("/live/{n}.m3u8");
        assert_eq!(get(proxy.http, &target).status(), 200);
        origin.on(&target, Answer::Silence);
        targets.push(target);
    }
    let mut players = Vec::new();
    wait_until("all workers are busy", SOON * 2, || {
        for target in &targets {
            let mut player = Client::connect(proxy.http);
            player.expect_answer_to("GET");
            let head = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            // Where there is no room for it any more it is closed.
            if player.try_send(head.as_bytes()).is_ok() {
                players.push(player);
            }
        }
        // All connections are in use a moment before the last worker is busy.
        get(proxy.api, "/healthz").text().contains("workers")
    });
    assert_ill(&proxy, "workers");
    drop(players);
    wait_until("there are workers again", SOON, || {
        get(proxy.api, "/healthz").status() == 200
    });
}

#[test]
fn shared_fetches_are_counted() {
    let origin = origin();
    origin.on("/live/a-2.ts", Reply::ok("video/MP2T", "segment"));
    let proxy = Proxy::before(&origin, &[]);
    let target = format!("/live/a-2.ts?spbhid={}", live_id("a"));
    for _ in 0..3 {
        assert_eq!(get(proxy.http, &target).text(), "segment");
    }
    assert_eq!(origin.requests().len(), 1);
    for (name, expected) in [
        ("fetches_total", 1.0),
        ("hits_total", 2.0),
        ("saved_total", 2.0),
        ("shares_total", 0.0),
    ] {
        let name = format!("srs_proxy_hls_cache_{name}");
        wait_for_value(&proxy, &name, expected);
    }
    assert!(value(&proxy, "srs_proxy_hls_cache_bytes") >= 7.0);
}
