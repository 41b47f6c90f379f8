//! The origin of a stream is gone: another one that has the stream answers.

use crate::common::answer::{Answer, Reply};
use crate::common::deaf::DeafPort;
use crate::common::fetch::get;
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use std::time::{Duration, Instant};

/// The connect timeout of these tests.
const CONNECT: (&str, &str) = ("PROXY_CONNECT_TIMEOUT", "2s");
/// The contract: the connect timeout and one second; the rest is for a noisy machine.
const FAILED_OVER: Duration = Duration::from_millis(2000 + 1000 + 1500);

/// A stream's FLV, playlist and segment.
fn kinds() -> [String; 3] {
    [
        "/live/a.flv".into(),
        "/live/a.m3u8".into(),
        format!("/live/a-1.ts?spbhid={}", live_id("a")),
    ]
}

/// Two origins that both have the stream; it is pinned to the first.
fn pair(with_api: bool) -> ([Origin; 2], Proxy) {
    let start = || {
        if with_api {
            srs::start()
        } else {
            Origin::start()
        }
    };
    let origins = [start(), start()];
    let proxy = Proxy::start(&[CONNECT]);
    for origin in &origins {
        proxy.register(origin);
    }
    for (origin, word) in origins.iter().zip(["first", "second"]) {
        srs::serve(origin, "a", word);
    }
    if with_api {
        origins[0].api().publish("/live/a");
    }
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    if with_api {
        origins[1].api().publish("/live/a");
    }
    (origins, proxy)
}

#[track_caller]
fn assert_taken_over(proxy: &Proxy, target: &str, what: &str) {
    let began = Instant::now();
    let response = get(proxy.http, target);
    let time = began.elapsed();
    assert_eq!(response.status(), 200, "{what} {target}");
    assert!(response.text().contains("second"), "{what} {target}");
    assert!(time < FAILED_OVER, "{what} {target}: {time:?}");
}

#[test]
fn an_origin_that_refuses_connections() {
    for with_api in [true, false] {
        for target in kinds() {
            let (origins, proxy) = pair(with_api);
            origins[0].stop();
            if with_api {
                origins[0].api().server().stop();
            }
            assert_taken_over(&proxy, &target, &format!("{with_api}"));
        }
    }
}

#[test]
fn a_process_that_is_gone_while_its_api_lives() {
    for target in kinds() {
        let (origins, proxy) = pair(true);
        origins[0].stop();
        assert_taken_over(&proxy, &target, "API alive");
    }
}

#[test]
fn an_origin_that_has_become_a_black_hole() {
    for with_api in [true, false] {
        for target in kinds() {
            let (origins, proxy) = pair(with_api);
            origins[0].stop();
            let mut holes = vec![DeafPort::at(origins[0].addr())];
            if with_api {
                let api = origins[0].api().server();
                api.stop();
                holes.push(DeafPort::at(api.addr()));
            }
            assert_taken_over(&proxy, &target, &format!("{with_api}"));
            // The next one does not pay for it again: the origin is suspect, and a playlist or a live
            // stream has moved the pin.
            let began = Instant::now();
            assert_taken_over(&proxy, "/live/a.m3u8", "once more");
            assert!(
                began.elapsed() < Duration::from_millis(1500),
                "{:?}",
                began.elapsed()
            );
        }
    }
}

fn state_of(proxy: &Proxy, origin: &Origin) -> String {
    let json = get(proxy.api, "/api/v1/origins").json();
    let mut origins = json["data"]["origins"].as_array().expect("origins").iter();
    let own = origins.find(|it| it["http"] == origin.port());
    let state = own.expect("the origin")["state"].as_str();
    state.expect("a state").to_owned()
}

#[test]
fn a_restarted_origin_is_used_at_once() {
    let (origins, proxy) = pair(false);
    origins[0].stop();
    // Only the first has this one.
    srs::serve(&origins[0], "own", "here again");
    assert_ne!(get(proxy.http, "/live/own.flv").status(), 200);
    assert_eq!(state_of(&proxy, &origins[0]), "suspect");
    origins[0].restart();
    proxy.register(&origins[0]);
    assert_eq!(
        state_of(&proxy, &origins[0]),
        "alive",
        "a heartbeat clears it"
    );
    let before = origins[1].requests().len();
    let began = Instant::now();
    assert_eq!(get(proxy.http, "/live/own.flv").text(), "here again");
    assert!(began.elapsed() < Duration::from_secs(2));
    // Without a heartbeat, too: suspect ones are asked last, and never skipped.
    origins[0].stop();
    assert_ne!(get(proxy.http, "/live/own.flv").status(), 200);
    origins[0].restart();
    assert_eq!(get(proxy.http, "/live/own.flv").text(), "here again");
    assert!(origins[1].requests().len() > before);
}

#[test]
fn suspicion_ends_by_itself() {
    let (origins, proxy) = pair(false);
    origins[0].stop();
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "second");
    assert_eq!(state_of(&proxy, &origins[0]), "suspect");
    let began = Instant::now();
    wait_until("it is over", Duration::from_secs(10), || {
        state_of(&proxy, &origins[0]) == "alive"
    });
    assert!(began.elapsed() > Duration::from_secs(3), "5 s are meant");
}

