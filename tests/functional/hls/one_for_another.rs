//! One player does not decide for another: refusals, hung requests, private answers and what a request says of itself.

use crate::common::answer::{Answer, Reply};
use crate::common::client::Client;
use crate::common::fetch::{get, get_with};
use crate::common::hls::live_id;
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{ABOUT_A_SECOND, SOON};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SEGMENT: &str = "/live/a-1.ts";
const PLAYLIST: &str = "/live/a.m3u8";
const MEDIA: &str = "#EXTM3U\n#EXTINF:2,\na-1.ts\n";

fn segment_target() -> String {
    format!("{SEGMENT}?spbhid={}", live_id("a"))
}

/// Both kinds that are shared: what is asked for, the origin's path, and a reply that may be shared.
fn kinds() -> [(String, &'static str, Reply); 2] {
    [
        (segment_target(), SEGMENT, Reply::ok("video/MP2T", "media")),
        (PLAYLIST.to_owned(), PLAYLIST, Reply::playlist(MEDIA)),
    ]
}

fn ask(proxy: &Proxy, target: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = Client::connect(proxy.http);
    client.request("GET", target, headers);
    client
}

/// How many log lines have these words.
fn said(proxy: &Proxy, words: &str) -> usize {
    let lines = proxy.log_lines();
    lines.iter().filter(|line| line.contains(words)).count()
}

/// One client asks; when its request is at the origin the others do, and wait with it.
fn ask_and_wait(
    proxy: &Proxy,
    origin: &Origin,
    target: &str,
    first: &[(&str, &str)],
    others: usize,
) -> (Client, Vec<Client>) {
    let words = "waits for a shared fetch";
    let (before, asked) = (said(proxy, words), origin.requests().len());
    let first = ask(proxy, target, first);
    wait_until("the first has asked", SOON, || {
        origin.requests().len() > asked
    });
    let others = (0..others)
        .map(|_| ask(proxy, target, &[]))
        .collect::<Vec<_>>();
    wait_until("the others wait with it", SOON, || {
        said(proxy, words) >= before + others.len()
    });
    (first, others)
}

fn talking_proxy(origin: &Origin) -> Proxy {
    Proxy::before(origin, &[("PROXY_LOG_LEVEL", "debug")])
}

#[test]
fn a_refusal_is_its_players_own() {
    for (target, path, good) in kinds() {
        for refused in [Some(401), Some(403), None] {
            let origin = Origin::start();
            let proxy = talking_proxy(&origin);
            let reply = Reply::new(refused.unwrap_or(200)).announce(2);
            let hold = origin.live(path, LiveRoute::of(reply).head_with_first_byte());
            let (mut first, others) = ask_and_wait(&proxy, &origin, &target, &[], 3);
            // From now on all are served but the first.
            origin.on(path, good.clone());
            let mut live = hold.next();
            if refused.is_some() {
                live.send(b"no");
            }
            live.close();
            for mut client in others {
                assert_eq!(
                    client.read_response(SOON).status(),
                    200,
                    "{path} {refused:?}"
                );
            }
            let status = first.read_response(SOON).status();
            assert!(status >= 400, "{path} {refused:?}: {status}");
        }
    }
}

#[test]
fn a_hung_request_holds_nobody_for_longer_than_a_second() {
    for (target, path, good) in kinds() {
        let origin = Origin::start();
        let proxy = talking_proxy(&origin);
        origin.on(path, Answer::Silence);
        let (mut first, others) = ask_and_wait(&proxy, &origin, &target, &[], 5);
        origin.on(path, good);
        let begun = Instant::now();
        for mut client in others {
            assert_eq!(client.read_response(SOON).status(), 200, "{path}");
        }
        assert!(
            begun.elapsed() < ABOUT_A_SECOND * 2,
            "{:?}",
            begun.elapsed()
        );
        // The first one too has what is there by now.
        assert_eq!(first.read_response(SOON).status(), 200, "{path}");
        assert!(
            begun.elapsed() < ABOUT_A_SECOND * 3,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(
            origin.requests_for(path).len(),
            2,
            "one asked once more for all"
        );
    }
}

#[test]
fn an_origin_that_is_slow_for_all_is_not_asked_by_all() {
    let origin = Origin::start();
    let proxy = talking_proxy(&origin);
    origin.on(
        PLAYLIST,
        Reply::playlist(MEDIA).after(Duration::from_millis(2500)),
    );
    let (mut first, others) = ask_and_wait(&proxy, &origin, PLAYLIST, &[], 20);
    assert_eq!(first.read_response(SOON).status(), 200);
    for mut client in others {
        assert_eq!(client.read_response(SOON).status(), 200);
    }
    let asked = origin.requests_for(PLAYLIST).len();
    assert!(asked <= 4, "{asked} requests");
}

#[test]
fn a_name_that_cannot_be_shared_is_waited_for_once() {
    let chunked = Reply::ok("video/MP2T", "media").chunked();
    let cookie = Reply::ok("video/MP2T", "media").header("Set-Cookie", "a=b");
    let no_cache = Reply::ok("video/MP2T", "media").header("Cache-Control", "no-cache");
    for reply in [chunked, cookie, no_cache] {
        let origin = Origin::start();
        let proxy = talking_proxy(&origin);
        origin.on(SEGMENT, reply.clone());
        let target = segment_target();
        assert_eq!(get(proxy.http, &target).text(), "media");
        // Held back by the origin, each of them is there at once all the same.
        origin.on(SEGMENT, reply.after(Duration::from_millis(700)));
        let mut crowd: Vec<Client> = (0..4).map(|_| ask(&proxy, &target, &[])).collect();
        wait_until("all have asked", Duration::from_millis(600), || {
            origin.requests().len() == 5
        });
        for client in &mut crowd {
            assert_eq!(client.read_response(SOON).text(), "media");
        }
        assert_eq!(said(&proxy, "waits for a shared fetch"), 0);
    }
}

#[test]
fn hosts_without_a_dot_have_their_own_segments() {
    let origin = Origin::start();
    origin.otherwise(|request| Reply::ok("video/MP2T", request.headers.one("host")).into());
    let proxy = Proxy::before(&origin, &[]);
    for round in 0..2 {
        for host in ["one", "two", "127.0.0.1", "[::1]"] {
            let response = get_with(proxy.http, &segment_target(), &[("Host", host)]);
            assert_eq!(response.text(), host);
            assert_eq!(response.headers().has("age"), round == 1, "{host}");
        }
    }
}

#[test]
fn the_site_that_sends_a_player_decides_for_its_own_players_only() {
    let origin = Origin::start();
    origin.otherwise(|request| {
        let bad = |name: &str| {
            request
                .headers
                .maybe(name)
                .is_some_and(|site| site.contains("bad"))
        };
        match bad("referer") || bad("origin") {
            true => Reply::new(404).body("no").into(),
            false if request.path() == PLAYLIST => Reply::playlist(MEDIA).into(),
            false => Reply::ok("video/MP2T", "media").into(),
        }
    });
    let proxy = Proxy::before(&origin, &[]);
    for (target, ..) in kinds() {
        for name in ["Referer", "Origin"] {
            let status = |site: &str| get_with(proxy.http, &target, &[(name, site)]);
            for _ in 0..2 {
                assert_eq!(status("https://good.example").status(), 200, "{target}");
                assert_eq!(status("https://bad.example").status(), 404, "{target}");
            }
        }
        let asked = origin.requests().len();
        get_with(
            proxy.http,
            &target,
            &[("Referer", "https://site.example/one")],
        );
        let page = get_with(
            proxy.http,
            &target,
            &[("Referer", "https://site.example/two?x")],
        );
        assert!(page.headers().has("age"), "another page of the same site");
        assert_eq!(origin.requests().len(), asked + 1);
    }
}

#[test]
fn an_initialization_section_is_kept_for_a_second_at_most() {
    let origin = Origin::start();
    let number = AtomicUsize::new(1);
    origin.otherwise(move |_| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        Reply::ok("video/mp4", number.to_string())
            .header("Cache-Control", "max-age=60")
            .into()
    });
    let proxy = Proxy::before(&origin, &[]);
    let target = format!("/live/init.mp4?spbhid={}", live_id("a"));
    let begun = Instant::now();
    assert_eq!(get(proxy.http, &target).text(), "1");
    assert!(get(proxy.http, &target).headers().has("age") || begun.elapsed() > ABOUT_A_SECOND);
    wait_until("the new one is served", ABOUT_A_SECOND * 2, || {
        get(proxy.http, &target).text() == "2"
    });
}

#[test]
fn what_is_in_flight_is_bounded_by_the_setting() {
    const READERS: usize = 14;
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/MP2T", vec![7; 9 << 20]).into());
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "1MiB")]);
    let mut clients: Vec<Client> = (0..READERS)
        .map(|n| {
            let mut client = Client::connect_small(proxy.http, 4096);
            let target = format!("/live/a-{n}.ts?spbhid={}", live_id("a"));
            client.request("GET", &target, &[]);
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.read_head(SOON).status, 200);
        client.read_at_least(1000, SOON);
    }
    let totals = get(proxy.api, "/api/v1/streams").json()["data"]["totals"]["hls_cache"].clone();
    assert!(
        totals["bytes"].as_u64().expect("a number") <= 1 << 20,
        "{totals}"
    );
    let (rest, _) = clients[0].read_rest(Duration::from_secs(60));
    assert!(rest.len() > 8 << 20, "and each of them is served");
}

