//! HTTPS towards players: the same as HTTP, below it TLS.

use crate::common::answer::Reply;
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::fetch::{get, get_with};
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::process::{Process, own_binary, without_settings};
use crate::common::proxy::Proxy;
use crate::common::tls::{TestRoot, Tunnel, connect};
use crate::common::tools::command;
use crate::common::wait::wait_until;
use crate::common::{ABOUT_A_SECOND, SOON};
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

const VERSIONS: &[u8] =
    b"GET /api/v1/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A client's settings for one version of TLS.
fn of_version(
    root: &TestRoot,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let provider = root.client().crypto_provider().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).expect("the root");
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn both_versions_of_tls_are_spoken_and_a_whole_answer_ends_with_a_goodbye() {
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    for (version, name) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut config = (*of_version(&root, version)).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut client = connect(proxy.https(), &Arc::new(config));
        assert_eq!(client.conn.protocol_version(), Some(name));
        assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.write_all(VERSIONS).expect("asking");
        let mut answer = String::new();
        // An end without close_notify would be an error.
        client.read_to_string(&mut answer).expect("a clean end");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn a_plain_request_to_the_port_of_https_is_told_so() {
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    let response = get(proxy.https(), "/live/a.flv");
    assert_eq!(response.status(), 400);
    assert!(response.text().contains("HTTPS"), "{}", response.text());
    let metrics = get(proxy.api, "/metrics").text();
    let failures = "srs_proxy_tls_handshake_failures_total 1";
    assert!(metrics.contains(failures), "{metrics}");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("srs_proxy_certificate_expiry_seconds "));
    let seconds: f64 = line.expect("a figure").parse().expect("a number");
    assert!((89.0..=90.0).contains(&(seconds / 86400.0)), "{seconds}");
}

#[test]
fn streams_segments_and_files_are_the_same_by_tls() {
    let origin = Origin::start();
    let segment: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", segment.clone()));
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::builder()
        .file("www/large.bin", &segment)
        .env("PROXY_STATIC_FILES", "www")
        .over_tls()
        .start();
    proxy.register(&origin);
    let mut client = Client::connect(proxy.http);
    let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    // On one connection: from the origin, from memory, from a file, a part of it.
    for target in [&target, &target, "/large.bin"] {
        let response = client.get(target, &[]);
        assert_eq!((response.status(), response.end), (200, BodyEnd::Complete));
        assert!(response.body == segment, "{target}");
    }
    let part = client.get("/large.bin", &[("Range", "bytes=1000-200999")]);
    assert_eq!(part.status(), 206);
    assert!(part.body == segment[1000..201_000]);
    // A live stream that two watch, with pieces larger than a record.
    let mut viewers = [Client::connect(proxy.http), Client::connect(proxy.http)];
    viewers[0].request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    assert_eq!(viewers[0].read_head(SOON).status, 200);
    viewers[0].expect_bytes(b"frame", SOON);
    for _ in 0..3 {
        live.send(&segment[..100_000]);
        viewers[0].expect_bytes(&segment[..100_000], SOON);
    }
    live.finish();
    assert_eq!(viewers[0].read_rest(SOON).1, BodyEnd::Complete);
}

#[test]
fn the_origin_is_told_the_scheme_and_its_own_links_with_it_lead_back() {
    let origin = Origin::start();
    // An origin that writes whole URLs, with the scheme that it is told.
    origin.otherwise(|request| {
        let proto = request.headers.one("x-forwarded-proto").to_owned();
        let host = request.headers.one("host").to_owned();
        Reply::playlist(format!("#EXTM3U\n{proto}://{host}/live/a-1.ts\n")).into()
    });
    let proxy = Proxy::builder().over_tls().start();
    proxy.register(&origin);
    // They do not share one answer.
    for (server, scheme) in [
        (proxy.plain, "http"),
        (proxy.http, "https"),
        (proxy.plain, "http"),
    ] {
        let headers = [("Host", "tv.example.com")];
        let list = get_with(server, "/live/a.m3u8", &headers).text();
        let link = format!("\n{scheme}://tv.example.com/live/a-1.ts?spbhid=");
        assert!(list.contains(&link), "{list}");
    }
}

