//! A page on HTTPS plays every format: browsers let it ask by HTTPS only.

use crate::common;
use crate::common::SOON;
use crate::common::browser::Browser;
use crate::common::proxy::Proxy;
use crate::common::tls::{TestRoot, key_hash};
use crate::common::wait::wait_until;
use crate::{NO_HLS, PATIENCE, PLAYER, libraries};

#[test]
fn a_page_on_https_plays_flv_ts_and_hls() {
    let _alone = common::alone();
    let root = TestRoot::new();
    let (certificate, key) = root.issue(30);
    let proxy = Proxy::builder()
        .file("tls.pem", certificate.clone() + &key)
        .env("PROXY_HTTPS_SERVER", "127.0.0.1:0")
        .env("PROXY_HTTPS_CERT", "tls.pem")
        .arg("demo")
        .start();
    for lab in ["lab-a", "lab-b"] {
        proxy.wait_for_log(|line| line.contains(&format!("{lab} is registered")), SOON);
    }
    let mut ways = vec![("m3u8", "", "the browser")];
    if libraries("a_page_on_https_plays_flv_ts_and_hls, but for HLS by the browser itself") {
        let more = [
            ("m3u8", NO_HLS, "hls.js"),
            ("flv", "", "mpegts.js"),
            ("ts", "", "mpegts.js"),
        ];
        ways.extend(more);
    }
    let browser = Browser::trusting(&key_hash(&certificate));
    let page = format!("https://localhost:{}", proxy.https().port());
    // All at the same time, each in a window of its own.
    let windows: Vec<_> = ways
        .iter()
        .map(|(format, before, _)| {
            let window = browser.new_window();
            browser.run_before_pages(before);
            browser.open(&format!("{page}/?stream=/live/demo.{format}"));
            window
        })
        .collect();
    for (window, (format, _, engine)) in windows.iter().zip(&ways) {
        browser.turn_to(window);
        let what = format!("{format} was played by {engine}");
        wait_until(&what, PATIENCE, || {
            let state = browser.run(PLAYER);
            let plays = state["width"] == 640 && state["time"].as_f64() > Some(2.0);
            let by = state["engine"].as_str().unwrap_or_default();
            plays && by.starts_with(engine) && state["frames"].as_f64() > Some(20.0)
        });
        assert_eq!(
            browser.run("return isSecureContext && location.protocol"),
            "https:"
        );
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{what}");
    }
    proxy.assert_no_panic();
}
