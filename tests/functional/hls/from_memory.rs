//! What is whole in memory is answered on the connection's own thread: the same answers, and no worker.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, get10};
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use rustix::process::Pid;
use std::time::Duration;

const SEGMENT: &str = "/live/a-1.ts";
const PLAYLIST: &str = "/live/a.m3u8";

fn target() -> String {
    format!("{SEGMENT}?spbhid={}", live_id("a"))
}

fn body() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at / 7) as u8).collect()
}

/// A proxy that has the segment in memory.
fn warm() -> (Origin, Proxy) {
    let origin = Origin::start();
    origin.on(
        SEGMENT,
        Reply::ok("video/MP2T", body()).header("X-Own", "1"),
    );
    let proxy = Proxy::before(&origin, &[]);
    assert!(get(proxy.http, &target()).body == body());
    wait_until("it is kept", SOON, || {
        fetch(proxy.http, "HEAD", &target(), &[])
            .headers()
            .has("age")
    });
    (origin, proxy)
}

/// The names of the process's threads.
fn threads(pid: Pid) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let names = tasks.expect("the tasks").filter_map(|task| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim().to_owned())
    });
    names.collect()
}

#[test]
fn readers_of_what_is_in_memory_take_no_workers() {
    let (origin, proxy) = warm();
    let workers = || {
        let names = threads(proxy.pid());
        names.iter().filter(|name| *name == "short").count()
    };
    let before = workers();
    // They read slowly: each would hold a worker until it has everything.
    let mut slow: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = Client::connect_small(proxy.http, 4096);
            client.request("GET", &target(), &[]);
            client
        })
        .collect();
    for client in &mut slow {
        assert!(client.read_head(SOON).headers.has("age"));
    }
    assert!(workers() <= before, "{} workers", workers());
    assert_eq!(origin.requests().len(), 1);
    for client in &mut slow {
        assert!(client.read_rest(Duration::from_secs(60)).0 == body());
    }
}

/// How often the threads that hand requests to workers were woken so far.
fn handed_on(pid: Pid) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let woken = tasks.expect("the tasks").filter_map(|task| {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        (field("Name:")?.trim() == "accept loop").then(|| {
            field("voluntary_ctxt_switches:")?
                .trim()
                .parse::<u64>()
                .ok()
        })?
    });
    woken.sum()
}

#[test]
fn whatever_is_kept_is_answered_without_a_worker_and_counted_all_the_same() {
    const REQUESTS: u64 = 100;
    let (origin, proxy) = warm();
    origin.on(PLAYLIST, Reply::playlist("#EXTM3U\n#EXTINF:2,\na-1.ts\n"));
    origin.on("/live/none-1.ts", Reply::new(404));
    let gone = format!("/live/none-1.ts?spbhid={}", live_id("none"));
    let mut client = Client::connect(proxy.http);
    for (method, target, range, status, length) in [
        ("GET", target(), None, 200, 300_000),
        ("HEAD", target(), None, 200, 0),
        ("GET", target(), Some("bytes=5-9"), 206, 5),
        ("GET", PLAYLIST.to_owned(), None, 200, 0),
        ("GET", gone, None, 404, 0),
    ] {
        let headers: Vec<_> = range.iter().map(|range| ("Range", *range)).collect();
        let before = handed_on(proxy.pid());
        let mut ids = Vec::new();
        for _ in 0..REQUESTS {
            client.request(method, &target, &headers);
            let response = client.read_response(SOON);
            assert_eq!(response.status(), status, "{method} {target}");
            assert!(length == 0 || response.body.len() == length);
            ids.push(response.headers().one("x-request-id").to_owned());
        }
        // What is kept for half a second only is fetched now and then.
        let handed_on = handed_on(proxy.pid()) - before;
        assert!(handed_on < REQUESTS / 2, "{handed_on}: {method} {target}");
        // Each has its line.
        let last = ids.pop().expect("an id");
        let line = proxy.wait_for_log(|line| line.contains(&last), SOON);
        let path = target.split('?').next().unwrap_or_default();
        assert!(
            line.contains(&format!("{method} {path} {status} ")),
            "{line}"
        );
    }
    let text = get(proxy.api, "/metrics").text();
    let hits = text
        .lines()
        .find_map(|line| line.strip_prefix("srs_proxy_hls_cache_hits_total "));
    let hits: u64 = hits.and_then(|hits| hits.parse().ok()).expect("a number");
    assert!(hits > 4 * REQUESTS, "{hits} hits");
}