#[test]
fn a_request_that_wants_its_own_answer_gets_it() {
    let origin = Origin::start();
    for (target, path, good) in kinds() {
        origin.on(path, good);
        let proxy = Proxy::before(&origin, &[]);
        for header in ["no-cache", "no-store", "max-age=9, No-Cache"] {
            let asked = origin.requests().len();
            get_with(proxy.http, &target, &[("Cache-Control", header)]);
            assert_eq!(origin.requests().len(), asked + 1, "{header}");
        }
        let asked = origin.requests().len();
        assert!(
            !get(proxy.http, &target).headers().has("age"),
            "nothing was stored"
        );
        assert!(get(proxy.http, &target).headers().has("age"));
        assert_eq!(origin.requests().len(), asked + 1);
    }
}

/// A proxy with 131 connections and as many workers, of which a quarter waits for one answer and half for one origin.
fn small_proxy(origin: &Origin) -> Proxy {
    let proxy = Proxy::builder()
        .program("prlimit")
        .arg("--nofile=446:446")
        .arg(env!("CARGO_BIN_EXE_srs-stream-proxy"))
        .file("a.txt", "here")
        .env("PROXY_STATIC_FILES", ".")
        .start();
    proxy.register(origin);
    proxy
}

/// Lets clients ask for those playlists in turn; returns how many are told at once to come again.
fn refused_of(proxy: &Proxy, playlists: usize, clients: usize) -> usize {
    let mut crowd: Vec<Client> = (0..clients)
        .map(|n| ask(proxy, &format!("/live/{}.m3u8", n % playlists), &[]))
        .collect();
    let refused = crowd.iter_mut().filter_map(|client| {
        let head = client.try_read_head(Duration::from_millis(30)).ok()?;
        assert_eq!((head.status, head.headers.one("retry-after")), (503, "1"));
        Some(())
    });
    let refused = refused.count();
    // The workers that are left serve the others.
    assert_eq!(get(proxy.http, "/a.txt").text(), "here");
    assert_eq!(get(proxy.api, "/healthz").status(), 200);
    refused
}

#[test]
fn who_waits_for_one_playlist_and_for_one_origin_is_bounded() {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::Silence);
    let refused = refused_of(&small_proxy(&origin), 1, 100);
    assert!(
        (50..=80).contains(&refused),
        "{refused} of 100 for one playlist"
    );
    let refused = refused_of(&small_proxy(&origin), 6, 120);
    assert!(
        (40..=70).contains(&refused),
        "{refused} of 120 for six playlists"
    );
}
