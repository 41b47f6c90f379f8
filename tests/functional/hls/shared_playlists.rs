//! Shared playlists: concurrent requests for one URL are one request to the origin.

use crate::common::SOON;
use crate::common::answer::{Answer, Framing, Reply};
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::hls::{live_id, session_id};
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATH: &str = "/live/a.m3u8";
const MEDIA: &str = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\na-1.ts\n";

/// A proxy whose log tells who waits, with one more setting or none.
fn talking_proxy(origin: &Origin, setting: Option<(&str, &str)>) -> Proxy {
    let mut settings = vec![("PROXY_LOG_LEVEL", "debug")];
    settings.extend(setting);
    Proxy::before(origin, &settings)
}

/// How many log lines have these words.
fn said(proxy: &Proxy, words: &str) -> usize {
    let lines = proxy.log_lines();
    lines.iter().filter(|line| line.contains(words)).count()
}

/// Asks for the playlist.
fn ask(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.http);
    client.request("GET", PATH, &[]);
    client
}

/// Asks with so many clients: the first has its request at the origin, the others share its fetch then.
fn ask_and_wait(proxy: &Proxy, origin: &Origin, many: usize) -> Vec<Client> {
    let words = "waits for a shared fetch";
    let (before, asked) = (said(proxy, words), origin.requests().len());
    let mut clients = vec![ask(proxy)];
    wait_until("the first has asked", SOON, || {
        origin.requests().len() > asked
    });
    clients.extend((1..many).map(|_| ask(proxy)));
    wait_until("all but the first share its fetch", SOON, || {
        said(proxy, words) >= before + many - 1
    });
    clients
}

/// A playlist with a number that grows with each request.
fn numbered(origin: &Origin, reply: impl Fn(Reply) -> Reply + Send + Sync + 'static) {
    let number = AtomicUsize::new(1);
    origin.otherwise(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        reply(Reply::playlist(format!("#EXTM3U\na-{number}.ts\n"))).into()
    });
}

#[test]
fn a_crowd_is_one_request_also_without_its_first() {
    let origin = Origin::start();
    let route = LiveRoute::new(
        Framing::Length(MEDIA.len() as u64),
        "application/vnd.apple.mpegurl",
    );
    let route = route.head_with_first_byte();
    origin.on(PATH, &route);
    let proxy = talking_proxy(&origin, None);
    let mut others = ask_and_wait(&proxy, &origin, 21);
    let mut live = route.next();
    drop(others.remove(0));
    let goes_on = |line: &str| line.contains("goes on for 20 who wait");
    proxy.wait_for_log(goes_on, SOON);
    live.send(MEDIA.as_bytes());
    live.finish();
    let wanted = MEDIA.replace("a-1.ts", &format!("a-1.ts?spbhid={}", live_id("a")));
    for mut other in others {
        let response = other.read_response(SOON);
        assert_eq!(response.text(), wanted);
        assert_eq!(response.headers().one("age"), "0");
    }
    assert_eq!(origin.requests().len(), 1);
    let totals = get(proxy.api, "/api/v1/streams").json()["data"]["totals"].clone();
    assert_eq!(totals["hls_cache"]["shares"], 20);
    let bytes = totals["bytes"].as_u64().expect("a number");
    assert!(
        bytes >= 20 * wanted.len() as u64,
        "viewers' bytes are counted: {bytes}"
    );
}

#[test]
fn a_fetch_ends_with_its_last_client() {
    let origin = Origin::start();
    let route = LiveRoute::new(Framing::Length(100), "application/vnd.apple.mpegurl");
    origin.on(PATH, &route);
    let proxy = talking_proxy(&origin, None);
    let clients = ask_and_wait(&proxy, &origin, 3);
    let live = route.next();
    drop(clients);
    live.wait_closed(crate::common::ABOUT_A_SECOND);
}