#[test]
fn a_head_and_a_part_come_from_memory() {
    let (origin, proxy) = warm();
    let asked = origin.requests().len();
    let head = fetch(proxy.http, "HEAD", &target(), &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.headers().one("content-length"), "300000");
    let whole = body();
    for (range, part) in [
        ("bytes=0-", 0..300_000),
        ("bytes=0-0", 0..1),
        ("bytes=65530-65545", 65_530..65_546),
        ("bytes=70000-", 70_000..300_000),
        ("bytes=-5", 299_995..300_000),
    ] {
        let response = get_with(proxy.http, &target(), &[("Range", range)]);
        assert_eq!(response.status(), 206, "{range}");
        assert!(response.body == whole[part.clone()], "{range}");
        let expected = format!("bytes {}-{}/300000", part.start, part.end - 1);
        assert_eq!(response.headers().one("content-range"), expected);
        assert_eq!(response.headers().one("x-own"), "1");
    }
    let beyond = get_with(proxy.http, &target(), &[("Range", "bytes=300000-")]);
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers().one("content-range"), "bytes */300000");
    for odd in ["bytes=0-1,5-6", "lines=0-", "bytes=x"] {
        let response = get_with(proxy.http, &target(), &[("Range", odd)]);
        assert_eq!(
            (response.status(), response.body.len()),
            (200, 300_000),
            "{odd}"
        );
    }
    let old = get10(proxy.http, &target(), &[("Host", "127.0.0.1")]);
    assert!(old.body == whole);
    assert_eq!(
        origin.requests().len(),
        asked,
        "nothing was asked for again"
    );
}

#[test]
fn one_connection_may_ask_for_one_thing_after_the_other() {
    let (origin, proxy) = warm();
    origin.on(PLAYLIST, Reply::playlist("#EXTM3U\n#EXTINF:2,\na-1.ts\n"));
    let mut client = Client::connect(proxy.http);
    let asked = origin.requests().len();
    for _ in 0..3 {
        assert!(client.get(&target(), &[]).body == body());
        assert!(client.get(PLAYLIST, &[]).text().contains("a-1.ts?spbhid="));
        assert_eq!(client.get("/nothing", &[]).status(), 404);
        assert_eq!(client.get(PLAYLIST, &[("X", "y")]).status(), 200);
    }
    assert!(origin.requests().len() > asked);
    // Pipelined requests are answered in turn.
    let line = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target());
    client.send(line.repeat(3).as_bytes());
    for _ in 0..3 {
        client.expect_answer_to("GET");
        assert!(client.read_response(SOON).body == body());
    }
}

#[test]
fn a_stream_that_moved_is_not_answered_from_memory() {
    let (origin, proxy) = warm();
    let mut client = Client::connect(proxy.http);
    assert!(client.get(&target(), &[]).headers().has("age"));
    origin.stop();
    let other = Origin::start();
    other.otherwise(|_| Reply::ok("video/MP2T", "other").into());
    proxy.register(&other);
    // The pin moves with the stream.
    wait_until("the stream is found elsewhere", SOON, || {
        get(proxy.http, "/live/a.m3u8").status() == 200
    });
    wait_until("its segments come from there", SOON, || {
        client.get(&target(), &[]).text() == "other"
    });
}
