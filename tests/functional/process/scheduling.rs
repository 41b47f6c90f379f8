//! Threads for short requests wait their turn; those that a stream needs are scheduled as usual.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::collections::BTreeMap;

/// The numbers of policies, by sched(7).
const USUAL: &str = "0";
const BATCH: &str = "3";

/// The scheduling policies of the process's threads, by their names.
fn policies(proxy: &Proxy) -> BTreeMap<String, String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.pid().as_raw_nonzero()));
    let policies = tasks.expect("the tasks").filter_map(|task| {
        // A thread may end meanwhile.
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, values) = stat.rsplit_once(')')?;
        let (_, name) = name.split_once('(')?;
        // The 41st value, of which this is the part from the third on: proc(5).
        let policy = values.split_ascii_whitespace().nth(41 - 3)?;
        Some((name.to_owned(), policy.to_owned()))
    });
    policies.collect()
}

#[test]
fn threads_for_short_requests_wait_their_turn_and_those_of_streams_do_not() {
    let origin = Origin::start();
    origin.on(
        "/live/a.m3u8",
        Reply::playlist("#EXTM3U\n#EXTINF:2,\na-1.ts\n"),
    );
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    let mut viewer = Client::connect(proxy.http);
    viewer.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"FLV\x01");
    assert_eq!(viewer.read_head(SOON).status, 200);
    let policies = policies(&proxy);
    for (name, policy) in [
        ("accept loop", BATCH),
        ("short", BATCH),
        ("connection", USUAL),
        ("stream search", USUAL),
    ] {
        assert_eq!(
            policies.get(name).map(String::as_str),
            Some(policy),
            "{name}: {policies:?}"
        );
    }
}
