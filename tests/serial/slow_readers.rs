//! Clients that do not read: dropped in time, at the cost of their buffers, and nobody else waits for them.

use crate::common::SOON;
use crate::common::answer::{Framing, Reply};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::hls::live_id;
use crate::common::hostile::Footprint;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STALL: Duration = Duration::from_secs(3);
const CROWD: usize = 40;

#[test]
fn those_who_do_not_read_a_stream_are_dropped_and_delay_nobody() {
    let alone = crate::common::alone();
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "3s")]);
    let before = Footprint::at_rest(&proxy);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut deaf = Vec::new();
        for n in 0..CROWD {
            let route = origin.live(
                "/live/deaf.flv",
                LiveRoute::new(Framing::Chunked, "video/x-flv"),
            );
            let mut client = Client::connect_small(proxy.http, 8 * 1024);
            let version = ["HTTP/1.1", "HTTP/1.0"][n % 2];
            client.send(format!("GET /live/deaf.flv {version}\r\nHost: x\r\n\r\n").as_bytes());
            let mut live = route.next();
            // As much as it takes: the proxy holds what its buffers hold, and reads no more.
            scope.spawn(move || while live.try_send(&[9; 16 * 1024]).is_ok() {});
            deaf.push(client);
        }
        let route = origin.live_flv("/live/good.flv");
        let mut good = Client::connect(proxy.http);
        good.request("GET", "/live/good.flv", &[]);
        let mut live = route.next();
        let began = Instant::now();
        let mut worst = Duration::ZERO;
        while began.elapsed() < STALL {
            let sent = Instant::now();
            live.send(b"frame");
            if worst.is_zero() {
                assert_eq!(good.read_head(SOON).status, 200);
            }
            good.expect_bytes(b"frame", SOON);
            worst = worst.max(sent.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(worst < Duration::from_secs(1), "a frame took {worst:?}");
        let dropped = || {
            proxy
                .log_lines()
                .iter()
                .filter(|line| line.contains("takes no bytes"))
                .count()
        };
        wait_until("all were dropped", STALL + SOON, || dropped() == CROWD);
        done.store(true, Ordering::SeqCst);
        live.send(b"frame");
        good.expect_bytes(b"frame", SOON);
        before.assert_peak(&proxy, 20_000);
        // What they read now is what was in the sockets, and no end that looks like one.
        for mut client in deaf.into_iter().take(6) {
            assert_eq!(client.read_head(SOON).status, 200);
            assert_ne!(client.read_rest(SOON).1, BodyEnd::Complete);
        }
        live.finish();
    });
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    proxy.assert_no_panic();
}

#[test]
fn those_who_do_not_read_a_segment_or_a_file_are_dropped() {
    let alone = crate::common::alone();
    let origin = Origin::start();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", vec![7; 20_000_000]));
    let proxy = Proxy::builder()
        .env("PROXY_STALL_TIMEOUT", "2s")
        .env("PROXY_STATIC_FILES", "files")
        .file("files/big.bin", vec![8; 20_000_000])
        .start();
    proxy.register(&origin);
    let before = Footprint::at_rest(&proxy);
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    let mut deaf: Vec<Client> = (0..30)
        .map(|n| {
            let mut client = Client::connect_small(proxy.http, 8 * 1024);
            client.request("GET", [segment.as_str(), "/big.bin"][n % 2], &[]);
            client
        })
        .collect();
    // Others are served meanwhile.
    let mut good = Client::connect(proxy.http);
    assert_eq!(good.get(&segment, &[]).body.len(), 20_000_000);
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    before.assert_peak(&proxy, 20_000);
    for client in &mut deaf {
        assert_eq!(client.read_head(SOON).status, 200);
        let (body, end) = client.read_rest(SOON);
        assert!(body.len() < 20_000_000);
        assert_ne!(end, BodyEnd::Complete);
    }
    proxy.assert_no_panic();
}

#[test]
fn a_slow_reader_that_reads_is_not_dropped() {
    let _alone = crate::common::alone();
    let origin = Origin::start();
    let body: Vec<u8> = (0..6_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", &body));
    let proxy = Proxy::before(&origin, &[("PROXY_STALL_TIMEOUT", "1s")]);
    let mut client = Client::connect_small(proxy.http, 32 * 1024);
    client.request("GET", &format!("/live/a-1.ts?spbhid={}", live_id("a")), &[]);
    assert_eq!(client.read_head(SOON).status, 200);
    let began = Instant::now();
    let mut got = Vec::new();
    // A piece each 200 ms for several times the timeout, then the rest.
    while began.elapsed() < Duration::from_secs(4) {
        got.extend(client.read_at_least(20_000, SOON));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(
        got.len() < body.len() / 2,
        "too fast to tell: {}",
        got.len()
    );
    let (rest, end) = client.read_rest(SOON);
    got.extend(rest);
    assert!(
        got == body,
        "{}",
        crate::common::client::describe(&got, &body)
    );
    assert_eq!(end, BodyEnd::Complete);
}
