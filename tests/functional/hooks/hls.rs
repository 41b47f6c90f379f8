//! Who may watch by HLS: a viewer is a session, and all of them share what comes from the origin.

use super::proxy;
use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get};
use crate::common::hls::live_id;
use crate::common::hooks::{HookServer, Verdict};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use rustix::process::Signal;
use std::time::Duration;

const PATH: &str = "/live/a.m3u8";
const MEDIA: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:1,\na-1.m4s\n";

/// An origin whose playlists know nothing of sessions.
pub fn plain() -> Origin {
    let origin = Origin::start();
    origin.on(PATH, Reply::playlist(MEDIA));
    origin.on("/live/a-1.m4s", Reply::ok("video/iso.segment", "segment"));
    origin.on("/live/init.mp4", Reply::ok("video/mp4", "init"));
    origin
}

/// The only URI of a playlist, as a target.
#[track_caller]
pub fn uri(playlist: &str) -> String {
    let mut uris = playlist.lines().filter(|line| !line.starts_with('#'));
    let uri = uris
        .next()
        .unwrap_or_else(|| panic!("no URI in {playlist}"));
    match uri.strip_prefix("./").unwrap_or(uri) {
        uri if uri.starts_with('/') => uri.to_owned(),
        uri => format!("/live/{uri}"),
    }
}

/// A parameter of a URI.
fn parameter<'a>(uri: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = uri.split_once('?')?;
    let value = |param: &'a str| param.strip_prefix(name)?.strip_prefix('=');
    query.split('&').find_map(value)
}

/// A player's first two requests: gives the URL of its media playlist, and that playlist.
#[track_caller]
pub fn begin(proxy: &Proxy, target: &str) -> (String, String) {
    let master = get(proxy.http, target);
    assert_eq!(master.status(), 200, "{}", master.text());
    assert!(
        master.text().contains("#EXT-X-STREAM-INF"),
        "{}",
        master.text()
    );
    let url = uri(&master.text());
    let media = get(proxy.http, &url);
    assert_eq!(media.status(), 200, "{}", media.text());
    (url, media.text())
}

#[test]
fn a_viewer_is_a_session_that_is_asked_for_once() {
    let (origin, hooks) = (plain(), HookServer::start());
    let proxy = proxy(&origin, &hooks, &[]);
    let (url, media) = begin(&proxy, "/live/a.m3u8?token=x");
    let asked = hooks.wait_for("on_play", 1).remove(0);
    assert_eq!(
        (asked.text("param"), asked.text("stream")),
        ("?token=x".into(), "a".into())
    );
    let id = parameter(&url, "spbhs").expect("a session").to_owned();
    assert_eq!(parameter(&url, "token"), Some("x"));
    // Each URI has the session, and nothing else has changed.
    let params = format!("?spbhid={}&spbhs={id}", live_id("a"));
    let expected = MEDIA.replace("init.mp4", &format!("init.mp4{params}"));
    assert_eq!(
        media,
        expected.replace("a-1.m4s", &format!("a-1.m4s{params}"))
    );
    for _ in 0..3 {
        let again = get(proxy.http, &url);
        assert_eq!(again.text(), media);
        assert_eq!(again.headers().one("cache-control"), "private, no-store");
        let segment = get(proxy.http, &uri(&media));
        assert_eq!(
            (segment.status(), segment.text().as_str()),
            (200, "segment")
        );
    }
    assert_eq!(fetch(proxy.http, "HEAD", &url, &[]).status(), 200);
    assert_eq!(hooks.calls("on_play").len(), 1);
    for request in origin.requests() {
        assert!(!request.target.contains("spbh"), "{}", request.target);
    }
    // It leaves by asking for nothing for three target durations of 1 s.
    let told = hooks.wait_for("on_stop", 1).remove(0);
    assert_eq!(told.body["client_id"], asked.body["client_id"]);
    assert!(told.body["duration"].as_f64() >= Some(3.0), "{told:?}");
    assert!(
        told.body["bytes"].as_u64() >= Some(4 * media.len() as u64),
        "{told:?}"
    );
    assert_eq!(
        get(proxy.http, &uri(&media)).status(),
        403,
        "the session is over"
    );
}

