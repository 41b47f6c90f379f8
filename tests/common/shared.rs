//! What tests of several proxies share: origins that say who they are, the other proxy's values, and
//! what a proxy knows.

use super::ABOUT_A_SECOND;
use super::answer::Reply;
use super::fetch::get;
use super::origin::Origin;
use super::proxy::Proxy;
use super::redis::RedisServer;
use super::wait::wait_until;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The list of all servers.
pub const ALL: &str = "srs-proxy-all-servers";

/// An origin that serves everything with its own word.
pub fn origin(word: &'static str) -> Origin {
    let origin = Origin::start();
    origin.otherwise(move |_| Reply::ok("video/x-flv", word).into());
    origin
}

/// Its id, as the proxies write it.
pub fn id(origin: &Origin) -> String {
    format!("vid-{}-84l9f067-7901", origin.id())
}

/// Its key.
pub fn key(origin: &Origin) -> String {
    format!("srs-proxy-server:{}", id(origin))
}

/// What the Go proxy writes of an origin that has registered there.
pub fn go_value(origin: &Origin) -> String {
    json!({
        "ip": "127.0.0.1", "device_id": "by-go", "server_id": format!("vid-{}", origin.id()),
        "service_id": "84l9f067", "pid": "7901", "rtmp": ["1935"], "http": [origin.port().to_string()],
        "api": null, "srt": [], "rtc": ["udp://0.0.0.0:8000"], "update_at": now(),
    })
    .to_string()
}

/// This moment as a machine in China writes it.
fn now() -> String {
    let there = std::time::SystemTime::now() + std::time::Duration::from_secs(8 * 3600);
    let text = humantime::format_rfc3339_nanos(there).to_string();
    format!("{}+08:00", text.trim_end_matches('Z'))
}

/// Registers an origin the way the Go proxy does.
pub fn register_as_go(redis: &RedisServer, origin: &Origin) {
    let mut list = redis.json(ALL).as_array().cloned().unwrap_or_default();
    list.push(json!(key(origin)));
    redis.run::<()>(&["SET", &key(origin), &go_value(origin), "EX", "300"]);
    redis.run::<()>(&["SET", ALL, &json!(list).to_string()]);
}

/// The data of a System API call.
pub fn api(proxy: &Proxy, path: &str) -> Value {
    let response = get(proxy.api, path);
    assert_eq!(response.status(), 200, "{}", response.text());
    response.json()["data"].clone()
}

/// What a proxy knows of origins.
pub fn origins(proxy: &Proxy) -> Vec<Value> {
    let list = api(proxy, "/api/v1/origins")["origins"].clone();
    list.as_array().expect("origins").clone()
}

/// How an origin stands at a proxy.
pub fn state(proxy: &Proxy, id: &str) -> String {
    let all = origins(proxy);
    let one = all.iter().find(|it| it["id"] == id);
    one.map_or("unknown", |it| it["state"].as_str().expect("a state"))
        .to_owned()
}

/// Waits until a proxy knows so many origins: the contract gives it a second.
#[track_caller]
pub fn wait_known(proxy: &Proxy, count: usize) {
    wait_until("all origins are known", ABOUT_A_SECOND, || {
        origins(proxy).len() == count
    });
}

/// The body of a stream that must be there.
#[track_caller]
pub fn word(at: SocketAddr, target: &str) -> String {
    let response = get(at, target);
    assert_eq!(response.status(), 200, "{target}: {}", response.text());
    response.text()
}

/// How many lines of the log have a text.
pub fn count_log(proxy: &Proxy, text: &str) -> usize {
    let lines = proxy.log_lines();
    lines.iter().filter(|line| line.contains(text)).count()
}
