//! The log: one line when a request ends, found by its id, without secrets.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{get, get_with, post, send_raw};
use crate::common::hls::live_id;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::response::Response;

/// The only line of the log that has the id of `response`.
#[track_caller]
fn line_of(proxy: &Proxy, response: &Response) -> String {
    let id = response.headers().one("x-request-id");
    let line = proxy.wait_for_log(|line| line.contains(id), SOON);
    let lines = proxy
        .log_lines()
        .into_iter()
        .filter(|line| line.contains(id))
        .count();
    assert_eq!(lines, 1, "one line a request: {:#?}", proxy.log_lines());
    line
}

/// Whether `line` has `word` between blanks, quotes, commas or `=`.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || "=,\"'()[]".contains(c))
        .any(|w| w == word)
}

#[track_caller]
fn assert_words(line: &str, words: &[&str]) {
    for word in words {
        assert!(has_word(line, word), "no {word:?} in {line:?}");
    }
}

#[test]
fn every_line_has_a_time_and_a_level() {
    let origin = Origin::start();
    let proxy = Proxy::start(&[("PROXY_LOG_LEVEL", "debug")]);
    proxy.register(&origin);
    get(proxy.http, "/live/a.flv");
    get(proxy.http, "/");
    let lines = proxy.log_lines();
    assert!(lines.len() >= 4, "{lines:#?}");
    for line in lines {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line:?}");
        let level = rest
            .split_whitespace()
            .next()
            .expect("a level")
            .trim_matches(['[', ']']);
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
            "{line:?}"
        );
    }
}

#[test]
fn a_request_has_one_line_when_it_ends() {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\n#EXT-X-ENDLIST\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", [0; 12_345]));
    origin.on("/live/gone.flv", Reply::new(410).body("1234"));
    let proxy = Proxy::before(&origin, &[]);
    let address = origin.addr().to_string();
    let segment = format!("/live/a-1.ts?token=secret&spbhid={}", live_id("a"));
    let other = segment.replace("secret", "secret2"); // what is in memory would not be asked for
    for (method, target, status, bytes, asked) in [
        ("GET", "/live/a.m3u8?token=secret", "200", "23", true),
        ("GET", &segment, "200", "12345", true),
        ("HEAD", &other, "200", "0", true),
        ("GET", "/live/gone.flv?token=secret", "410", "4", true),
        ("GET", "/nothing?token=secret", "404", "", false),
        ("OPTIONS", "/live/a.m3u8?token=secret", "200", "0", false),
        ("POST", "/live/a.m3u8?token=secret", "405", "", false),
    ] {
        let mut client = Client::connect(proxy.http);
        client.request(method, target, &[]);
        let response = client.read_response(SOON);
        let line = line_of(&proxy, &response);
        let path = target.split('?').next().unwrap();
        assert_words(
            &line,
            &[&client.local_addr().to_string(), method, path, status],
        );
        if !bytes.is_empty() {
            assert_words(&line, &[bytes]);
        }
        assert_eq!(line.contains(&address), asked, "{line:?}");
        assert!(
            !line.contains("secret") && !line.contains("spbhid"),
            "{line:?}"
        );
    }
}

#[test]
fn a_stream_has_its_line_when_it_ends_and_not_before() {
    let origin = Origin::start();
    let route = origin.live_flv("/live/a.flv");
    let proxy = Proxy::before(&origin, &[]);
    for leaves in [false, true] {
        let mut client = Client::connect(proxy.http);
        client.request("GET", "/live/a.flv?token=secret", &[]);
        let mut live = route.next();
        live.send(&[1; 1000]);
        let head = client.read_head(SOON);
        client.expect_bytes(&[1; 1000], SOON);
        let id = head.headers.one("x-request-id").to_owned();
        assert!(
            !proxy.log_lines().iter().any(|line| line.contains(&id)),
            "the stream still runs"
        );
        live.send(&[2; 2000]);
        client.expect_bytes(&[2; 2000], SOON);
        let player = client.local_addr().to_string();
        let _live = if leaves {
            drop(client);
            Some(live)
        } else {
            live.finish();
            None
        };
        let line = proxy.wait_for_log(|line| line.contains(&id), SOON);
        assert_words(&line, &[&player, "GET", "/live/a.flv", "200", "3000"]);
        assert!(
            line.contains(&origin.addr().to_string()) && !line.contains("secret"),
            "{line:?}"
        );
    }
}