#[test]
fn it_is_kept_for_half_a_second_at_most() {
    for (control, most) in [
        (None, 500),
        (Some("max-age=60"), 500),
        (Some("max-age=0"), 0),
        (Some("no-cache"), 0),
    ] {
        let origin = Origin::start();
        numbered(&origin, move |reply| match control {
            Some(control) => reply.header("Cache-Control", control),
            None => reply,
        });
        let proxy = Proxy::before(&origin, &[]);
        let begun = Instant::now();
        let first = get(proxy.http, PATH).text();
        let second = get(proxy.http, PATH).text();
        if most == 0 {
            assert_ne!(second, first, "{control:?}");
            continue;
        }
        if begun.elapsed() < Duration::from_millis(most * 3 / 4) {
            assert_eq!(second, first, "{control:?}");
        }
        wait_until("a new one came", SOON, || {
            get(proxy.http, PATH).text() != first
        });
        let kept = begun.elapsed();
        assert!(kept >= Duration::from_millis(most), "{control:?}: {kept:?}");
        assert!(
            kept < Duration::from_millis(most * 6),
            "{control:?}: {kept:?}"
        );
    }
}

#[test]
fn another_url_is_another_playlist() {
    let origin = Origin::start();
    numbered(&origin, |reply| reply);
    let proxy = Proxy::before(&origin, &[]);
    let mut seen = Vec::new();
    for (target, host) in [
        ("/live/a.m3u8", "127.0.0.1"),
        ("/live/a.m3u8?hls_ctx=x", "127.0.0.1"),
        ("/live/a.m3u8?hls_ctx=y", "127.0.0.1"),
        ("/live/a.m3u8?token=x", "127.0.0.1"),
        ("/live/a.m3u8", "localhost"),
        ("/live/a.m3u8", "ts.example.com"),
    ] {
        let text = get_with(proxy.http, target, &[("Host", host)]).text();
        assert!(!seen.contains(&text), "{target} at {host}");
        let stream = match host {
            "ts.example.com" => session_id("ts.example.com/live/a"),
            _ => live_id("a"),
        };
        assert!(text.contains(&stream), "{target} at {host}");
        seen.push(text);
    }
    assert_eq!(origin.requests().len(), seen.len());
    // Personal ones and HEAD pass by.
    for header in [
        ("Range", "bytes=2-"),
        ("Cookie", "a=b"),
        ("If-None-Match", "x"),
    ] {
        let text = get_with(proxy.http, PATH, &[header]).text();
        assert!(!seen.contains(&text), "{header:?}");
        seen.push(text);
    }
    fetch(proxy.http, "HEAD", PATH, &[]);
    assert_eq!(origin.requests().len(), seen.len() + 1);
}

#[test]
fn a_master_playlist_that_hands_out_sessions_is_everyones_own() {
    let origin = Origin::start();
    let sessions = AtomicUsize::new(1);
    origin.otherwise(move |request| {
        let session = sessions.fetch_add(1, Ordering::SeqCst);
        let text = format!(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}?hls_ctx={session}\n",
            request.path()
        );
        Answer::from(Reply::playlist(text).after(Duration::from_millis(1000)))
    });
    let proxy = talking_proxy(&origin, None);
    let mut seen = Vec::new();
    for mut client in ask_and_wait(&proxy, &origin, 8) {
        let text = client.read_response(SOON).text();
        assert!(!seen.contains(&text), "{text}");
        seen.push(text);
    }
    let text = get(proxy.http, PATH).text();
    assert!(!seen.contains(&text), "{text}");
    assert_eq!(origin.requests().len(), 9);
    // A session may be anywhere in it, under any name.
    for path in [PATH, "/live/b.m3u8"] {
        origin.on(
            path,
            Reply::playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/720p.m3u8\n"),
        );
        get(proxy.http, path);
        assert!(!get(proxy.http, path).headers().has("age"));
    }
}

