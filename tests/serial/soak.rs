//! A minute of everything at once: players of all kinds come, stall, leave and send rubbish while origins die, stall
//! and return. At the end nothing is left of it, and every body that looked whole was whole.

use crate::common::SOON;
use crate::common::answer::{Answer, Reply, Then};
use crate::common::body::BodyEnd;
use crate::common::client::Client;
use crate::common::hls::live_id;
use crate::common::hostile::{Footprint, connect, raise_descriptors};
use crate::common::origin::{Origin, Request};
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use fastrand::Rng;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long it goes on, once it has warmed up.
const SOAK: Duration = Duration::from_secs(60);
/// In which what is made once is made: arenas of the allocator, for the most part.
const WARM_UP: Duration = Duration::from_secs(10);
const PLAYERS: usize = 200;
/// What the allocator may keep more after the soak than after the warm-up, in kB.
const ROOM: usize = 8_000;
const STREAMS: usize = 12;
const SEGMENT: usize = 150_000;
const SHOW: usize = 60_000;

/// The bytes of a segment or a show: others for each name.
fn content(path: &str, size: usize) -> Vec<u8> {
    let seed = path.bytes().fold(7_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut rng = Rng::with_seed(seed);
    (0..size).map(|_| rng.u8(..)).collect()
}

fn playlist(path: &str) -> String {
    let name = path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".m3u8")
        .to_owned();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}-1.ts\n#EXTINF:2,\n{name}-2.ts\n")
}

/// A playlist without what tells that its stream has moved: numbers that go on, discontinuities, epochs in session ids.
/// Anything else as it is.
fn without_timeline(target: &str, body: Vec<u8>) -> Vec<u8> {
    if !target.ends_with(".m3u8") {
        return body;
    }
    let text = String::from_utf8_lossy(&body);
    let tags = ["#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-DISCONTINUITY"];
    let kept = text
        .split_inclusive('\n')
        .filter(|line| !tags.iter().any(|tag| line.starts_with(tag)));
    let without_epoch = |line: &str| match line.split_once("?spbhid=") {
        Some((uri, id)) => {
            let own = id.trim_end().split('.').next().unwrap_or_default();
            format!("{uri}?spbhid={own}\n")
        }
        None => line.to_owned(),
    };
    kept.map(without_epoch).collect::<String>().into_bytes()
}

/// What an origin does at the moment.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicU8>);

const GOOD: u8 = 0;
const SILENT: u8 = 1;
const SLOW: u8 = 2;
const GARBAGE: u8 = 3;
const SHORT: u8 = 4;
const ABSENT: u8 = 5;
const REFUSING: u8 = 6;
const FAILING: u8 = 7;

impl Mood {
    fn answer(&self, request: &Request) -> Answer {
        let path = request.path();
        let extension = path.rsplit('.').next().unwrap_or_default();
        let reply = match extension {
            "m3u8" => Reply::playlist(playlist(path)),
            "ts" => Reply::ok("video/MP2T", content(path, SEGMENT)),
            _ => Reply::ok("video/x-flv", content(path, SHOW)).chunked(),
        };
        match self.0.load(Ordering::Relaxed) {
            SILENT => Answer::Silence,
            SLOW => reply.after(Duration::from_millis(700)).into(),
            GARBAGE => Answer::Raw(b"\0garbage\r\n\r\n".repeat(100), Then::Close),
            SHORT if extension == "flv" => {
                let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
                Answer::Raw(half.to_vec(), [Then::Close, Then::Reset][request.nth % 2])
            }
            SHORT => reply
                .announce(1_000_000)
                .then([Then::Close, Then::Reset][request.nth % 2])
                .into(),
            ABSENT => Reply::new(404).body("none").into(),
            REFUSING => Answer::CloseWithoutHead,
            FAILING => Reply::new(503).body("later").into(),
            _ => reply.into(),
        }
    }
}

