//! SIGUSR2: a new process of the program takes over, and no viewer notices.

use crate::common::answer::Reply;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::{get, post};
use crate::common::live::{Live, LiveRoute};
use crate::common::origin::Origin;
use crate::common::proxy::{Proxy, ProxyBuilder};
use crate::common::redis::RedisServer;
use crate::common::shared::{api, id, origin, state, word};
use crate::common::tls::{TestRoot, connect};
use crate::common::{ABOUT_A_SECOND, SOON, wait::wait_for, wait::wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A successor, which is no child of the test: ended with it.
pub struct Successor(Pid);

impl Successor {
    /// The successor that the log tells of, the `count`th.
    #[track_caller]
    pub fn of(proxy: &Proxy, count: usize) -> Successor {
        let find = || {
            let lines = proxy.log_lines();
            let mut told = lines.iter().filter_map(|line| {
                let (_, rest) = line.split_once("process ")?;
                rest.strip_suffix(" serves in this one's place")
            });
            told.nth(count - 1)?.parse().ok().and_then(Pid::from_raw)
        };
        Successor(wait_for("a successor served", SOON, find))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("signalling the successor");
    }

    pub fn runs(&self) -> bool {
        // A process that has ended stays as a zombie until its parent ends.
        let stat = format!("/proc/{}/stat", self.0.as_raw_nonzero());
        test_kill_process(self.0).is_ok()
            && std::fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// The process that answers on that port now.
fn served_by(server: SocketAddr) -> String {
    let response = get(server, "/api/v1/versions");
    response.json()["pid"].as_str().expect("a pid").to_owned()
}

fn play(proxy: &Proxy, route: &LiveRoute, target: &str) -> (Client, Live) {
    let mut client = Client::connect(proxy.http);
    client.request("GET", target, &[]);
    let mut live = route.next();
    live.send(b"first");
    assert_eq!(client.read_head(SOON).status, 200);
    client.expect_bytes(b"first", SOON);
    (client, live)
}

/// A builder whose program is a copy that a test can replace.
fn with_own_program() -> (ProxyBuilder, PathBuf) {
    let builder = Proxy::builder();
    let program = builder.directory().join("srs-stream-proxy");
    std::fs::copy(env!("CARGO_BIN_EXE_srs-stream-proxy"), &program).expect("copying the program");
    let path = program.to_str().expect("a path").to_owned();
    (builder.program(&path), program)
}

/// Puts another program in the place of a running one, as a package manager does: a new file under the old name.
fn replace(program: &Path, script: &str) {
    let new = program.with_extension("new");
    std::fs::write(&new, script).expect("writing the new program");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::rename(&new, program).expect("putting it in place");
}

#[test]
fn a_successor_serves_on_the_same_ports_and_the_old_process_ends_with_its_last_viewer() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(&origin, &[]);
    let (mut viewer, mut live) = play(&proxy, &route, "/live/a.flv");
    let mut kept_alive = Client::connect(proxy.http);
    assert_eq!(kept_alive.get("/", &[]).status(), 200);
    let mut monitor = Client::connect(proxy.api);
    assert_eq!(monitor.get("/healthz", &[]).status(), 200);
    let old = served_by(proxy.http);

    proxy.signal(Signal::USR2);
    let successor = Successor::of(&proxy, 1);
    wait_until("the successor answers players", SOON, || {
        served_by(proxy.http) != old
    });
    assert_eq!(
        served_by(proxy.api),
        served_by(proxy.http),
        "both servers are the successor's"
    );
    // Who asks on a connection of before is answered once more, and told to come anew.
    let last = kept_alive.get("/", &[]);
    assert_eq!(last.status(), 200);
    assert_eq!(last.headers().one("connection"), "close");
    let health = monitor.get("/healthz", &[]);
    assert_eq!(health.status(), 503, "{}", health.text());
    assert!(health.text().contains("ending"), "{}", health.text());
    assert_eq!(get(proxy.api, "/healthz").status(), 200);
    // What the old process knew, the new one knows: nobody has registered there.
    let (mut second, mut other) = play(&proxy, &route, "/live/a.flv");
    for _ in 0..3 {
        live.send(b"more");
        viewer.expect_bytes(b"more", SOON);
        other.send(b"too");
        second.expect_bytes(b"too", SOON);
    }
    assert_eq!(proxy.try_exit(), None, "its viewer still watches");
    live.finish();
    assert_eq!(viewer.read_rest(SOON), (vec![], BodyEnd::Complete));
    drop(viewer);
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
    other.send(b"on");
    second.expect_bytes(b"on", SOON);
    assert!(successor.runs());
}

#[test]
fn a_successor_knows_drains_and_pins() {
    let origins = [origin("one"), origin("two"), origin("three")];
    let mut proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    let target = |n: usize| format!("/live/{n}.flv");
    let words =
        |proxy: &Proxy| -> Vec<String> { (0..9).map(|n| word(proxy.http, &target(n))).collect() };
    let before = words(&proxy);
    for origin in ["one", "two", "three"] {
        assert!(before.iter().any(|word| word == origin), "{before:?}");
    }
    let drain = format!("/api/v1/origins/{}/drain", id(&origins[0]));
    assert_eq!(post(proxy.api, &drain, &[], b"").status(), 200);
    proxy.signal(Signal::USR2);
    let _successor = Successor::of(&proxy, 1);
    assert_eq!(proxy.wait_exit(SOON), 0);
    assert_eq!(state(&proxy, &id(&origins[0])), "draining");
    // Each stream stays where it was, but for those of the drained one.
    for (before, after) in before.iter().zip(words(&proxy)) {
        assert!(after != "one" && (after == *before || before == "one"));
    }
    for n in 9..15 {
        assert_ne!(word(proxy.http, &target(n)), "one", "nothing new there");
    }
}

#[test]
fn a_successor_goes_on_with_the_numbers_of_playlists() {
    let origin = Origin::start();
    let media = |first: u64| {
        let head = format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-TARGETDURATION:2\n");
        let line = |n| format!("#EXTINF:2.000,\na-{n}.ts\n");
        Reply::playlist(head + &line(first) + &line(first + 1))
    };
    origin.on("/live/a.m3u8", media(996));
    let mut proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    let number = || {
        let list = get(proxy.http, "/live/a.m3u8").text();
        let tag = "#EXT-X-MEDIA-SEQUENCE:";
        let line = list.lines().find_map(|line| line.strip_prefix(tag));
        line.unwrap_or_else(|| panic!("{list}")).to_owned()
    };
    assert_eq!(number(), "996");
    proxy.signal(Signal::USR2);
    let _successor = Successor::of(&proxy, 1);
    // The origin has restarted meanwhile, and counts from anew: what players see goes on.
    origin.on("/live/a.m3u8", media(9));
    assert_eq!(number(), "998");
    assert_eq!(proxy.wait_exit(SOON), 0);
}

#[test]
fn with_redis_both_processes_announce_themselves() {
    let (redis, origin) = (RedisServer::start(), Origin::start());
    let route = origin.live_flv("/live/a.flv");
    let proxy = redis.proxy(&[]);
    proxy.register(&origin);
    let (_viewer, _live) = play(&proxy, &route, "/live/a.flv");
    let old = api(&proxy, "/api/v1/streams")["proxy"].clone();
    proxy.signal(Signal::USR2);
    let _successor = Successor::of(&proxy, 1);
    wait_until("the successor answers", SOON, || {
        api(&proxy, "/api/v1/streams")["proxy"] != old
    });
    let (_second, _other) = play(&proxy, &route, "/live/a.flv");
    wait_until("both were seen, each with its viewer", SOON, || {
        let view = api(&proxy, "/api/v1/streams");
        let table = view["proxies"].as_array().expect("proxies");
        let own = |row: &Value| row["viewers"] == 1;
        table.len() == 2 && table.iter().all(own) && view["totals"]["viewers"] == 2
    });
}

#[test]
fn a_successor_that_does_not_come_up_changes_nothing() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let (builder, program) = with_own_program();
    let mut proxy = builder.start();
    proxy.register(&origin);
    let (mut viewer, mut live) = play(&proxy, &route, "/live/a.flv");
    let pid = served_by(proxy.http);
    replace(&program, "#!/bin/sh\nexit 3\n");
    proxy.signal(Signal::USR2);
    let line = proxy.wait_for_log(|line| line.contains("cannot upgrade"), SOON);
    assert!(line.contains("ERROR"), "{line}");
    assert!(line.contains("exit status: 3"), "{line}");
    assert_eq!(served_by(proxy.http), pid);
    assert_eq!(served_by(proxy.api), pid);
    live.send(b"on");
    viewer.expect_bytes(b"on", SOON);
    assert_eq!(proxy.try_exit(), None);
    // One that starts and hangs is ended after 10 s.
    replace(&program, "#!/bin/sh\nexec sleep 1000\n");
    let begin = Instant::now();
    proxy.signal(Signal::USR2);
    let slow = |line: &str| line.contains("did not serve within");
    proxy.wait_for_log(slow, SOON + Duration::from_secs(10));
    assert!(begin.elapsed() >= Duration::from_secs(9));
    assert_eq!(served_by(proxy.http), pid);
}

#[test]
fn a_viewer_of_the_old_process_is_cut_after_the_upgrade_grace_time() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(&origin, &[("PROXY_UPGRADE_GRACE", "1s")]);
    let (mut viewer, live) = play(&proxy, &route, "/live/a.flv");
    proxy.signal(Signal::USR2);
    let _successor = Successor::of(&proxy, 1);
    assert_ne!(viewer.read_rest(SOON).1, BodyEnd::Complete);
    assert_eq!(proxy.wait_exit(SOON), 0);
    live.wait_closed(ABOUT_A_SECOND);
}

