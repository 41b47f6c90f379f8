//! mpegts.js across a splice: the pictures go on in the same response, without a reload.

use super::{COUNT_WATCHED, PATIENCE, libraries, player, serving};
use crate::common;
use crate::common::browser::Browser;
use crate::common::fetch::{get, post};
use crate::common::lab::demo;
use crate::common::wait::wait_until;

#[test]
fn pictures_go_on_in_the_same_response() {
    let _alone = common::alone();
    if !libraries("pictures_go_on_in_the_same_response") {
        return;
    }
    let (proxy, _) = demo(&[("PROXY_CONNECT_TIMEOUT", "500ms")]);
    let browser = Browser::start();
    let windows = ["flv", "ts"].map(|format| {
        let window = browser.new_window();
        browser.open(&player(&proxy, &format!("/live/demo.{format}")));
        window
    });
    let watch_on = |what: &str| {
        for window in &windows {
            browser.turn_to(window);
            browser.run(COUNT_WATCHED);
        }
        for window in &windows {
            browser.turn_to(window);
            let watched = || browser.run("return window.watched").as_f64();
            wait_until(what, PATIENCE, || watched() > Some(8.0));
            browser.wait_for_text("#state", "Playing", PATIENCE);
            assert_eq!(browser.text("#error"), "");
        }
    };
    let splices = || {
        let lines = proxy.log_lines();
        lines
            .iter()
            .filter(|line| line.contains(" goes on from "))
            .count()
    };
    watch_on("8 s were seen");
    // An operator empties the origin.
    let first = serving(&proxy).expect("an origin");
    let origins = get(proxy.api, "/api/v1/origins").json();
    let origins = origins["data"]["origins"]
        .as_array()
        .expect("origins")
        .clone();
    let own = origins.iter().find(|it| it["address"] == first.to_string());
    let id = own.expect("the origin")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = |what: &str| format!("/api/v1/origins/{id}/{what}");
    assert_eq!(
        post(proxy.api, &path("drain?move=1"), &[], b"").status(),
        200
    );
    wait_until("both streams moved", PATIENCE, || splices() == 2);
    watch_on("8 s more were seen after the move");
    // And then the other one dies.
    let second = serving(&proxy).expect("an origin");
    assert_ne!(first, second);
    assert_eq!(post(proxy.api, &path("undrain"), &[], b"").status(), 200);
    assert_eq!(
        post(second, "/lab/stop?seconds=600", &[], b"").status(),
        200
    );
    wait_until("both streams went on", PATIENCE, || splices() == 4);
    watch_on("8 s more were seen after the stop");
    // No response has ended meanwhile: the players saw one.
    let ended = |line: &&String| line.contains(" GET /live/demo.");
    let lines = proxy.log_lines();
    assert_eq!(lines.iter().find(ended), None);
    proxy.assert_no_panic();
}
