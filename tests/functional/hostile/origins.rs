//! Origins that send what they should not: a 502 or a visible truncation, in time, and nothing is left of it.

use crate::common::SOON;
use crate::common::answer::{Answer, Reply, Then};
use crate::common::body::BodyEnd;
use crate::common::client::{Client, NoBytes};
use crate::common::fetch;
use crate::common::hls::live_id;
use crate::common::hostile::{Footprint, Rogue, hold};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use socket2::SockRef;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Both timeouts of the origin side, in these tests.
const SETTINGS: [(&str, &str); 2] = [
    ("PROXY_RESPONSE_TIMEOUT", "2s"),
    ("PROXY_STALL_TIMEOUT", "2s"),
];
/// What they may come to, with a second try, and room for a noisy machine.
const IN_TIME: Duration = Duration::from_secs(15);

/// What the player may get.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// One of these statuses, as an error of the proxy's.
    Refused(&'static [u16]),
    /// A 200, and less than a whole body.
    Broken,
    /// Either, by how far the origin's head came before its end.
    RefusedOrBroken,
    /// A 200 with this body.
    Whole(&'static str),
}

use Seen::{Broken, Refused, RefusedOrBroken, Whole};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n";

/// Sends text, then more of the same as long as it is taken.
fn endless(mut stream: TcpStream, first: &str, more: &[u8]) {
    let mut taken = stream.write_all(first.as_bytes());
    let more = more.repeat(1 + 10_000 / more.len().max(1));
    while taken.is_ok() {
        taken = stream.write_all(&more);
    }
}

/// Sends text, then a byte each 100 ms.
fn trickle(mut stream: TcpStream, first: &str) {
    let mut taken = stream.write_all(first.as_bytes());
    while taken.is_ok() {
        std::thread::sleep(Duration::from_millis(100));
        taken = stream.write_all(b"x");
    }
}

fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The ways to misbehave, by name: what is done, and what the player sees.
fn misbehave(how: &str, stream: TcpStream) {
    let send = |text: &str| {
        let _ = (&stream).write_all(text.as_bytes());
    };
    match how {
        "garbage" => send("\x00\x01\x02 garbage that is no HTTP\r\n\r\n"),
        "endless garbage" => endless(stream, "", b"\xff\xfe\x00"),
        "another protocol" => send("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
        "a bad status" => send("HTTP/1.1 99999 What\r\nContent-Length: 0\r\n\r\n"),
        "a status of no class" => send("HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n"),
        "nothing" => hold(stream),
        "a close" => {}
        "a reset" => reset(&stream),
        "half a head" => send("HTTP/1.1 200 OK\r\nContent-Ty"),
        "half a head and silence" => {
            send("HTTP/1.1 200 OK\r\nContent-Ty");
            hold(stream);
        }
        "a trickling head" => trickle(stream, "HTTP/1.1 200 OK\r\nX: "),
        "an endless line" => endless(stream, "HTTP/1.1 200 OK\r\nX: ", b"x"),
        "endless lines" => endless(stream, "HTTP/1.1 200 OK\r\n", b"X-Line: y\r\n"),
        "endless informational responses" => endless(
            stream,
            "",
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        ),
        "a folded line" => send(&format!(
            "{OK}X-A: a\r\n folded\r\nContent-Length: 2\r\n\r\nok"
        )),
        "a bare CR" => send(&format!(
            "{OK}X-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\nok"
        )),
        "a switch of protocols" => {
            send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        }
        "two lengths" => send(&format!(
            "{OK}Content-Length: 2\r\nContent-Length: 4\r\n\r\nokok"
        )),
        "the same length twice" => send(&format!(
            "{OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"
        )),
        "a list of lengths" => send(&format!("{OK}Content-Length: 2, 2\r\n\r\nok")),
        "a length that is none" => send(&format!("{OK}Content-Length: two\r\n\r\nok")),
        "a negative length" => send(&format!("{OK}Content-Length: -2\r\n\r\nok")),
        "a length beyond numbers" => send(&format!(
            "{OK}Content-Length: 18446744073709551616\r\n\r\nok"
        )),
        "a length and chunks" => {
            send(&format!(
                "{OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            ));
        }
        "an unknown coding" => send(&format!("{OK}Transfer-Encoding: zip\r\n\r\nok")),
        "HTTP/1.0 in chunks" => {
            send("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        }
        "a huge length" => send(&format!(
            "{OK}Content-Length: 9223372036854775807\r\n\r\nok"
        )),
        "less than announced" => send(&format!("{OK}Content-Length: 10\r\n\r\nok")),
        "less than announced, by reset" => {
            send(&format!("{OK}Content-Length: 10\r\n\r\nok"));
            reset(&stream);
        }
        "less than announced, and silence" => {
            send(&format!("{OK}Content-Length: 10\r\n\r\nok"));
            hold(stream);
        }
        "more than announced" => {
            send(&format!(
                "{OK}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            ));
            hold(stream);
        }
        "no last chunk" => send(&format!(
            "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        )),
        "no last chunk, by reset" => {
            send(&format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
            ));
            reset(&stream);
        }
        "no last chunk, and silence" => {
            send(&format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
            ));
            hold(stream);
        }
        "a wrong chunk" => send(&format!(
            "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\nok\r\n0\r\n\r\n"
        )),
        "a chunk that is too long" => {
            send(&format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2\r\nokok\r\n0\r\n\r\n"
            ));
        }
        "a chunk beyond numbers" => {
            send(&format!(
                "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nfffffffffffffffff\r\nok"
            ));
        }
        "a negative chunk" => send(&format!(
            "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-2\r\nok\r\n0\r\n\r\n"
        )),
        "an endless chunk size" => endless(
            stream,
            &format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
            b"0",
        ),
        "an endless chunk extension" => {
            endless(
                stream,
                &format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2;"),
                b"x",
            );
        }
        "an endless trailer" => {
            endless(
                stream,
                &format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"),
                b"X-Trailer: y\r\n",
            );
        }
        "a trickling trailer" => trickle(
            stream,
            &format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: "),
        ),
        "a trickling chunk extension" => trickle(
            stream,
            &format!("{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2;"),
        ),
        "until the close, by reset" => {
            send(&format!("{OK}\r\nok"));
            reset(&stream);
        }
        "until the close, and silence" => {
            send(&format!("{OK}\r\nok"));
            hold(stream);
        }
        "100 first" => send(&format!(
            "HTTP/1.1 100 Continue\r\n\r\n{OK}Content-Length: 2\r\n\r\nok"
        )),
        "103 first, twice" => {
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            send(&format!("{hints}{hints}{OK}Content-Length: 2\r\n\r\nok"));
        }
        "HTTP/1.0" => send("HTTP/1.0 200 OK\r\n\r\nok"),
        other => panic!("nobody knows how to {other}"),
    }
}

/// For a live stream or a segment. A playlist is read whole first: what is broken there is refused.
const TABLE: [(&str, Seen); 48] = [
    ("garbage", Refused(&[502])),
    ("endless garbage", Refused(&[502])),
    ("another protocol", Refused(&[502])),
    ("a bad status", Refused(&[502])),
    ("a status of no class", Refused(&[502])),
    ("nothing", Refused(&[504])),
    ("a close", Refused(&[502])),
    ("a reset", Refused(&[502])),
    ("half a head", Refused(&[502])),
    ("half a head and silence", Refused(&[504])),
    ("a trickling head", Refused(&[504])),
    ("an endless line", Refused(&[502])),
    ("endless lines", Refused(&[502])),
    ("endless informational responses", Refused(&[502, 504])),
    ("a folded line", Refused(&[502])),
    ("a bare CR", Refused(&[502])),
    ("a switch of protocols", Refused(&[502])),
    ("two lengths", Refused(&[502])),
    ("the same length twice", Refused(&[502])),
    ("a list of lengths", Refused(&[502])),
    ("a length that is none", Refused(&[502])),
    ("a negative length", Refused(&[502])),
    ("a length beyond numbers", Refused(&[502])),
    ("a length and chunks", Refused(&[502])),
    ("an unknown coding", Refused(&[502])),
    ("HTTP/1.0 in chunks", Refused(&[502])),
    ("a huge length", Broken),
    ("less than announced", Broken),
    ("less than announced, by reset", RefusedOrBroken),
    ("less than announced, and silence", Broken),
    ("more than announced", Whole("ok")),
    ("no last chunk", Broken),
    ("no last chunk, by reset", RefusedOrBroken),
    ("no last chunk, and silence", Broken),
    ("a wrong chunk", Broken),
    ("a chunk that is too long", Broken),
    ("a chunk beyond numbers", Broken),
    ("a negative chunk", Broken),
    ("an endless chunk size", Broken),
    ("an endless chunk extension", Broken),
    ("an endless trailer", Broken),
    ("a trickling trailer", Broken),
    ("a trickling chunk extension", Broken),
    ("until the close, by reset", RefusedOrBroken),
    ("until the close, and silence", Broken),
    ("100 first", Whole("ok")),
    ("103 first, twice", Whole("ok")),
    ("HTTP/1.0", Whole("ok")),
];

fn check(proxy: &Proxy, how: &str, target: &str, version: &str, wanted: Seen) {
    let case = format!("{how}: {target} {version}");
    let began = Instant::now();
    let mut client = Client::connect(proxy.http);
    client.send(format!("GET {target} {version}\r\nHost: x\r\n\r\n").as_bytes());
    let head = match client.try_read_head(IN_TIME) {
        Ok(head) => head,
        // The reset of a close-delimited body may overtake its head.
        Err(NoBytes::Reset)
            if version == "HTTP/1.0" && matches!(wanted, Broken | RefusedOrBroken) =>
        {
            return;
        }
        Err(why) => panic!("{case}: {why:?} instead of a head"),
    };
    let (body, end) = client.read_rest(IN_TIME);
    let text = String::from_utf8_lossy(&body);
    let (refused, broken) = match wanted {
        Refused(statuses) => (statuses, false),
        Broken => (&[][..], true),
        RefusedOrBroken => (&[502][..], true),
        Whole(whole) => {
            assert_eq!(
                (head.status, &*text, end),
                (200, whole, BodyEnd::Complete),
                "{case}"
            );
            (&[][..], false)
        }
    };
    if refused.contains(&head.status) {
        assert_eq!(end, BodyEnd::Complete, "{case}");
        assert!(
            text.ends_with(".\n") && !text.contains("127.0.0.1"),
            "{case}: {text}"
        );
    } else if broken {
        assert_eq!(head.status, 200, "{case}");
        assert_ne!(end, BodyEnd::Complete, "{case}: {} bytes", body.len());
    } else {
        assert!(matches!(wanted, Whole(_)), "{case}: {}", head.status);
    }
    for name in ["x-a", "x-b", "link", "x-line", "x-trailer"] {
        assert!(
            refused.is_empty() || !head.headers.has(name),
            "{case}: {name} came through"
        );
    }
    assert!(began.elapsed() < IN_TIME, "{case}: {:?}", began.elapsed());
}

fn check_all(proxy: &Proxy, kind: &str, version: &str) {
    let session = match kind {
        "ts" => format!("?spbhid={}", live_id("a")),
        _ => String::new(),
    };
    for (n, (how, wanted)) in TABLE.iter().enumerate() {
        let wanted = match wanted {
            // The bodies do not begin as playlists do: they are relayed as they are, and end as they ended. What breaks
            // before that is known is a 502.
            Broken | RefusedOrBroken if kind == "m3u8" => RefusedOrBroken,
            other => *other,
        };
        check(
            proxy,
            how,
            &format!("/live/{n}.{kind}{session}"),
            version,
            wanted,
        );
    }
}

#[test]
fn whatever_an_origin_sends_the_player_sees_what_it_is() {
    // One proxy and one origin for each kind of request, side by side: most of the time is waiting.
    std::thread::scope(|scope| {
        for kind in ["flv", "ts", "m3u8"] {
            scope.spawn(move || {
                let rogue = Rogue::start(|stream, path| {
                    let name = path
                        .rsplit('/')
                        .next()
                        .and_then(|file| file.rsplit_once('.'))
                        .map_or("", |it| it.0);
                    match name.parse::<usize>().ok().and_then(|n| TABLE.get(n)) {
                        Some((how, _)) => misbehave(how, stream),
                        None => {
                            let _ = (&stream)
                                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
                        }
                    }
                });
                let proxy = Proxy::start(&SETTINGS);
                proxy.register_addr(rogue.addr);
                let before = Footprint::at_rest(&proxy);
                std::thread::scope(|scope| {
                    for version in ["HTTP/1.1", "HTTP/1.0"] {
                        let proxy = &proxy;
                        scope.spawn(move || check_all(proxy, kind, version));
                    }
                });
                // It is asked again as if nothing had been.
                let good = fetch::get(proxy.http, &format!("/live/good.{kind}"));
                assert_eq!(good.text(), "good");
                before.wait_back(&proxy);
                before.assert_peak(&proxy, 20_000);
                proxy.assert_no_panic();
            });
        }
    });
}

#[test]
fn what_comes_after_a_body_is_nobodys_answer() {
    let origin = Origin::start();
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let rogue = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{poison}");
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"
    );
    let nothing = format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison{poison}");
    for (n, bytes) in [rogue, chunks, nothing].into_iter().enumerate() {
        origin.on(
            &format!("/live/{n}.ts"),
            Answer::Raw(bytes.into_bytes(), Then::Keep),
        );
    }
    origin.on("/live/good.ts", Reply::ok("video/MP2T", "good"));
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    let mut client = Client::connect(proxy.http);
    for round in 0..30 {
        for (n, wanted) in ["ok", "ok", ""].iter().enumerate() {
            let response = client.get(&format!("/live/{n}.ts?spbhid={id}"), &[]);
            assert_eq!(response.text(), *wanted, "round {round}");
            let response = client.get(&format!("/live/good.ts?spbhid={id}"), &[]);
            assert_eq!(response.text(), "good", "round {round}, after {n}");
        }
    }
}

#[test]
fn a_redirect_to_itself_is_the_players_to_follow() {
    let origin = Origin::start();
    for path in ["/live/a.flv", "/live/a.m3u8", "/live/a-1.ts"] {
        origin.on(path, Reply::new(302).header("Location", path));
    }
    let proxy = Proxy::before(&origin, &[]);
    for target in [
        "/live/a.flv",
        "/live/a.m3u8",
        &format!("/live/a-1.ts?spbhid={}", live_id("a")),
    ] {
        let asked = origin.requests().len();
        let response = fetch::get(proxy.http, target);
        assert_eq!(response.status(), 302, "{target}");
        // It leads back here: an HLS player takes its session along.
        let location = response.headers().one("location");
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        assert_eq!(path, target.split('?').next().unwrap_or_default());
        let session = format!("spbhid={}", live_id("a"));
        let expected = if path.ends_with(".flv") { "" } else { &session };
        assert_eq!(query, expected, "{target}");
        assert_eq!(origin.requests().len(), asked + 1, "{target}");
    }
}

#[test]
fn an_api_that_trickles_or_never_ends_holds_nobody() {
    // Its head comes at once: what follows must be in time as a whole.
    let apis = [
        Rogue::start(|stream, _| {
            trickle(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"code\":0,",
            )
        }),
        Rogue::start(|stream, _| {
            endless(
                stream,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"4\r\n[[[[\r\n",
            )
        }),
        Rogue::start(|mut stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            hold(stream);
        }),
    ];
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/x-flv", "flv").into());
    let proxy = Proxy::start(&[]);
    for (n, api) in apis.iter().enumerate() {
        let heartbeat = serde_json::json!({
            "device_id": "o", "ip": "127.0.0.1", "server": format!("vid-{n}"), "service": "s", "pid": "1", "rtmp": ["1935"],
            "http": [(20_000 + n).to_string()], "api": [api.addr.port().to_string()],
        });
        assert_eq!(
            proxy
                .register_raw(heartbeat.to_string().as_bytes())
                .status(),
            200
        );
    }
    proxy.register(&origin);
    let before = Footprint::at_rest(&proxy);
    let began = Instant::now();
    let mut most = 0;
    // A round of look-ups each second: were they held for the stall timeout, 30 s, there would be 3 more each time.
    for n in 0.. {
        let response = fetch::get(proxy.http, &format!("/live/{n}.flv"));
        assert_eq!(response.text(), "flv");
        most = most.max(proxy.threads());
        if began.elapsed() > Duration::from_secs(12) {
            break;
        }
    }
    assert!(
        most < before.threads + 16,
        "{most} threads, {} before",
        before.threads
    );
    before.assert_peak(&proxy, 30_000);
    before.wait_back(&proxy);
    proxy.assert_no_panic();
}

#[test]
fn a_playlist_or_an_error_that_trickles_is_cut() {
    let rogue = Rogue::start(|stream, path| match path {
        "/live/a.m3u8" => trickle(stream, "HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n#"),
        _ => trickle(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n",
        ),
    });
    let proxy = Proxy::start(&SETTINGS);
    proxy.register_addr(rogue.addr);
    let mut client = Client::connect(proxy.http);
    assert_eq!(client.get("/live/a.m3u8", &[]).status(), 502);
    assert_eq!(client.get("/live/b.flv", &[]).status(), 404);
}

#[test]
fn connections_that_are_kept_for_many_origins_go_again() {
    let origins: Vec<Origin> = (0..8).map(|_| Origin::start()).collect();
    let proxy = Proxy::start(&[]);
    for origin in &origins {
        origin.otherwise(|request| {
            let wait = Duration::from_millis(100);
            match request.path() {
                "/live/x.ts" => Reply::ok("video/MP2T", "segment").after(wait).into(),
                _ => Reply::new(404).after(wait).into(),
            }
        });
        proxy.register(origin);
    }
    let before = Footprint::at_rest(&proxy);
    std::thread::scope(|scope| {
        for n in 0..40 {
            let server = proxy.http;
            // No origin has this stream: all are asked for the segment.
            let id = live_id("nobody");
            scope.spawn(move || fetch::get(server, &format!("/live/{n}.ts?spbhid={id}")));
        }
    });
    let open = || origins.iter().map(Origin::open_connections).sum::<usize>();
    assert!(open() > 20, "connections are kept: {}", open());
    // Nobody asks any more, and no origin closes them.
    before.wait_back(&proxy);
    crate::common::wait::wait_until("all are closed", SOON, || open() == 0);
}

/// ureq reads 20 bytes of a chunk's size line. What is longer (extensions) is told as what it is, not as an origin's end.
#[test]
fn a_chunk_size_line_that_is_too_long_is_told() {
    let origin = Rogue::start(|mut stream, target| {
        let kind = match target.contains("m3u8") {
            true => "application/vnd.apple.mpegurl",
            false => "video/mp2t",
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
        let body = "9;name=\"more than twenty bytes\"\r\n#EXTM3U\n\n\r\n0\r\n\r\n";
        let text = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
        let _ = stream.write_all(text.as_bytes());
    });
    let proxy = Proxy::start(&[]);
    proxy.register_addr(origin.addr);
    let playlist = fetch::get(proxy.http, "/live/a.m3u8");
    assert_eq!(playlist.status(), 502, "{}", playlist.text());
    assert!(playlist.text().ends_with(".\n"), "{}", playlist.text());
    let told = |line: &str| line.contains(" 502 ") && line.contains("chunk");
    proxy.wait_for_log(told, SOON);
    let mut client = Client::connect(proxy.http);
    client.request("GET", "/live/a.ts", &[]);
    assert_eq!(client.read_head(SOON).status, 200);
    let (body, end) = client.read_rest(SOON);
    assert_eq!(body, b"");
    assert_ne!(end, BodyEnd::Complete);
    let told = |line: &str| line.contains("/live/a.ts 200 ") && line.contains("chunk");
    proxy.wait_for_log(told, SOON);
}