#[test]
fn links_of_an_origin_that_knows_no_https_are_for_who_came_by_it() {
    let origin = Origin::start();
    origin.otherwise(|request| {
        let host = request.headers.one("host").to_owned();
        match request.path() {
            "/live/moved.flv" => Reply::new(302)
                .header("Location", &format!("http://{host}/live/a.flv"))
                .into(),
            _ => Reply::playlist(format!(
                "#EXTM3U\n#EXT-X-MAP:URI=\"http://{host}/live/a.mp4\"\nhttp://{host}/live/a-1.ts\nhttp://other/x.ts\n"
            ))
            .into(),
        }
    });
    let proxy = Proxy::builder().over_tls().start();
    proxy.register(&origin);
    // They do not share one answer.
    for (server, scheme) in [
        (proxy.plain, "http"),
        (proxy.http, "https"),
        (proxy.plain, "http"),
    ] {
        let list = get(server, "/live/a.m3u8").text();
        for link in [
            format!("\n{scheme}://{server}/live/a-1.ts?spbhid="),
            format!("\"{scheme}://{server}/live/a.mp4?spbhid="),
            "\nhttp://other/x.ts\n".to_owned(),
        ] {
            assert!(list.contains(&link), "{link}: {list}");
        }
        let moved = get(server, "/live/moved.flv");
        let link = format!("{scheme}://{server}/live/a.flv");
        assert_eq!(
            (moved.status(), moved.headers().one("location")),
            (302, &*link)
        );
    }
}

#[test]
fn the_load_balancers_header_comes_before_the_handshake() {
    let root = TestRoot::new();
    let proxy = Proxy::builder()
        .https(&root)
        .env("PROXY_PROTOCOL", "on")
        .start();
    let mut stream = TcpStream::connect(proxy.https()).expect("connecting");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n")
        .expect("the header");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(root.client(), name).expect("a session");
    let mut client = StreamOwned::new(session, stream);
    client.write_all(VERSIONS).expect("asking");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    proxy.wait_for_log(|line| line.contains(" 192.0.2.7:4711 GET "), SOON);
}

/// The serial number, or another mark, of the certificate that is shown now.
fn shown(server: SocketAddr, root: &TestRoot) -> Vec<u8> {
    let client = connect(server, &root.client());
    let chain = client.conn.peer_certificates().expect("a chain");
    chain[0].to_vec()
}

/// Puts a file in place at once, as certbot does.
fn replace(proxy: &Proxy, name: &str, text: &str) {
    let path = proxy.directory().join(name);
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("writing");
    std::fs::rename(new, path).expect("putting in place");
}