/// One player's life: an act after the other until the end.
struct Player<'a> {
    http: SocketAddr,
    api: SocketAddr,
    end: &'a AtomicBool,
    whole: &'a AtomicUsize,
    broken: &'a AtomicUsize,
    rng: Rng,
}

impl Player<'_> {
    fn live(mut self) {
        while !self.end.load(Ordering::Relaxed) {
            match self.rng.u8(..20) {
                0..4 => self.watch_hls(),
                4..8 => self.watch_live(),
                8 => self.leave(false),
                9 => self.leave(true),
                10 => self.stall(),
                11 => self.say_rubbish(),
                12 => self.trickle(),
                13 => self.pipeline(),
                14 => self.half_close(),
                15 => self.send_a_body(),
                16 => self.look_at_the_api(),
                17 => self.ask_for_heads(),
                18 => self.ask_for_the_unknown(),
                _ => self.idle(),
            }
            self.rest(100);
        }
    }

    fn rest(&mut self, most: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(1..most)));
    }

    fn name(&mut self) -> String {
        format!("/live/s{}", self.rng.usize(..STREAMS))
    }

    fn flv(&mut self) -> String {
        format!("{}.flv", self.name())
    }

    fn segment(&mut self) -> String {
        let name = self.name();
        let stream = name.trim_start_matches("/live/");
        format!("{name}-{}.ts?spbhid={}", self.rng.u8(1..3), live_id(stream))
    }

    /// Reads an answer to its end, slowly at times, and takes it for what it says it is.
    fn read(&mut self, client: &mut Client, target: &str, wanted: &dyn Fn() -> Vec<u8>) -> bool {
        let Ok(head) = client.try_read_head(SOON * 6) else {
            return false;
        };
        assert!(
            // 403: an origin that lists the stream has closed without an answer.
            [200, 403, 404, 502, 503, 504].contains(&head.status),
            "{target}: {}",
            head.status
        );
        if self.rng.u8(..8) == 0 {
            self.rest(1500);
        }
        let (body, end) = client.read_rest(SOON * 6);
        if head.status == 200 && end == BodyEnd::Complete {
            let body = without_timeline(target, body);
            assert!(body == wanted(), "{target} looked whole, and was not");
            self.whole.fetch_add(1, Ordering::Relaxed);
        } else {
            self.broken.fetch_add(1, Ordering::Relaxed);
        }
        end == BodyEnd::Complete && !head.headers.lists("connection", "close")
    }

    fn watch_hls(&mut self) {
        let mut client = Client::connect(self.http);
        let name = self.name();
        let id = live_id(name.trim_start_matches("/live/"));
        for round in 0..self.rng.u8(1..6) {
            let path = format!("{name}.m3u8");
            client.request("GET", &path, &[]);
            let wanted = || {
                playlist(&path)
                    .replace(".ts", &format!(".ts?spbhid={id}"))
                    .into_bytes()
            };
            if !self.read(&mut client, &path, &wanted) {
                return;
            }
            let path = format!("{name}-{}.ts", 1 + round % 2);
            client.request("GET", &format!("{path}?spbhid={id}"), &[]);
            if !self.read(&mut client, &path, &|| content(&path, SEGMENT)) {
                return;
            }
            self.rest(300);
        }
    }

    fn watch_live(&mut self) {
        let mut client = Client::connect_small(self.http, 16 * 1024);
        let path = self.flv();
        if self.rng.bool() {
            client.request("GET", &path, &[]);
        } else {
            client.request10("GET", &path, &[]);
        }
        self.read(&mut client, &path, &|| content(&path, SHOW));
    }

    fn leave(&mut self, by_reset: bool) {
        let mut client = Client::connect(self.http);
        let target = if self.rng.bool() {
            self.flv()
        } else {
            self.segment()
        };
        client.request("GET", &target, &[]);
        if self.rng.bool() {
            let _ = client.try_read_head(Duration::from_millis(500));
        }
        if by_reset {
            client.reset();
        }
    }

    fn stall(&mut self) {
        let mut client = Client::connect_small(self.http, 4 * 1024);
        let target = self.segment();
        client.request("GET", &target, &[]);
        self.rest(5000);
    }

    fn say_rubbish(&mut self) {
        let mut stream = connect([self.http, self.api][self.rng.usize(..2)]);
        let mut rubbish: Vec<u8> = (0..self.rng.usize(1..3000))
            .map(|_| self.rng.u8(..))
            .collect();
        if self.rng.bool() {
            rubbish.splice(..0, *b"GET /live/a.flv HTTP/1.1\r\n");
        }
        let _ = stream.write_all(&rubbish);
        self.rest(300);
    }

    fn trickle(&mut self) {
        let mut stream = connect(self.http);
        for byte in b"GET /live/s1.m3u8 HTTP/1.1\r\nHost: x" {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            self.rest(60);
        }
    }

    fn pipeline(&mut self) {
        let mut stream = connect(self.http);
        let target = self.segment();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let _ = stream.write_all(request.repeat(20).as_bytes());
        self.rest(2000);
    }

    fn half_close(&mut self) {
        let mut client = Client::connect(self.http);
        let path = self.flv();
        client.request10("GET", &path, &[]);
        client.half_close();
        self.read(&mut client, &path, &|| content(&path, SHOW));
    }

    fn send_a_body(&mut self) {
        let mut stream = connect([self.http, self.api][self.rng.usize(..2)]);
        let framing = [
            "Content-Length: 1000000000000",
            "Transfer-Encoding: chunked",
            "Content-Length: 100",
        ];
        let framing = framing[self.rng.usize(..3)];
        let head = format!(
            "POST /api/v1/srs/register HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n{{\"half\":"
        );
        let _ = stream.write_all(head.as_bytes());
        self.rest(500);
    }

    fn look_at_the_api(&mut self) {
        let mut client = Client::connect(self.api);
        for path in ["/api/v1/origins", "/api/v1/streams", "/healthz", "/"] {
            client.request("GET", path, &[]);
            let status = client.read_response(SOON * 6).status();
            assert!([200, 503].contains(&status), "{path}: {status}");
        }
    }

    fn ask_for_heads(&mut self) {
        let mut client = Client::connect(self.http);
        let target = self.segment();
        client.request("HEAD", &target, &[]);
        let _ = client.try_read_head(SOON * 6);
    }

    fn ask_for_the_unknown(&mut self) {
        let mut client = Client::connect(self.http);
        let target = format!("/files/{}", self.rng.u64(..));
        client.request("GET", &target, &[]);
        assert_eq!(client.read_response(SOON * 6).status(), 404);
        client.request(
            "GET",
            &format!(
                "/live/{}.flv?vhost={}.example",
                self.rng.u32(..),
                self.rng.u32(..)
            ),
            &[],
        );
        let _ = client.try_read_head(SOON * 6);
    }

    fn idle(&mut self) {
        let _stream = connect(self.http);
        self.rest(4000);
    }
}

