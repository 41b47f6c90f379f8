//! Origins make themselves known: SRS's heartbeat, the default backend, and who may speak to the System API.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with, post};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::response::Response;
use crate::common::wait::wait_until;
use serde_json::{Value, json};
use std::time::Duration;

/// What SRS 7 sends.
const SAMPLE: &str = r#"{"device_id":"origin2","ip":"192.0.2.2","server":"vid-7181o76","service":"84l9f067","pid":"7901","rtmp":["21936"],"http":["28081"],"api":["21986"]}"#;

/// An origin that serves `/live/NAME.flv` with its own word.
fn origin(word: &'static str) -> Origin {
    let origin = Origin::start();
    origin.otherwise(move |_| Reply::ok("video/x-flv", word).into());
    origin
}

/// The heartbeat of an origin, with `changes` of its fields; `null` takes a field out.
fn heartbeat(origin: &Origin, changes: Value) -> String {
    let mut body = json!({
        "device_id": "origin1", "ip": "127.0.0.1", "server": format!("vid-{}", origin.id()), "service": "s1", "pid": "1",
        "rtmp": ["1935"], "http": [origin.port().to_string()],
    });
    for (name, value) in changes.as_object().expect("fields") {
        body[name] = value.clone();
    }
    body.as_object_mut()
        .expect("fields")
        .retain(|_, value| !value.is_null());
    body.to_string()
}

#[track_caller]
fn assert_accepted(proxy: &Proxy, response: &Response) {
    assert_eq!(response.status(), 200, "{}", response.text());
    assert!(
        response
            .headers()
            .one("content-type")
            .starts_with("application/json")
    );
    let pid = proxy.pid().as_raw_nonzero().to_string();
    assert_eq!(response.json(), json!({"code": 0, "pid": pid}));
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, naming: &str) {
    assert_eq!(response.status(), status, "{}", response.text());
    assert!(
        response
            .headers()
            .one("content-type")
            .starts_with("application/json")
    );
    let json = response.json();
    assert!(
        json["code"].as_i64().is_some_and(|code| code != 0),
        "{json}"
    );
    let message = json["message"].as_str().expect("a message");
    assert!(
        !message.is_empty() && message.contains(naming),
        "{message:?} does not name {naming:?}"
    );
}

#[test]
fn srs_registers() {
    let proxy = Proxy::start(&[]);
    assert_accepted(&proxy, &proxy.register_raw(SAMPLE.as_bytes()));
    assert_accepted(&proxy, &proxy.register_raw(SAMPLE.as_bytes()));
    // As SRS does: one connection for all its heartbeats.
    let mut client = Client::connect(proxy.api);
    for _ in 0..3 {
        let length = SAMPLE.len().to_string();
        let headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", length.as_str()),
        ];
        client.request("POST", "/api/v1/srs/register", &headers);
        client.send(SAMPLE.as_bytes());
        assert_accepted(&proxy, &client.read_response(SOON));
    }
    // As `curl -d` does, which knows of no JSON.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_accepted(
        &proxy,
        &post(proxy.api, "/api/v1/srs/register", &form, SAMPLE.as_bytes()),
    );
}

#[test]
fn every_form_of_an_endpoint_is_understood() {
    for form in [
        "PORT",
        ":PORT",
        "0.0.0.0:PORT",
        "10.9.8.7:PORT",
        "tcp://:PORT",
        "tcp://0.0.0.0:PORT",
    ] {
        let origin = origin("hello");
        let proxy = Proxy::start(&[]);
        let http = form.replace("PORT", &origin.port().to_string());
        let changes = json!({"http": [http], "rtmp": [form.replace("PORT", "1935")],
            "srt": ["udp://0.0.0.0:10080"], "rtc": ["udp://0.0.0.0:8000", "tcp://:8000"]});
        assert_accepted(
            &proxy,
            &proxy.register_raw(heartbeat(&origin, changes).as_bytes()),
        );
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "hello", "{form}");
    }
}

