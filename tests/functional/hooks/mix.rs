//! Viewers of all kinds who come and leave at random, while origins die and come back: each is counted once, and is gone
//! in the end.
//!
//! `HOOK_MIX_SECONDS=60 cargo test --test functional hooks::mix` runs it for a minute.

use super::hls::uri;
use crate::common::SOON;
use crate::common::client::Client;
use crate::common::hooks::{HookServer, Verdict};
use crate::common::lab::LabOrigin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Players at a time.
const PLAYERS: usize = 24;

/// What comes for a GET, where it is a 200; of a body that breaks off, what came.
fn try_get(server: SocketAddr, target: &str) -> Option<String> {
    let mut client = Client::try_connect(server).ok()?;
    client.request("GET", target, &[("Connection", "close")]);
    let head = client.try_read_head(SOON).ok()?;
    let (body, _) = client.read_rest(SOON);
    (head.status == 200).then(|| String::from_utf8_lossy(&body).into_owned())
}

/// Watches once in one way or another, for a moment. Whatever the origins do is no failure here.
fn watch(server: SocketAddr, random: &mut fastrand::Rng) -> Option<()> {
    let token = ["bad", "good", "good", "good"][random.usize(..4)];
    let time = Duration::from_millis(random.u64(..300));
    let format = ["flv", "ts", "m3u8"][random.usize(..3)];
    let target = format!("/live/a.{format}?token={token}");
    if format == "m3u8" {
        let media = uri(&try_get(server, &target)?);
        let media = try_get(server, &media).filter(|media| media.contains("#EXTINF"))?;
        try_get(server, &uri(&media))?;
        return Some(());
    }
    let mut client = Client::try_connect(server).ok()?;
    client.request("GET", &target, &[]);
    if random.bool() {
        let _ = client.try_read_head(SOON);
    }
    thread::sleep(time);
    Some(())
}

#[test]
fn each_viewer_that_was_let_in_leaves_once() {
    let seconds = std::env::var("HOOK_MIX_SECONDS").ok();
    let seconds = seconds.map_or(4, |text| text.parse().expect("HOOK_MIX_SECONDS"));
    let hooks = HookServer::start();
    hooks.judge(
        |call| match call.is("on_play") && call.text("param").contains("bad") {
            true => Verdict::Says("1"),
            false => Verdict::Says("0"),
        },
    );
    let settings = [
        ("PROXY_ON_PLAY", hooks.url("/")),
        ("PROXY_ON_STOP", hooks.url("/")),
        ("PROXY_LIVE_RESUME", "1s".to_owned()),
        ("PROXY_STREAM_WAIT", "1s".to_owned()),
        ("PROXY_GRACE_QUIT_TIMEOUT", "4s".to_owned()),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut proxy = Proxy::start(&settings);
    let register = format!("http://{}/api/v1/srs/register", proxy.api);
    let publish = || {
        let lab = LabOrigin::start(&["--stream", "a", "--register", &register]);
        lab.wait_for_log("registered");
        lab
    };
    let (mut lab, end) = (publish(), Instant::now() + Duration::from_secs(seconds));
    let server = proxy.http;
    let players: Vec<_> = (0..PLAYERS)
        .map(|n| {
            let mut random = fastrand::Rng::with_seed(n as u64);
            thread::spawn(move || {
                while Instant::now() < end {
                    watch(server, &mut random);
                }
            })
        })
        .collect();
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(1300).min(end - Instant::now()));
        drop(lab); // it is killed
        lab = publish();
    }
    for player in players {
        player.join().expect("a player");
    }
    // Some are watching when the process is told to end.
    let mut left: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server);
            client.request("GET", "/live/a.flv?token=good", &[]);
            client
        })
        .collect();
    for client in &mut left {
        assert_eq!(client.read_head(SOON).status, 200);
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 0);
    proxy.assert_no_panic();
    let refused = |(play, stop): &(usize, usize)| (*play, *stop) == (1, 0);
    let played = hooks.calls("on_play");
    assert!(played.len() > 50, "{} viewers", played.len());
    let bad = played.iter().filter(|it| it.text("param").contains("bad"));
    let unbalanced = hooks.unbalanced();
    // Who was refused has no `on_stop`; all others have one.
    for call in bad {
        assert!(unbalanced.get(&call.text("client_id")).is_none_or(refused));
    }
    let good = played.iter().filter(|it| it.text("param").contains("good"));
    for call in good {
        let counts = unbalanced.get(&call.text("client_id"));
        assert_eq!(counts, None, "{call:?}");
    }
    wait_until("no call is under way", SOON, || hooks.is_idle());
    println!(
        "{} viewers, {} calls at once",
        played.len(),
        hooks.most_at_once()
    );
}
