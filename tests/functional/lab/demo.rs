//! The demo: one command, and live streams go through the proxy.

use crate::common::client::Client;
use crate::common::fetch::{get, get_with, post};
use crate::common::hls::uris;
use crate::common::lab::demo;
use crate::common::player::Player;
use crate::common::process::{Process, own_binary};
use crate::common::wait::wait_until;
use crate::common::{SOON, tools};
use rustix::process::Signal;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;

const FORMATS: [&str; 3] = ["flv", "ts", "m3u8"];

#[test]
fn ffmpeg_plays_each_format_across_the_seam() {
    let (proxy, _) = demo(&[]);
    // The clip has 10 s, so 20 s of it have two seams. All at the same time.
    thread::scope(|scope| {
        for format in FORMATS {
            let url = format!("http://{}/live/demo.{format}", proxy.http);
            let other = url.clone();
            scope.spawn(move || timestamps_rise(&other));
            scope.spawn(move || it_decodes(&url));
        }
    });
    proxy.assert_no_panic();
}

fn timestamps_rise(url: &str) {
    let mut ffprobe = tools::command("ffprobe");
    ffprobe.args(["-v", "warning", "-read_intervals", "%+20"]);
    ffprobe.args(["-show_entries", "packet=stream_index,dts_time"]);
    ffprobe.args(["-of", "csv=p=0", url]);
    let output = tools::run(&mut ffprobe, SOON * 9);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{url}: {errors}"
    );
    let mut spans: HashMap<String, (f64, f64, usize)> = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut columns = line.split(',');
        let (Some(stream), Some(time)) = (columns.next(), columns.next()) else {
            continue;
        };
        let Ok(time) = time.parse::<f64>() else {
            continue;
        };
        let (_, last, count) = spans
            .entry(stream.to_owned())
            .and_modify(|(_, last, count)| {
                // Milliseconds in FLV: audio frames of 21.3 ms are rounded.
                let step = time - *last;
                assert!(step > 0.0 && step < 0.05, "{url}: {time} after {last}");
                *last = time;
                *count += 1;
            })
            .or_insert((time, time, 1));
        assert!(*count > 0 && *last == time);
    }
    assert_eq!(spans.len(), 2, "{url}: {spans:?}");
    for (stream, (first, last, count)) in spans {
        assert!(
            last - first > 18.5,
            "{url}: stream {stream} from {first} to {last}"
        );
        assert!(count > 450, "{url}: stream {stream} has {count} packets");
    }
}

fn it_decodes(url: &str) {
    let mut ffmpeg = tools::command("ffmpeg");
    ffmpeg.args(["-v", "warning", "-nostdin", "-xerror", "-i", url]);
    ffmpeg.args(["-t", "20", "-map", "0", "-f", "framecrc", "-"]);
    let output = tools::run(&mut ffmpeg, SOON * 9);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{url}: {errors}"
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let pictures = text.lines().filter(|line| line.starts_with("0,")).count();
    assert!(
        (490..=510).contains(&pictures),
        "{url}: {pictures} pictures"
    );
}

#[test]
fn players_go_on_when_an_origin_is_taken_away() {
    let (proxy, labs) = demo(&[("PROXY_CONNECT_TIMEOUT", "500ms")]);
    let play = |format: &str| {
        let url = format!("http://{}/live/demo.{format}", proxy.http);
        Player::start(&url)
    };
    let players = FORMATS.map(play);
    for player in &players {
        player.wait_for_frames(60, SOON * 3);
    }
    let serving = || {
        let json = get(proxy.api, "/api/v1/streams").json();
        let streams = json["data"]["streams"].as_array().expect("streams").clone();
        let demo = streams.into_iter().find(|it| {
            it["url"]
                .as_str()
                .is_some_and(|url| url.ends_with("/live/demo"))
        });
        demo.and_then(|it| it["origin_address"].as_str()?.parse::<SocketAddr>().ok())
    };
    let first = serving().expect("an origin");
    assert!(labs.contains(&first), "{first}");
    let answer = post(first, "/lab/stop?seconds=600", &[], b"");
    assert_eq!(answer.status(), 200);
    for player in &players {
        // 6 s of pictures: more than any of them can have had in store.
        let wanted = player.frames() + 150;
        player.wait_for_frames(wanted, SOON * 6);
    }
    let second = serving().expect("an origin");
    assert!(
        labs.contains(&second) && second != first,
        "{first} {second}"
    );
    proxy.assert_no_panic();
}

