//! Failover with real origins and a real player: what one origin had, another goes on with.

use crate::common::SOON;
use crate::common::fetch::{get, post};
use crate::common::lab::LabOrigin;
use crate::common::player::Player;
use crate::common::proxy::Proxy;
use crate::common::wait::{wait_for, wait_until};
use std::net::SocketAddr;

#[test]
fn players_go_on_from_another_origin_each_time_one_is_killed() {
    let proxy = Proxy::start(&[
        ("PROXY_CONNECT_TIMEOUT", "500ms"),
        ("PROXY_RESPONSE_TIMEOUT", "2s"),
    ]);
    let url = format!("http://{}/api/v1/srs/register", proxy.api);
    let mut origins: Vec<LabOrigin> = ["a", "b", "c"]
        .map(|own| {
            let device = format!("lab-{own}");
            let streams = ["--stream", own, "--stream", "demo"];
            let more = ["--device-id", &device, "--register", &url];
            LabOrigin::start(&[streams, more].concat())
        })
        .into();
    for origin in &origins {
        origin.wait_for_log("is registered at ");
    }
    for own in ["a", "b", "c"] {
        let list = get(proxy.http, &format!("/live/{own}.m3u8"));
        assert_eq!(list.status(), 200, "{own}: {}", list.text());
    }
    let players = ["flv", "ts", "m3u8"]
        .map(|format| Player::start(&format!("http://{}/live/demo.{format}", proxy.http)));
    for player in &players {
        player.wait_for_frames(60, SOON * 3);
    }
    while origins.len() > 1 {
        let address = serving(&proxy);
        let at = origins.iter().position(|it| it.addr == address);
        let mut killed = origins.remove(at.expect("the origin that serves"));
        killed.kill();
        for player in &players {
            // 6 s of pictures: more than any of them can have had in store.
            let wanted = player.frames() + 150;
            player.wait_for_frames(wanted, SOON * 6);
        }
        wait_until("another origin served", SOON, || serving(&proxy) != address);
    }
    proxy.assert_no_panic();
}

#[test]
fn an_hls_player_goes_on_after_its_only_origin_has_restarted() {
    let proxy = Proxy::start(&[]);
    let url = format!("http://{}/api/v1/srs/register", proxy.api);
    let origin = LabOrigin::start(&["--stream", "demo", "--register", &url]);
    origin.wait_for_log("is registered at ");
    let playlist = format!("http://{}/live/demo.m3u8", proxy.http);
    let player = Player::start(&playlist);
    player.wait_for_frames(60, SOON * 3);
    let media = media_playlist(&proxy);
    let before = sequence(&media);
    let stopped = post(origin.addr, "/lab/stop?seconds=2", &[], b"");
    assert_eq!(stopped.status(), 200);
    // Its numbers begin anew, and the player's go on: 10 s of pictures are more than it can have had in store.
    let wanted = player.frames() + 250;
    player.wait_for_frames(wanted, SOON * 6);
    let media = media_playlist(&proxy);
    let after = sequence(&media);
    // Its own numbers are up to 10 000 higher or lower, and it may answer before its heartbeat tells of the restart.
    // What it can have made meanwhile are some ten segments of two seconds.
    let numbers = before + 1..before + 100;
    assert!(numbers.contains(&after), "{before} and then {after}");
    proxy.assert_no_panic();
}

/// The media playlist of the stream, as a new player gets it.
fn media_playlist(proxy: &Proxy) -> String {
    let master = get(proxy.http, "/live/demo.m3u8").text();
    let uri = master.lines().find(|line| !line.starts_with('#'));
    let media = get(proxy.http, uri.expect("a variant"));
    assert_eq!(media.status(), 200, "{}", media.text());
    media.text()
}

fn sequence(playlist: &str) -> u64 {
    let value = playlist
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    value.expect("a sequence").parse().expect("a number")
}

/// Which origin the stream that all have is served from now.
fn serving(proxy: &Proxy) -> SocketAddr {
    wait_for("the stream was being watched", SOON, || {
        let json = get(proxy.api, "/api/v1/streams").json();
        let streams = json["data"]["streams"].as_array()?.clone();
        let demo = streams
            .iter()
            .find(|it| it["url"] == "__defaultVhost__/live/demo")?;
        demo["origin_address"].as_str()?.parse().ok()
    })
}
