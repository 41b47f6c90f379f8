//! Who may watch a live stream, and that the hooks are told when it has stopped.

use super::proxy;
use crate::common::answer::Framing;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::hooks::{HookServer, Verdict};
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, flv};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/live/a.flv";

/// Streams that go on until their connections end: each gets a first tag.
fn endless(origin: &Origin) -> LiveRoute {
    origin.live(PATH, LiveRoute::new(Framing::Chunked, "video/x-flv"))
}

fn watch(proxy: &Proxy, target: &str) -> Client {
    let mut client = Client::connect(proxy.http);
    client.request("GET", target, &[("Referer", "http://page.example/x")]);
    client
}

fn first_bytes(live: &mut Live) {
    live.send(&[flv::opening(), flv::key(0, 1)].concat());
}

#[test]
fn a_viewer_is_asked_for_before_its_origin_and_told_of_when_it_has_left() {
    for share in ["on", "off"] {
        let (origin, hooks) = (Origin::start(), HookServer::start());
        let route = endless(&origin);
        hooks.says(Verdict::Holds);
        let proxy = proxy(&origin, &hooks, &[("PROXY_LIVE_SHARE", share)]);
        let mut client = watch(&proxy, "/live/a.flv?token=x");
        let asked = hooks.wait_for("on_play", 1).remove(0);
        assert!(origin.requests().is_empty(), "nobody has allowed it yet");
        assert_eq!(asked.target, "/play?key=s3cret");
        let fields = [
            ("ip", "127.0.0.1"),
            ("vhost", "__defaultVhost__"),
            ("app", "live"),
            ("stream", "a"),
            ("param", "?token=x"),
            ("pageUrl", "http://page.example/x"),
            ("stream_url", "/live/a"),
            ("tcUrl", "http://127.0.0.1/live"),
        ];
        for (field, value) in fields {
            assert_eq!(asked.text(field), value, "{field}");
        }
        let server = get(proxy.api, "/api/v1/streams").json()["data"]["proxy"].clone();
        assert_eq!(asked.body["server_id"], server);
        let name = server.as_str().expect("a name");
        assert!(asked.text("client_id").starts_with(&format!("{name}-")));
        assert!(asked.text("stream_id").starts_with("vid-"));
        hooks.go_on();
        let mut live = route.next();
        first_bytes(&mut live);
        assert_eq!(client.read_head(SOON).status, 200);
        client.read_at_least(9, SOON);
        assert_eq!(hooks.calls("on_stop").len(), 0);
        drop(client);
        let told = hooks.wait_for("on_stop", 1).remove(0);
        assert_eq!(told.target, "/stop");
        for field in [
            "client_id",
            "stream_url",
            "param",
            "ip",
            "stream_id",
            "service_id",
        ] {
            assert_eq!(told.body[field], asked.body[field], "{field}");
        }
        assert!(told.body["duration"].as_f64() > Some(0.0), "{told:?}");
        assert!(told.body["bytes"].as_u64() >= Some(9), "{told:?}");
        proxy.assert_no_panic();
    }
}

#[test]
fn all_but_a_plain_yes_is_a_403_and_the_origin_is_not_asked() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let elsewhere = HookServer::start();
    let proxy = proxy(&origin, &hooks, &[]);
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 1\r\n\r\n0",
        elsewhere.url("/")
    );
    let endless = [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"[..],
        &[b'0'; 100_000],
    ];
    for verdict in [
        Verdict::Says("1"),
        Verdict::Says(""),
        Verdict::Says("{\"code\":403}"),
        Verdict::Says("<html>"),
        Verdict::Raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n\r\n0".to_vec()),
        Verdict::Raw(redirect.into_bytes()),
        Verdict::Raw(endless.concat()),
        Verdict::Raw(b"\0\xff garbage\r\n\r\n".to_vec()),
        Verdict::Closes,
    ] {
        hooks.says(verdict.clone());
        let refused = get(proxy.http, PATH);
        assert_eq!(refused.status(), 403, "{verdict:?}");
        assert!(
            refused.text().contains("may not watch"),
            "{}",
            refused.text()
        );
    }
    hooks.says(Verdict::Says("1"));
    assert_eq!(fetch(proxy.http, "HEAD", PATH, &[]).status(), 403);
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(
        elsewhere.calls("on_play").len(),
        0,
        "a redirect is not followed"
    );
    let by = hooks.url("/play");
    proxy.wait_for_log(
        |line| {
            line.contains(" 403 ")
                && line.contains(&format!("refused by the hook {by}: answer \"1\""))
        },
        SOON,
    );
    assert!(!proxy.log_lines().iter().any(|line| line.contains("s3cret")));
    // Only two of them may have been taken for a yes by the hook itself: those without an answer.
    assert!(hooks.calls("on_stop").len() <= 2);
}

