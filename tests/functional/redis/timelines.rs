//! HLS that goes on, at several proxies: all give the same numbers, whoever sees first that a stream has moved.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::redis::RedisServer;
use crate::common::shared::wait_known;
use crate::common::srs;
use crate::common::wait::{wait_for, wait_until};

const PATH: &str = "/live/a.m3u8";
/// Where its timeline is.
const KEY: &str = "srs-stream-proxy:text:timeline:__defaultVhost__/live/a:/live/a.m3u8";
/// Each request asks the origin.
const NO_CACHE: (&str, &str) = ("PROXY_HLS_CACHE", "0");

/// Serves segments `first` to `last`, each two seconds.
fn serve(origin: &Origin, first: u64, last: u64) {
    let mut text =
        format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-TARGETDURATION:2\n").to_owned();
    for number in first..=last {
        text += &format!("#EXTINF:2.000,\na-{number}.ts\n");
    }
    origin.on(PATH, Reply::playlist(text));
}

fn list(proxy: &Proxy) -> String {
    let response = get(proxy.http, PATH);
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text()
}

fn sequence(list: &str) -> u64 {
    let value = list
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    value.expect("a sequence").parse().expect("a number")
}

/// The stream is published at `to` from now on, with its segments from `first` on.
fn moves(from: &Origin, to: &Origin, first: u64) {
    srs::unpublish(from, "a");
    from.on(PATH, Reply::new(404));
    serve(to, first, first + 2);
    to.api().publish("/live/a");
}

#[test]
fn all_proxies_give_the_same_numbers_whoever_sees_first_that_a_stream_moved() {
    let redis = RedisServer::start();
    let origins = [srs::start(), srs::start()];
    let proxies = [(); 3].map(|()| redis.proxy(&[NO_CACHE]));
    for origin in &origins {
        proxies[0].register(origin);
    }
    for proxy in &proxies {
        wait_known(proxy, 2);
    }
    serve(&origins[0], 996, 1000);
    origins[0].api().publish("/live/a");
    for proxy in &proxies {
        assert_eq!(sequence(&list(proxy)), 996);
    }
    // Back and forth; all players ask at the same moment, and each proxy may be the first to see it.
    let mut expected = 1001;
    for turn in 0..4_u64 {
        let [from, to] = match turn % 2 {
            0 => [&origins[0], &origins[1]],
            _ => [&origins[1], &origins[0]],
        };
        moves(from, to, 10 * turn);
        let first = format!("\na-{}.ts", 10 * turn);
        let lists = std::thread::scope(|scope| {
            let ask = |proxy| {
                let first = &first;
                scope.spawn(move || {
                    wait_for("the new origin's playlist", SOON, || {
                        let list = list(proxy);
                        list.contains(first).then_some(list)
                    })
                })
            };
            let asked: Vec<_> = proxies.iter().map(ask).collect();
            let lists = asked.into_iter().map(|it| it.join().expect("a playlist"));
            lists.collect::<Vec<_>>()
        });
        assert_eq!(sequence(&lists[0]), expected, "turn {turn}");
        assert!(lists[0].contains("#EXT-X-DISCONTINUITY\n"));
        // To the last byte: the URIs name the epoch, which caches between players and proxies tell files by.
        assert_eq!(lists[0], lists[1], "turn {turn}");
        assert_eq!(lists[0], lists[2], "turn {turn}");
        expected += 3;
        // Only one of them sees the next segment, and tells the others that its number is taken.
        let before = redis.get(KEY);
        serve(to, 10 * turn + 1, 10 * turn + 3);
        let one = &proxies[turn as usize % 3];
        assert_eq!(sequence(&list(one)), expected - 2, "turn {turn}");
        wait_until("it is written", SOON, || redis.get(KEY) != before);
        expected += 1;
    }
    // What is written is ours, and expires.
    assert!((1..=3600).contains(&redis.ttl(KEY)), "{}", redis.ttl(KEY));
}

#[test]
fn a_proxy_that_starts_later_goes_on_with_the_numbers_of_the_others() {
    let redis = RedisServer::start();
    let origins = [srs::start(), srs::start()];
    let first = redis.proxy(&[NO_CACHE]);
    for origin in &origins {
        first.register(origin);
    }
    serve(&origins[0], 996, 1000);
    origins[0].api().publish("/live/a");
    assert_eq!(sequence(&list(&first)), 996);
    moves(&origins[0], &origins[1], 12);
    let before = wait_for("the new origin's playlist", SOON, || {
        let list = list(&first);
        (sequence(&list) == 1001).then_some(list)
    });
    // It never saw the first origin's.
    let second = redis.proxy(&[NO_CACHE]);
    wait_known(&second, 2);
    assert_eq!(list(&second), before);
    drop(first);
    moves(&origins[1], &origins[0], 996);
    let after = wait_for("the next change", SOON, || {
        let list = list(&second);
        list.contains("a-996.ts").then_some(list)
    });
    assert_eq!(sequence(&after), 1004);
    // Without Redis it goes on by itself.
    drop(redis);
    serve(&origins[0], 997, 999);
    assert_eq!(sequence(&list(&second)), 1005);
}
