//! The lab origin: it behaves over HTTP as SRS does.

use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes};
use crate::common::fetch::{fetch, get, get_with, post};
use crate::common::hls::uris;
use crate::common::lab::LabOrigin;
use crate::common::process::own_binary;
use crate::common::proxy::Proxy;
use crate::common::tools;
use crate::common::wait::wait_until;
use crate::common::{ABOUT_A_SECOND, SOON};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FLV: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

#[test]
fn live_streams_begin_at_once_and_come_in_real_time() {
    let origin = LabOrigin::start(&[]);
    let mut ended = Vec::new();
    for (name, kind) in [("demo.flv", "video/x-flv"), ("demo.ts", "video/MP2T")] {
        let mut viewer = Client::connect(origin.addr);
        viewer.request("GET", &format!("/live/{name}"), &[]);
        let head = viewer.read_head(SOON);
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.one("content-type"), kind);
        assert_eq!(head.headers.one("transfer-encoding"), "chunked");
        assert_eq!(head.headers.one("connection"), "Close");
        assert!(!head.headers.has("access-control-allow-origin"));
        let first = viewer.read_at_least(FLV.len(), SOON);
        match name {
            "demo.flv" => assert!(first.starts_with(FLV)),
            _ => assert_eq!(first[0], 0x47),
        }
        ended.push(viewer);
    }
    // A GOP of 2 s comes at once, and then 2 s of media take 2 s; it cannot be faster.
    let mut viewer = Client::connect(origin.addr);
    let began = Instant::now();
    viewer.request("GET", "/live/demo.flv", &[]);
    viewer.read_head(SOON);
    let mut body = Vec::new();
    while last_timestamp(&body).is_none_or(|(first, last)| last - first < 6000) {
        body.extend(viewer.read_at_least(1, SOON));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3900), "{took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    // Its end is that of a publisher: without a last chunk.
    drop(origin);
    for mut viewer in ended {
        let (_, end) = viewer.read_rest(SOON);
        assert_ne!(end, BodyEnd::Complete);
    }
}

/// The first and the last timestamp of the whole media tags in an FLV file, in ms.
fn last_timestamp(file: &[u8]) -> Option<(u32, u32)> {
    let mut times = None;
    let mut at = FLV.len();
    while let Some(tag) = file.get(at..at + 11) {
        let size = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        if file.len() < at + 11 + size + 4 {
            break;
        }
        let time = u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]);
        if tag[0] != 18 {
            let (first, last) = *times.get_or_insert((time, time));
            assert!(time + 100 >= last, "{time} after {last}");
            times = Some((first, last.max(time)));
        }
        at += 11 + size + 4;
    }
    times
}

#[test]
fn what_nobody_publishes_is_held_or_not_found() {
    let origin = LabOrigin::start(&["--stream", "a", "--stream", "b"]);
    for target in ["/live/c.flv", "/live/c.ts", "/other/a.flv"] {
        let mut viewer = Client::connect(origin.addr);
        viewer.request("GET", target, &[]);
        // It is taken: nothing comes, and it is not closed.
        let came = viewer.try_read_head(Duration::from_millis(300));
        assert_eq!(came.err(), Some(NoBytes::TimedOut), "{target}");
    }
    // Whoever leaves is seen to leave.
    wait_until("the held viewers were logged", SOON, || {
        let held = |line: &String| line.contains("held until the viewer left");
        origin.log_lines().iter().filter(|line| held(line)).count() == 3
    });
    for target in [
        "/live/c.m3u8",
        "/live/c-12.ts",
        "/live/a-12.ts",
        "/live/a-99999999999.ts",
        "/",
        "/live/a",
    ] {
        assert_eq!(get(origin.addr, target).status(), 404, "{target}");
    }
    let mut viewer = Client::connect(origin.addr);
    viewer.request("GET", "/live/../a.flv", &[]);
    viewer.expect_closed(SOON);
    assert_eq!(
        fetch(origin.addr, "DELETE", "/live/a.flv", &[]).status(),
        405
    );
}

