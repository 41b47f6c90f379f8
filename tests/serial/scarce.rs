//! A host that has too little: few descriptors, few threads. What runs goes on, new connections wait or are closed,
//! and with relief everything is served again.

use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch;
use crate::common::hls::live_id;
use crate::common::hostile::{Footprint, connect, raise_descriptors};
use crate::common::live::Live;
use crate::common::origin::Origin;
use crate::common::proxy::{Proxy, ProxyBuilder};
use crate::common::wait::wait_until;
use crate::common::{SOON, tools};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_srs-stream-proxy");

fn with_descriptors(soft: u32, hard: u32) -> ProxyBuilder {
    Proxy::builder()
        .program("prlimit")
        .arg(format!("--nofile={soft}:{hard}"))
        .arg(BINARY)
}

fn bound(proxy: &Proxy) -> (usize, String) {
    let line = proxy.wait_for_log(|line| line.contains("connections and"), SOON);
    let number = line
        .split("up to ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    (number.expect("a number of connections"), line)
}

/// A stream that runs, and must go on.
struct Show {
    viewer: Client,
    live: Live,
}

impl Show {
    fn begin(proxy: &Proxy, origin: &Origin) -> Show {
        let route = origin.live_flv("/live/show.flv");
        let mut viewer = Client::connect(proxy.http);
        viewer.request("GET", "/live/show.flv", &[]);
        let mut live = route.next();
        live.send(b"begin");
        assert_eq!(viewer.read_head(SOON).status, 200);
        viewer.expect_bytes(b"begin", SOON);
        Show { viewer, live }
    }

    #[track_caller]
    fn goes_on(&mut self) {
        self.live.send(b"frame");
        self.viewer.expect_bytes(b"frame", SOON);
    }
}

fn small_origin() -> Origin {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", vec![7; 100_000]));
    origin
}

#[test]
fn the_descriptor_limit_is_raised_and_bounds_the_connections() {
    let _alone = crate::common::alone();
    let (few, line) = bound(&with_descriptors(60, 300).start());
    assert!(line.contains(" 300 descriptors"), "{line}");
    let (more, line) = bound(&with_descriptors(60, 1300).start());
    assert!(line.contains(" 1300 descriptors"), "{line}");
    assert!(few < 150 && few < more && more < 650, "{few} and {more}");
}

#[test]
fn with_eighty_descriptors_what_runs_goes_on_and_the_rest_waits() {
    let alone = crate::common::alone();
    raise_descriptors();
    let origin = small_origin();
    let proxy = with_descriptors(80, 80).start();
    proxy.register(&origin);
    let before = Footprint::at_rest(&proxy);
    let mut show = Show::begin(&proxy, &origin);
    let segment = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    for round in 0..3 {
        // A crowd: some ask, some say nothing, some begin a head; on both servers.
        let mut crowd: Vec<_> = (0..200)
            .map(|n| (connect([proxy.http, proxy.http, proxy.api][n % 3]), n))
            .collect();
        for (stream, n) in &mut crowd {
            let said: &str = match *n % 4 {
                0 => "GET /live/a.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n",
                1 => "",
                2 => "GET /live/a.m3",
                _ => &format!("GET {segment} HTTP/1.1\r\nHost: x\r\n\r\n"),
            };
            let _ = stream.write_all(said.as_bytes());
        }
        for _ in 0..20 {
            show.goes_on();
            assert!(proxy.fds() <= 80);
        }
        // Relief.
        drop(crowd);
        let mut client = Client::connect(proxy.http);
        for _ in 0..5 {
            assert_eq!(
                client.get("/live/a.m3u8", &[]).status(),
                200,
                "round {round}"
            );
            assert_eq!(
                client.get(&segment, &[]).body.len(),
                100_000,
                "round {round}"
            );
        }
        assert_eq!(
            fetch::get(proxy.api, "/api/v1/origins").status(),
            200,
            "round {round}"
        );
        show.goes_on();
    }
    drop(show);
    drop(alone); // from here on it only waits
    before.wait_back(&proxy);
    proxy.assert_no_panic();
}

#[test]
fn descriptors_that_are_taken_behind_its_back_are_no_origins_fault() {
    let _alone = crate::common::alone();
    // The limit is lowered while it runs: below what it was told at its start.
    let origin = small_origin();
    let proxy = Proxy::before(&origin, &[]);
    let mut show = Show::begin(&proxy, &origin);
    let mut client = Client::connect(proxy.http);
    assert_eq!(client.get("/live/a.m3u8", &[]).status(), 200);
    let limit = |most: usize| {
        let pid = format!("--pid={}", proxy.pid().as_raw_nonzero());
        let mut command = tools::command("prlimit");
        command.arg(pid).arg(format!("--nofile={most}:20000"));
        tools::output(&mut command, SOON);
    };
    limit(proxy.fds());
    // No descriptor for another client: it waits, and nobody spins.
    let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(proxy.http)).collect();
    for waiter in &mut waiting {
        waiter.request("GET", "/live/a.m3u8", &[]);
    }
    show.goes_on();
    limit(1000);
    for waiter in &mut waiting {
        assert_eq!(waiter.read_response(SOON).status(), 200);
    }
    show.goes_on();
    // None for an origin: that says nothing of the origin. Live streams: each needs a connection of its own.
    origin.on("/live/b.flv", Reply::ok("video/x-flv", "flv"));
    for waiter in &mut waiting {
        assert_eq!(waiter.get("/live/b.flv", &[]).status(), 200);
    }
    limit(5);
    let statuses: Vec<u16> = waiting
        .iter_mut()
        .map(|it| it.get("/live/b.flv", &[]).status())
        .collect();
    assert!(
        statuses.iter().all(|status| [502, 503].contains(status)),
        "{statuses:?}"
    );
    show.goes_on();
    limit(1000);
    let view = fetch::get(proxy.api, "/api/v1/origins").json();
    assert_eq!(view["data"]["origins"][0]["state"], "alive", "{view}");
    assert_eq!(waiting[0].get("/live/b.flv", &[]).status(), 200);
    show.goes_on();
    proxy.assert_no_panic();
}