#[test]
fn a_session_that_was_followed_is_one_players_own() {
    let origin = Origin::start();
    let sessions = AtomicUsize::new(1);
    origin.on_request(PATH, move |request| {
        let text = match request.query_value("hls_ctx") {
            Some("old") => {
                let session = sessions.fetch_add(1, Ordering::SeqCst);
                format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{PATH}?hls_ctx=new{session}\n")
            }
            Some(session) => format!("#EXTM3U\na-1.ts?hls_ctx={session}\n"),
            None => "#EXTM3U\n".to_owned(),
        };
        Reply::playlist(text).into()
    });
    let proxy = Proxy::before(&origin, &[]);
    for n in 1..3 {
        let text = get(proxy.http, "/live/a.m3u8?hls_ctx=old").text();
        assert!(text.contains(&format!("hls_ctx=new{n}&")), "{text}");
    }
    for _ in 0..2 {
        get(proxy.http, "/live/a.m3u8?hls_ctx=known");
    }
    assert_eq!(origin.requests().len(), 5, "a known session's is shared");
}

#[test]
fn a_404_is_shared_for_a_moment() {
    let origin = Origin::start();
    let proxy = talking_proxy(&origin, None);
    origin.on(
        PATH,
        Reply::new(404)
            .body("no")
            .after(Duration::from_millis(1000)),
    );
    let begun = Instant::now();
    for mut client in ask_and_wait(&proxy, &origin, 20) {
        let response = client.read_response(SOON);
        assert_eq!((response.status(), response.text().as_str()), (404, "no"));
    }
    assert_eq!(origin.requests().len(), 1);
    origin.on(PATH, Reply::playlist(MEDIA));
    wait_until("it is there", SOON, || {
        get(proxy.http, PATH).status() == 200
    });
    assert!(begun.elapsed() >= Duration::from_millis(1250));
}

#[test]
fn without_a_wait_a_stream_that_nobody_publishes_is_asked_for_once_in_a_moment() {
    let origin = Origin::start_with_api();
    origin.otherwise(|_| Reply::new(404).into());
    let proxy = Proxy::before(&origin, &[("PROXY_STREAM_WAIT", "0s")]);
    let begun = Instant::now();
    assert_eq!(get(proxy.http, PATH).status(), 404);
    let asked = origin.requests().len();
    let from = Instant::now();
    let answer = get(proxy.http, PATH);
    assert_eq!(answer.status(), 404, "after {:?}", begun.elapsed());
    if from.elapsed() < Duration::from_millis(200) {
        assert_eq!(origin.requests().len(), asked);
    }
}

#[test]
fn each_player_is_held_for_its_own_time() {
    let origin = Origin::start_with_api();
    origin.on(PATH, Reply::new(404));
    let proxy = talking_proxy(&origin, Some(("PROXY_STREAM_WAIT", "3s")));
    let mut early = ask(&proxy);
    // No origin is asked before the wait is over: the APIs are.
    proxy.wait_for_log(|line| line.contains("round 1: asking"), SOON);
    let came = Instant::now();
    wait_until("the first has waited for a while", SOON, || {
        came.elapsed() >= Duration::from_millis(2000)
    });
    let mut late = ask(&proxy);
    proxy.wait_for_log(|line| line.contains("waits for a shared fetch"), SOON);
    assert_eq!(early.read_response(SOON).status(), 404);
    origin.on(PATH, Reply::playlist(MEDIA));
    origin.api().publish("/live/a");
    assert_eq!(late.read_response(SOON).status(), 200);
}

#[test]
fn a_broken_playlist_is_everyones_502_and_nobodys_later() {
    let origin = Origin::start();
    let route = LiveRoute::new(Framing::Length(1000), "application/vnd.apple.mpegurl");
    origin.on(PATH, &route);
    let proxy = talking_proxy(&origin, None);
    let clients = ask_and_wait(&proxy, &origin, 5);
    let mut live = route.next();
    live.send(b"#EXTM3U\n");
    live.close();
    for mut client in clients {
        assert_eq!(client.read_response(SOON).status(), 502);
    }
    assert_eq!(origin.requests().len(), 1);
    origin.on(PATH, Reply::playlist(MEDIA));
    assert_eq!(get(proxy.http, PATH).status(), 200);
}
