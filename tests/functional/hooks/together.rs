//! Several proxies that share a Redis: a player that comes to another proxy with each request is one viewer.

use super::hls::{begin, plain, uri};
use crate::common::SOON;
use crate::common::fetch::{get, post};
use crate::common::hooks::HookServer;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::redis::RedisServer;
use crate::common::shared::wait_known;
use crate::common::wait::wait_until;
use rustix::process::Signal;
use std::thread::sleep;
use std::time::Duration;

const PATH: &str = "/live/a.m3u8";

fn proxies(redis: &RedisServer, origin: &Origin, hooks: &HookServer) -> [Proxy; 2] {
    let url = hooks.url("/");
    let settings = [("PROXY_ON_PLAY", url.as_str()), ("PROXY_ON_STOP", &url)];
    let proxies = [redis.proxy(&settings), redis.proxy(&settings)];
    proxies[0].register(origin);
    proxies.iter().for_each(|proxy| wait_known(proxy, 1));
    proxies
}

#[test]
fn a_session_that_changes_the_proxy_is_one_viewer() {
    let (redis, origin, hooks) = (RedisServer::start(), plain(), HookServer::start());
    let mut proxies = proxies(&redis, &origin, &hooks);
    let (url, media) = begin(&proxies[0], PATH);
    let mut bytes = media.len();
    for n in 0..10 {
        let proxy = &proxies[n % 2];
        let playlist = get(proxy.http, &url);
        assert_eq!((playlist.status(), playlist.text()), (200, media.clone()));
        let segment = get(proxy.http, &uri(&media));
        assert_eq!(segment.status(), 200);
        bytes += media.len() + segment.text().len();
        // Longer than three target durations of 1 s in all: neither proxy takes it for gone.
        sleep(Duration::from_millis(400));
    }
    assert_eq!(hooks.calls("on_play").len(), 1);
    assert_eq!(hooks.calls("on_stop").len(), 0);
    // The one that has not seen it last ends, and says nothing.
    proxies[0].signal(Signal::TERM);
    assert_eq!(proxies[0].wait_exit(SOON), 0);
    assert_eq!(hooks.calls("on_stop").len(), 0);
    let told = hooks.wait_for("on_stop", 1).remove(0);
    assert_eq!(
        told.body["client_id"],
        hooks.calls("on_play")[0].body["client_id"]
    );
    assert!(
        told.body["bytes"].as_u64() >= Some(bytes as u64),
        "{told:?}, {bytes}"
    );
    assert!(told.body["duration"].as_f64() > Some(7.0), "{told:?}");
    assert_eq!(get(proxies[1].http, &uri(&media)).status(), 403);
    proxies[1].signal(Signal::TERM);
    assert_eq!(proxies[1].wait_exit(SOON), 0);
    assert!(hooks.unbalanced().is_empty(), "{:?}", hooks.unbalanced());
    let left: Vec<String> = redis.run(&["KEYS", "srs-stream-proxy:viewer:*"]);
    assert_eq!(left, [] as [String; 0]);
}

#[test]
fn who_is_kicked_at_one_proxy_finds_no_other() {
    let (redis, origin, hooks) = (RedisServer::start(), plain(), HookServer::start());
    let proxies = proxies(&redis, &origin, &hooks);
    let (url, media) = begin(&proxies[0], PATH);
    assert_eq!(get(proxies[1].http, &url).status(), 200);
    let id = hooks.calls("on_play")[0].text("client_id");
    let path = format!("/api/v1/clients/{id}/kick");
    assert_eq!(post(proxies[0].api, &path, &[], b"").status(), 200);
    hooks.wait_balanced(SOON);
    for proxy in &proxies {
        wait_until("it is refused", SOON, || {
            get(proxy.http, &uri(&media)).status() == 403
        });
        assert_eq!(get(proxy.http, &url).status(), 403);
    }
    assert_eq!(hooks.calls("on_play").len(), 1);
    assert_eq!(hooks.calls("on_stop").len(), 1);
}

#[test]
fn without_redis_each_proxy_goes_on_with_its_own() {
    let (mut redis, origin, hooks) = (RedisServer::start(), plain(), HookServer::start());
    let proxies = proxies(&redis, &origin, &hooks);
    let (url, media) = begin(&proxies[0], PATH);
    redis.kill();
    assert_eq!(get(proxies[0].http, &url).status(), 200);
    assert_eq!(get(proxies[0].http, &uri(&media)).status(), 200);
    hooks.wait_balanced(SOON);
    assert_eq!(hooks.calls("on_play").len(), 1);
}
