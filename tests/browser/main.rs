//! The pages in a real browser, against the running demo: the player plays every format with every engine, and goes on when an
//! origin is taken away; the console shows and does what it says.

#[path = "../common/mod.rs"]
mod common;

mod https;
mod restarts;
mod splices;

use common::browser::Browser;
use common::client::Client;
use common::fetch::{get, get_with, post};
use common::lab::{LabOrigin, demo};
use common::nginx::Nginx;
use common::proxy::Proxy;
use common::wait::{wait_for, wait_until};
use restarts::COUNT_RELOADS;
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long a page may take to show what comes by itself within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium plays HLS by itself; so its word is taken from it, and the page has to ask for hls.js.
const NO_HLS: &str = "HTMLMediaElement.prototype.canPlayType = () => '';";

/// What the player page shows, and the video element beneath.
const PLAYER: &str = "
    const video = document.getElementById('video');
    const text = (id) => document.getElementById(id).textContent;
    return { time: video.currentTime, width: video.videoWidth, height: video.videoHeight,
        frames: video.getVideoPlaybackQuality().totalVideoFrames,
        state: text('state'), behind: text('delay'), resolution: text('resolution'), rate: text('bitrate'), engine: text('engine') };";

/// Counts from now on for how long pictures moved, through all reconnections, in seconds. Jumps do not count.
const COUNT_WATCHED: &str = "
    const video = document.getElementById('video');
    let last = video.currentTime;
    window.watched = 0;
    setInterval(() => {
        const step = video.currentTime - last;
        if (step > 0 && step < 2) window.watched += step;
        last = video.currentTime;
    }, 100);";

/// Whether the libraries that `npm ci` brings are there. When they are not, says which test is not run, and why.
fn libraries(test: &str) -> bool {
    let installed = ["hls.js/dist/hls.min.js", "mpegts.js/dist/mpegts.js"].map(|file| {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("www/node_modules");
        modules.join(file).is_file()
    });
    if installed == [true, true] {
        return true;
    }
    // Not by a print macro, whose text is only shown of tests that fail.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: hls.js and mpegts.js are not in www/node_modules; \"npm ci\" in www/ brings them"
    );
    false
}

fn player(proxy: &Proxy, stream: &str) -> String {
    format!("http://{}/?stream={stream}", proxy.http)
}