/// Lets `PLAYERS` players live for `time` while `chaos` is at the origins.
fn crowd(proxy: &Proxy, origins: &[(Origin, Mood)], time: Duration, seed: u64) -> (usize, usize) {
    let (end, whole, broken) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..PLAYERS {
            let player = Player {
                http: proxy.http,
                api: proxy.api,
                end: &end,
                whole: &whole,
                broken: &broken,
                rng: Rng::with_seed(seed + n as u64),
            };
            let (failed, end) = (&failed, &end);
            let life = move || {
                let outcome =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| player.live()));
                if let Err(why) = outcome {
                    let text = why.downcast_ref::<String>().cloned().unwrap_or_default();
                    failed.lock().expect("failures").push(text);
                    end.store(true, Ordering::Relaxed); // a fault is a fault: no need to wait for the end
                }
            };
            let thread = std::thread::Builder::new().stack_size(512 * 1024);
            thread.spawn_scoped(scope, life).expect("a player");
        }
        let mut rng = Rng::with_seed(seed);
        let began = Instant::now();
        while began.elapsed() < time && !end.load(Ordering::Relaxed) {
            chaos(proxy, origins, &mut rng);
        }
        for (origin, mood) in origins {
            mood.0.store(GOOD, Ordering::Relaxed);
            origin.restart();
        }
        end.store(true, Ordering::Relaxed);
    });
    let failed = failed.into_inner().expect("failures");
    assert!(failed.is_empty(), "{failed:#?}");
    (whole.into_inner(), broken.into_inner())
}

