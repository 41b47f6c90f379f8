//! Origins that are half dead: they take requests and close, or say nothing, or answer 5xx for good.

use crate::common::answer::{Answer, Reply};
use crate::common::api::Trouble;
use crate::common::fetch::get;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{SOON, srs};
use std::time::{Duration, Instant};

/// Far above what a second's patience with each origin takes, far below the response timeout of these tests.
const PATIENT: Duration = Duration::from_secs(6);
/// The response timeout of these tests: nothing may wait for it.
const FOR_EVER: (&str, &str) = ("PROXY_RESPONSE_TIMEOUT", "60s");

fn before(origins: &[Origin], settings: &[(&str, &str)]) -> Proxy {
    let proxy = Proxy::start(&[settings, &[FOR_EVER]].concat());
    for origin in origins {
        proxy.register(origin);
    }
    proxy
}

#[track_caller]
fn assert_served(proxy: &Proxy, target: &str, word: &str) {
    let began = Instant::now();
    let response = get(proxy.http, target);
    let (status, time) = (response.status(), began.elapsed());
    assert_eq!((status, response.text().as_str()), (200, word), "{target}");
    assert!(time < PATIENT, "{target} took {time:?}");
}

fn state_of(proxy: &Proxy, origin: &Origin) -> String {
    let json = get(proxy.api, "/api/v1/origins").json();
    let mut origins = json["data"]["origins"].as_array().expect("origins").iter();
    let own = origins.find(|it| it["http"] == origin.port());
    own.expect("the origin")["state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

#[test]
fn without_apis_all_new_streams_are_found_beside_an_origin_that_is_no_use() {
    for trouble in [
        Answer::CloseWithoutHead,
        Answer::ResetWithoutHead,
        Answer::Silence,
    ] {
        let origins = [Origin::start(), Origin::start()];
        let answer = trouble.clone();
        origins[0].otherwise(move |_| answer.clone());
        origins[1].otherwise(|_| Reply::ok("video/x-flv", "here").into());
        let proxy = before(&origins, &[]);
        for n in 0..9 {
            assert_served(&proxy, &format!("/live/{n}.flv"), "here");
            if n == 2 {
                assert_eq!(state_of(&proxy, &origins[0]), "suspect", "three in a row");
            }
        }
        assert_eq!(state_of(&proxy, &origins[1]), "alive");
    }
}

#[test]
fn one_stream_alone_makes_no_suspect() {
    let origins = [Origin::start(), Origin::start()];
    origins[0].otherwise(|_| Answer::CloseWithoutHead);
    origins[1].otherwise(|_| Reply::new(404).into());
    let proxy = before(&origins, &[("PROXY_HLS_CACHE", "0")]);
    for _ in 0..5 {
        assert_eq!(get(proxy.http, "/live/a.flv").status(), 404);
    }
    assert_eq!(state_of(&proxy, &origins[0]), "alive");
}

#[test]
fn a_listing_beats_a_pin_whose_api_says_nothing() {
    for trouble in [Trouble::Hangs, Trouble::Closes, Trouble::Status(401)] {
        for answer in [Answer::CloseWithoutHead, Answer::Silence] {
            let origins = [srs::start(), srs::start()];
            let proxy = before(&origins, &[]);
            srs::publish(&origins[0], "a", "first");
            assert_served(&proxy, "/live/a.flv", "first");
            // A port forwarder is left of it.
            origins[0].api().trouble(Some(trouble.clone()));
            origins[0].on("/live/a.flv", answer.clone());
            srs::publish(&origins[1], "a", "second");
            // What the API said before is believed for two seconds.
            std::thread::sleep(Duration::from_millis(2100));
            for _ in 0..3 {
                assert_served(&proxy, "/live/a.flv", "second");
            }
        }
    }
}

#[test]
fn a_pinned_origin_that_has_lost_the_stream_and_whose_api_wants_a_password() {
    let origins = [Origin::start(), Origin::start()];
    let proxy = Proxy::start(&[FOR_EVER]);
    proxy.register(&origins[0]);
    srs::serve(&origins[0], "a", "first");
    assert_served(&proxy, "/live/a.flv", "first");
    proxy.register(&origins[1]);
    srs::serve(&origins[1], "a", "second");
    origins[0].on("/live/a.flv", Answer::Silence);
    assert_served(&proxy, "/live/a.flv", "second");
}

#[test]
fn a_pinned_origin_that_answers_5xx_loses_its_streams() {
    for with_api in [true, false] {
        let start = || {
            if with_api {
                srs::start()
            } else {
                Origin::start()
            }
        };
        let origins = [start(), start(), start()];
        let proxy = before(&origins, &[]);
        srs::serve(&origins[0], "a", "first");
        if with_api {
            origins[0].api().publish("/live/a");
        }
        assert_served(&proxy, "/live/a.flv", "first");
        let ill = Reply::new(500).body("ill");
        origins[0].on("/live/a.flv", ill.clone());
        // One other is asked, no more; without another's 200 the answer is the first's.
        origins[1].otherwise(|_| Reply::new(404).body("not here").into());
        origins[2].otherwise(|_| Reply::new(404).body("not here").into());
        let response = get(proxy.http, "/live/a.flv");
        assert_eq!((response.status(), response.text().as_str()), (500, "ill"));
        let asked = || -> usize { (1..3).map(|n| srs::asked_for(&origins[n], "a")).sum() };
        assert_eq!(asked(), usize::from(!with_api));
        for origin in &origins[1..] {
            srs::serve(origin, "a", "other");
            if with_api {
                origin.api().publish("/live/a");
            }
        }
        std::thread::sleep(Duration::from_millis(2100)); // until the APIs were asked again
        assert_served(&proxy, "/live/a.flv", "other");
        let before = srs::asked_for(&origins[0], "a");
        assert_served(&proxy, "/live/a.flv", "other");
        if !with_api {
            assert_eq!(
                srs::asked_for(&origins[0], "a"),
                before,
                "the pin has moved"
            );
        }
    }
}

#[test]
fn a_close_where_the_api_lists_the_stream_is_a_refusal() {
    let origins = [srs::start(), srs::start()];
    let proxy = before(&origins, &[]);
    for name in ["a", "b", "c", "d"] {
        srs::publish(&origins[0], name, "here");
        origins[0].on_request(&format!("/live/{name}.flv"), |request| {
            match request.query_value("token") {
                Some("good") => Reply::ok("video/x-flv", "here").into(),
                _ => Answer::CloseWithoutHead,
            }
        });
        for _ in 0..2 {
            let response = get(proxy.http, &format!("/live/{name}.flv"));
            assert_eq!(response.status(), 403, "{name}");
            assert!(response.text().contains("refused"), "{}", response.text());
        }
        let target = format!("/live/{name}.flv?token=good");
        assert_served(&proxy, &target, "here");
    }
    assert!(origins[1].requests().is_empty(), "each would call its hook");
    assert_eq!(
        state_of(&proxy, &origins[0]),
        "alive",
        "refusing is no illness"
    );
    let metrics = get(proxy.api, "/metrics").text();
    let line = "srs_proxy_picks_total{outcome=\"refused\"} 8";
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
}

#[test]
fn the_origins_apis_get_their_password() {
    let origin = srs::start();
    let proxy = before(
        std::slice::from_ref(&origin),
        &[("PROXY_ORIGIN_API_AUTH", "admin:se:cret")],
    );
    srs::publish(&origin, "a", "here");
    assert_served(&proxy, "/live/a.flv", "here");
    let asked = origin.api().server().requests();
    let sent = asked[0].headers.one("authorization");
    assert_eq!(sent, "Basic YWRtaW46c2U6Y3JldA==");
    let media = origin.requests();
    assert!(!media[0].headers.has("authorization"), "for the API only");
    assert!(
        !proxy
            .log_lines()
            .iter()
            .any(|line| line.contains("se:cret"))
    );
}

#[test]
fn an_api_that_refuses_us_is_one_warning_that_names_the_setting() {
    let origin = srs::start();
    origin.api().trouble(Some(Trouble::Status(401)));
    let proxy = before(std::slice::from_ref(&origin), &[]);
    srs::serve(&origin, "a", "here");
    let began = Instant::now();
    while origin.api().rounds() < 3 {
        assert_served(&proxy, "/live/a.flv", "here");
        assert!(began.elapsed() < SOON, "it is asked again and again");
    }
    let lines = proxy.log_lines();
    let warnings = lines
        .iter()
        .filter(|line| line.contains("PROXY_ORIGIN_API_AUTH"));
    assert_eq!(warnings.count(), 1, "{lines:#?}");
}