/// Waits until the page plays, and sees that pictures move and figures make sense.
#[track_caller]
fn it_plays(browser: &Browser, engine: &str) {
    let moving = |state: &Value| state["width"] == 640 && state["time"].as_f64() > Some(0.0);
    let begin = wait_for("the first pictures came", PATIENCE, || {
        Some(browser.run(PLAYER)).filter(moving)
    });
    let number = |state: &Value, name: &str| state[name].as_f64().expect("a number");
    // The bit rate is shown of an average over some seconds.
    let later = wait_for("5 s were played, and all figures shown", PATIENCE, || {
        let state = browser.run(PLAYER);
        let played = number(&state, "time") - number(&begin, "time") > 5.0;
        (played && state["state"] == "Playing" && state["rate"] != "–").then_some(state)
    });
    assert!(
        number(&later, "frames") - number(&begin, "frames") > 50.0,
        "{begin} {later}"
    );
    assert_eq!(
        (&later["width"], &later["height"], &later["resolution"]),
        (&json!(640), &json!(360), &json!("640×360")),
        "{later}"
    );
    let name = later["engine"].as_str().expect("a name");
    assert!(name.starts_with(engine), "{later}");
    // HLS is three segments of 2 s behind, live streams begin at the last key frame.
    let behind = figure(&later["behind"], " s");
    assert!((0.0..20.0).contains(&behind), "{later}");
    // The clip has some 300 kbit/s, transport streams a third more.
    let rate = figure(&later["rate"], " kbit/s");
    assert!((200.0..700.0).contains(&rate), "{later}");
    assert_eq!(browser.text("#error"), "", "nothing to complain of");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The number in a text such as `4.5 s`.
#[track_caller]
fn figure(text: &Value, unit: &str) -> f64 {
    let number = text
        .as_str()
        .and_then(|text| text.strip_suffix(unit)?.parse().ok());
    number.unwrap_or_else(|| panic!("{text}: a number and {unit:?}"))
}

#[test]
fn the_browsers_own_player_plays_hls() {
    let _alone = common::alone();
    let (proxy, _) = demo(&[]);
    let browser = Browser::start();
    browser.open(&player(&proxy, "/live/demo.m3u8"));
    it_plays(&browser, "the browser");
    // Stopping lets go of the stream.
    browser.click("#stop");
    browser.wait_for_text("#state", "Nothing is playing", PATIENCE);
    assert_eq!(browser.run(PLAYER)["width"], 0);
}

#[test]
fn libraries_play_where_the_browser_does_not() {
    let _alone = common::alone();
    if !libraries("libraries_play_where_the_browser_does_not") {
        return;
    }
    let (proxy, _) = demo(&[]);
    let browser = Browser::start();
    browser.open(&player(&proxy, "/live/demo.flv"));
    it_plays(&browser, "mpegts.js");
    // By the switch of formats, as a person would.
    browser.click("#formats label:has([value=ts])");
    browser.wait_for_text("#state", "Playing", PATIENCE);
    it_plays(&browser, "mpegts.js");
    assert_eq!(browser.address(), player(&proxy, "/live/demo.ts"));
    browser.new_window();
    browser.run_before_pages(NO_HLS);
    browser.open(&player(&proxy, "/live/demo.m3u8"));
    it_plays(&browser, "hls.js");
    proxy.assert_no_panic();
}

/// The address of the origin that serves `/live/demo`, as the System API tells it.
fn serving(proxy: &Proxy) -> Option<SocketAddr> {
    let json = get(proxy.api, "/api/v1/streams").json();
    let streams = json["data"]["streams"].as_array()?.clone();
    let is_demo = |it: &Value| {
        it["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("/live/demo"))
    };
    let stream = streams.into_iter().find(is_demo)?;
    stream["origin_address"].as_str()?.parse().ok()
}

#[test]
fn the_stream_goes_on_after_its_origin_was_stopped() {
    let _alone = common::alone();
    let (proxy, labs) = demo(&[("PROXY_CONNECT_TIMEOUT", "500ms")]);
    let browser = Browser::start();
    let mut ways = vec![("m3u8", "")];
    if libraries(
        "the_stream_goes_on_after_its_origin_was_stopped, but for the browser's own player",
    ) {
        ways.extend([("m3u8", NO_HLS), ("flv", ""), ("ts", "")]);
    }
    // All at the same time, each in a window of its own.
    let mut windows = Vec::new();
    for (format, before) in ways {
        windows.push(browser.new_window());
        browser.run_before_pages(before);
        browser.open(&player(&proxy, &format!("/live/demo.{format}")));
    }
    let console = browser.new_window();
    browser.open(&format!("http://{}/", proxy.api));
    for window in &windows {
        browser.turn_to(window);
        browser.wait_for_text("#state", "Playing", PATIENCE);
    }
    let first = serving(&proxy).expect("an origin");
    let [name, other] = match labs.iter().position(|lab| *lab == first) {
        Some(0) => ["lab-a", "lab-b"],
        Some(1) => ["lab-b", "lab-a"],
        _ => panic!("{first} is none of {labs:?}"),
    };
    let its_origin = "[data-stream$='/live/demo'] [data-field=origin]";
    browser.turn_to(&console);
    browser.wait_for_text(its_origin, name, PATIENCE);

    let stopped = post(first, "/lab/stop?seconds=600", &[], b"");
    assert_eq!(stopped.status(), 200);
    for window in &windows {
        browser.turn_to(window);
        browser.run(COUNT_WATCHED);
    }
    if let Some(hls_js) = windows.get(1) {
        browser.turn_to(hls_js);
        browser.run(COUNT_RELOADS);
    }
    for window in &windows {
        browser.turn_to(window);
        // A playlist has 10 s: more than any engine can have had in store.
        let watched = || browser.run("return window.watched").as_f64();
        wait_until("15 s more were seen", PATIENCE, || watched() > Some(15.0));
        browser.wait_for_text("#state", "Playing", PATIENCE);
        assert_eq!(browser.text("#error"), "");
    }
    if let Some(hls_js) = windows.get(1) {
        browser.turn_to(hls_js);
        assert_eq!(browser.run("return window.reloads"), 0, "hls.js goes on");
    }
    browser.turn_to(&console);
    browser.wait_for_text(its_origin, other, PATIENCE);
    proxy.assert_no_panic();
}

/// The pages of a binary that was built without the libraries.
fn pages_without_libraries() -> tempfile::TempDir {
    let pages = tempfile::tempdir().expect("a directory");
    let www = Path::new(env!("CARGO_MANIFEST_DIR")).join("www");
    for entry in www.read_dir().expect("www") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a name");
            std::fs::copy(&path, pages.path().join(name)).expect("copying a page");
        }
    }
    pages
}

