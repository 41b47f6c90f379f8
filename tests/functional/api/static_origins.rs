//! Origins that the settings name: no heartbeats, addresses or names.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::shared::origins;
use crate::common::wait::wait_until;
use serde_json::Value;

fn origin_with(name: &str) -> Origin {
    let origin = Origin::start();
    origin.on(&format!("/live/{name}.flv"), Reply::new(200).body(name));
    origin.otherwise(|_| Reply::new(404).into());
    origin
}

fn states(proxy: &Proxy) -> Vec<String> {
    let state = |it: Value| it["state"].as_str().unwrap_or_default().to_owned();
    origins(proxy).into_iter().map(state).collect()
}

#[test]
fn several_by_address_and_by_name_are_asked_without_heartbeats() {
    let (one, two) = (origin_with("one"), origin_with("two"));
    let list = format!(
        "http://127.0.0.1:{},http://localhost:{}/",
        one.port(),
        two.port()
    );
    let proxy = Proxy::start(&[
        ("PROXY_ORIGINS", list.as_str()),
        ("PROXY_ORIGIN_SERVER_TTL", "600ms"),
        ("PROXY_STREAM_WAIT", "0s"),
    ]);
    assert_eq!(get(proxy.http, "/live/one.flv").text(), "one");
    wait_until("the origin with a name is asked", SOON, || {
        get(proxy.http, "/live/two.flv").text() == "two"
    });
    // Several TTLs later both are still alive.
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_millis(2_000) {
        assert_eq!(get(proxy.http, "/live/one.flv").text(), "one");
        assert!(
            states(&proxy).iter().all(|state| state == "alive"),
            "{:?}",
            origins(&proxy)
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_name_that_means_nothing_is_one_warning_and_the_others_serve() {
    let one = origin_with("one");
    let list = format!("http://nobody.invalid:8080,http://127.0.0.1:{}", one.port());
    let proxy = Proxy::start(&[
        ("PROXY_ORIGINS", list.as_str()),
        ("PROXY_ORIGIN_SERVER_TTL", "300ms"),
    ]);
    assert_eq!(get(proxy.http, "/live/one.flv").text(), "one");
    let about = |line: &str| line.contains("nobody.invalid");
    proxy.wait_for_log(about, SOON);
    // It is looked up every 100 ms.
    wait_until("ten heartbeats went by", SOON, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        true
    });
    let lines = proxy.log_lines();
    assert_eq!(lines.iter().filter(|line| about(line)).count(), 1);
}

#[test]
fn the_default_backend_may_have_a_name() {
    let one = origin_with("one");
    let port = one.port().to_string();
    let proxy = Proxy::start(&[
        ("PROXY_DEFAULT_BACKEND_ENABLED", "on"),
        ("PROXY_DEFAULT_BACKEND_IP", "localhost"),
        ("PROXY_DEFAULT_BACKEND_HTTP", port.as_str()),
        ("PROXY_DEFAULT_BACKEND_API", "1"),
    ]);
    wait_until("the origin with a name is asked", SOON, || {
        get(proxy.http, "/live/one.flv").text() == "one"
    });
}
