//! HLS that goes on: a stream that moves, or whose origin restarts, keeps its numbers growing.

use crate::common::answer::Reply;
use crate::common::fetch::{get, get_with};
use crate::common::hls::{live_id, uris};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::srs;
use crate::common::wait::wait_for;
use crate::common::{ABOUT_A_SECOND, SOON};
use std::time::{Duration, Instant};

const PATH: &str = "/live/a.m3u8";

/// Segments `first` to `last`, each two seconds.
fn media(first: u64, last: u64) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-TARGETDURATION:2\n"
    );
    for number in first..=last {
        text += &format!("#EXTINF:2.000, no desc\na-{number}.ts\n");
    }
    text
}

/// Serves these segments, each with the origin's word in it.
fn serve(origin: &Origin, word: &'static str, first: u64, last: u64) {
    origin.on(PATH, Reply::playlist(media(first, last)));
    for number in first..=last {
        let body = format!("{word} {number}");
        let reply = Reply::ok("video/MP2T", body);
        origin.on(&format!("/live/a-{number}.ts"), reply);
    }
}

/// Two origins with APIs, and a proxy that keeps no playlist for long.
fn pair() -> ([Origin; 2], Proxy) {
    let origins = [srs::start(), srs::start()];
    let proxy = Proxy::start(&[("PROXY_HLS_CACHE", "0")]);
    for origin in &origins {
        proxy.register(origin);
        // As SRS before the first segment.
        origin.on(PATH, Reply::new(404));
    }
    (origins, proxy)
}

fn value(list: &str, tag: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(tag))?;
    Some(line.parse().expect("a number"))
}

fn sequence(list: &str) -> u64 {
    value(list, "#EXT-X-MEDIA-SEQUENCE:").expect("a sequence number")
}

/// What segment number `number` of a playlist is, as a player gets it.
fn segment(proxy: &Proxy, list: &str, number: u64) -> String {
    let index = usize::try_from(number - sequence(list)).expect("small");
    get(proxy.http, &format!("/live/{}", uris(list)[index])).text()
}

#[test]
fn numbers_go_on_at_another_origin_and_names_do_not_mix() {
    let (origins, proxy) = pair();
    serve(&origins[0], "first", 996, 1000);
    origins[0].api().publish("/live/a");
    let before = get(proxy.http, PATH).text();
    assert_eq!(
        before.replace(&format!("?spbhid={}", live_id("a")), ""),
        media(996, 1000)
    );
    assert_eq!(segment(&proxy, &before, 1000), "first 1000");
    // The old origin keeps its files; the new one has a file of a name that was there, and restarts its numbers.
    srs::unpublish(&origins[0], "a");
    serve(&origins[0], "first", 996, 1000);
    serve(&origins[1], "second", 998, 999);
    origins[1].api().publish("/live/a");
    let after = wait_for("the new origin's playlist", SOON, || {
        let list = get(proxy.http, PATH).text();
        list.contains("#EXT-X-DISCONTINUITY\n").then_some(list)
    });
    assert_eq!((sequence(&after), uris(&after).len()), (1001, 2));
    assert_eq!(segment(&proxy, &after, 1001), "second 998");
    assert_eq!(segment(&proxy, &after, 1002), "second 999");
    assert_ne!(uris(&after)[0], uris(&before)[2], "one name, two files");
    // A player that is behind still gets what its playlist named.
    assert_eq!(segment(&proxy, &before, 998), "first 998");
    serve(&origins[1], "second", 999, 1001);
    let later = get(proxy.http, PATH).text();
    assert_eq!(sequence(&later), 1002);
    assert_eq!(value(&later, "#EXT-X-DISCONTINUITY-SEQUENCE:"), Some(1));
    assert!(!later.contains("#EXT-X-DISCONTINUITY\n"), "{later}");
    assert_eq!(uris(&later)[0], uris(&after)[1]);
}

#[test]
fn numbers_go_on_after_a_restart_of_the_origin() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    serve(&origin, "first", 996, 1000);
    let before = get(proxy.http, PATH).text();
    serve(&origin, "second", 9, 10);
    let after = get(proxy.http, PATH).text();
    assert_eq!((sequence(&before), sequence(&after)), (996, 1001));
    assert_eq!(segment(&proxy, &after, 1001), "second 9");
    serve(&origin, "second", 9, 11);
    assert_eq!(sequence(&get(proxy.http, PATH).text()), 1001);
}