#[test]
fn only_five_fields_are_mandatory() {
    let proxy = Proxy::start(&[]);
    let least = r#"{"ip":"192.0.2.2","server":"a","service":"b","pid":"c","rtmp":["1935"]}"#;
    assert_accepted(&proxy, &proxy.register_raw(least.as_bytes()));
    let more = r#"{"ip":"192.0.2.3","server":"d","service":"b","pid":"c","rtmp":["1935"],"new":{"x":[1]},"device_id":null}"#;
    assert_accepted(&proxy, &proxy.register_raw(more.as_bytes()));
    let v6 = r#"{"ip":"2001:db8::1","server":"e","service":"b","pid":"c","rtmp":["1935"]}"#;
    assert_accepted(&proxy, &proxy.register_raw(v6.as_bytes()));
}

#[test]
fn what_is_wrong_is_refused_by_name_and_not_stored() {
    let origin = origin("must not be asked");
    let proxy = Proxy::start(&[]);
    let mut wrong: Vec<(Value, &str)> = Vec::new();
    for field in ["ip", "server", "service", "pid", "rtmp"] {
        wrong.push((json!({ field: null }), field));
    }
    for field in ["ip", "server", "service", "pid"] {
        wrong.push((json!({ field: "" }), field));
        wrong.push((json!({ field: ["x"] }), field));
    }
    for ip in [
        "localhost",
        "origin.example.com",
        "1.2.3",
        "127.0.0.1:8080",
        "300.1.1.1",
        " 127.0.0.1 x",
    ] {
        wrong.push((json!({ "ip": ip }), "ip"));
    }
    wrong.push((json!({"rtmp": []}), "rtmp"));
    for field in ["rtmp", "http", "api"] {
        wrong.push((json!({ field: "8080" }), field));
        for port in [
            "",
            "x",
            "0",
            "65536",
            "-1",
            "8080x",
            "tcp://",
            ":",
            "tcp://0.0.0.0",
            "99999999999999999999",
        ] {
            wrong.push((json!({ field: [port] }), field));
        }
    }
    for (changes, field) in wrong {
        let body = heartbeat(&origin, changes);
        let response = proxy.register_raw(body.as_bytes());
        assert_eq!(response.status(), 400, "{body}");
        assert_refused(&response, 400, field);
    }
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"x\"",
        "{}",
        "{\"ip\":",
        "not json",
        "\u{0}",
        "\u{feff}x",
    ] {
        assert_refused(&proxy.register_raw(body.as_bytes()), 400, "");
    }
    assert_refused(&proxy.register_raw(b"{\"ip\":\"\xff\xfe\"}"), 400, "");
    let deep = "[".repeat(30_000);
    assert_refused(&proxy.register_raw(deep.as_bytes()), 400, "");
    assert_eq!(
        get(proxy.http, "/live/a.flv").status(),
        503,
        "nothing of it was stored"
    );
    assert!(origin.requests().is_empty());
    proxy.assert_no_panic();
}

#[test]
fn a_body_that_is_too_big_is_not_read() {
    let proxy = Proxy::start(&[]);
    let mut client = Client::connect(proxy.api);
    let length = (64 * 1024 + 1).to_string();
    client.request(
        "POST",
        "/api/v1/srs/register",
        &[("Content-Length", &length)],
    );
    assert_refused(&client.read_response(SOON), 413, "");
    client.expect_closed(SOON);
    let blanks = " ".repeat(64 * 1024 - SAMPLE.len());
    assert_accepted(
        &proxy,
        &proxy.register_raw(format!("{SAMPLE}{blanks}").as_bytes()),
    );
}

#[test]
fn other_methods_are_not_allowed_and_other_paths_not_found() {
    let proxy = Proxy::start(&[]);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let response = fetch(proxy.api, method, "/api/v1/srs/register", &[]);
        assert_refused(&response, 405, "");
        assert!(
            response.headers().lists("allow", "POST"),
            "{:?}",
            response.headers()
        );
    }
    assert_refused(&get(proxy.api, "/api/v1/nothing"), 404, "");
    let response = fetch(proxy.api, "DELETE", "/api/v1/versions", &[]);
    assert_refused(&response, 405, "");
    assert!(response.headers().lists("allow", "GET"));
}