#[test]
fn a_certificate_is_read_again_and_a_bad_one_changes_nothing() {
    let root = TestRoot::new();
    let (chain, key) = root.issue(90);
    let proxy = Proxy::builder()
        .https(&root)
        .file("chain.pem", &chain)
        .file("key.pem", &key)
        .env("PROXY_HTTPS_CERT", "chain.pem")
        .env("PROXY_HTTPS_KEY", "key.pem")
        .start();
    let first = shown(proxy.https(), &root);
    let mut kept = connect(proxy.https(), &root.client());
    // A change of the files is seen by itself. It expires soon, which is warned of.
    let (chain, key) = root.issue(5);
    replace(&proxy, "chain.pem", &chain);
    replace(&proxy, "key.pem", &key);
    wait_until("the new certificate is shown", SOON * 2, || {
        shown(proxy.https(), &root) != first
    });
    let second = shown(proxy.https(), &root);
    proxy.wait_for_log(
        |line| line.contains("WARN") && line.contains("expires in 4 days"),
        SOON,
    );
    // Another key, an expired one, none at all: one error line each, and nothing changes.
    let (other, _) = root.issue(90);
    let (expired, expired_key) = root.issue(-1);
    for (n, (chain, key, why)) in [
        (&other, &key, "another key"),
        (&expired, &expired_key, "expired on"),
        (&"nothing".to_owned(), &key, "no certificate"),
    ]
    .into_iter()
    .enumerate()
    {
        replace(&proxy, "chain.pem", chain);
        replace(&proxy, "key.pem", key);
        proxy.signal(Signal::HUP);
        let refused = |line: &String| line.contains("ERROR") && line.contains("was not read again");
        wait_until("it was refused", SOON, || {
            proxy
                .log_lines()
                .iter()
                .filter(|line| refused(line))
                .count()
                > n
        });
        let lines: Vec<_> = proxy.log_lines().into_iter().filter(refused).collect();
        assert_eq!(lines.len(), n + 1, "{lines:#?}");
        assert!(lines[n].contains(why), "{lines:#?}");
        assert_eq!(shown(proxy.https(), &root), second);
    }
    // SIGHUP reads at once.
    let (chain, key) = root.issue(90);
    replace(&proxy, "chain.pem", &chain);
    replace(&proxy, "key.pem", &key);
    proxy.signal(Signal::HUP);
    wait_until("the third certificate is shown", SOON, || {
        shown(proxy.https(), &root) != second
    });
    // Who was connected all the while is served.
    kept.write_all(VERSIONS).expect("asking");
    let mut answer = String::new();
    kept.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn what_is_no_certificate_ends_the_start_with_one_line() {
    let root = TestRoot::new();
    let (chain, key) = root.issue(90);
    let (expired, expired_key) = root.issue(-1);
    let directory = tempfile::tempdir().expect("a directory");
    let files = [
        ("chain.pem", chain.clone()),
        ("key.pem", key),
        ("other.pem", root.issue(90).1),
        ("expired.pem", expired + &expired_key),
        (
            "both-but-no-key.pem",
            chain
                + "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
        (
            "broken.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ),
    ];
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("writing");
    }
    let cert = "PROXY_HTTPS_CERT";
    let key = "PROXY_HTTPS_KEY";
    for (settings, words) in [
        (
            vec![],
            "PROXY_HTTPS_SERVER (--https-server) needs PROXY_HTTPS_CERT",
        ),
        (vec![(key, "key.pem")], "needs PROXY_HTTPS_CERT"),
        (
            vec![(cert, "nothing.pem")],
            "PROXY_HTTPS_CERT (--https-cert) is \"nothing.pem\"",
        ),
        (vec![(cert, "key.pem")], "key.pem holds no certificate"),
        (vec![(cert, "chain.pem")], "chain.pem holds no private key"),
        (
            vec![(cert, "chain.pem"), (key, "nothing.pem")],
            "PROXY_HTTPS_KEY (--https-key) is \"nothing.pem\"",
        ),
        (
            vec![(cert, "chain.pem"), (key, "other.pem")],
            "other.pem holds another key than that of chain.pem",
        ),
        (vec![(cert, "expired.pem")], "which expired on"),
        (vec![(cert, "both-but-no-key.pem")], "holds no private key"),
        (
            vec![(cert, "broken.pem"), (key, "key.pem")],
            "broken.pem holds a malformed certificate",
        ),
    ] {
        let mut command = without_settings(own_binary());
        command
            .current_dir(directory.path())
            .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
            .env("PROXY_SYSTEM_API", "127.0.0.1:0")
            .envs(settings.clone());
        if !settings.iter().any(|(name, _)| *name == key) || settings.len() > 1 {
            command.env("PROXY_HTTPS_SERVER", "127.0.0.1:0");
        }
        let output = Process::run("a start in vain", &mut command, SOON);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{settings:?}: {said}");
        assert!(said.contains(words), "{settings:?}: {said}");
    }
}

#[test]
fn the_end_of_the_server_is_told_to_idle_clients_and_cuts_streams_visibly() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let root = TestRoot::new();
    let mut proxy = Proxy::builder()
        .https(&root)
        .env("PROXY_GRACE_QUIT_TIMEOUT", "1s")
        .start();
    proxy.register(&origin);
    let mut idle = connect(proxy.https(), &root.client());
    let mut viewer = connect(proxy.https(), &root.client());
    viewer
        .write_all(b"GET /live/a.flv HTTP/1.0\r\n\r\n")
        .expect("asking");
    let mut live = route.next();
    live.send(b"frame");
    let mut got = Vec::new();
    while !got.ends_with(b"frame") {
        let mut byte = [0; 1];
        viewer.read_exact(&mut byte).expect("the first frame");
        got.push(byte[0]);
    }
    proxy.signal(Signal::TERM);
    assert_eq!(idle.read(&mut [0; 1]).expect("a goodbye"), 0);
    let error = viewer.read(&mut [0; 1]).expect_err("no goodbye");
    assert!(
        matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        ),
        "{error}"
    );
    assert_eq!(proxy.wait_exit(SOON), 0);
}