#[test]
fn a_playlist_leads_to_one_of_its_session() {
    let origin = LabOrigin::start(&["--stream", "a", "--stream", "b"]);
    let playlist = |target: &str| {
        let response = get(origin.addr, target);
        assert_eq!(response.status(), 200, "{target}");
        let kind = response.headers().one("content-type");
        assert_eq!(kind, "application/vnd.apple.mpegurl");
        response.text()
    };
    let master = playlist("/live/a.m3u8?token=1");
    let media = uris(&master)[0].to_owned();
    assert!(media.starts_with("/live/a.m3u8?hls_ctx="), "{master}");
    assert!(media.ends_with("&token=1"), "{master}");
    assert!(master.contains("#EXT-X-STREAM-INF:"), "{master}");

    let list = playlist(&media);
    assert!(list.contains("#EXT-X-TARGETDURATION:2\n"), "{list}");
    assert!(!list.contains("ENDLIST"), "{list}");
    assert_eq!(uris(&list).len(), 5, "{list}");
    let session = media.split(['?', '&']).nth(1).expect("a session");
    for uri in uris(&list) {
        let (file, query) = uri.split_once('?').expect("a query");
        assert_eq!(query, session);
        let segment = get(origin.addr, &format!("/live/{file}?{query}"));
        assert_eq!(segment.status(), 200, "{uri}");
        assert_eq!(segment.headers().one("content-type"), "video/MP2T");
        assert!(segment.body.len().is_multiple_of(188) && segment.body[0] == 0x47);
        // Ranges are for files; SRS gives all of a segment.
        let range = [("Range", "bytes=0-187")];
        let whole = get_with(origin.addr, &format!("/live/{uri}"), &range);
        assert_eq!(
            (whole.status(), whole.body.len()),
            (200, segment.body.len())
        );
    }
    // The window slides.
    wait_until("the window slid", SOON, || playlist(&media) != list);

    // What is no session of this stream gets a master playlist again, with another session.
    for unknown in [
        "/live/a.m3u8?hls_ctx=zzzzzzzz".to_owned(),
        media.replace("/a.m3u8", "/b.m3u8"),
    ] {
        let again = playlist(&unknown);
        let uri = uris(&again)[0];
        assert!(again.contains("#EXT-X-STREAM-INF:"), "{again}");
        assert!(!uri.contains(session) && !uri.contains("zzzz"), "{again}");
        assert!(playlist(uri).contains("#EXTINF:"));
    }
}

#[test]
fn the_api_lists_and_pages() {
    let names: Vec<String> = (10..22).map(|n| format!("s{n}")).collect();
    let args: Vec<&str> = names.iter().flat_map(|n| ["--stream", n]).collect();
    let origin = LabOrigin::start(&args);
    let urls = |target: &str| -> Vec<String> {
        let response = get(origin.addr, target);
        assert_eq!(response.headers().one("content-type"), "application/json");
        let json = response.json();
        assert_eq!(json["code"], 0);
        let streams = json["streams"].as_array().expect("streams").clone();
        assert!(streams.iter().all(|it| it["publish"]["active"] == true));
        let url = |it: &serde_json::Value| it["url"].as_str().expect("a URL").to_owned();
        streams.iter().map(url).collect()
    };
    let all: Vec<String> = names.iter().map(|name| format!("/live/{name}")).collect();
    assert_eq!(urls("/api/v1/streams/"), all[..10]);
    assert_eq!(urls("/api/v1/streams/?start=10&count=10"), all[10..]);
    assert_eq!(urls("/api/v1/streams/?count=1"), all[..10]);
    assert_eq!(urls("/api/v1/streams/?count=100"), all);
    let moved = get(origin.addr, "/api/v1/streams?count=100");
    assert_eq!(moved.status(), 302);
    assert_eq!(
        moved.headers().one("location"),
        "/api/v1/streams/?count=100"
    );
    let version = get(origin.addr, "/api/v1/versions").json();
    assert!(version["data"]["major"].is_u64(), "{version}");

    let stream = || get(origin.addr, "/api/v1/streams/").json()["streams"][3].clone();
    let before = stream();
    assert_eq!(before["clients"], 1, "{before}");
    assert_eq!(before["video"]["width"], 640, "{before}");
    let mut viewer = Client::connect(origin.addr);
    viewer.request("GET", "/live/s13.flv", &[]);
    viewer.read_head(SOON);
    viewer.read_at_least(10_000, SOON);
    let during = stream();
    assert_eq!(during["clients"], 2, "{during}");
    drop(viewer);
    wait_until("the viewer was gone", ABOUT_A_SECOND, || {
        stream()["clients"] == 1
    });
    assert!(
        stream()["send_bytes"].as_u64() >= Some(10_000),
        "{}",
        stream()
    );
}

