use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;

fn text_of(host: Option<&str>, path: &str, query: Option<&str>) -> Option<String> {
    StreamUrl::of_request(host, path, query).map(|stream| stream.to_string())
}

#[test]
fn the_path_without_its_extension_is_the_stream() {
    let long = format!("/live/{}", "x".repeat(MAX_STREAM_URL - "a.b/live/".len()));
    let longer = format!("{long}x.flv");
    let far_longer = format!("/{}.flv", "x/".repeat(100_000));
    let rows = [
        ("/live/a.flv", Some("a.b/live/a")),
        ("/live/a.m3u8", Some("a.b/live/a")),
        ("/live/a", Some("a.b/live/a")),
        ("/live/a.b.flv", Some("a.b/live/a.b")),
        (
            "/live/WavMain.exe_rooms_290.flv",
            Some("a.b/live/WavMain.exe_rooms_290"),
        ),
        ("/live.v1/sub.x/a.flv", Some("a.b/live.v1/sub.x/a")),
        ("/live/A.FLV", Some("a.b/live/A")),
        ("/a.flv", Some("a.b/a")),
        ("/live/%61.flv", Some("a.b/live/a")),
        ("/live/a%2Eflv", Some("a.b/live/a")),
        ("/live/%E7%9B%B4.flv", Some("a.b/live/直")),
        ("/live/直.flv", Some("a.b/live/直")),
        ("/live/a%20b.flv", Some("a.b/live/a b")),
        ("/live/%2561.flv", Some("a.b/live/%61")),
        ("/live/%zz.flv", Some("a.b/live/%zz")),
        ("/live/a%3Fb%23.flv", Some("a.b/live/a?b#")),
        ("//live///a.flv", Some("a.b/live/a")),
        ("/live%2Fa.flv", Some("a.b/live/a")),
        ("/", None),
        ("", None),
        ("/live/", None),
        ("/live/.flv", None),
        ("/../a.flv", None),
        ("/live/./a.flv", None),
        ("/live/%2e%2e/a.flv", None),
        ("/live/..%2fa.flv", None),
        ("/live/...flv", None),
        ("/live/a%00.flv", None),
        ("/live/a%0d%0aX:y.flv", None),
        ("/live/a%C2%85.flv", None),
        ("/live/%ff.flv", None),
        (&longer, None),
        (&far_longer, None),
    ];
    for (path, stream) in rows {
        assert_eq!(
            text_of(Some("a.b"), path, None).as_deref(),
            stream,
            "{path}"
        );
    }
    assert_eq!(
        text_of(Some("a.b"), &long, None).map(|text| text.len()),
        Some(MAX_STREAM_URL)
    );
}

#[test]
fn the_query_replaces_its_part() {
    let rows = [
        ("/live/a.flv", "app=other", Some("a.b/other/a")),
        ("/live/a.flv", "stream=other", Some("a.b/live/other")),
        ("/rtc/v1/whep/", "app=live&stream=a", Some("a.b/live/a")),
        ("/x", "app=live%2Fsub&stream=a.b", Some("a.b/live/sub/a.b")),
        ("/x", "app=/live/&stream=/a", Some("a.b/live/a")),
        ("/x/y.flv", "app=&stream=", Some("a.b/x/y")),
        ("/x/y.flv", "App=z&xstream=z", Some("a.b/x/y")),
        ("/x/y.flv", "token=%ff", Some("a.b/x/y")),
        ("/x/y.flv", "stream=/", None),
        ("/x/y.flv", "app=..", None),
        ("/x/y.flv", "app=%ff", None),
        ("/x/y.flv", "stream=a%0a", None),
        ("/", "app=live", None),
    ];
    for (path, query, stream) in rows {
        assert_eq!(
            text_of(Some("a.b"), path, Some(query)).as_deref(),
            stream,
            "{path}?{query}"
        );
    }
}

#[test]
fn the_vhost_is_that_of_the_query_or_of_the_host() {
    let default = Some(DEFAULT_VHOST);
    let rows = [
        (Some("ts.example.com"), "", Some("ts.example.com")),
        (Some("ts.example.com:18080"), "", Some("ts.example.com")),
        (Some("TS.Example.COM.:80"), "", Some("ts.example.com")),
        (Some("ts.example.com:"), "", Some("ts.example.com")),
        (Some("localhost:18080"), "", default),
        (Some("localhost."), "", default),
        (Some("127.0.0.1:18080"), "", default),
        (Some("10.0.0.1"), "", default),
        (Some("[::1]:18080"), "", default),
        (Some("[::ffff:10.0.0.1]"), "", default),
        (Some(""), "", default),
        (Some(":80"), "", default),
        (None, "", default),
        (Some("__defaultVhost__"), "", default),
        (Some("h.com"), "vhost=v.com", Some("v.com")),
        (Some("h.com"), "domain=d.com", Some("d.com")),
        (Some("h.com"), "domain=d.com&vhost=v.com", Some("v.com")),
        (Some("h.com"), "vhost=&domain=", Some("h.com")),
        (Some("h.com"), "vhost=&domain=d.com", Some("d.com")),
        (Some("h.com"), "vhost=V.com:80", Some("v.com")),
        (Some("h.com"), "vhost=v%2Ecom", Some("v.com")),
        (Some("h.com"), "vhost=show", Some("show")),
        (Some("h.com"), "vhost=__defaultVhost__", default),
        (Some("h.com"), "vhost=10.0.0.1", default),
        (Some("h.com"), "vhost=::1", default),
        (Some("h.com"), "vhost=a/b", None),
        (Some("h.com"), "vhost=a%0d", None),
        (Some("h.com"), "vhost=a:b", None),
        (Some("h.com"), "vhost=%ff", None),
        (Some("h com"), "", None),
        (Some("h.com/x"), "", None),
    ];
    for (host, query, vhost) in rows {
        let stream = StreamUrl::of_request(host, "/live/a.flv", Some(query));
        assert_eq!(
            stream.as_ref().map(StreamUrl::vhost),
            vhost,
            "{host:?} {query}"
        );
        assert!(stream.is_none_or(|stream| stream.app_stream() == "/live/a"));
    }
}