#[test]
fn loopback_is_an_origins_address_for_this_machine_only() {
    let proxy = Proxy::start(&[("PROXY_SYSTEM_API_TOKEN", "secret")]);
    let heartbeat = json!({
        "ip": "127.0.0.1", "server": "a", "service": "b", "pid": "1", "rtmp": ["1935"], "http": ["8080"],
    });
    let body = heartbeat.to_string();
    let register = |from: &[(&str, &str)]| {
        let path = "/api/v1/srs/register/secret";
        post(proxy.api, path, from, body.as_bytes())
    };
    // Another machine's heartbeat, by a reverse proxy on this one.
    let other = register(&[("X-Forwarded-For", "192.0.2.9")]);
    assert_refused(&other, 400, "loopback");
    assert_eq!(register(&[]).status(), 200);
}

#[test]
fn both_servers_tell_their_version() {
    let proxy = Proxy::start(&[]);
    let pid = proxy.pid().as_raw_nonzero().to_string();
    let data = json!({"major": 1, "minor": 0, "revision": 0, "version": "1.0.0"});
    for server in [proxy.http, proxy.api] {
        let response = get(server, "/api/v1/versions");
        assert_eq!(response.status(), 200);
        assert!(
            response
                .headers()
                .one("content-type")
                .starts_with("application/json")
        );
        assert_eq!(
            response.json(),
            json!({"code": 0, "pid": pid, "data": data})
        );
    }
    assert_eq!(
        get(proxy.http, "/api/v1/versions")
            .headers()
            .one("access-control-allow-origin"),
        "*"
    );
}

#[test]
fn players_cannot_register() {
    let proxy = Proxy::start(&[]);
    let response = post(proxy.http, "/api/v1/srs/register", &[], SAMPLE.as_bytes());
    assert!(
        matches!(response.status(), 400 | 405 | 411 | 413),
        "{}",
        response.status()
    );
    assert_eq!(get(proxy.http, "/live/a.flv").status(), 503);
}

#[test]
fn a_web_page_cannot_reach_the_system_api() {
    let proxy = Proxy::start(&[]);
    let port = proxy.api.port();
    let try_post = |headers: &[(&str, &str)]| {
        post(
            proxy.api,
            "/api/v1/srs/register",
            headers,
            SAMPLE.as_bytes(),
        )
    };
    for origin in [
        "http://evil.example",
        "https://127.0.0.1.evil.example",
        "null",
        "http://127.0.0.1:1",
    ] {
        assert_refused(&try_post(&[("Origin", origin)]), 403, "");
    }
    let own = format!("http://127.0.0.1:{port}");
    assert_accepted(&proxy, &try_post(&[("Origin", &own)]));
    // A name that an attacker's DNS points here: the page's own origin, but no operator's address.
    for host in [
        "evil.example",
        "rebound.evil.example:12025",
        "localhost.evil.example",
    ] {
        assert_refused(&try_post(&[("Host", host)]), 403, "");
        assert_refused(
            &get_with(proxy.api, "/api/v1/origins", &[("Host", host)]),
            403,
            "",
        );
    }
    for host in [
        "localhost",
        "LOCALHOST:12025",
        "127.0.0.1",
        "192.0.2.7:80",
        "[::1]:12025",
    ] {
        assert_accepted(&proxy, &try_post(&[("Host", host)]));
    }
    let preflight = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    for response in [
        fetch(proxy.api, "OPTIONS", "/api/v1/srs/register", &preflight),
        get_with(proxy.api, "/api/v1/versions", &preflight[..1]),
        try_post(&[]),
        get(proxy.api, "/nothing"),
    ] {
        let cors = response
            .headers()
            .0
            .iter()
            .any(|(name, _)| name.to_ascii_lowercase().starts_with("access-control"));
        assert!(!cors, "{:?}", response.headers());
    }
}