#[test]
fn each_stream_is_found_where_it_is() {
    let (proxy, [a, b]) = demo(&[]);
    for (name, at) in [("a", a), ("b", b), ("a", a)] {
        let master = get(proxy.http, &format!("/live/{name}.m3u8")).text();
        let list = get(proxy.http, uris(&master)[0]).text();
        let segment = uris(&list)[0].to_owned();
        assert_eq!(get(proxy.http, &format!("/live/{segment}")).status(), 200);
        let mut viewer = Client::connect(proxy.http);
        viewer.request("GET", &format!("/live/{name}.flv"), &[]);
        assert_eq!(viewer.read_head(SOON).status, 200);
        viewer.read_at_least(1000, SOON);
        let json = get(at, "/api/v1/streams/").json();
        let streams = json["streams"].as_array().expect("streams").clone();
        let own = streams.iter().find(|it| it["name"] == name).expect("it");
        assert!(own["send_bytes"].as_u64() > Some(1000), "{own}");
    }
    let page = get(proxy.http, "/?stream=/live/demo.m3u8");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("<video"), "{}", page.text());
    assert_eq!(get(proxy.api, "/").status(), 200);
}

#[test]
fn it_registers_with_the_token_too() {
    let (proxy, _) = demo(&[("PROXY_SYSTEM_API_TOKEN", "s3cret")]);
    assert_eq!(get(proxy.api, "/api/v1/origins").status(), 401);
    let token = [("Authorization", "Bearer s3cret")];
    let json = get_with(proxy.api, "/api/v1/origins", &token).json();
    assert_eq!(
        json["data"]["origins"].as_array().map(Vec::len),
        Some(2),
        "{json}"
    );
    let told = proxy.log_lines();
    assert!(!told.iter().any(|line| line.contains("s3cret")), "{told:?}");
}

#[test]
fn what_it_prints_works() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = own_binary();
    command
        .args(["demo", "--http-server", "127.0.0.1:0"])
        .args(["--system-api", "127.0.0.1:0"])
        .current_dir(directory.path());
    let mut demo = Process::start("the demo", &mut command);
    demo.wait_for_line("how to end it", SOON, Process::stdout_lines, |line| {
        line.starts_with("Ctrl-C").then_some(())
    });
    let text = demo.stdout_lines();
    let after = |words: &str| {
        let found = text
            .iter()
            .filter_map(|line| line.trim().strip_prefix(words));
        found.map(|rest| rest.trim().to_owned()).collect::<Vec<_>>()
    };
    // Every curl line does what it is there for, at once.
    let curls = after("curl ");
    assert_eq!(curls.len(), 6, "{text:#?}");
    for line in &curls {
        let mut curl = tools::command("sh");
        curl.arg("-c")
            .arg(format!("exec curl -sS --noproxy '*' {line}"));
        curl.current_dir(directory.path());
        let output = tools::run(&mut curl, SOON * 3);
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        if line.contains(".flv") {
            // Its five seconds are over, as they were meant to be.
            assert_eq!(output.status.code(), Some(28), "{line}: {errors}");
            let file = std::fs::read(directory.path().join("demo.flv")).expect("the file");
            assert!(file.starts_with(b"FLV") && file.len() > 50_000);
            continue;
        }
        assert!(output.status.success(), "{line}: {errors}");
        let wanted = match line {
            _ if line.contains(".m3u8") => "#EXTM3U",
            _ if line.contains("/origins") => "\"lab-b\"",
            _ if line.contains("/streams") => "/live/demo",
            _ => "stops now and comes back in 20 s",
        };
        assert!(said.contains(wanted), "{line}: {said}");
    }
    for url in after("player ").into_iter().chain(after("console ")) {
        let address = url.trim_start_matches("http://");
        let (address, path) = address.split_once('/').expect("a path");
        let response = get(address.parse().expect("an address"), &format!("/{path}"));
        assert_eq!(response.status(), 200, "{url}");
    }
    assert_eq!(after("ffplay ").len(), 3, "{text:#?}");
    demo.signal(Signal::INT);
    assert_eq!(demo.wait_exit(SOON), 0);
}

#[test]
fn a_signal_ends_it_at_once_though_streams_run() {
    let (mut proxy, _) = demo(&[]);
    let mut viewer = Client::connect(proxy.http);
    viewer.request("GET", "/live/demo.flv", &[]);
    viewer.read_head(SOON);
    viewer.read_at_least(1000, SOON);
    proxy.signal(Signal::TERM);
    // The grace time is 20 s, and nobody needs it.
    assert_eq!(proxy.wait_exit(SOON), 0);
    proxy.assert_no_panic();
}

#[test]
fn a_stopped_origin_comes_back_and_is_used() {
    let (proxy, [a, _]) = demo(&[("PROXY_STREAM_WAIT", "0s")]);
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    assert_eq!(post(a, "/lab/stop?seconds=3", &[], b"").status(), 200);
    wait_until("stream a was gone", SOON, || {
        get(proxy.http, "/live/a.m3u8").status() != 200
    });
    wait_until("stream a was back", SOON, || {
        get(proxy.http, "/live/a.m3u8").status() == 200
    });
}
