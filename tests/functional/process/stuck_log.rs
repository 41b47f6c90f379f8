//! The log's reader may stop reading: nobody waits for it. What the log looks like: text, JSON, for the journal.

use crate::common::client::Client;
use crate::common::fetch::{get, get_with, post};
use crate::common::origin::Origin;
use crate::common::process::own_binary;
use crate::common::proxy::Proxy;
use crate::common::wait::{wait_for, wait_until};
use crate::common::{ABOUT_A_SECOND, SOON};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy whose log is read by the test itself, or not.
struct Watched {
    child: Child,
    log: BufReader<ChildStderr>,
    http: SocketAddr,
    api: SocketAddr,
}

impl Watched {
    fn start(command: &mut Command) -> Watched {
        command
            .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
            .env("PROXY_SYSTEM_API", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("starting the proxy");
        let log = BufReader::new(child.stderr.take().expect("its stderr"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut watched = Watched {
            child,
            log,
            http: nowhere,
            api: nowhere,
        };
        watched.http = watched.address("listening for players on ");
        watched.api = watched.address("listening for origins and operators on ");
        watched
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).expect("a line of the log");
        assert!(!line.is_empty(), "the proxy has ended");
        line
    }

    fn address(&mut self, after: &str) -> SocketAddr {
        loop {
            if let Some((_, address)) = self.line().split_once(after) {
                let end = address.find(['"', '\n']).expect("an end");
                return address[..end].parse().expect("an address");
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalling the proxy");
    }

    fn wait_exit(&mut self) -> Option<i32> {
        let ended = || self.child.try_wait().expect("waiting for the proxy");
        wait_for("the proxy ended", ABOUT_A_SECOND, ended).code()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn metric(api: SocketAddr, name: &str) -> u64 {
    let text = get(api, "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Asks until the log is full and lines are dropped: each has 8 KB, the pipe holds 64, and 1 MiB may wait.
fn fill_the_log(proxy: &Watched) {
    let path = format!("/{}", "x".repeat(8000));
    let mut client = Client::connect(proxy.http);
    let begin = Instant::now();
    for _ in 0..300 {
        assert_eq!(client.get(&path, &[]).status(), 404);
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(metric(proxy.api, "srs_proxy_log_lines_dropped_total ") > 0);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_the_loss_is_told() {
    let mut proxy = Watched::start(&mut own_binary());
    fill_the_log(&proxy);
    let dropped = metric(proxy.api, "srs_proxy_log_lines_dropped_total ");
    // Somebody reads again: what waited comes, and that lines are missing is said.
    let told = loop {
        let line = proxy.line();
        if line.contains("log lines were dropped") {
            break line;
        }
    };
    let count = told
        .split_whitespace()
        .find_map(|word| word.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count >= dropped), "{told}");
    assert!(told.contains("[WARN]"), "{told}");
}

#[test]
fn the_end_does_not_wait_for_the_log() {
    let mut proxy = Watched::start(&mut own_binary());
    fill_the_log(&proxy);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(), Some(0));
}

#[test]
fn neither_does_the_second_signal() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Watched::start(own_binary().env("PROXY_GRACE_QUIT_TIMEOUT", "60s"));
    let heartbeat = serde_json::json!({"ip": "127.0.0.1", "server": "s", "service": "s", "pid": "1",
        "rtmp": ["1935"], "http": [origin.port()]});
    let body = heartbeat.to_string();
    let registered = post(proxy.api, "/api/v1/srs/register", &[], body.as_bytes());
    assert_eq!(
        registered.status(),
        200,
        "ports may be numbers: {}",
        registered.text()
    );
    let mut player = Client::connect(proxy.http);
    player.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"x");
    assert_eq!(player.read_head(SOON).status, 200);
    fill_the_log(&proxy);
    proxy.signal(Signal::TERM);
    wait_until("the port is closed", SOON, || {
        Client::try_connect(proxy.http).is_err()
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(), Some(1));
}

#[test]
fn json_lines_have_the_fields_of_a_request() {
    let mut proxy = Watched::start(own_binary().env("PROXY_LOG_FORMAT", "json"));
    let headers = [
        ("User-Agent", "play\"er/1"),
        ("Host", "tv.example.com"),
        ("X-Forwarded-For", "203.0.113.9"),
    ];
    let response = get_with(proxy.http, "/nothing?token=secret", &headers);
    let id = response.headers().one("x-request-id").to_owned();
    let line = loop {
        let line = proxy.line();
        assert!(!line.contains("secret"), "{line}");
        let json: Value = serde_json::from_str(&line).expect("a JSON object a line");
        humantime::parse_rfc3339(json["time"].as_str().expect("a time")).expect("RFC 3339");
        if json["id"] == *id {
            break json;
        }
    };
    for (field, value) in [
        ("level", Value::from("info")),
        ("message", "request".into()),
        ("viewer", "203.0.113.9".into()),
        ("method", "GET".into()),
        ("vhost", "tv.example.com".into()),
        ("path", "/nothing".into()),
        ("status", 404.into()),
        ("bytes", response.body.len().into()),
        ("kind", "file".into()),
        ("user_agent", "play\"er/1".into()),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["seconds"].as_f64().is_some(), "{line}");
    let peer = line["peer"].as_str().expect("a peer");
    assert!(peer.starts_with("127.0.0.1:"), "{line}");
}

#[test]
fn the_journal_has_a_time_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("journal");
    let journal = std::fs::File::create(&path).expect("a file");
    let stat = journal.metadata().expect("its inode");
    let stream = format!("{}:{}", stat.dev(), stat.ino());
    for (named, stamped) in [(stream.as_str(), false), ("1:2", true)] {
        let mut command = own_binary();
        command
            .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
            .env("PROXY_SYSTEM_API", "127.0.0.1:0")
            .env("JOURNAL_STREAM", named)
            .stderr(journal.try_clone().expect("the file once more"));
        let mut child = command.spawn().expect("starting the proxy");
        let said = |words: &str| {
            let text = std::fs::read_to_string(&path).expect("its log");
            text.lines()
                .rev()
                .find(|line| line.contains(words))
                .map(str::to_owned)
        };
        let listens = "listening for origins";
        let line = wait_for("it listens", SOON, || said(listens));
        let _ = child.kill();
        let _ = child.wait();
        std::fs::write(&path, "").expect("emptying the file");
        assert_eq!(!line.starts_with("[INFO] "), stamped, "{line}");
    }
}

#[test]
fn the_access_log_can_be_turned_off() {
    let proxy = Proxy::start(&[("PROXY_ACCESS_LOG", "off"), ("PROXY_LOG_LEVEL", "debug")]);
    assert_eq!(get(proxy.http, "/nothing").status(), 404);
    assert_eq!(get(proxy.api, "/nothing").status(), 404);
    // Other lines stay.
    assert_eq!(
        post(proxy.api, "/api/v1/srs/register", &[], b"{}").status(),
        400
    );
    proxy.wait_for_log(|line| line.contains("a heartbeat from"), SOON);
    let lines = proxy.log_lines();
    assert!(
        !lines.iter().any(|line| line.contains(" bytes ")),
        "{lines:#?}"
    );
}

#[test]
fn polls_are_logged_at_debug_and_their_failures_at_info() {
    let origin = Origin::start();
    for (level, logged) in [("info", false), ("debug", true)] {
        let proxy = Proxy::before(&origin, &[("PROXY_LOG_LEVEL", level)]);
        for path in [
            "/healthz",
            "/livez",
            "/metrics",
            "/api/v1/origins",
            "/api/v1/streams",
        ] {
            assert_eq!(get(proxy.api, path).status(), 200, "{path}");
        }
        assert_eq!(get(proxy.api, "/api/v1/nothing").status(), 404);
        assert_eq!(
            post(proxy.api, "/api/v1/srs/register", &[], b"{}").status(),
            400
        );
        let failed = |line: &str| line.contains("POST /api/v1/srs/register 400");
        proxy.wait_for_log(failed, SOON);
        let lines = proxy.log_lines();
        let has = |words: &str| lines.iter().any(|line| line.contains(words));
        assert!(has("GET /api/v1/nothing 404"), "{lines:#?}");
        for words in [
            "POST /api/v1/srs/register 200",
            "GET /healthz 200",
            "GET /metrics 200",
        ] {
            assert_eq!(has(words), logged, "{level}: {words} in {lines:#?}");
        }
    }
}

#[test]
fn who_watches_through_a_proxy_is_told_with_the_proxy_and_the_vhost() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_STREAM_WAIT", "0s")]);
    let line_of = |headers: &[(&str, &str)], target: &str| {
        let response = get_with(proxy.http, target, headers);
        let id = response.headers().one("x-request-id").to_owned();
        proxy.wait_for_log(|line| line.contains(&id), SOON)
    };
    let forwarded = [
        ("X-Forwarded-For", "10.9.9.9, 203.0.113.7"),
        ("X-Real-IP", "10.9.9.9"),
        ("Host", "TS.example.com:80"),
    ];
    let line = line_of(&forwarded, "/live/a.flv");
    assert!(line.contains(" 203.0.113.7 GET /live/a.flv "), "{line}");
    assert!(
        line.contains(" vhost ts.example.com peer 127.0.0.1:"),
        "{line}"
    );
    assert!(!line.contains("10.9.9.9"), "the viewer's own word: {line}");
    let line = line_of(&[], "/live/a.flv?vhost=other.example");
    assert!(line.contains(" vhost other.example"), "{line}");
    assert!(
        line.contains(" 127.0.0.1:") && !line.contains(" peer "),
        "{line}"
    );
}

#[test]
fn a_stream_that_is_cut_at_the_end_says_who_cut_it() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let mut proxy = Proxy::before(&origin, &[("PROXY_GRACE_QUIT_TIMEOUT", "500ms")]);
    let mut player = Client::connect(proxy.http);
    player.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"x");
    assert_eq!(player.read_head(SOON).status, 200);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(SOON), 0);
    let lines = proxy.log_lines();
    let line = lines
        .iter()
        .find(|line| line.contains("GET /live/a.flv 200"));
    let line = line.unwrap_or_else(|| panic!("no line in {lines:#?}"));
    assert!(
        line.ends_with(" - cut here: this server is ending"),
        "{line}"
    );
}

#[test]
fn a_player_that_was_held_in_vain_is_no_fault_of_an_origin() {
    let origin = Origin::start_with_api();
    let proxy = Proxy::before(&origin, &[("PROXY_STREAM_WAIT", "300ms")]);
    let response = get(proxy.http, "/live/none.flv");
    assert_eq!(response.status(), 404, "{}", response.text());
    let id = response.headers().one("x-request-id").to_owned();
    let line = proxy.wait_for_log(|line| line.contains(&id), SOON);
    assert!(
        line.contains(" origin - ") && line.contains("no origin has the stream, held for "),
        "{line}"
    );
}

#[test]
fn sighup_ends_nothing_and_is_heard_with_nohup_too() {
    let mut ignoring = Proxy::builder().program("sh").arg("-c");
    ignoring = ignoring.arg("trap '' HUP; exec \"$0\"");
    ignoring = ignoring.arg(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let mut ignoring = ignoring.start();
    // Whoever runs the tests may ignore the signal, which children inherit.
    let default = Proxy::builder().program("env").arg("--default-signal=HUP");
    let mut proxy = default.arg(env!("CARGO_BIN_EXE_srs-stream-proxy")).start();
    for proxy in [&mut proxy, &mut ignoring] {
        proxy.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(100)); // as long as its end would take
        assert_eq!(get(proxy.http, "/api/v1/versions").status(), 200);
        assert_eq!(proxy.try_exit(), None);
        proxy.wait_for_log(|line| line.contains("SIGHUP"), SOON);
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_exit(ABOUT_A_SECOND), 0);
}

#[test]
fn what_does_not_fit_together_is_told_at_the_start() {
    let builder = Proxy::builder().program("sh").arg("-c");
    let builder = builder.arg("ulimit -n 300 && exec \"$0\"");
    let builder = builder.arg(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let builder = builder.env("PROXY_MAX_STREAM", "5");
    let proxy = builder.env("PROXY_MAX_STREAMS", "4000").start();
    let warned = |words: &str| {
        let warned = |line: &str| line.contains("[WARN]") && line.contains(words);
        proxy.wait_for_log(warned, SOON)
    };
    warned("PROXY_MAX_STREAM is no setting and is ignored; did you mean PROXY_MAX_STREAMS?");
    let line = warned("PROXY_MAX_STREAMS is 4000, but only ");
    assert!(line.contains("LimitNOFILE="), "{line}");
    let tight = Proxy::builder().program("sh").arg("-c");
    let tight = tight.arg("ulimit -n 300 && exec \"$0\"");
    let tight = tight.arg(env!("CARGO_BIN_EXE_srs-stream-proxy")).start();
    let line = tight.wait_for_log(|line| line.contains("streams at once"), SOON);
    let numbers: Vec<usize> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    // By itself it takes on what fits: less than its connections, for not all of them are streams.
    assert!(
        numbers.len() >= 2 && 0 < numbers[1] && numbers[1] < numbers[0],
        "{line}"
    );
    tight.wait_for_log(|line| line.contains("the System API has no token"), SOON);
    assert!(!tight.log_lines().iter().any(|line| line.contains("WARN")));
    let lines = proxy.log_lines();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("the System API has no token")),
        "{lines:#?}"
    );
    let guarded = Proxy::start(&[
        ("PROXY_SYSTEM_API_TOKEN", "s3cret"),
        ("PROXY_MAX_STREAMS", "5"),
    ]);
    guarded.wait_for_log(|line| line.contains("the System API needs the token"), SOON);
    let lines = guarded.log_lines();
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("WARN") || line.contains("s3cret")),
        "{lines:#?}"
    );
}
