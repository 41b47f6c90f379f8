use crate::http::head::*;
use proptest::prelude::*;

fn status(text: &str) -> u16 {
    parse(text.as_bytes()).map_or_else(|rejection| rejection.status, |_| 200)
}

#[test]
fn a_plain_head() {
    let head =
        parse(b"GET /live/a.flv?token=x%20y HTTP/1.1\r\nHost: a.example:80\r\nX-Y:  z \r\n\r\n")
            .unwrap();
    assert_eq!(
        (head.method.as_str(), head.path(), head.query()),
        ("GET", "/live/a.flv", Some("token=x%20y"))
    );
    assert_eq!(head.host.as_deref(), Some("a.example:80"));
    assert_eq!(head.headers.text("x-y"), Some("z"));
    assert!(head.keep_alive);
    assert_eq!(head.body, 0);
}

#[test]
fn statuses() {
    let table = [
        (200, "GET / HTTP/1.0\r\n\r\n"),
        (200, "GET / HTTP/1.1\nHost: x\n\n"),
        (200, "FOO / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (200, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
        (200, "GET / HTTP/1.1\r\nHost: [::1]:18080\r\n\r\n"),
        (
            200,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        ),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n"),
        (400, "* / HTTP/1.1\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET live/a HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET /  HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "GET / FTP/1.1\r\nHost: x\r\n\r\n"),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\n"),
        (505, "GET / HTTP/0.9\r\n\r\n"),
        (505, "GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
        (505, "GET / HTTP/3\r\nHost: x\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA : c\r\n\r\n"),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n",
        ),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n"),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n",
        ),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n"),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        ),
        (
            400,
            "GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            417,
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: wonders\r\n\r\n",
        ),
    ];
    for (want, text) in table {
        assert_eq!(status(text), want, "{text:?}");
    }
}

#[test]
fn limits() {
    let long = "a".repeat(MAX_TARGET);
    assert_eq!(
        status(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        414
    );
    let lines = "A: b\r\n".repeat(MAX_LINES);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")),
        431
    );
    let value = "b".repeat(MAX_HEAD);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {value}\r\n\r\n")),
        431
    );
    assert_eq!(
        over_limit(&vec![b'a'; MAX_TARGET + 65]).unwrap().status,
        414
    );
    assert_eq!(
        over_limit(format!("GET / HTTP/1.1\r\nA: {value}").as_bytes())
            .unwrap()
            .status,
        431
    );
    assert_eq!(over_limit(b"GET /"), None);
}

#[test]
fn hosts_and_methods_have_a_length_too() {
    let host = |n: usize| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "h".repeat(n));
    assert_eq!(status(&host(262)), 200);
    assert_eq!(status(&host(263)), 400);
    let method = |n: usize| format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "M".repeat(n));
    assert_eq!(status(&method(32)), 200);
    assert_eq!(status(&method(33)), 501);
}

#[test]
fn lengths_beyond_any_number_are_lengths() {
    for (text, want) in [
        ("1000000000000", 1_000_000_000_000),
        ("18446744073709551616", u64::MAX),
    ] {
        let head = parse(
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {text}\r\n\r\n").as_bytes(),
        )
        .unwrap();
        assert_eq!(head.body, want);
    }
}

#[test]
fn absolute_form_is_its_path() {
    let head =
        parse(b"GET http://ts.example.com:1/live/a.flv?x HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
    assert_eq!(
        (head.target.as_str(), head.host.as_deref()),
        ("/live/a.flv?x", Some("ts.example.com:1"))
    );
    let head = parse(b"GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.target, "/");
    let head = parse(b"GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.target, "/?q");
}

#[test]
fn what_no_url_may_hold_is_escaped() {
    let head =
        parse("GET /live/ü\"<`a>?t=|{^}`%zz HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes()).unwrap();
    assert_eq!(head.target, "/live/%C3%BC%22%3C%60a%3E?t=|{^}`%zz");
}

#[test]
fn keep_alive_by_version() {
    let keeps = |text: &str| parse(text.as_bytes()).unwrap().keep_alive;
    assert!(keeps("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: x, Close\r\n\r\n"
    ));
    assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
    assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n"
    ));
}

#[test]
fn ends() {
    assert_eq!(end_of_head(b"GET / HTTP/1.1\r\n\r\nrest", 0), Some(18));
    assert_eq!(end_of_head(b"a\n\nb", 0), Some(3));
    assert_eq!(end_of_head(b"a\n\r\nb", 0), Some(4));
    assert_eq!(end_of_head(b"a\r\nb\r\n", 0), None);
    assert_eq!(leading_empty_lines(b"\r\n\nGET"), 3);
}

#[test]
fn a_body_in_chunks_is_told_of() {
    let head = parse(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert_eq!((head.body, head.chunked), (0, true));
    let head = parse(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!((head.body, head.chunked), (5, false));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = over_limit(&bytes);
        if let Ok(head) = parse(&bytes) {
            prop_assert!(head.target.is_ascii());
            prop_assert!(head.target.starts_with('/') || head.target == "*");
        }
    }

    #[test]
    fn the_end_is_found_however_the_bytes_come(
        lines in proptest::collection::vec("[a-z:]{1,12}", 1..8), cut in 0usize..200, crlf: bool,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = lines.join(end);
        text.push_str(end);
        text.push_str(end);
        let whole = text.len();
        text.push_str("rest");
        let bytes = text.as_bytes();
        let cut = cut.min(whole - 1);
        prop_assert_eq!(end_of_head(&bytes[..cut], 0), None);
        prop_assert_eq!(end_of_head(bytes, cut), Some(whole));
    }

    #[test]
    fn both_views_of_a_head_end_at_the_same_byte(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("GET / HTTP/1.1\r\n"), Just("Host: x\r\n"), Just("A: b\n"), Just("\r\n"), Just("\n"),
                Just("\r"), Just(" "), Just("\t"), Just(":"), Just("A"), Just("\0"),
            ],
            1..12,
        ),
    ) {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{}", pieces.concat());
        if let Some(end) = end_of_head(text.as_bytes(), 0)
            && let Ok(head) = parse(&text.as_bytes()[..end])
        {
            // What is left can only be another request: nothing of it was in this one.
            prop_assert_eq!(head.headers.count("host"), 1);
            let again = parse(&text.as_bytes()[..end]).unwrap();
            prop_assert_eq!(again, head);
            prop_assert!(parse(&text.as_bytes()[..end - 1]).is_err());
        }
    }

    #[test]
    fn what_is_passed_on_is_one_request_line(
        method in "[ -~]{1,12}", target in "[ -~]{1,40}", lines in proptest::collection::vec("[ -~\r\n]{0,20}", 0..4),
    ) {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n", lines.join("\r\n"));
        if let Some(end) = end_of_head(text.as_bytes(), 0)
            && let Ok(head) = parse(&text.as_bytes()[..end])
        {
            let word = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
            prop_assert!(word(head.method.as_str()) && word(&head.target), "{:?}", head);
            for (name, value) in head.headers.iter() {
                prop_assert!(word(name) && !name.contains(':'), "{:?}", head);
                prop_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{:?}", head);
            }
        }
    }

    #[test]
    fn nothing_but_one_line_reaches_the_target(target in "/[ -~\\x80-\\xff]{0,60}") {
        let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        if let Ok(head) = parse(text.as_bytes()) {
            prop_assert!(head.target.bytes().all(|b| (0x21..0x7f).contains(&b)));
        }
    }
}
