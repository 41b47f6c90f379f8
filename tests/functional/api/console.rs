//! What the console does by the System API beside draining: removing an origin, listing and ending viewers.

use crate::common::SOON;
use crate::common::answer::Answer;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get};
use crate::common::lab::LabOrigin;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::{wait_for, wait_until};
use serde_json::Value;

fn origins(proxy: &Proxy) -> Vec<Value> {
    let json = get(proxy.api, "/api/v1/origins").json();
    json["data"]["origins"].as_array().expect("origins").clone()
}

fn clients(proxy: &Proxy, query: &str) -> Vec<Value> {
    let json = get(proxy.api, &format!("/api/v1/clients{query}")).json();
    json["data"]["clients"].as_array().expect("clients").clone()
}

#[test]
fn an_origin_is_removed_and_comes_back_with_its_heartbeat() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let known = origins(&proxy);
    assert_eq!(known[0]["why"], Value::Null);
    let path = format!("/api/v1/origins/{}", known[0]["id"].as_str().unwrap());
    assert_eq!(get(proxy.api, &path).status(), 405);
    // Not by a web page of somebody else.
    let foreign = [("Origin", "http://evil.example")];
    assert_eq!(fetch(proxy.api, "DELETE", &path, &foreign).status(), 403);
    assert_eq!(origins(&proxy).len(), 1);
    assert_eq!(fetch(proxy.api, "DELETE", &path, &[]).status(), 200);
    assert_eq!(origins(&proxy), [] as [Value; 0]);
    assert_eq!(fetch(proxy.api, "DELETE", &path, &[]).status(), 404);
    proxy.register(&origin);
    assert_eq!(origins(&proxy).len(), 1);
}

#[test]
fn a_suspect_origin_says_why() {
    let why = |proxy: &Proxy| {
        let known = origins(proxy);
        assert_eq!(known[0]["state"], "suspect");
        known[0]["why"].as_str().expect("a reason").to_owned()
    };
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_STREAM_WAIT", "0s")]);
    origin.stop();
    get(proxy.http, "/live/a.flv");
    let refused = why(&proxy);
    let connecting = format!("connecting to {}", origin.addr());
    assert!(refused.contains(&connecting), "{refused}");
    assert!(refused.contains("refused"), "{refused}");

    for (answer, words) in [
        (
            Answer::CloseWithoutHead,
            "closed the connection without an answer",
        ),
        (Answer::Silence, "sent no response head in time"),
    ] {
        let origin = Origin::start();
        origin.otherwise(move |_| answer.clone());
        let times = [
            ("PROXY_STREAM_WAIT", "0s"),
            ("PROXY_RESPONSE_TIMEOUT", "300ms"),
        ];
        let proxy = Proxy::before(&origin, &times);
        for name in ["a", "b", "c"] {
            get(proxy.http, &format!("/live/{name}.flv"));
        }
        let why = why(&proxy);
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn the_live_viewers_of_a_stream_are_listed_and_each_can_be_ended() {
    for share in ["on", "off"] {
        let proxy = Proxy::start(&[("PROXY_LIVE_SHARE", share)]);
        let register = format!("http://{}/api/v1/srs/register", proxy.api);
        let lab = LabOrigin::start(&["--stream", "a", "--register", &register]);
        lab.wait_for_log("registered");
        let watch = || {
            let mut client = Client::connect(proxy.http);
            client.request("GET", "/live/a.flv", &[]);
            client
        };
        let _viewers = [watch(), watch()];
        let all = wait_for("both were listed", SOON, || {
            Some(clients(&proxy, "")).filter(|all| all.len() == 2)
        });
        let of = |stream: &str| clients(&proxy, &format!("?stream=__defaultVhost__/live/{stream}"));
        assert_eq!((of("a").len(), of("b").len()), (2, 0));
        assert_eq!(all[0]["address"], "127.0.0.1");
        wait_until("bytes were counted", SOON, || {
            of("a").iter().all(|it| it["bytes"].as_u64() > Some(0))
        });
        let id = all[0]["id"].as_str().expect("an id");
        let path = format!("/api/v1/clients/{id}");
        assert_eq!(fetch(proxy.api, "DELETE", &path, &[]).status(), 200);
        wait_until("one was left", SOON, || clients(&proxy, "").len() == 1);
        assert_eq!(fetch(proxy.api, "DELETE", &path, &[]).status(), 404);
        proxy.wait_for_log(
            |line| line.contains(id) && line.contains("ended by an operator"),
            SOON,
        );
        let left = clients(&proxy, "");
        assert_ne!(left[0]["id"], all[0]["id"], "share {share}");
        let bytes = left[0]["bytes"].as_u64();
        wait_until("the other one goes on", SOON, || {
            clients(&proxy, "")[0]["bytes"].as_u64() > bytes
        });
        assert_eq!(get(proxy.api, "/api/v1/clients?stream=x").status(), 400);
        proxy.assert_no_panic();
    }
}

#[test]
fn streams_tell_of_the_proxy_itself() {
    let proxy = Proxy::start(&[("PROXY_PUBLIC_URL", "https://tv.example.com")]);
    get(proxy.http, "/");
    let data = get(proxy.api, "/api/v1/streams").json()["data"].clone();
    assert_eq!(data["public_url"], "https://tv.example.com/");
    let own = &data["proxies"][0];
    assert_eq!(own["proxy"], data["proxy"]);
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        own["started"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert_eq!(
        (&own["requests"], &data["totals"]["requests"]),
        (&1.into(), &1.into())
    );
}