/// Something happens to one origin, for a moment.
fn chaos(proxy: &Proxy, origins: &[(Origin, Mood)], rng: &mut Rng) {
    let (origin, mood) = &origins[rng.usize(..origins.len())];
    let moment = Duration::from_millis(rng.u64(300..1500));
    match rng.u8(..14) {
        0 | 1 => {
            origin.stop();
            std::thread::sleep(moment);
            origin.restart();
        }
        2 | 3 => origin.reset_connections(),
        4 => {
            origin.stop_listening();
            std::thread::sleep(moment);
            origin.restart();
        }
        mood_now => {
            mood.0.store(1 + mood_now % 7, Ordering::Relaxed);
            std::thread::sleep(moment);
            mood.0.store(GOOD, Ordering::Relaxed);
        }
    }
    proxy.register(origin); // the heartbeat
    std::thread::sleep(Duration::from_millis(rng.u64(100..600)));
}

#[test]
fn a_minute_of_everything_leaves_nothing() {
    let alone = crate::common::alone();
    raise_descriptors();
    let origins: Vec<(Origin, Mood)> = (0..3)
        .map(|n| {
            let (origin, mood) = (
                if n == 0 {
                    Origin::start_with_api()
                } else {
                    Origin::start()
                },
                Mood::default(),
            );
            if n == 0 {
                origin.behave(crate::common::origin::Manner::KeepAlive);
                for stream in 0..STREAMS / 2 {
                    origin.api().publish(&format!("/live/s{stream}"));
                }
            }
            let answers = mood.clone();
            origin.otherwise(move |request| answers.answer(request));
            (origin, mood)
        })
        .collect();
    let proxy = Proxy::start(&[
        ("PROXY_STALL_TIMEOUT", "2s"),
        ("PROXY_RESPONSE_TIMEOUT", "2s"),
        ("PROXY_IDLE_TIMEOUT", "3s"),
        ("PROXY_STREAM_WAIT", "1s"),
        ("PROXY_MAX_STREAMS", "60"),
        // What sharing keeps for ten seconds is meant to stay: it has tests of its own.
        ("PROXY_HLS_CACHE", "0"),
    ]);
    for (origin, _) in &origins {
        proxy.register(origin);
    }
    let fresh = Footprint::at_rest(&proxy);
    crowd(&proxy, &origins, WARM_UP, 1);
    fresh.wait_back(&proxy);
    let before = Footprint::of(&proxy);
    let (whole, broken) = crowd(&proxy, &origins, SOAK, 1000);
    println!("{whole} whole bodies, {broken} others; {before:?} before");
    assert!(
        whole > 1000,
        "the origins were good at times: {whole} whole bodies"
    );
    assert!(broken > 100, "and bad at times: {broken} others");
    drop(alone); // from here on it only waits
    fresh.wait_back(&proxy);
    println!(
        "{:?} after, {} kB at the peak",
        Footprint::of(&proxy),
        proxy.peak_rss_kb()
    );
    // Free memory goes back to the system once the threads have gone.
    let most = before.rss_kb + ROOM;
    wait_until(&format!("no more than {most} kB"), SOON, || {
        proxy.rss_kb() <= most
    });
    // And all is well again.
    let mut client = Client::connect(proxy.http);
    for stream in 0..STREAMS {
        let path = format!("/live/s{stream}.flv");
        let response = client.get(&path, &[]);
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.body == content(&path, SHOW), "{path}");
    }
    proxy.assert_no_panic();
    let errors: Vec<_> = proxy
        .log_lines()
        .into_iter()
        .filter(|line| line.contains(" [ERROR] "))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