#[test]
fn each_viewer_is_decided_about_by_itself() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let route = endless(&origin);
    hooks.judge(|call| match call.body["param"] == json!("?token=good") {
        true => Verdict::Says("{\"code\":0}"),
        false => Verdict::Says("{\"code\":1}"),
    });
    let proxy = proxy(&origin, &hooks, &[]);
    let mut good = watch(&proxy, "/live/a.flv?token=good");
    let mut live = route.next();
    first_bytes(&mut live);
    assert_eq!(good.read_head(SOON).status, 200);
    // The second one would join the channel that is open.
    assert_eq!(get(proxy.http, "/live/a.flv?token=bad").status(), 403);
    assert_eq!(
        get_with(proxy.http, PATH, &[("Range", "bytes=5-")]).status(),
        403
    );
    let mut second = watch(&proxy, "/live/a.flv?token=good");
    live.send(&[0; 100]);
    assert_eq!(second.read_head(SOON).status, 200);
    assert_eq!(hooks.calls("on_play").len(), 4);
    drop((good, second));
    hooks.wait_for("on_stop", 2);
}

#[test]
fn without_an_answer_the_setting_decides() {
    let origin = Origin::start();
    let route = endless(&origin);
    let held = HookServer::start();
    held.says(Verdict::Holds);
    // A port that nobody listens on.
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [held.url("/"), format!("http://{dead}/")] {
        let settings = [
            ("PROXY_ON_PLAY", url.as_str()),
            ("PROXY_HOOK_TIMEOUT", "300ms"),
        ];
        let proxy = Proxy::before(&origin, &settings);
        assert_eq!(get(proxy.http, PATH).status(), 403, "{url}");
        proxy.wait_for_log(
            |line| line.contains("does not answer, viewers are refused"),
            SOON,
        );
        let settings = [settings[0], settings[1], ("PROXY_HOOK_FAIL", "allow")];
        let proxy = Proxy::before(&origin, &settings);
        let mut client = watch(&proxy, PATH);
        first_bytes(&mut route.next());
        assert_eq!(client.read_head(SOON).status, 200, "{url}");
    }
}

#[test]
fn the_first_hook_of_several_that_refuses_decides() {
    let (origin, one, other) = (Origin::start(), HookServer::start(), HookServer::start());
    let urls = format!("{},{}", one.url("/1"), other.url("/2"));
    let stop = one.url("/stop");
    let settings = [("PROXY_ON_PLAY", urls.as_str()), ("PROXY_ON_STOP", &stop)];
    let proxy = Proxy::before(&origin, &settings);
    other.says(Verdict::Says("1"));
    assert_eq!(get(proxy.http, PATH).status(), 403);
    let asked = one.wait_for("on_play", 1).remove(0);
    assert_eq!(other.calls("on_play").len(), 1);
    // The first one counts a viewer that never came to watch.
    let told = one.wait_for("on_stop", 1).remove(0);
    assert_eq!(told.body["client_id"], asked.body["client_id"]);
    one.says(Verdict::Says("1"));
    assert_eq!(get(proxy.http, PATH).status(), 403);
    assert_eq!(
        other.calls("on_play").len(),
        1,
        "the first one's word was enough"
    );
}