#[test]
fn viewers_share_what_comes_from_the_origin() {
    let (origin, hooks) = (plain(), HookServer::start());
    let proxy = proxy(&origin, &hooks, &[]);
    let viewers: Vec<_> = (0..20).map(|_| begin(&proxy, PATH)).collect();
    for (url, media) in &viewers {
        let id = parameter(url, "spbhs").expect("a session");
        assert_eq!(media.matches(id).count(), 2);
        assert_eq!(get(proxy.http, &uri(media)).text(), "segment");
    }
    assert_eq!(hooks.calls("on_play").len(), 20);
    assert_eq!(origin.requests_for("/live/a-1.m4s").len(), 1);
    let playlists = origin.requests_for(PATH).len();
    assert!(playlists < 20, "{playlists} playlists for 40 requests");
}

#[test]
fn srs_tells_its_viewers_apart_by_its_own_sessions() {
    let (origin, hooks) = (Origin::start(), HookServer::start());
    origin.on_request(PATH, |request| match request.query_value("hls_ctx") {
        None => Reply::playlist(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/live/a.m3u8?hls_ctx=z8v8f338\n",
        )
        .into(),
        Some(ctx) => Reply::playlist(format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na-1.ts?hls_ctx={ctx}\n"
        ))
        .into(),
    });
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
    let proxy = proxy(&origin, &hooks, &[]);
    let (url, media) = begin(&proxy, PATH);
    assert!(
        !url.contains("spbhs") && !media.contains("spbhs"),
        "{media}"
    );
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    for made_up in ["z8v8f339", ""] {
        let target = uri(&media).replace("z8v8f338", made_up);
        assert_eq!(get(proxy.http, &target).status(), 403, "{target}");
    }
    assert_eq!(hooks.calls("on_play").len(), 1);
    // A player from before the proxy's restart, say: asked for once, and its segments are its own from then on.
    let old = url.replace("z8v8f338", "0ld");
    let media = get(proxy.http, &old).text();
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    assert_eq!(get(proxy.http, &old).text(), media);
    assert_eq!(hooks.calls("on_play").len(), 2);
    hooks.wait_balanced(SOON);
}

#[test]
fn who_is_refused_gets_neither_playlist_nor_segment() {
    let (origin, hooks) = (plain(), HookServer::start());
    hooks.judge(|call| match call.text("param").contains("good") {
        true => Verdict::Says("0"),
        false => Verdict::Says("1"),
    });
    let proxy = proxy(&origin, &hooks, &[]);
    let refused = get(proxy.http, "/live/a.m3u8?token=bad");
    assert_eq!(refused.status(), 403);
    assert!(
        refused.text().contains("may not watch"),
        "{}",
        refused.text()
    );
    let segment = format!("/live/a-1.m4s?spbhid={}", live_id("a"));
    for target in [
        segment.clone(),
        format!("{segment}&spbhs="),
        format!("{segment}&spbhs=AAAAAAAAAAAAAAAAAAAAAA"),
        "/live/a-1.m4s".to_owned(),
    ] {
        let status = get(proxy.http, &target).status();
        assert!(status == 403 || status == 404, "{target}: {status}");
    }
    assert_eq!(origin.requests().len(), 0);
    let (_, media) = begin(&proxy, "/live/a.m3u8?token=good");
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    // What is in memory now is still only for those who may.
    assert_eq!(get(proxy.http, &segment).status(), 403);
    assert_eq!(get(proxy.http, "/live/a-1.m4s").status(), 403);
    assert_eq!(get(proxy.http, "/live/a.m3u8?token=bad").status(), 403);
    assert_eq!(hooks.calls("on_stop").len(), 0);
}

#[test]
fn a_made_up_session_is_a_new_viewer_with_a_session_of_its_own() {
    let (origin, hooks) = (plain(), HookServer::start());
    let proxy = proxy(&origin, &hooks, &[]);
    let (url, _) = begin(&proxy, PATH);
    let made_up = format!("{PATH}?spbhid={}&spbhs=made-up", live_id("a"));
    let media = get(proxy.http, &made_up).text();
    let id = parameter(&uri(&media), "spbhs")
        .expect("a session")
        .to_owned();
    assert!(id != "made-up" && Some(&*id) != parameter(&url, "spbhs"));
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    assert_eq!(
        get(proxy.http, &uri(&media).replace(&id, "made-up")).status(),
        403
    );
    // It comes with the same URL again and again, as players do.
    for _ in 0..3 {
        assert_eq!(get(proxy.http, &made_up).text(), media);
    }
    assert_eq!(hooks.calls("on_play").len(), 2);
    // The session of one stream does not open another, whatever its URL says.
    origin.on("/live/b.m3u8", Reply::playlist(MEDIA));
    hooks.says(Verdict::Says("1"));
    assert_eq!(
        get(proxy.http, &url.replace("/a.m3u8", "/b.m3u8")).status(),
        403
    );
    let asked = hooks.wait_for("on_play", 3).remove(2);
    assert_eq!(asked.text("stream_url"), "/live/b");
    assert_eq!(origin.requests_for("/live/b.m3u8").len(), 0);
}