/// A killed origin is no candidate for new streams long before its TTL ends, and is still asked for what only it may have.
#[test]
fn an_origin_whose_heartbeats_stay_away_is_asked_last_and_shown_as_late() {
    let origins = [Origin::start(), Origin::start()];
    let words = ["the late one", "the other"];
    for (origin, word) in origins.iter().zip(words) {
        origin.otherwise(move |_| Reply::ok("video/x-flv", word).into());
    }
    let proxy = Proxy::start(&[]);
    // Its interval is learnt: a second, for none shorter is believed. The other one has sent one heartbeat.
    for _ in 0..4 {
        proxy.register(&origins[0]);
    }
    proxy.register(&origins[1]);
    let view = || {
        let json = get(proxy.api, "/api/v1/origins").json();
        let all = json["data"]["origins"].as_array().expect("origins").clone();
        let address = origins[0].addr().to_string();
        all.into_iter()
            .find(|it| it["address"] == *address)
            .expect("it")
    };
    assert_eq!(view()["state"], "alive");
    wait_until("four heartbeats are missing", SOON, || {
        view()["state"] == "late"
    });
    let why = view()["why"].to_string();
    assert!(why.contains("missed four heartbeats"), "{why}");
    for n in 0..4 {
        let response = get(proxy.http, &format!("/live/{n}.flv"));
        assert_eq!(response.text(), "the other", "not the one with fewest");
    }
    origins[1].stop();
    assert_eq!(get(proxy.http, "/live/9.flv").text(), "the late one");
    proxy.register(&origins[0]);
    assert_eq!(view()["state"], "alive", "it is heard of again");
}

#[test]
fn only_a_failed_connect_makes_suspect() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_RESPONSE_TIMEOUT", "300ms")]);
    for answer in [
        Answer::Silence,
        Answer::CloseWithoutHead,
        Answer::ResetWithoutHead,
        Reply::new(500).into(),
        Reply::new(404).into(),
        Answer::Raw(
            b"rubbish\r\n\r\n".into(),
            crate::common::answer::Then::Close,
        ),
    ] {
        origin.otherwise(move |_| answer.clone());
        for target in kinds() {
            assert_ne!(get(proxy.http, &target).status(), 200);
        }
        assert_eq!(state_of(&proxy, &origin), "alive");
    }
}

#[test]
fn a_stream_whose_origin_is_stale_moves() {
    let origins = [Origin::start(), Origin::start()];
    let proxy = Proxy::start(&[("PROXY_ORIGIN_SERVER_TTL", "2s")]);
    proxy.register(&origins[0]);
    srs::serve(&origins[0], "a", "first");
    srs::serve(&origins[1], "a", "second");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    wait_until("the first is stale", crate::common::SOON, || {
        state_of(&proxy, &origins[0]) == "stale"
    });
    // Alone it goes on serving: nobody else is alive.
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    proxy.register(&origins[1]);
    for target in kinds() {
        assert!(
            get(proxy.http, &target).text().contains("second"),
            "{target}"
        );
    }
    // It gets nothing at all, not even when the other has not got it.
    let before = origins[0].requests().len();
    assert_eq!(get(proxy.http, "/live/b.flv").status(), 404);
    assert_eq!(origins[0].requests().len(), before);
}

#[test]
fn a_media_playlist_is_answered_with_one_after_a_move() {
    let (origins, proxy) = pair(true);
    // The second does not know the context of the first: it begins a session.
    origins[1].on_request("/live/a.m3u8", |request| {
        Reply::playlist(match request.query_value("hls_ctx") {
            Some("new") => "#EXTM3U\n#EXTINF:2,second\na-7.ts?hls_ctx=new\n",
            _ => "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/live/a.m3u8?hls_ctx=new\n",
        })
        .into()
    });
    origins[0].stop();
    origins[0].api().server().stop();
    let media = get(proxy.http, "/live/a.m3u8?hls_ctx=old");
    assert!(
        media.text().contains("#EXTINF:2,second"),
        "{}",
        media.text()
    );
    let id = live_id("a");
    assert!(
        media
            .text()
            .contains(&format!("a-7.ts?hls_ctx=new&spbhid={id}"))
    );
    assert_eq!(origins[1].requests_for("/live/a.m3u8").len(), 2, "once");
    // One who asked for the master gets it.
    let master = get(proxy.http, "/live/a.m3u8");
    assert!(master.text().contains("EXT-X-STREAM-INF"));
    assert_eq!(origins[1].requests_for("/live/a.m3u8").len(), 3);
}

#[test]
fn other_masters_are_passed_on_as_they_are() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let inf = "#EXT-X-STREAM-INF:BANDWIDTH=1\n";
    for master in [
        format!("#EXTM3U\n{inf}/live/a.m3u8?hls_ctx=1\n{inf}/live/a.m3u8?hls_ctx=2\n"),
        format!("#EXTM3U\n{inf}/live/other.m3u8?hls_ctx=1\n"),
        format!("#EXTM3U\n{inf}http://elsewhere.example/live/a.m3u8?hls_ctx=1\n"),
    ] {
        let body = master.clone();
        origin.otherwise(move |_| Reply::playlist(&body).into());
        let before = origin.requests().len();
        let got = get(proxy.http, "/live/a.m3u8?hls_ctx=old").text();
        assert_eq!(
            got.matches("EXT-X-STREAM-INF").count(),
            master.matches(inf).count()
        );
        assert_eq!(origin.requests().len(), before + 1, "{master}");
    }
    // An origin that answers with a master again and again is asked once more, not for ever.
    let body = format!("#EXTM3U\n{inf}/live/a.m3u8?hls_ctx=next\n");
    origin.otherwise(move |_| Reply::playlist(&body).into());
    let before = origin.requests().len();
    assert_eq!(get(proxy.http, "/live/a.m3u8?hls_ctx=old").status(), 200);
    assert_eq!(origin.requests().len(), before + 2);
}
