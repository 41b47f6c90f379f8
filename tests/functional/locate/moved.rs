//! The encoder reconnects and lands on another origin: players follow. What one viewer asks moves nobody else.

use crate::common::answer::{Answer, Reply};
use crate::common::client::Client;
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use std::time::{Duration, Instant};

/// The contract gives new players and playlist requests 3 s to follow.
const FOLLOWED: Duration = Duration::from_secs(3);
/// Room for a noisy machine.
const NOISE: Duration = Duration::from_millis(1500);

fn pair() -> ([Origin; 2], Proxy) {
    let origins = [srs::start(), srs::start()];
    let proxy = Proxy::start(&[]);
    for origin in &origins {
        proxy.register(origin);
    }
    (origins, proxy)
}

fn playlist_has(proxy: &Proxy, word: &str) -> bool {
    get(proxy.http, "/live/a.m3u8").text().contains(word)
}

#[test]
fn playlist_requests_follow_within_three_seconds() {
    let (origins, proxy) = pair();
    srs::publish(&origins[0], "a", "first");
    assert!(playlist_has(&proxy, "first"));
    for (from, to, word) in [(0, 1, "second"), (1, 0, "third")] {
        // The old origin stays alive, and keeps its last playlist.
        srs::unpublish(&origins[from], "a");
        srs::publish(&origins[to], "a", word);
        wait_until("the playlist is the new one", FOLLOWED + NOISE, || {
            playlist_has(&proxy, word)
        });
        let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
        assert_eq!(get(proxy.http, &segment).text(), word, "segments follow");
        for _ in 0..10 {
            assert!(playlist_has(&proxy, word), "and it stays");
        }
    }
}

#[test]
fn a_new_player_follows_after_a_quiet_time_too() {
    let (origins, proxy) = pair();
    for name in ["a", "b"] {
        srs::publish(&origins[0], name, "first");
        let target = format!("/live/{name}.flv");
        assert_eq!(get(proxy.http, &target).text(), "first");
    }
    for name in ["a", "b"] {
        srs::unpublish(&origins[0], name);
        srs::publish(&origins[1], name, "second");
    }
    std::thread::sleep(Duration::from_millis(2500));
    let before = origins[0].requests().len();
    for name in ["a", "b"] {
        let began = Instant::now();
        let target = format!("/live/{name}.flv");
        assert_eq!(get(proxy.http, &target).text(), "second");
        let time = began.elapsed();
        assert!(
            time < FOLLOWED - Duration::from_millis(2500) + NOISE,
            "{time:?}"
        );
    }
    assert_eq!(
        origins[0].requests().len(),
        before,
        "it would hold the player"
    );
}