/// The proxy as a user of its own with so many threads; `None`, with the reason printed, where that cannot be had.
fn with_threads(most: usize, directory: &Path) -> Option<ProxyBuilder> {
    if !rustix::process::geteuid().is_root() {
        println!(
            "skipped: only root can give the proxy a user of its own, whose threads nobody else has"
        );
        return None;
    }
    // RLIMIT_NPROC counts all threads of a user, and does not bind root.
    let user = 40_000 + std::process::id() % 20_000 + most as u32;
    let public = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions")
    };
    let binary = directory.join("proxy");
    std::fs::copy(BINARY, &binary).expect("copying the proxy");
    public(directory, 0o755);
    public(&binary, 0o755);
    let builder = Proxy::builder();
    public(builder.directory(), 0o755);
    Some(
        builder
            .program("prlimit")
            .arg(format!("--nproc={most}"))
            .arg("setpriv")
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={user}"))
            .arg("--clear-groups")
            .arg(binary.display()),
    )
}

#[test]
fn the_thread_limit_bounds_the_connections() {
    let _alone = crate::common::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let Some(builder) = with_threads(500, directory.path()) else {
        return;
    };
    let proxy = builder.start();
    let (connections, line) = bound(&proxy);
    assert!(line.contains(" 500 threads"), "{line}");
    assert!((8..250).contains(&connections), "{line}");
}

#[test]
fn without_threads_what_runs_goes_on_and_the_rest_is_turned_away() {
    let alone = crate::common::alone();
    let origin = small_origin();
    let directory = tempfile::tempdir().expect("a directory");
    // Some two dozen are its own; then a show takes two or three.
    let Some(builder) = with_threads(31, directory.path()) else {
        return;
    };
    let proxy = builder.env("PROXY_IDLE_TIMEOUT", "5s").start();
    proxy.register(&origin);
    let mut show = Show::begin(&proxy, &origin);
    let before = Footprint::of(&proxy);
    for round in 0..3 {
        let mut crowd: Vec<_> = (0..60).map(|_| connect(proxy.http)).collect();
        for stream in &mut crowd {
            let _ = stream.write_all(b"GET /live/a.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for _ in 0..20 {
            show.goes_on();
        }
        drop(crowd);
        // Within seconds of relief it serves again.
        let served = || {
            let Ok(mut client) = Client::try_connect(proxy.http) else {
                return false;
            };
            client.request("GET", "/live/a.m3u8", &[]);
            client
                .try_read_head(Duration::from_secs(2))
                .is_ok_and(|head| head.status == 200)
        };
        wait_until(
            &format!("it serves again in round {round}"),
            SOON * 2,
            served,
        );
        show.goes_on();
    }
    let short =
        |line: &str| line.contains("cannot make a thread") || line.contains("cannot make a worker");
    assert!(
        proxy.log_lines().iter().any(|line| short(line)),
        "threads were never short"
    );
    drop(alone); // from here on it only waits
    wait_until("threads are back", crate::common::hostile::LET_GO, || {
        proxy.threads() <= before.threads + 1
    });
    proxy.assert_no_panic();
}