#[test]
fn without_libraries_the_page_offers_what_plays_and_is_no_dead_end() {
    let _alone = common::alone();
    let pages = pages_without_libraries();
    let directory = pages.path().to_str().expect("UTF-8");
    let (proxy, _) = demo(&[
        ("PROXY_STATIC_FILES", directory),
        ("PROXY_PUBLIC_URL", "https://tv.example.com/x"),
    ]);
    let page = format!("http://{}/", proxy.http);
    let browser = Browser::start();
    // HLS by the browser itself: one click on what is live plays it.
    browser.open(&page);
    browser.wait_for_text("#install-title", "FLV and TS need", PATIENCE);
    assert_eq!(browser.text("#formats"), "Format\nHLS");
    browser.wait_for_text("#suggestions button:first-child", "/live/a", PATIENCE);
    browser.complaints(); // of the files that were not there
    browser.click("#suggestions button:first-child");
    it_plays(&browser, "the browser");
    assert_eq!(browser.address(), player(&proxy, "/live/a.m3u8"));
    // As in Firefox: nothing plays.
    browser.new_window();
    browser.run_before_pages(NO_HLS);
    browser.open(&page);
    browser.wait_for_text("#install-title", "no player libraries", PATIENCE);
    assert!(browser.text("#install").contains("npm ci"));
    assert_eq!(browser.text("#formats"), "");
    browser.wait_for_text("#suggestions", "/live/demo", PATIENCE);
    browser.click("#suggestions button:first-child");
    browser.wait_for_text("#error-title", "is not part of this build.", PATIENCE);
    assert_eq!(browser.text("#instead"), "", "nothing else would play");
    browser.wait_for_text(
        "#commands",
        "vlc https://tv.example.com/x/live/a.m3u8",
        PATIENCE,
    );
}

#[test]
fn tokens_are_not_kept_among_the_recent_streams() {
    let _alone = common::alone();
    let (proxy, _) = demo(&[]);
    let browser = Browser::start();
    browser.open(&player(&proxy, "/live/demo.m3u8%3Ftoken=s3cret"));
    browser.wait_for_text("#state", "Playing", PATIENCE);
    assert_eq!(browser.text("#recent"), "/live/demo.m3u8");
    let kept = browser.run("return JSON.stringify(localStorage)");
    assert!(!kept.to_string().contains("s3cret"), "{kept}");
}

#[test]
fn a_picture_that_stands_is_ever_further_behind_live() {
    if !libraries("a_picture_that_stands_is_ever_further_behind_live") {
        return;
    }
    let _alone = common::alone();
    let proxy = Proxy::start(&[]);
    let lab = LabOrigin::start(&[
        "--register",
        &format!("http://{}/api/v1/srs/register", proxy.api),
    ]);
    lab.wait_for_log("registered");
    let browser = Browser::start();
    browser.open(&player(&proxy, "/live/demo.flv"));
    it_plays(&browser, "mpegts.js");
    lab.signal(rustix::process::Signal::STOP);
    // The page takes a picture that stands for 8 s for a failure; before that it tells how old the picture is.
    let behind = || {
        let text = browser.text("#delay");
        text.strip_suffix(" s").and_then(|text| text.parse().ok())
    };
    wait_until("the picture was 5 s behind", PATIENCE, || {
        behind() > Some(5.0)
    });
    browser.wait_for_text("#error-title", "Nothing comes from the server.", PATIENCE);
    lab.signal(rustix::process::Signal::CONT);
}