#[test]
fn the_default_backend_needs_no_heartbeat() {
    let default = origin("default");
    let port = default.port().to_string();
    let settings = [
        ("PROXY_DEFAULT_BACKEND_ENABLED", "on"),
        ("PROXY_DEFAULT_BACKEND_HTTP", port.as_str()),
        // Nothing listens there: an API that cannot be asked rules nothing out.
        ("PROXY_DEFAULT_BACKEND_API", "1"),
        ("PROXY_ORIGIN_SERVER_TTL", "1s"),
    ];
    let proxy = Proxy::start(&settings);
    assert_eq!(get(proxy.http, "/live/first.flv").text(), "default");
    // Another registers once and goes stale; the default backend is kept alive and is the only one left.
    let once = origin("once");
    proxy.register(&once);
    let mut next = 0;
    wait_until(
        "only the default backend was picked, five times in a row",
        SOON * 3,
        || {
            std::thread::sleep(Duration::from_millis(200));
            (0..5).all(|_| {
                next += 1;
                get(proxy.http, &format!("/live/{next}.flv")).text() == "default"
            })
        },
    );
}

#[test]
fn a_restarted_origin_replaces_its_entry() {
    let before = origin("before");
    let proxy = Proxy::start(&[]);
    let body = heartbeat(&before, json!({"server": "vid-1"}));
    assert_accepted(&proxy, &proxy.register_raw(body.as_bytes()));
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "before");
    // The same server at the same ip, with another port and service: a restart.
    let after = origin("after");
    let body = heartbeat(
        &after,
        json!({"server": "vid-1", "service": "s2", "pid": "2"}),
    );
    assert_accepted(&proxy, &proxy.register_raw(body.as_bytes()));
    for name in ["a", "b", "c", "d"] {
        assert_eq!(
            get(proxy.http, &format!("/live/{name}.flv")).text(),
            "after"
        );
    }
    assert_eq!(before.requests().len(), 1);
}

#[test]
fn an_origin_at_a_known_address_replaces_what_was_there() {
    let origin = origin("here");
    let proxy = Proxy::start(&[]);
    for n in 0..3 {
        let body = heartbeat(&origin, json!({"server": format!("vid-new-{n}")}));
        assert_accepted(&proxy, &proxy.register_raw(body.as_bytes()));
    }
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "here");
}

/// How many warnings in the log have `word`.
fn warnings(proxy: &Proxy, word: &str) -> usize {
    let lines = proxy.log_lines();
    lines
        .iter()
        .filter(|line| line.contains("WARN") && line.contains(word))
        .count()
}

#[test]
fn a_refused_heartbeat_is_one_warning() {
    let proxy = Proxy::start(&[]);
    for _ in 0..5 {
        assert_refused(&proxy.register_raw(b"{}"), 400, "");
    }
    wait_until("the warning is there", SOON, || {
        warnings(&proxy, "127.0.0.1") > 0
    });
    // Whatever is logged of the five is there once a later request has its line.
    let id = get(proxy.api, "/api/v1/versions")
        .headers()
        .one("x-request-id")
        .to_owned();
    proxy.wait_for_log(|line| line.contains(&id), SOON);
    assert_eq!(warnings(&proxy, "127.0.0.1"), 1, "{:#?}", proxy.log_lines());
}

#[test]
fn cloned_origins_both_stay_and_are_warned_of_once() {
    let first = origin("first");
    let second = Origin::start_at("127.0.0.2:0".parse().expect("an address"));
    second.otherwise(|_| Reply::ok("video/x-flv", "second").into());
    let proxy = Proxy::start(&[]);
    for _ in 0..3 {
        for (origin, ip, service) in [(&first, "127.0.0.1", "s1"), (&second, "127.0.0.2", "s2")] {
            // The file that a clone has got with its image is the server's; the rest is new at each start.
            let changes = json!({"server": "vid-clone", "ip": ip, "service": service});
            let body = heartbeat(origin, changes);
            assert_accepted(&proxy, &proxy.register_raw(body.as_bytes()));
        }
    }
    let answers: Vec<String> = (0..6)
        .map(|n| get(proxy.http, &format!("/live/{n}.flv")).text())
        .collect();
    for wanted in ["first", "second"] {
        assert_eq!(
            answers.iter().filter(|a| *a == wanted).count(),
            3,
            "{answers:?}"
        );
    }
    assert_eq!(warnings(&proxy, "vid-clone"), 1, "{:#?}", proxy.log_lines());
}
