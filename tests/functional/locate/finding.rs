//! A stream is found, wherever it is: by the origins' APIs, and by trying where these do not tell.

use crate::common::answer::{Answer, Reply};
use crate::common::api::Trouble;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{SOON, srs};
use std::time::{Duration, Instant};

/// What the contract gives the first request of a stream, 1.5 s, and room for a noisy machine. An origin that was
/// asked in vain holds its player for the response timeout, ten seconds.
const FOUND: Duration = Duration::from_millis(1500 + 2500);
/// The same for what must take no longer than an API's 500 ms.
const HALF_A_SECOND: Duration = Duration::from_millis(500 + 2000);

fn before(origins: &[Origin], settings: &[(&str, &str)]) -> Proxy {
    let proxy = Proxy::start(settings);
    for origin in origins {
        proxy.register(origin);
    }
    proxy
}

/// How many streams are pinned at all origins together.
fn pinned(proxy: &Proxy) -> u64 {
    let json = get(proxy.api, "/api/v1/origins").json();
    let origins = json["data"]["origins"].as_array().expect("origins");
    origins.iter().map(|o| o["pinned"].as_u64().unwrap()).sum()
}

#[test]
fn whichever_origin_publishes_it_the_first_request_finds_it() {
    let origins = [srs::start(), srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    for (n, origin) in origins.iter().enumerate() {
        for kind in ["flv", "m3u8"] {
            let name = format!("{kind}{n}");
            srs::publish(origin, &name, &format!("from {n}"));
            let began = Instant::now();
            let response = get(proxy.http, &format!("/live/{name}.{kind}"));
            assert!(began.elapsed() < FOUND, "{:?}", began.elapsed());
            assert_eq!(response.status(), 200, "{name}");
            assert!(response.text().contains(&format!("from {n}")), "{name}");
            for (other, origin) in origins.iter().enumerate() {
                let asked = srs::asked_for(origin, &name);
                assert_eq!(asked, usize::from(other == n), "{name} at {other}");
            }
        }
    }
}

#[test]
fn a_stream_that_was_published_just_now_is_found() {
    let origins = [srs::start(), srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    srs::publish(&origins[0], "other", "other");
    for (n, origin) in origins.iter().enumerate() {
        // A round that knows nothing of the stream has just been.
        assert_eq!(get(proxy.http, "/live/other.flv").text(), "other");
        let name = format!("new{n}");
        srs::publish(origin, &name, "here");
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        assert_eq!(get(proxy.http, &format!("/live/{name}.flv")).text(), "here");
        assert!(began.elapsed() < FOUND, "{:?}", began.elapsed());
    }
}

#[test]
fn a_thousand_players_at_once_are_one_round() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    for origin in &origins {
        // So that all of them are there while it lasts.
        origin
            .api()
            .trouble(Some(Trouble::Slow(Duration::from_millis(300))));
    }
    srs::publish(&origins[1], "a", "here");
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(proxy.http)).collect();
    let began = Instant::now();
    for client in &mut clients {
        client.request("GET", "/live/a.flv", &[]);
    }
    for client in &mut clients {
        let response = client.read_response(SOON * 3);
        assert_eq!((response.status(), response.text().as_str()), (200, "here"));
    }
    let most = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    for origin in &origins {
        let rounds = origin.api().rounds();
        assert!(
            (1..=most).contains(&rounds),
            "{rounds} in {:?}",
            began.elapsed()
        );
    }
    assert_eq!(srs::asked_for(&origins[0], "a"), 0);
    assert_eq!(srs::asked_for(&origins[1], "a"), 1000);
}