#[test]
fn a_new_process_starts_on_the_ports_while_the_old_one_ends() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut old = Proxy::before(&origin, &[]);
    let (mut viewer, mut live) = play(&old, &route, "/live/a.flv");
    old.signal(Signal::TERM);
    old.wait_for_log(|line| line.contains("ending: no new connections"), SOON);
    wait_until("the port is free", ABOUT_A_SECOND, || {
        Client::try_connect(old.http).is_err() && Client::try_connect(old.api).is_err()
    });
    let (http, api) = (old.http.to_string(), old.api.to_string());
    let new = Proxy::start(&[
        ("PROXY_HTTP_SERVER", http.as_str()),
        ("PROXY_SYSTEM_API", api.as_str()),
    ]);
    assert_eq!((new.http, new.api), (old.http, old.api));
    assert_eq!(get(new.http, "/").status(), 200);
    live.send(b"on");
    viewer.expect_bytes(b"on", SOON);
    assert_eq!(old.try_exit(), None);
}

#[test]
fn systemd_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("the notification socket");
    socket.set_read_timeout(Some(SOON)).expect("its timeout");
    let told = || {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut proxy = Proxy::start(&[("NOTIFY_SOCKET", path.to_str().expect("a path"))]);
    assert!(told().contains("READY=1"));
    proxy.signal(Signal::USR2);
    let successor = Successor::of(&proxy, 1);
    let mut messages = [told(), told()];
    messages.sort();
    assert!(
        messages[0].contains(&format!("MAINPID={}", successor.0.as_raw_nonzero())),
        "{messages:?}"
    );
    assert!(messages[1].contains("READY=1"), "{messages:?}");
    assert_eq!(proxy.wait_exit(SOON), 0);
    successor.signal(Signal::TERM);
    assert!(told().contains("STOPPING=1"));
    wait_until("the successor ended", SOON, || !successor.runs());
}