#[test]
fn what_is_missing_or_wrong_is_said_plainly() {
    let _alone = common::alone();
    let pages = pages_without_libraries();
    let directory = pages.path().to_str().expect("UTF-8");
    let (proxy, _) = demo(&[
        ("PROXY_STATIC_FILES", directory),
        ("PROXY_STREAM_WAIT", "0s"),
    ]);
    let browser = Browser::start();

    browser.open(&player(&proxy, "/live/demo.flv"));
    browser.wait_for_text(
        "#error-title",
        "mpegts.js is not part of this build.",
        PATIENCE,
    );
    assert!(browser.text("#error-hint").contains("npm ci"));
    assert_eq!(browser.text("#state"), "Not playing");
    // What plays without it is offered.
    browser.complaints(); // of the file that was not there
    browser.click("#instead");
    it_plays(&browser, "the browser");

    browser.run("document.getElementById('url').value = ''");
    browser.type_into("#url", "/live/none.m3u8\u{E007}");
    browser.wait_for_text(
        "#error-title",
        "404: Nobody publishes this stream (yet).",
        PATIENCE,
    );
    browser.run("document.getElementById('url').value = ''");
    browser.type_into("#url", "rtmp://example.com/live/demo\u{E007}");
    browser.wait_for_text(
        "#error-title",
        "A browser cannot play rtmp addresses.",
        PATIENCE,
    );

    browser.new_window();
    browser.run_before_pages(NO_HLS);
    browser.open(&player(&proxy, "/live/demo.m3u8"));
    browser.wait_for_text(
        "#error-title",
        "hls.js is not part of this build.",
        PATIENCE,
    );
}