#[test]
fn an_api_in_trouble_costs_half_a_second_and_rules_nothing_out() {
    let troubles = [
        Some(Trouble::Slow(SOON)),
        Some(Trouble::Hangs),
        Some(Trouble::Stalls),
        Some(Trouble::Closes),
        Some(Trouble::Status(500)),
        Some(Trouble::Status(302)),
        Some(Trouble::Rubbish(b"<html>".into())),
        Some(Trouble::Rubbish(br#"{"code":0}"#.into())),
        Some(Trouble::Rubbish(br#"{"code":1,"streams":[]}"#.into())),
        Some(Trouble::Rubbish(br#"{"code":0,"streams":[{"url""#.into())),
        Some(Trouble::Rubbish(vec![0xff; 100_000])),
        None, // and one that is down
    ];
    for trouble in troubles {
        let what = format!("{trouble:?}").chars().take(60).collect::<String>();
        let origins = [srs::start(), srs::start()];
        let proxy = before(&origins, &[]);
        match trouble {
            Some(trouble) => origins[0].api().trouble(Some(trouble)),
            None => origins[0].api().server().stop(),
        }
        srs::publish(&origins[1], "well", "from the well one");
        srs::publish(&origins[0], "ill", "from the ill one");
        for (name, word) in [("well", "from the well one"), ("ill", "from the ill one")] {
            let began = Instant::now();
            let response = get(proxy.http, &format!("/live/{name}.flv"));
            // The second may have to wait for the next round's turn.
            let most = if name == "well" { HALF_A_SECOND } else { FOUND };
            assert!(began.elapsed() < most, "{what}: {:?}", began.elapsed());
            assert_eq!(response.text(), word, "{what}");
        }
    }
}

#[test]
fn an_api_that_never_ends_does_not_use_up_the_others() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    origins[0].api().trouble(Some(Trouble::Stalls));
    srs::publish(&origins[1], "a", "here");
    let enough = Instant::now() + Duration::from_secs(4);
    while Instant::now() < enough {
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "here");
        std::thread::sleep(Duration::from_millis(100));
    }
    let open = origins[0].api().server().open_connections();
    assert!(
        open <= 2,
        "{open} look-ups of an API that stalls are still open"
    );
}

#[test]
fn more_streams_than_a_page_holds() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    for n in 0..2500 {
        origins[1].api().publish(&format!("/live/s{n}"));
    }
    srs::publish(&origins[1], "last", "the last one");
    assert_eq!(get(proxy.http, "/live/last.flv").text(), "the last one");
    assert_eq!(srs::asked_for(&origins[0], "last"), 0);
}

#[test]
fn an_exact_vhost_goes_before_the_default_one() {
    let (default, exact) = (srs::start(), srs::start());
    srs::serve(&default, "a", "default");
    srs::serve(&exact, "a", "exact");
    default.api().publish("/live/a");
    exact.api().publish("v.example.com/live/a");
    // Its answer comes last, and counts all the same.
    let slow = Trouble::Slow(Duration::from_millis(150));
    exact.api().trouble(Some(slow));
    let origins = [default, exact];
    let proxy = before(&origins, &[]);
    for (host, word) in [
        ("v.example.com", "exact"),
        ("V.Example.com:8080", "exact"),
        ("other.example.com", "default"),
        ("127.0.0.1", "default"),
    ] {
        let response = get_with(proxy.http, "/live/a.flv", &[("Host", host)]);
        assert_eq!(response.text(), word, "{host}");
    }
    let by_query = get(proxy.http, "/live/a.flv?vhost=v.example.com");
    assert_eq!(by_query.text(), "exact");
}

#[test]
fn what_has_ended_is_not_found_by_its_old_entry() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    srs::publish(&origins[0], "a", "the old one");
    srs::unpublish(&origins[0], "a");
    srs::publish(&origins[1], "a", "the new one");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "the new one");
    assert_eq!(srs::asked_for(&origins[0], "a"), 0);
}

#[test]
fn origins_without_an_api_are_tried_one_after_the_other() {
    let origins: Vec<Origin> = (0..5).map(|_| Origin::start()).collect();
    let proxy = before(&origins, &[]);
    origins[0].stop();
    origins[1].otherwise(|_| Reply::new(503).body("not now").into());
    origins[2].otherwise(|_| Reply::new(404).body("not here").into());
    origins[3].otherwise(|_| Reply::new(500).into());
    origins[4].otherwise(|_| Reply::ok("video/x-flv", "the fifth").into());
    let asked = || -> Vec<usize> { origins.iter().map(|o| o.requests().len()).collect() };
    for kind in ["flv", "m3u8"] {
        let target = format!("/live/{kind}.{kind}");
        assert_eq!(get(proxy.http, &target).text(), "the fifth", "{kind}");
    }
    let before = asked();
    // The fourth had fewer streams than the fifth both times, and the first could not be asked.
    assert_eq!(before, [0, 2, 2, 2, 2]);
    // Once found it is not looked for again.
    for _ in 0..5 {
        assert_eq!(get(proxy.http, "/live/flv.flv").text(), "the fifth");
    }
    let after = asked();
    assert_eq!((after[4], &after[..4]), (before[4] + 5, &before[..4]));
}

#[test]
fn fewest_streams_first() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::start()).collect();
    for origin in &origins {
        origin.otherwise(|_| Reply::ok("video/x-flv", "here").into());
    }
    let proxy = before(&origins, &[]);
    for n in 0..9 {
        assert_eq!(get(proxy.http, &format!("/live/{n}.flv")).status(), 200);
    }
    let asked: Vec<usize> = origins.iter().map(|o| o.requests().len()).collect();
    assert_eq!(asked, [3, 3, 3]);
}

#[test]
fn where_nobody_has_it_the_404_is_the_origins_own() {
    let origins = [Origin::start(), Origin::start(), Origin::start()];
    origins[0].otherwise(|_| Reply::new(503).body("first").into());
    origins[1].otherwise(|_| {
        let reply = Reply::new(404).header("X-Own", "1");
        reply.body("nothing of that name\n").into()
    });
    origins[2].otherwise(|_| Reply::new(500).body("third").into());
    // A 404 is shared for a moment; here each request is to be searched for.
    let proxy = before(&origins, &[("PROXY_HLS_CACHE", "0")]);
    for round in 1..=2 {
        for target in ["/live/a.flv", "/live/a.m3u8"] {
            let response = get(proxy.http, target);
            assert_eq!(response.status(), 404, "{target}");
            assert_eq!(response.text(), "nothing of that name\n");
            assert_eq!(response.headers().one("x-own"), "1");
        }
        for origin in &origins {
            assert_eq!(origin.requests().len(), 2 * round, "all are asked again");
        }
    }
    assert_eq!(pinned(&proxy), 0);
    let head = fetch(proxy.http, "HEAD", "/live/a.flv", &[]);
    assert_eq!(head.status(), 404);
    assert_eq!(head.headers().one("content-length"), "21");
}