#[test]
fn the_text_form_is_checked_too() {
    let rows = [
        ("a.b/live/a", Some("a.b/live/a")),
        ("show/live/a", Some("show/live/a")),
        ("A.B:80/live/a.flv", Some("a.b/live/a.flv")),
        ("a.b/x", Some("a.b/x")),
        ("127.0.0.1/live/a", Some("__defaultVhost__/live/a")),
        ("a.b/live/%61", Some("a.b/live/%61")),
        ("", None),
        ("a.b", None),
        ("a.b/", None),
        ("/live/a", None),
        ("a.b/live/", None),
        ("a.b/../a", None),
        ("a.b/live/a\n", None),
    ];
    for (text, stream) in rows {
        assert_eq!(
            StreamUrl::parse(text).as_ref().map(StreamUrl::as_str),
            stream,
            "{text}"
        );
    }
}

#[test]
fn an_api_entry_is_the_stream_or_its_stand_in() {
    use ApiMatch::*;
    let rows = [
        ("__defaultVhost__/live/a", "/live/a", Exact),
        ("__defaultVhost__/live/a", "__defaultVhost__/live/a", Exact),
        ("__defaultVhost__/live/a", "v.com/live/a", No),
        ("__defaultVhost__/live/a", "/live/ab", No),
        ("__defaultVhost__/live/a", "/live/A", No),
        ("__defaultVhost__/live/a", "/live", No),
        ("__defaultVhost__/live/a", "live/a", No),
        ("__defaultVhost__/live/a", "", No),
        ("v.com/live/a", "v.com/live/a", Exact),
        ("v.com/live/a", "V.com/live/a", Exact),
        ("v.com/live/a", "/live/a", DefaultVhost),
        ("v.com/live/a", "w.com/live/a", No),
        ("v.com/live/a", "xv.com/live/a", No),
        ("show/live/a", "show/live/a", Exact),
        ("show/live/a", "/live/a", DefaultVhost),
        ("v.com/x/y/a", "v.com/x/y/a", Exact),
        ("v.com/a", "v.com/__defaultApp__/a", Exact),
        ("v.com/a", "/a", DefaultVhost),
        ("v.com/live/a", "/__defaultApp__/live/a", No),
        ("v.com/live/a", "/live%2Fa/x", No),
        ("v.com/live/my stream", "/live/my%20stream", DefaultVhost),
        ("v.com/live/50%", "/live/50%", DefaultVhost),
    ];
    for (stream, entry, expected) in rows {
        let stream = StreamUrl::parse(stream).unwrap();
        assert_eq!(matched(&stream, entry), expected, "{stream} and {entry}");
    }
}

fn part() -> impl Strategy<Value = String> {
    "[^/\\pC]{1,8}".prop_filter("a part of its own", |part| part != "." && part != "..")
}

proptest! {
    #[test]
    fn what_it_says_it_reads(host in any::<Option<String>>(), path in "(/|%2f|\\.|\\PC){0,20}",
                             query in "((vhost|domain|app|stream)=\\PC{0,8}&){0,3}") {
        if let Some(stream) = StreamUrl::of_request(host.as_deref(), &path, Some(&query)) {
            prop_assert_eq!(StreamUrl::parse(stream.as_str()), Some(stream.clone()));
            prop_assert!(stream.as_str().len() <= MAX_STREAM_URL);
            prop_assert!(!stream.as_str().contains(char::is_control));
            prop_assert_eq!(format!("{}{}", stream.vhost(), stream.app_stream()), stream.as_str());
            prop_assert!(stream.app_stream()[1..].split('/').all(|part| !["", ".", ".."].contains(&part)));
        }
    }

    #[test]
    fn any_text_is_a_stream_or_none(text in any::<String>()) {
        if let Some(stream) = StreamUrl::parse(&text) {
            prop_assert_eq!(StreamUrl::parse(stream.as_str()), Some(stream));
        }
    }

    #[test]
    fn one_stream_has_one_url(app in prop::collection::vec(part(), 0..3), name in part(), port in any::<u16>()) {
        let expected = [&["ts.example.com".to_owned()], &app[..], std::slice::from_ref(&name)].concat().join("/");
        let encode = |part: &String| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string();
        let folder: String = app.iter().map(|part| format!("/{}", encode(part))).collect();
        let host = format!("TS.example.com:{port}");
        for extension in ["flv", "ts", "aac", "mp3", "m3u8"] {
            let path = format!("{folder}/{}.{extension}", encode(&name));
            let stream = StreamUrl::of_request(Some(&host), &path, None).expect("a stream");
            prop_assert_eq!(stream.as_str(), expected.as_str());
            prop_assert_eq!(matched(&stream, &expected), ApiMatch::Exact);
            prop_assert_eq!(matched(&stream, stream.app_stream()), ApiMatch::DefaultVhost);
        }
    }
}

fn matched(stream: &StreamUrl, entry: &str) -> ApiMatch {
    stream.api_match(&StreamUrl::of_api_entry(entry).collect())
}