#[test]
fn sockets_of_systemd_are_used() {
    use command_fds::{CommandFdExt, FdMapping};
    use std::net::TcpListener;
    let listen = || TcpListener::bind("127.0.0.1:0").expect("listening");
    let root = TestRoot::new();
    for names in [
        None,
        Some("operators:players"),
        Some("players-tls:operators"),
    ] {
        let (first, second) = (listen(), listen());
        let addresses = [
            first.local_addr().expect("an address"),
            second.local_addr().expect("an address"),
        ];
        let mut proxy = Proxy::builder().https(&root).start_with(|command| {
            let mappings = [first, second].into_iter().zip(3..);
            let mappings = mappings.map(|(socket, child_fd)| FdMapping {
                parent_fd: socket.into(),
                child_fd,
            });
            command
                .env("LISTEN_FDS", "2")
                .fd_mappings(mappings.collect())
                .expect("two descriptors");
            if let Some(names) = names {
                command.env("LISTEN_FDNAMES", names);
            }
        });
        let expected = match names {
            None => [proxy.http, proxy.api],
            Some("operators:players") => [proxy.api, proxy.http],
            Some(_) => [proxy.https(), proxy.api],
        };
        assert_eq!(addresses, expected);
        connect(proxy.https(), &root.client());
        assert_eq!(get(proxy.http, "/").status(), 200);
        proxy.signal(Signal::TERM);
        assert_eq!(proxy.wait_exit(SOON), 0);
    }
}