#[test]
fn what_has_ended_is_never_touched() {
    let (origins, proxy) = pair();
    for (origin, first) in [(&origins[0], 5), (&origins[1], 0)] {
        let list = media(first, first + 3) + "#EXT-X-ENDLIST\n";
        origin.on(PATH, Reply::playlist(list));
    }
    origins[0].api().publish("/live/a");
    assert_eq!(sequence(&get(proxy.http, PATH).text()), 5);
    origins[0].stop();
    origins[1].api().publish("/live/a");
    let list = wait_for("the other origin's", SOON, || {
        let list = get(proxy.http, PATH).text();
        (list.contains("SEQUENCE") && sequence(&list) == 0).then_some(list)
    });
    assert_eq!(
        list.replace(&format!("?spbhid={}", live_id("a")), ""),
        media(0, 3) + "#EXT-X-ENDLIST\n"
    );
}

#[test]
fn between_two_origins_the_last_playlist_goes_out_again() {
    let (origins, proxy) = pair();
    serve(&origins[0], "first", 996, 1000);
    origins[0].api().publish("/live/a");
    let before = get(proxy.http, PATH).text();
    // It dies; the next one lists the stream at once, and has a segment seconds later.
    origins[0].stop();
    origins[0].api().server().stop();
    origins[1].api().publish("/live/a");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let response = get(proxy.http, PATH);
        assert_eq!((response.status(), response.text()), (200, before.clone()));
        assert!(asked.elapsed() < ABOUT_A_SECOND, "{:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    serve(&origins[1], "second", 0, 0);
    let after = get(proxy.http, PATH).text();
    assert_eq!(sequence(&after), 1001);
    assert_eq!(segment(&proxy, &after, 1001), "second 0");
}

#[test]
fn the_old_origin_is_asked_while_it_answers() {
    let (origins, proxy) = pair();
    serve(&origins[0], "first", 996, 1000);
    origins[0].api().publish("/live/a");
    get(proxy.http, PATH);
    // Its last segment is cut when its publisher leaves.
    origins[0].api().unpublish("/live/a");
    serve(&origins[0], "first", 997, 1001);
    origins[1].api().publish("/live/a");
    let list = wait_for("the last segment", SOON, || {
        let list = get(proxy.http, PATH).text();
        list.contains("a-1001.ts").then_some(list)
    });
    assert_eq!(sequence(&list), 997);
    assert_eq!(segment(&proxy, &list, 1001), "first 1001");
}

#[test]
fn the_last_playlist_makes_sense_for_three_target_durations() {
    let origin = srs::start();
    let proxy = Proxy::start(&[("PROXY_STREAM_WAIT", "1s")]);
    proxy.register(&origin);
    serve(&origin, "first", 996, 1000);
    origin.api().publish("/live/a");
    get(proxy.http, PATH);
    let began = Instant::now();
    srs::unpublish(&origin, "a");
    origin.on(PATH, Reply::new(404));
    let ended = wait_for("its end", SOON, || {
        (get(proxy.http, PATH).status() == 404).then(|| began.elapsed())
    });
    assert!(ended > Duration::from_secs(4), "{ended:?}");
}

#[test]
fn a_player_that_waits_for_a_publisher_waits_for_the_first_segment_too() {
    let origin = srs::start();
    origin.on(PATH, Reply::new(404));
    let proxy = Proxy::start(&[]);
    proxy.register(&origin);
    std::thread::scope(|scope| {
        let player = scope.spawn(|| get(proxy.http, PATH));
        std::thread::sleep(Duration::from_millis(1500));
        origin.api().publish("/live/a");
        std::thread::sleep(Duration::from_millis(2000));
        serve(&origin, "first", 0, 0);
        let response = player.join().expect("a response");
        assert_eq!((response.status(), sequence(&response.text())), (200, 0));
    });
}

#[test]
fn one_viewers_last_playlist_is_nobody_elses() {
    let (origins, proxy) = pair();
    serve(&origins[0], "first", 996, 1000);
    origins[0].api().publish("/live/a");
    let mine = [("Authorization", "Basic bWU6eA==")];
    assert_eq!(get_with(proxy.http, PATH, &mine).status(), 200);
    origins[0].stop();
    origins[0].api().server().stop();
    origins[1].api().publish("/live/a");
    assert_eq!(get_with(proxy.http, PATH, &mine).status(), 200);
    let others = [("Authorization", "Basic eW91Ong=")];
    assert_ne!(get_with(proxy.http, PATH, &others).status(), 200);
}