#[test]
fn web_pages_and_keep_alive_as_with_srs() {
    let origin = LabOrigin::start(&[]);
    let page = [("Origin", "http://example.com")];
    let response = get_with(origin.addr, "/live/demo.m3u8", &page);
    assert_eq!(response.headers().one("access-control-allow-origin"), "*");
    assert_eq!(
        fetch(origin.addr, "OPTIONS", "/live/demo.flv", &page).status(),
        200
    );
    let mut client = Client::connect(origin.addr);
    for _ in 0..3 {
        let response = client.get("/live/demo.m3u8", &[]);
        assert_eq!(response.headers().one("connection"), "Close");
    }
    let head = fetch(origin.addr, "HEAD", "/live/demo.flv", &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
}

#[test]
fn it_registers_and_keeps_at_it() {
    let proxy = Proxy::start(&[]);
    let url = format!("http://{}/api/v1/srs/register?dropped=1", proxy.api);
    let args = ["--device-id", "one", "--register", url.as_str()];
    let one = LabOrigin::start(&args);
    let two = LabOrigin::start(&["--device-id", "one", "--register", url.as_str()]);
    let origins = || {
        let json = get(proxy.api, "/api/v1/origins").json();
        json["data"]["origins"].as_array().expect("origins").clone()
    };
    wait_until("both were registered", SOON, || origins().len() == 2);
    for origin in [&one, &two] {
        let all = origins();
        let found = all
            .iter()
            .find(|it| it["address"] == origin.addr.to_string());
        let found = found.expect("its entry");
        assert_eq!(found["device_id"], "one");
        assert_eq!(found["api"], origin.addr.port());
        origin.wait_for_log("is registered at ");
    }
    assert!(
        get(proxy.http, "/live/demo.m3u8")
            .text()
            .contains("hls_ctx=")
    );
}

#[test]
fn a_heartbeat_is_srs_own_and_its_failure_is_said_once() {
    let proxy = Registry::start(403);
    let url = format!("http://{}/api/v1/srs/register?token=1", proxy.addr);
    let args = ["--device-id", "one", "--stream", "a", "--register", &url];
    let origin = LabOrigin::start(&args);
    wait_until("heartbeats came", SOON, || proxy.heartbeats().len() >= 3);
    let warnings = || {
        let lines = origin.log_lines().into_iter();
        lines.filter(|line| line.contains("[WARN]")).count()
    };
    let line = origin.wait_for_log("cannot register");
    assert!(line.contains("403"), "{line}");
    assert_eq!(warnings(), 1);
    proxy.status.store(200, Ordering::Relaxed);
    origin.wait_for_log("is registered at ");
    assert_eq!(warnings(), 1);

    let (head, body) = proxy.heartbeats().remove(0);
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("post /api/v1/srs/register http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let fields: Vec<&String> = body.as_object().expect("an object").keys().collect();
    let srs = [
        "device_id",
        "ip",
        "server",
        "service",
        "pid",
        "rtmp",
        "http",
        "api",
    ];
    assert_eq!(fields, srs);
    let port = serde_json::json!([origin.addr.port().to_string()]);
    assert_eq!(
        (&body["device_id"], &body["ip"]),
        (&"one".into(), &"127.0.0.1".into())
    );
    assert_eq!((&body["http"], &body["api"]), (&port, &port));
    let api = get(origin.addr, "/api/v1/streams/").json();
    for id in ["server", "service", "pid"] {
        assert_eq!(api[id], body[id], "{id}");
    }
}

/// What heartbeats are sent to: it keeps them, and answers one status.
struct Registry {
    addr: SocketAddr,
    status: Arc<AtomicU16>,
    heartbeats: Arc<Mutex<Vec<(String, String)>>>,
}

impl Registry {
    fn start(status: u16) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let addr = listener.local_addr().expect("its address");
        let status = Arc::new(AtomicU16::new(status));
        let heartbeats = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (status.clone(), heartbeats.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = Registry::serve(stream, &answer, &kept);
            }
        });
        Registry {
            addr,
            status,
            heartbeats,
        }
    }

    /// Reads requests until the connection ends.
    fn serve(
        mut stream: TcpStream,
        status: &AtomicU16,
        kept: &Mutex<Vec<(String, String)>>,
    ) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let body = String::from_utf8(body).expect("text");
            kept.lock().expect("heartbeats").push((head, body));
            let status = status.load(Ordering::Relaxed);
            write!(
                stream,
                "HTTP/1.1 {status} Status\r\nContent-Length: 2\r\n\r\nno"
            )?;
        }
    }

    fn heartbeats(&self) -> Vec<(String, String)> {
        self.heartbeats.lock().expect("heartbeats").clone()
    }
}