#[test]
fn a_successor_serves_on_the_port_of_https_too() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let root = TestRoot::new();
    let proxy = Proxy::builder().https(&root).start();
    proxy.register(&origin);
    let tunnel = Tunnel::start(proxy.https(), &root);
    let pid = |server| {
        let response = get(server, "/api/v1/versions");
        response.json()["pid"].as_str().expect("a pid").to_owned()
    };
    let old = pid(tunnel.addr);
    let mut viewer = Client::connect(tunnel.addr);
    viewer.request("GET", "/live/a.flv", &[]);
    let mut live = route.next();
    live.send(b"frame");
    assert_eq!(viewer.read_head(SOON).status, 200);
    viewer.expect_bytes(b"frame", SOON);
    proxy.signal(Signal::USR2);
    wait_until("the successor answers by HTTPS", SOON, || {
        pid(tunnel.addr) != old
    });
    assert_eq!(pid(proxy.plain), pid(tunnel.addr));
    live.send(b"more");
    viewer.expect_bytes(b"more", SOON);
    let successor: i32 = pid(tunnel.addr).parse().expect("a number");
    let successor = rustix::process::Pid::from_raw(successor).expect("a process");
    live.finish();
    assert_eq!(viewer.read_rest(ABOUT_A_SECOND).1, BodyEnd::Complete);
    rustix::process::kill_process(successor, Signal::TERM).expect("ending the successor");
}

#[test]
fn the_system_api_speaks_https_where_it_is_told_to() {
    let root = TestRoot::new();
    let (chain, key) = root.issue(90);
    let proxy = Proxy::builder()
        .file("tls.pem", chain + &key)
        .env("PROXY_HTTPS_CERT", "tls.pem")
        .env("PROXY_SYSTEM_API_TLS", "on")
        .start();
    let tunnel = Tunnel::start(proxy.api, &root);
    assert_eq!(get(tunnel.addr, "/api/v1/origins").status(), 200);
    let metrics = get(tunnel.addr, "/metrics").text();
    assert!(metrics.contains("srs_proxy_certificate_expiry_seconds "));
    // The refusal is in the server's own words.
    let plain = get(proxy.api, "/api/v1/origins");
    assert_eq!((plain.status(), &plain.json()["code"]), (400, &400.into()));
    let health = |tls: &str| {
        let mut command = without_settings(own_binary());
        command
            .args(["health", "--live", "--https-cert", "tls.pem"])
            .current_dir(proxy.directory())
            .env("PROXY_SYSTEM_API", proxy.api.to_string())
            .env("PROXY_SYSTEM_API_TLS", tls);
        Process::run("health", &mut command, SOON).status.code()
    };
    assert_eq!((health("on"), health("off")), (Some(0), Some(1)));
}

#[test]
fn curl_and_ffmpeg_play_every_format_by_tls() {
    let root = TestRoot::new();
    let proxy = Proxy::builder()
        .https(&root)
        .file("root.pem", &root.pem)
        .arg("demo")
        .start();
    for lab in ["lab-a", "lab-b"] {
        proxy.wait_for_log(|line| line.contains(&format!("{lab} is registered")), SOON);
    }
    let url = |format: &str| {
        format!(
            "https://localhost:{}/live/demo.{format}",
            proxy.https().port()
        )
    };
    let run = |program: &str, args: &[&str]| {
        let mut command = command(program);
        command.current_dir(proxy.directory()).args(args);
        let output = Process::run(program, &mut command, SOON * 3);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, output.stdout)
    };
    std::thread::scope(|scope| {
        for format in ["flv", "ts", "m3u8"] {
            let (url, run) = (&url, &run);
            scope.spawn(move || {
                let url = url(format);
                let args = [
                    "-v", "error", "-nostdin", "-ca_file", "root.pem", "-i", &url, "-t", "2",
                ];
                let args = [&args[..], &["-map", "0:v", "-f", "null", "-"]].concat();
                let (code, said, _) = run("ffmpeg", &args);
                assert_eq!(code, Some(0), "{format}: {said}");
            });
        }
    });
    // Of a live stream curl takes what comes in a second; its code 28 says that the time was over, no more.
    let limited = ["-sS", "--cacert", "root.pem", "--max-time", "1"];
    let (code, said, flv) = run("curl", &[&limited[..], &[&url("flv")]].concat());
    assert_eq!(code, Some(28), "{said}");
    assert!(
        flv.starts_with(b"FLV") && flv.len() > 10_000,
        "{} bytes",
        flv.len()
    );
    let (code, said, list) = run("curl", &["-sS", "--cacert", "root.pem", &url("m3u8")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(list.starts_with(b"#EXTM3U"));
    // Without the root it is refused, which is the client's business.
    assert_eq!(run("curl", &["-sS", &url("m3u8")]).0, Some(60));
}
