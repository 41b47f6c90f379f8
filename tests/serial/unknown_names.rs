//! Names of streams that nobody publishes: asking for ever new ones costs no memory.

use crate::common::SOON;
use crate::common::client::Client;
use crate::common::hostile::{Footprint, Rogue};
use crate::common::proxy::Proxy;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// Names that are asked for.
const NAMES: usize = 100_000;
/// Connections that ask.
const PLAYERS: usize = 8;
/// What they may cost, in kB.
const ROOM: usize = 10_000;

/// Answers every request 404, fast.
fn not_found(stream: TcpStream, _: &str) {
    let _ = stream.set_nodelay(true);
    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone";
    let mut writer = &stream;
    let mut taken = writer.write_all(answer);
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while taken.is_ok() {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(got) if got > 0 => {}
            _ => return,
        }
        if line == "\r\n" {
            taken = writer.write_all(answer);
        }
    }
}

#[test]
fn a_hundred_thousand_unknown_names_leave_nothing() {
    let _alone = crate::common::alone();
    let origin = Rogue::start(not_found);
    let proxy = Proxy::start(&[]);
    proxy.register_addr(origin.addr);
    let ask = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for player in 0..PLAYERS {
                let server = proxy.http;
                scope.spawn(move || {
                    let mut client = Client::connect(server);
                    for n in (from..to).filter(|n| n % PLAYERS == player) {
                        // Of all kinds, long ones and short ones, as streams of ever new vhosts too.
                        let long = "x".repeat(n % 100);
                        let (target, host) = match n % 4 {
                            0 => (format!("/live/{long}{n}.flv"), "x".to_owned()),
                            1 => (format!("/live/{long}{n}.m3u8"), format!("{n}.example.com")),
                            2 => (format!("/app{n}/{long}.ts"), "x".to_owned()),
                            _ => (
                                format!(
                                    "/live/{n}.ts?spbhid={}",
                                    crate::common::hls::live_id(&format!("{long}{n}"))
                                ),
                                "x".to_owned(),
                            ),
                        };
                        let response = client.get(&target, &[("Host", &host)]);
                        assert_eq!(response.status(), 404, "{target}");
                    }
                });
            }
        });
    };
    // The first tenth makes what is made once: workers, connections, the allocator's reserves.
    ask(0, NAMES / 10);
    let before = Footprint::of(&proxy);
    ask(NAMES / 10, NAMES + NAMES / 10);
    let after = proxy.rss_kb();
    println!(
        "{} kB before, {after} kB after {NAMES} names",
        before.rss_kb
    );
    assert!(
        after <= before.rss_kb + ROOM,
        "{after} kB after, {} before",
        before.rss_kb
    );
    before.assert_peak(&proxy, ROOM);
    let view = crate::common::fetch::get(proxy.api, "/api/v1/origins").json();
    assert_eq!(view["data"]["origins"][0]["pinned"], 0, "{view}");
    let view = crate::common::fetch::get(proxy.api, "/api/v1/streams").json();
    assert_eq!(
        view["data"]["streams"].as_array().map(Vec::len),
        Some(0),
        "{view}"
    );
    proxy.assert_no_panic();
}

#[test]
fn names_that_are_no_names_are_refused_without_an_origin() {
    let _alone = crate::common::alone();
    let proxy = Proxy::start(&[]);
    let mut client = Client::connect(proxy.http);
    for target in [
        format!("/live/{}.flv", "x".repeat(2000)),
        format!("/live/a.flv?vhost={}", "v".repeat(2000)),
        format!("/{}a.flv", "a/".repeat(1000)),
        "/live/.flv?stream=%00".to_owned(),
    ] {
        client.request("GET", &target, &[]);
        assert_eq!(client.read_response(SOON).status(), 400, "{target}");
    }
}