#[test]
fn without_on_play_everybody_may_watch_and_is_told_of() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let route = endless(&origin);
    // A user and a password, too.
    let stop = hooks.url("/stop").replace("://", "://user:s3cret@");
    let proxy = Proxy::before(&origin, &[("PROXY_ON_STOP", &stop)]);
    let mut client = watch(&proxy, PATH);
    first_bytes(&mut route.next());
    assert_eq!(client.read_head(SOON).status, 200);
    drop(client);
    let told = hooks.wait_for("on_stop", 1).remove(0);
    assert_eq!(
        told.authorization.as_deref(),
        Some("Basic dXNlcjpzM2NyZXQ=")
    );
    // A hook that does not take the call is named in the log, without its secret.
    hooks.says(Verdict::Says("1"));
    assert_eq!(get(proxy.http, "/live/none.flv").status(), 404);
    let name = hooks.url("/stop");
    proxy.wait_for_log(
        |line| line.contains(&format!("the on_stop hook {name} did not take the call")),
        SOON,
    );
    assert!(!proxy.log_lines().iter().any(|line| line.contains("s3cret")));
}

#[test]
fn who_leaves_while_a_hook_is_asked_leaves_no_call_behind() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    hooks.says(Verdict::Holds);
    let proxy = proxy(&origin, &hooks, &[("PROXY_HOOK_TIMEOUT", "60s")]);
    let client = watch(&proxy, PATH);
    hooks.wait_for("on_play", 1);
    drop(client);
    // The hook may count it: it is told. And long before the timeout.
    proxy.wait_for_log(|line| line.contains("left while a hook was asked"), SOON);
    hooks.go_on();
    hooks.wait_balanced(SOON);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn however_a_viewer_leaves_its_hook_is_told() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let route = endless(&origin);
    let settings = [
        ("PROXY_GRACE_QUIT_TIMEOUT", "2s"),
        ("PROXY_LIVE_RESUME", "0s"),
    ];
    let mut proxy = proxy(&origin, &hooks, &settings);
    // A stream that nobody has.
    assert_eq!(get(proxy.http, "/live/none.flv").status(), 404);
    hooks.wait_for("on_stop", 1);
    // The stream ends.
    let mut client = watch(&proxy, PATH);
    let mut live = route.next();
    first_bytes(&mut live);
    client.read_head(SOON);
    live.finish();
    hooks.wait_for("on_stop", 2);
    // An operator ends it.
    let mut client = watch(&proxy, PATH);
    let mut live = route.next();
    first_bytes(&mut live);
    client.read_head(SOON);
    let id = get(proxy.api, "/api/v1/clients").json()["data"]["clients"][0]["id"].clone();
    let path = format!("/api/v1/clients/{}", id.as_str().expect("an id"));
    assert_eq!(fetch(proxy.api, "DELETE", &path, &[]).status(), 200);
    hooks.wait_for("on_stop", 3);
    // The process ends, within its grace time.
    let mut client = watch(&proxy, PATH);
    let mut live = route.next();
    first_bytes(&mut live);
    client.read_head(SOON);
    hooks.delay(Duration::from_millis(100));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 0);
    assert_eq!(hooks.calls("on_stop").len(), 4);
    assert!(hooks.unbalanced().is_empty(), "{:?}", hooks.unbalanced());
}

#[test]
fn a_thousand_at_once_are_64_calls_at_a_time() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    let proxy = proxy(&origin, &hooks, &[("PROXY_ACCESS_LOG", "off")]);
    hooks.delay(Duration::from_millis(10));
    let many = 1000;
    let clients: Vec<Client> = (0..many).map(|_| watch(&proxy, PATH)).collect();
    hooks.wait_for("on_play", many);
    for mut client in clients {
        assert_eq!(client.read_response(SOON).status(), 404);
    }
    wait_until("each has its on_stop", SOON, || {
        hooks.calls("on_stop").len() == many
    });
    hooks.wait_balanced(SOON);
    let most = hooks.most_at_once();
    assert!((32..=64).contains(&most), "{most} at once");
}