#[test]
fn refusals_have_their_line_too() {
    let proxy = Proxy::start(&[]);
    for (bytes, status) in [
        (b"GET / HTTP/1.1\r\n\r\n".as_slice(), "400"),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505"),
        (b"GET /live/a.flv HTTP/1.1\r\nHost: x\r\n\r\n", "503"),
    ] {
        let line = line_of(&proxy, &send_raw(proxy.http, bytes));
        assert_words(&line, &[status]);
    }
}

#[test]
fn what_went_wrong_at_the_origin_is_in_the_log_only() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    origin.stop();
    let response = get(proxy.http, "/live/a.flv");
    let id = response.headers().one("x-request-id").to_owned();
    let address = origin.addr().to_string();
    let line = proxy.wait_for_log(|line| line.contains(&id) && line.contains(&address), SOON);
    assert!(
        line.to_ascii_lowercase().contains("refused"),
        "{line:?} says why"
    );
    assert!(!response.text().contains(&address));
}

#[test]
fn both_servers_log_and_neither_logs_a_query() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::playlist("#EXTM3U\n").into());
    for level in ["info", "debug", "trace"] {
        let proxy = Proxy::before(&origin, &[("PROXY_LOG_LEVEL", level)]);
        let referer = [
            ("Referer", "http://x/?secret"),
            ("Authorization", "Bearer secret"),
            ("Cookie", "a=secret"),
        ];
        get_with(proxy.http, "/live/a.m3u8?token=secret", &referer);
        get(proxy.http, "/?secret");
        get(proxy.http, "/live/a.flv?secret=secret&spbhid=secret");
        post(proxy.api, "/api/v1/srs/register?token=secret", &[], b"{}");
        let last = get_with(proxy.api, "/api/v1/versions?token=secret", &referer);
        assert_eq!(last.status(), 200);
        proxy.wait_for_log(
            |line| line.contains("/api/v1/srs/register") && line.contains("400"),
            SOON,
        );
        proxy.wait_for_log(
            |line| line.contains("/api/v1/versions") && line.contains("200"),
            SOON,
        );
        for line in proxy.log_lines() {
            assert!(!line.contains("secret"), "{level}: {line:?}");
        }
    }
}

#[test]
fn debug_shows_picks_and_origin_requests() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::playlist("#EXTM3U\n").into());
    let proxy = Proxy::before(&origin, &[("PROXY_LOG_LEVEL", "debug")]);
    get(proxy.http, "/live/somestream.m3u8");
    let address = origin.addr().to_string();
    let debug = |line: &str, word: &str| line.contains("DEBUG") && line.contains(word);
    let pick = |line: &str| debug(line, "live/somestream") && line.contains("pick");
    let request = |line: &str| debug(line, &address) && line.contains("/live/somestream.m3u8");
    proxy.wait_for_log(pick, SOON);
    proxy.wait_for_log(request, SOON);
    let quiet = Proxy::before(&origin, &[("PROXY_LOG_LEVEL", "info")]);
    line_of(&quiet, &get(quiet.http, "/live/somestream.m3u8"));
    assert!(!quiet.log_lines().iter().any(|line| line.contains("DEBUG")));
}

#[test]
fn nothing_can_be_written_into_the_log() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[("PROXY_LOG_LEVEL", "debug")]);
    let forged = "2026-01-01T00:00:00Z ERROR forged";
    let encoded = format!("/live/a%0d%0a{}.flv", forged.replace(' ', "%20"));
    get(proxy.http, &encoded);
    get(proxy.http, "/%1b[31mred");
    send_raw(
        proxy.http,
        b"GET /live/\xff\xfe\x80.flv HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    send_raw(proxy.http, b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n");
    let agent = format!("x\u{85}{forged}");
    let last = get_with(
        proxy.http,
        "/live/b.flv",
        &[("User-Agent", &agent), ("X-Request-Id", "forged-id")],
    );
    assert_ne!(last.headers().one("x-request-id"), "forged-id");
    let id = last.headers().one("x-request-id").to_owned();
    proxy.wait_for_log(|line| line.contains(&id), SOON);
    for line in proxy.log_lines() {
        assert!(
            !line.starts_with(forged) && !line.contains("forged-id"),
            "{line:?}"
        );
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    proxy.assert_no_panic();
}
