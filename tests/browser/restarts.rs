//! hls.js across a restart of the only origin: the pictures go on in the same media source, without a reload.

use super::{COUNT_WATCHED, NO_HLS, PATIENCE, libraries, player};
use crate::common::browser::Browser;
use crate::common::fetch::{get, post};
use crate::common::lab::LabOrigin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use crate::common::{self, SOON};

/// Counts what a reload of the stream would do from now on, and measures the longest time without moving pictures, in
/// milliseconds.
pub const COUNT_RELOADS: &str = "
    const video = document.getElementById('video');
    window.reloads = 0;
    video.addEventListener('emptied', () => { window.reloads += 1; });
    let [last, moved] = [video.currentTime, performance.now()];
    window.stood = 0;
    setInterval(() => {
        if (video.currentTime !== last) [last, moved] = [video.currentTime, performance.now()];
        window.stood = Math.max(window.stood, performance.now() - moved);
    }, 50);";

/// The outage of the origin, in seconds.
const OUTAGE: f64 = 2.0;

#[test]
fn hls_js_goes_on_after_its_only_origin_has_restarted() {
    let _alone = common::alone();
    if !libraries("hls_js_goes_on_after_its_only_origin_has_restarted") {
        return;
    }
    let proxy = Proxy::start(&[]);
    let register = format!("http://{}/api/v1/srs/register", proxy.api);
    let lab = LabOrigin::start(&["--stream", "demo", "--register", &register]);
    lab.wait_for_log("is registered at ");
    let browser = Browser::start();
    browser.run_before_pages(NO_HLS);
    browser.open(&player(&proxy, "/live/demo.m3u8"));
    browser.wait_for_text("#state", "Playing", PATIENCE);
    let before = sequence(&proxy);
    browser.run(COUNT_RELOADS);
    let stop = format!("/lab/stop?seconds={OUTAGE}");
    assert_eq!(post(lab.addr, &stop, &[], b"").status(), 200);
    wait_until("its numbers have gone on", SOON * 2, || {
        sequence(&proxy) > before
    });
    // Three segments of two seconds is what hls.js has in store.
    browser.run(COUNT_WATCHED);
    let watched = || browser.run("return window.watched").as_f64();
    wait_until("8 s more were seen", PATIENCE, || watched() > Some(8.0));
    assert_eq!(browser.text("#state"), "Playing");
    assert_eq!(browser.text("#error"), "");
    assert_eq!(browser.run("return window.reloads"), 0);
    // The outage, a segment, and room for a busy machine, whose browser decodes without a graphics card.
    let stood = browser.run("return window.stood").as_f64().expect("a time");
    assert!(stood < 1000.0 * (OUTAGE + 2.0) + 4000.0, "{stood} ms");
    proxy.assert_no_panic();
}

/// The media sequence of the playlist that a new player gets; 0 while there is none.
fn sequence(proxy: &Proxy) -> u64 {
    let master = get(proxy.http, "/live/demo.m3u8").text();
    let uri = master.lines().find(|line| line.starts_with('/'));
    let media = uri.map(|uri| get(proxy.http, uri).text());
    let value = media.as_deref().and_then(|media| {
        media
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))
    });
    value.map_or(0, |value| value.parse().expect("a number"))
}
