//! What may not end takes a stream's place, whatever its URL.

use crate::common::SOON;
use crate::common::answer::{Framing, Reply};
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;

fn totals(proxy: &Proxy) -> serde_json::Value {
    get(proxy.api, "/api/v1/streams").json()["data"]["totals"].clone()
}

/// Asks as a viewer, and reads the first bytes.
fn watch(proxy: &Proxy, route: &LiveRoute, target: &str) -> (Client, crate::common::live::Live) {
    let mut client = Client::connect(proxy.http);
    client.request("GET", target, &[]);
    let mut live = route.next();
    live.send(b"begin");
    assert_eq!(client.read_head(SOON).status, 200, "{target}");
    client.expect_bytes(b"begin", SOON);
    (client, live)
}

#[test]
fn a_stream_in_a_segments_clothes_takes_a_place() {
    let origin = Origin::start();
    let flv = origin.live_flv("/live/a.flv");
    let ts = origin.live("/live/a.ts", LiveRoute::new(Framing::Chunked, "video/mp2t"));
    origin.on("/live/a-1.ts", Reply::ok("video/mp2t", "segment"));
    let proxy = Proxy::before(&origin, &[("PROXY_MAX_STREAMS", "2")]);
    let id = live_id("a");
    let (one, mut live) = watch(&proxy, &flv, &format!("/live/a.flv?spbhid={id}"));
    assert_eq!(totals(&proxy)["viewers"], 1, "{}", totals(&proxy));
    let (mut two, mut second) = watch(&proxy, &ts, &format!("/live/a.ts?spbhid={id}"));
    let metrics = get(proxy.api, "/metrics").text();
    assert!(
        metrics.lines().any(|line| line.ends_with("live_streams 2")),
        "{metrics}"
    );
    for target in [format!("/live/a.flv?spbhid={id}"), "/live/a.flv".to_owned()] {
        let mut client = Client::connect(proxy.http);
        client.request("GET", &target, &[]);
        // The origin may be asked first; its answer goes no further.
        if target.contains("spbhid") {
            flv.next().send(b"begin");
        }
        let refused = client.read_response(SOON);
        assert_eq!(
            (refused.status(), refused.headers().has("retry-after")),
            (503, true),
            "{target}"
        );
    }
    // What ends needs none.
    let segment = format!("/live/a-1.ts?spbhid={id}");
    assert_eq!(get(proxy.http, &segment).text(), "segment");
    second.send(b"more");
    two.expect_bytes(b"more", SOON);
    drop(one);
    live.send(b"more");
    wait_until("its place is free", SOON, || {
        get(proxy.api, "/metrics")
            .text()
            .lines()
            .any(|line| line.ends_with("live_streams 1"))
    });
}
