//! `/api/v1/live`: what is live, for the visitors of the player page.

use crate::common::api::Trouble;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use serde_json::{Value, json};

fn listed(proxy: &Proxy) -> Vec<Value> {
    let response = get(proxy.http, "/api/v1/live");
    assert_eq!(response.status(), 200);
    let json = response.json();
    assert_eq!(json["code"], 0);
    json["data"]["streams"].as_array().expect("streams").clone()
}

#[test]
fn what_the_origins_publish_is_listed_without_a_token_and_without_their_addresses() {
    let origins = [srs::start(), srs::start()];
    let with_token = Proxy::start(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    assert_eq!(listed(&with_token), [] as [Value; 0]);
    let proxy = Proxy::start(&[]);
    for origin in &origins {
        proxy.register(origin);
    }
    origins[0].api().publish("/live/first");
    origins[1].api().publish("tv.example.com/live/second one");
    let expected = [
        json!({"url": "__defaultVhost__/live/first", "path": "/live/first", "query": ""}),
        json!({"url": "tv.example.com/live/second one", "path": "/live/second%20one", "query": "vhost=tv.example.com"}),
    ];
    wait_until("both were listed", SOON, || listed(&proxy) == expected);
    let response = get(proxy.http, "/api/v1/live");
    assert_eq!(response.headers().one("content-type"), "application/json");
    assert_eq!(response.headers().one("access-control-allow-origin"), "*");
    let text = response.text();
    for origin in &origins {
        assert!(!text.contains(&origin.port().to_string()), "{text}");
    }
    // The host names the vhost already.
    let there = get_with(proxy.http, "/api/v1/live", &[("Host", "tv.example.com")]);
    assert_eq!(there.json()["data"]["streams"][1]["query"], "");
    assert_eq!(fetch(proxy.http, "HEAD", "/api/v1/live", &[]).status(), 200);
    // It goes with its publisher.
    origins[0].api().unpublish("/live/first");
    wait_until("one was listed", SOON, || listed(&proxy) == expected[1..]);
    proxy.assert_no_panic();
}

#[test]
fn many_who_ask_cost_the_origins_one_round_in_two_seconds() {
    let origin = srs::start();
    let proxy = Proxy::start(&[]);
    proxy.register(&origin);
    origin.api().publish("/live/a");
    wait_until("it was listed", SOON, || listed(&proxy).len() == 1);
    let before = origin.api().rounds();
    for _ in 0..100 {
        listed(&proxy);
    }
    assert!(origin.api().rounds() <= before + 2);
}

#[test]
fn where_apis_do_not_tell_what_is_watched_is_listed() {
    let origin = srs::start();
    let proxy = Proxy::start(&[]);
    proxy.register(&origin);
    origin.api().trouble(Some(Trouble::Status(500)));
    srs::serve(&origin, "a", "word");
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    wait_until("it was listed", SOON, || {
        listed(&proxy).iter().any(|it| it["path"] == "/live/a")
    });
}

#[test]
fn the_list_can_be_turned_off_and_the_public_url_is_told_all_the_same() {
    let proxy = Proxy::start(&[
        ("PROXY_LIVE_LIST", "off"),
        ("PROXY_PUBLIC_URL", "https://tv.example.com/proxy"),
    ]);
    let response = get(proxy.http, "/api/v1/live");
    assert_eq!(response.status(), 404);
    let json = response.json();
    assert!(
        json["message"]
            .as_str()
            .unwrap()
            .contains("PROXY_LIVE_LIST")
    );
    assert_eq!(
        json["data"],
        json!({"public_url": "https://tv.example.com/proxy/"})
    );
}