#[test]
fn it_goes_away_and_comes_back() {
    let proxy = Proxy::start(&[]);
    let url = format!("http://{}/api/v1/srs/register", proxy.api);
    let origin = LabOrigin::start(&["--register", &url]);
    origin.wait_for_log("is registered at ");
    let mut viewer = Client::connect(origin.addr);
    viewer.request("GET", "/live/demo.flv", &[]);
    viewer.read_head(SOON);
    let mut held = Client::connect(origin.addr);
    held.request("GET", "/live/none.flv", &[]);

    assert_eq!(get(origin.addr, "/lab/stop").status(), 405);
    let page = [("Origin", "http://example.com")];
    assert_eq!(post(origin.addr, "/lab/stop", &page, b"").status(), 403);
    for bad in ["0", "-1", "x", "3601", ""] {
        let target = format!("/lab/stop?seconds={bad}");
        assert_eq!(post(origin.addr, &target, &[], b"").status(), 400, "{bad}");
    }
    let answer = post(origin.addr, "/lab/stop?seconds=2", &[], b"");
    assert_eq!(answer.status(), 200);
    assert!(
        answer.text().contains("comes back in 2 s"),
        "{}",
        answer.text()
    );
    assert_ne!(viewer.read_rest(SOON).1, BodyEnd::Complete);
    held.expect_closed(SOON);
    wait_until("the port refused", SOON, || {
        Client::try_connect(origin.addr).is_err()
    });
    wait_until("the origin was back", SOON, || {
        Client::try_connect(origin.addr).is_ok()
    });
    assert_eq!(get(origin.addr, "/live/demo.m3u8").status(), 200);
    // It is the same origin with a new service: the proxy has one entry.
    wait_until("it registered again", SOON, || {
        let registered = |line: &&String| line.contains("is registered at ");
        origin.log_lines().iter().filter(registered).count() == 2
    });
    let json = get(proxy.api, "/api/v1/origins").json();
    assert_eq!(
        json["data"]["origins"].as_array().map(Vec::len),
        Some(1),
        "{json}"
    );
}

#[test]
fn a_signal_ends_it_whatever_it_does() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut origin = LabOrigin::start(&[]);
        let mut viewer = Client::connect(origin.addr);
        viewer.request("GET", "/live/demo.ts", &[]);
        viewer.read_head(SOON);
        origin.signal(signal);
        assert_eq!(origin.wait_exit(SOON), Some(0));
    }
    // Also while it is away.
    let mut origin = LabOrigin::start(&[]);
    post(origin.addr, "/lab/stop?seconds=3600", &[], b"");
    origin.wait_for_log("has stopped");
    origin.signal(Signal::TERM);
    assert_eq!(origin.wait_exit(SOON), Some(0));
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_2() {
    let origin = LabOrigin::start(&[]);
    let address = origin.addr.to_string();
    let mut command = own_binary();
    command.args(["origin", "--listen", &address]);
    let output = tools::run(&mut command, SOON);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}