#[test]
fn new_players_follow_while_others_come_all_the_time() {
    let (origins, proxy) = pair();
    srs::publish(&origins[0], "a", "first");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    srs::unpublish(&origins[0], "a");
    srs::publish(&origins[1], "a", "second");
    let began = Instant::now();
    // Those that come while the old answer is believed are held by the old origin.
    let mut held = Vec::new();
    loop {
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv", &[]);
        if let Ok(head) = client.try_read_head(Duration::from_millis(300)) {
            assert_eq!(head.status, 200);
            client.expect_bytes(b"second", SOON);
            break;
        }
        held.push(client);
        assert!(
            began.elapsed() < FOLLOWED + NOISE,
            "nobody followed in {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn an_origin_that_restarts_is_not_believed_to_have_what_it_had() {
    let (origins, proxy) = pair();
    srs::publish(&origins[0], "a", "first");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    // It is back within a moment, as a new service; the encoder went to the other one.
    srs::unpublish(&origins[0], "a");
    srs::publish(&origins[1], "a", "second");
    let body = serde_json::json!({
        "device_id": "", "ip": "127.0.0.1", "server": format!("vid-{}", origins[0].id()), "service": "new",
        "pid": "2", "rtmp": ["1935"], "http": [origins[0].port().to_string()],
        "api": [origins[0].api().port().to_string()],
    });
    let response = proxy.register_raw(body.to_string().as_bytes());
    assert_eq!(response.status(), 200);
    let began = Instant::now();
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "second");
    assert!(
        began.elapsed() < Duration::from_millis(1500) + NOISE,
        "{:?}",
        began.elapsed()
    );
}

/// One viewer's trouble at the origin of a stream.
fn troubles() -> Vec<(String, Answer)> {
    let segment = |n: u32| format!("/live/a-{n}.ts?spbhid={}", live_id("a"));
    vec![
        ("/live/a.flv?token=bad".into(), Reply::new(401).into()),
        ("/live/a.flv?token=bad".into(), Reply::new(403).into()),
        ("/live/a.flv?token=bad".into(), Answer::CloseWithoutHead),
        ("/live/a.flv?token=bad".into(), Answer::ResetWithoutHead),
        ("/live/a.m3u8?token=bad".into(), Reply::new(403).into()),
        ("/live/a.m3u8?token=bad".into(), Answer::CloseWithoutHead),
        (segment(0), Reply::new(404).into()),
        (segment(0), Reply::new(503).into()),
        (segment(0), Answer::Silence),
        (
            "/elsewhere/x.flv?app=live&stream=a".into(),
            Reply::new(404).into(),
        ),
        (
            format!("/live/a-hd.m3u8?spbhid={}", live_id("a")),
            Reply::new(404).into(),
        ),
    ]
}

#[test]
fn one_viewers_trouble_moves_nobody_else() {
    for with_api in [true, false] {
        let start = || {
            if with_api {
                srs::start()
            } else {
                Origin::start()
            }
        };
        let origins = [start(), start()];
        let proxy = Proxy::start(&[("PROXY_RESPONSE_TIMEOUT", "1s")]);
        for origin in &origins {
            proxy.register(origin);
        }
        srs::serve(&origins[0], "a", "first");
        if with_api {
            origins[0].api().publish("/live/a");
        }
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
        // From now on the other would serve everything, if it were asked.
        origins[1].otherwise(|_| Reply::ok("video/x-flv", "second").into());
        // A variant that the session's origin has not got is looked for by its own name, and is not there either.
        origins[1].on("/live/a-hd.m3u8", Reply::new(404));
        for (target, answer) in troubles() {
            let path = target.split('?').next().unwrap().to_owned();
            let closes = matches!(answer, Answer::CloseWithoutHead | Answer::ResetWithoutHead);
            let served = matches!(path.as_str(), "/live/a.flv" | "/live/a.m3u8");
            let well: Answer = if path == "/live/a.m3u8" {
                Reply::playlist("#EXTM3U\n#first\n").into()
            } else {
                Reply::ok("video/x-flv", "first").into()
            };
            origins[0].on_request(&path, move |request| {
                if served && request.query().is_empty() {
                    well.clone()
                } else {
                    answer.clone()
                }
            });
            let asked = || {
                let requests = origins[1].requests();
                let own = requests.iter().filter(|it| it.path() != "/live/a-hd.m3u8");
                own.count()
            };
            let before = asked();
            let response = get(proxy.http, &target);
            if with_api || !closes {
                assert_ne!(response.status(), 200, "{target}");
                assert_eq!(asked(), before, "{target}");
            } else {
                // Without an API nobody knows whether this was a refusal, or the origin is broken.
                assert_eq!(response.text(), "second", "{target}");
            }
            assert_eq!(get(proxy.http, "/live/a.flv").text(), "first", "{target}");
            assert!(playlist_has(&proxy, "first"), "{target}");
        }
    }
}

#[test]
fn a_404_of_the_streams_own_url_unpins_it() {
    let origins = [Origin::start(), Origin::start()];
    let proxy = Proxy::start(&[]);
    for origin in &origins {
        proxy.register(origin);
    }
    srs::serve(&origins[0], "a", "first");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    for kind in ["flv", "m3u8"] {
        origins[0].on(&format!("/live/a.{kind}"), Reply::new(404));
    }
    srs::serve(&origins[1], "a", "second");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "second");
    assert!(playlist_has(&proxy, "second"));
}

#[test]
fn a_404_where_the_api_lists_it_is_the_players() {
    let (origins, proxy) = pair();
    srs::publish(&origins[0], "a", "first");
    // Its first segment is not ready yet.
    origins[0].on("/live/a.m3u8", Reply::new(404).body("not yet"));
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    let response = get(proxy.http, "/live/a.m3u8");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (404, "not yet")
    );
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    assert!(origins[1].requests().is_empty());
}

/// A playlist of another path with this stream's session id is that path's own stream.
#[test]
fn a_strange_url_with_a_streams_session_does_not_move_it() {
    let origins = [Origin::start(), Origin::start()];
    srs::serve(&origins[0], "a", "first");
    let proxy = Proxy::start(&[]);
    proxy.register(&origins[0]);
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    proxy.register(&origins[1]);
    origins[1].otherwise(|_| Reply::playlist("#EXTM3U\n#second\n").into());
    let target = format!("/x/b.m3u8?spbhid={}", live_id("a"));
    assert!(get(proxy.http, &target).text().contains("second"));
    for _ in 0..2 {
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
        // A format that nobody has there is a 404 for whoever asks, and no reason to look for the stream anew.
        origins[1].on("/live/a.mp3", Reply::new(404));
        assert_eq!(get(proxy.http, "/live/a.mp3").status(), 404);
    }
}