#[test]
fn the_console_shows_and_drains() {
    let _alone = common::alone();
    let (proxy, labs) = demo(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/", proxy.api));
    browser.wait_for_text("#status", "Live", PATIENCE);
    browser.wait_for_text("#no-streams", "Nobody is watching.", PATIENCE);
    assert_eq!(browser.text("[data-total=alive]"), "2");
    for (name, lab) in ["lab-a", "lab-b"].into_iter().zip(labs) {
        let row = row_of(&browser, name);
        assert_eq!(
            browser.text(&format!("{row} [data-field=address]")),
            lab.to_string()
        );
        assert_eq!(browser.text(&format!("{row} [data-field=state]")), "alive");
    }

    // A stream appears with its viewer, by itself.
    let console = browser.window();
    browser.new_window();
    browser.open(&player(&proxy, "/live/a.m3u8"));
    browser.wait_for_text("#state", "Playing", PATIENCE);
    browser.turn_to(&console);
    let stream = "[data-stream$='/live/a']";
    browser.wait_for_text(
        &format!("{stream} [data-field=stream]"),
        "/live/a",
        PATIENCE,
    );
    browser.wait_for_text(&format!("{stream} [data-field=origin]"), "lab-a", PATIENCE);
    browser.wait_for_text(&format!("{stream} [data-field=kbps]"), "bit/s", PATIENCE);
    wait_until("throughput was drawn", PATIENCE, || {
        let line = browser.run("return document.getElementById('line').getAttribute('d')");
        line.as_str().is_some_and(|path| path.contains('L'))
    });
    // However many playlists and segments it asked for.
    assert_eq!(browser.text(&format!("{stream} [data-field=viewers]")), "1");
    let link = browser.run(&format!(
        "return document.querySelector(\"{stream} a\").href"
    ));
    let link = link.as_str().expect("a link").replace("%2F", "/");
    assert_eq!(link, player(&proxy, "/live/a.m3u8"));

    // Draining, and back.
    let state = || {
        let json = get(proxy.api, "/api/v1/origins").json();
        let origins = json["data"]["origins"].as_array().expect("origins").clone();
        let own = origins.into_iter().find(|it| it["device_id"] == "lab-b");
        own.expect("lab-b")["state"]
            .as_str()
            .expect("a state")
            .to_owned()
    };
    let row = row_of(&browser, "lab-b");
    let button = format!("{row} button");
    for (before, after, then) in [
        ("Drain", "draining", "Undrain"),
        ("Undrain", "alive", "Drain"),
    ] {
        assert_eq!(browser.text(&button), before);
        browser.click(&button);
        browser.wait_for_text(&format!("{row} [data-field=state]"), after, PATIENCE);
        assert_eq!(state(), after);
        assert_eq!(browser.text(&button), then);
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    proxy.assert_no_panic();
}

/// Finds the row of an origin by its name.
#[track_caller]
fn row_of(browser: &Browser, name: &str) -> String {
    let script = format!(
        "return [...document.querySelectorAll('#origins tbody tr')].find((row) => row.cells[0].textContent === '{name}')?.dataset.origin"
    );
    let id = browser.run(&script);
    format!("[data-origin='{}']", id.as_str().expect("an origin's id"))
}

/// Widths in CSS pixels from the smallest phone to a wall.
const WIDTHS: [u32; 6] = [320, 480, 800, 1020, 1280, 4000];

/// Has the window show pages this wide, whatever a screen could.
#[track_caller]
fn set_width(browser: &Browser, width: u32) {
    browser.cdp(
        "Emulation.setDeviceMetricsOverride",
        &json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
    );
}

/// Sees that nothing sticks out of the page at any width.
#[track_caller]
fn fits_every_width(browser: &Browser) {
    for width in WIDTHS {
        set_width(browser, width);
        let out = browser.run(
            "const wide = document.documentElement.clientWidth;
            return [...document.querySelectorAll('body *')].filter((it) => {
                const box = it.getBoundingClientRect();
                return box.width > 1 && box.right > wide + 1;
            }).map((it) => it.tagName + '#' + it.id + '.' + it.className + ' ' + it.getBoundingClientRect().right)",
        );
        assert_eq!(out, json!([]), "at {width} px");
    }
    set_width(browser, 1280);
}

#[test]
fn the_console_sorts_filters_and_ends_viewers() {
    let _alone = common::alone();
    let (proxy, _) = demo(&[]);
    // Three who only take bytes, as a server that relays does.
    let watch = |stream: &str| {
        let mut client = Client::connect(proxy.http);
        client.request("GET", &format!("/live/{stream}.flv"), &[]);
        client
    };
    let _viewers = [watch("a"), watch("b"), watch("b")];
    let browser = Browser::start();
    browser.open(&format!("http://{}/", proxy.api));
    browser.wait_for_text("[data-total=viewers]", "3", PATIENCE);
    browser.wait_for_text("#about", "version 1.0.0, up", PATIENCE);
    let first = "#streams tbody tr:first-child [data-field=stream]";
    assert_eq!(browser.text(first), "/live/a");
    browser.click("#streams th[data-sort=viewers] button");
    assert_eq!(
        browser.text(first),
        "/live/b",
        "figures begin with the largest"
    );
    browser.click("#streams th[data-sort=viewers] button");
    assert_eq!(browser.text(first), "/live/a");
    browser.wait_for_text(
        &format!("{} [data-field=kbps]", row_of(&browser, "lab-a")),
        "bit/s",
        PATIENCE,
    );
    // One origin's streams only.
    browser.run(
        "const choice = document.getElementById('origin-filter');
        choice.value = [...choice.options].find((option) => option.textContent === 'lab-b').value;
        choice.dispatchEvent(new Event('change'))",
    );
    assert_eq!(
        browser.text("#streams tbody [data-field=stream]"),
        "/live/b"
    );
    fits_every_width(&browser);
    // The viewers of a stream; the second click ends one.
    browser.click("[data-stream$='/live/b'] [data-field=viewers] button");
    browser.wait_for_text("#clients", "127.0.0.1", PATIENCE);
    assert_eq!(
        browser.run("return document.querySelectorAll('#clients tbody tr').length"),
        2
    );
    fits_every_width(&browser);
    browser.click("#clients tbody tr:first-child button");
    browser.wait_for_text("#clients tbody tr:first-child button", "Sure?", PATIENCE);
    browser.click("#clients tbody tr:first-child button");
    wait_until("one was left", PATIENCE, || {
        browser.run("return document.querySelectorAll('#clients tbody tr').length") == 1
    });
    browser.click("#clients-close");
    // A wrong origin goes; this one lives, and comes back.
    let removed = browser.run(&format!(
        "return document.querySelector(\"{}\").dataset.origin",
        row_of(&browser, "lab-a")
    ));
    browser.click(&format!(
        "{} td.act button:last-child",
        row_of(&browser, "lab-a")
    ));
    browser.click(&format!(
        "{} td.act button:last-child",
        row_of(&browser, "lab-a")
    ));
    let id = removed.as_str().expect("an id").to_owned();
    proxy.wait_for_log(
        |line| line.contains(&format!("origin {id} is removed")),
        PATIENCE,
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
    proxy.assert_no_panic();
}

#[test]
fn the_console_takes_500_streams_easily() {
    let _alone = common::alone();
    let (proxy, _) = demo(&[]);
    let browser = Browser::start();
    // The API's answer grows on its way; the rest is the page's.
    browser.run_before_pages(
        "const own = window.fetch;
        window.fetch = async (path, how) => {
            const answer = await own(path, how);
            if (!String(path).endsWith('streams')) return answer;
            const told = await answer.json();
            told.data.streams = Array.from({ length: 500 }, (_, n) => ({ url: `__defaultVhost__/live/cam${n}`, origin: 'o' + n % 7,
                origin_address: `10.0.0.${n % 7}:8080`, viewers: n, bytes: 1, kbps: Math.random() * 5000, since: new Date().toISOString() }));
            return new Response(JSON.stringify(told), { status: 200 });
        };",
    );
    browser.open(&format!("http://{}/", proxy.api));
    browser.wait_for_text(
        "#streams tbody tr:nth-child(3) [data-field=stream]",
        "/live/cam2",
        PATIENCE,
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('#streams tbody tr').length"),
        500
    );
    fits_every_width(&browser);
    // A round changes 500 rows, and sorting by rates moves most of them.
    let longest = browser.run(
        "document.querySelector('#streams th[data-sort=kbps] button').click();
        const begun = performance.now();
        for (let n = 0; n < 10; n += 1) document.getElementById('filter').dispatchEvent(new Event('input'));
        return (performance.now() - begun) / 10",
    );
    // 16 ms is a frame; a busy machine gets more.
    assert!(longest.as_f64() < Some(100.0), "{longest} ms");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn both_pages_work_below_a_path_of_another_server() {
    let _alone = common::alone();
    // The path is told: SRS's first playlist names the second by its whole path.
    let (proxy, _) = demo(&[("PROXY_PUBLIC_URL", "https://tv.example.com/proxy/")]);
    let root = tempfile::tempdir().expect("a directory");
    let nginx = Nginx::start_with(
        root.path(),
        &format!(
            "location /proxy/ {{ proxy_pass http://{}/; proxy_buffering off; }}
            location /ops/ {{ proxy_pass http://{}/; }}",
            proxy.http, proxy.api
        ),
    );
    let browser = Browser::start();
    browser.open(&format!("http://{}/proxy/", nginx.addr()));
    browser.wait_for_text("#suggestions", "/live/demo", PATIENCE);
    browser.click("#suggestions button:first-child");
    it_plays(&browser, "the browser");
    let link = format!("http://{}/proxy/?stream=/live/a.m3u8", nginx.addr());
    assert_eq!(browser.address(), link);
    browser.wait_for_text(
        "#commands",
        "vlc https://tv.example.com/proxy/live/a.m3u8",
        PATIENCE,
    );
    fits_every_width(&browser);
    if libraries("both_pages_work_below_a_path_of_another_server, FLV") {
        browser.click("#formats label:has([value=flv])");
        browser.wait_for_text("#state", "Playing", PATIENCE);
        it_plays(&browser, "mpegts.js");
    }
    browser.open(&format!("http://{}/ops/", nginx.addr()));
    browser.wait_for_text("#status", "Live", PATIENCE);
    browser.wait_for_text("#streams", "/live/a", PATIENCE);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_console_asks_for_the_token() {
    let _alone = common::alone();
    let (proxy, _) = demo(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    let page = format!("http://{}/", proxy.api);
    let browser = Browser::start();
    browser.open(&page);
    browser.wait_for_text("#status", "Waiting for the token", PATIENCE);
    assert_eq!(
        browser.text("#figures"),
        "",
        "nothing is shown without the token"
    );
    browser.type_into("#token", "wrong\u{E007}");
    browser.wait_for_text("#ask-why", "The token that was given is refused", PATIENCE);
    browser.type_into("#token", "s3cret\u{E007}");
    browser.wait_for_text("#status", "Live", PATIENCE);
    assert_eq!(browser.text("[data-total=alive]"), "2");
    assert_eq!(browser.text("#ask"), "");
    // The tab keeps it.
    browser.open(&page);
    browser.wait_for_text("#status", "Live", PATIENCE);
    // It may come with the address, and goes from there at once.
    browser.run("sessionStorage.clear()");
    browser.open(&format!("{page}?token=s3cret"));
    browser.wait_for_text("#status", "Live", PATIENCE);
    assert_eq!(browser.address(), page);
    assert_eq!(get(proxy.api, "/api/v1/origins").status(), 401);
    let token = [("Authorization", "Bearer s3cret")];
    assert_eq!(get_with(proxy.api, "/api/v1/origins", &token).status(), 200);
}