#[test]
fn players_that_wait_for_a_hook_leave_workers_to_others() {
    let (origin, hooks) = (plain(), HookServer::start());
    origin.on("/live/b.m3u8", Reply::playlist(MEDIA));
    hooks.judge(|call| match call.text("stream").as_str() {
        "a" => Verdict::Holds,
        _ => Verdict::Says("0"),
    });
    let (play, stop) = (hooks.url("/play"), hooks.url("/stop"));
    let proxy = Proxy::builder()
        .program("prlimit")
        .arg("--nofile=640:640")
        .arg(env!("CARGO_BIN_EXE_srs-stream-proxy"))
        .env("PROXY_ON_PLAY", play)
        .env("PROXY_ON_STOP", stop)
        .env("PROXY_HOOK_TIMEOUT", "60s")
        .start();
    proxy.register(&origin);
    let (_, media) = begin(&proxy, "/live/b.m3u8");
    // Some 150 workers; half of them may wait.
    let mut crowd: Vec<Client> = (0..120)
        .map(|_| {
            let mut client = Client::connect(proxy.http);
            client.request("GET", PATH, &[]);
            client
        })
        .collect();
    wait_until("some are told to come again", SOON, || {
        let lines = proxy.log_lines();
        let told = lines
            .iter()
            .filter(|line| line.contains("too many wait for the hooks"));
        told.count() > 0
    });
    assert_eq!(
        get(proxy.http, &uri(&media)).status(),
        200,
        "a segment from the origin"
    );
    let refused = crowd
        .iter_mut()
        .filter_map(|client| client.try_read_head(Duration::from_millis(20)).ok());
    for head in refused {
        assert_eq!((head.status, head.headers.one("retry-after")), (503, "1"));
    }
    hooks.go_on();
}

#[test]
fn a_master_playlists_variants_are_one_viewer() {
    let (origin, hooks) = (plain(), HookServer::start());
    let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"s\",NAME=\"s\",URI=\"sound.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"s\"\na_720.m3u8\n";
    origin.on("/live/top.m3u8", Reply::playlist(master));
    origin.on("/live/a_720.m3u8", Reply::playlist(MEDIA));
    origin.on("/live/sound.m3u8", Reply::playlist(MEDIA));
    let proxy = proxy(&origin, &hooks, &[]);
    let (url, media) = begin(&proxy, "/live/top.m3u8");
    assert_eq!(get(proxy.http, &uri(&media)).status(), 200);
    let sound = url.replace("a_720", "sound");
    assert_eq!(get(proxy.http, &sound).status(), 200);
    assert_eq!(hooks.calls("on_play").len(), 1);
    assert_eq!(hooks.calls("on_play")[0].text("stream"), "top");
}

#[test]
fn a_stream_that_nobody_has_is_no_viewer_for_long() {
    let (origin, hooks) = (plain(), HookServer::start());
    let proxy = proxy(&origin, &hooks, &[("PROXY_STREAM_WAIT", "0s")]);
    assert_eq!(get(proxy.http, "/live/none.m3u8").status(), 404);
    // Long before the 30 s of a session whose target duration is unknown.
    hooks.wait_balanced(SOON);
    assert_eq!(hooks.calls("on_play").len(), 1);
}

#[test]
fn the_end_of_the_process_is_the_end_of_its_sessions() {
    let (origin, hooks) = (plain(), HookServer::start());
    let mut proxy = proxy(&origin, &hooks, &[]);
    for _ in 0..30 {
        begin(&proxy, PATH);
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 0);
    assert_eq!(hooks.calls("on_play").len(), 30);
    assert!(hooks.unbalanced().is_empty(), "{:?}", hooks.unbalanced());
}

#[test]
fn without_hooks_playlists_are_as_they_were() {
    let origin = plain();
    let proxy = Proxy::before(&origin, &[]);
    let playlist = get(proxy.http, PATH).text();
    assert!(
        !playlist.contains("spbhs") && playlist.contains("a-1.m4s?spbhid="),
        "{playlist}"
    );
    // Somebody else's parameter of that name is the origin's.
    get(proxy.http, "/live/a.m3u8?spbhs=theirs");
    wait_until("it was asked", SOON, || {
        origin.last_request().query() == "spbhs=theirs"
    });
}