#[test]
fn an_origin_that_was_silent_is_tried_after_the_others() {
    let origins = [Origin::start(), Origin::start()];
    origins[0].otherwise(|_| Answer::Silence);
    origins[1].otherwise(|_| Reply::ok("video/x-flv", "here").into());
    let proxy = before(&origins, &[("PROXY_RESPONSE_TIMEOUT", "500ms")]);
    for _ in 0..3 {
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "here");
    }
    assert_eq!(origins[0].requests().len(), 1);
}

#[test]
fn once_found_by_an_api_it_stays() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    srs::publish(&origins[0], "a", "first");
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
    // It is relayed to another origin, which lists it too: no reason to move.
    srs::publish(&origins[1], "a", "second");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(get(proxy.http, "/live/a.flv").text(), "first");
        assert!(get(proxy.http, "/live/a.m3u8").text().contains("first"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let most = 2 + usize::try_from(began.elapsed().as_secs()).unwrap();
    for origin in &origins {
        let rounds = origin.api().rounds();
        assert!(rounds <= most, "{rounds} rounds in {:?}", began.elapsed());
    }
}

#[test]
fn an_api_that_was_slow_once_does_not_leave_the_player_with_an_origin_that_holds_it() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[("PROXY_RESPONSE_TIMEOUT", "60s")]);
    srs::publish(&origins[1], "a", "here");
    for origin in &origins {
        origin.api().trouble(Some(Trouble::Hangs));
    }
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.flv", &[]);
    let began = Instant::now();
    wait_until("the first was asked", SOON, || {
        srs::asked_for(&origins[0], "a") == 1
    });
    for origin in &origins {
        origin.api().trouble(None);
    }
    assert_eq!(client.read_response(SOON).text(), "here");
    let most = Duration::from_secs(1) + FOUND;
    assert!(began.elapsed() < most, "{:?}", began.elapsed());
}

#[test]
fn an_origin_without_a_working_api_may_take_its_time() {
    let origin = srs::start();
    origin.api().server().stop();
    let slow = Reply::ok("video/x-flv", "slow").chunked();
    origin.on("/live/a.flv", slow.after(Duration::from_millis(2500)));
    let proxy = Proxy::before(&origin, &[]);
    assert_eq!(get(proxy.http, "/live/a.flv").text(), "slow");
}

#[test]
fn new_streams_of_a_plain_web_server_do_not_wait_for_rounds() {
    let origin = srs::start();
    origin.api().trouble(Some(Trouble::Status(404)));
    let proxy = before(std::slice::from_ref(&origin), &[]);
    for n in 0..10 {
        srs::serve(&origin, &n.to_string(), "found");
        assert_eq!(get(proxy.http, &format!("/live/{n}.flv")).text(), "found");
    }
    // Were each to wait for a round of its own, there would be ten.
    let rounds = origin.api().server().requests().len();
    assert!(rounds < 5, "{rounds} rounds");
}

/// Whoever asks makes the vhost up: SRS serves the default vhost's stream under any that it does not know.
#[test]
fn the_default_vhosts_stream_has_one_name_under_all_vhosts() {
    let origins = [srs::start(), srs::start()];
    srs::publish(&origins[0], "a", "the default one");
    let proxy = before(&origins, &[]);
    let ask = |vhost: &str| get(proxy.http, &format!("/live/a.flv?vhost={vhost}")).text();
    for n in 0..20 {
        assert_eq!(ask(&format!("v{n}.example")), "the default one");
        let playlist = get(proxy.http, &format!("/live/a.m3u8?vhost=v{n}.example"));
        assert_eq!(playlist.status(), 200);
    }
    assert_eq!(pinned(&proxy), 1);
    let streams = get(proxy.api, "/api/v1/streams").json();
    let streams = streams["data"]["streams"].as_array().expect("streams");
    let urls: Vec<_> = streams.iter().map(|it| it["url"].as_str()).collect();
    assert_eq!(urls, [Some("__defaultVhost__/live/a")]);
    // One of them gets a stream of its own, at the other origin.
    srs::serve(&origins[1], "a", "v0's own");
    origins[1].api().publish("v0.example/live/a");
    wait_until("it is found there", SOON, || {
        ask("v0.example") == "v0's own"
    });
    assert_eq!(ask("v1.example"), "the default one");
    assert_eq!(pinned(&proxy), 2);
}
