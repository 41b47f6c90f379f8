//! HLS: playlists that lead back through the proxy, and segments from the origin of their session.

use crate::common::SOON;
use crate::common::answer::{Answer, Reply};
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::hls::{live_id, session_id, uris};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::collections::BTreeMap;

/// What SRS answers first: a master playlist with a session.
const MASTER: &str = "#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1
/live/second.m3u8?hls_ctx=i2o25565
";

/// What it answers then.
const MEDIA: &str = "#EXTM3U
#EXT-X-VERSION:3
#EXT-X-MEDIA-SEQUENCE:1093
#EXT-X-TARGETDURATION:2
#EXTINF:2.000, no desc
second-1093.ts?hls_ctx=i2o25565
#EXTINF:2.000, no desc
second-1094.ts?hls_ctx=i2o25565
";

#[test]
fn srs_is_played_from_its_master_to_its_segments() {
    let origin = Origin::start();
    origin.behave(crate::common::origin::Manner::Srs);
    origin.on_request("/live/second.m3u8", |request| {
        let body = if request.query_value("hls_ctx") == Some("i2o25565") {
            MEDIA
        } else {
            MASTER
        };
        Reply::playlist(body).into()
    });
    origin.on("/live/second-1093.ts", Reply::ok("video/MP2T", [0x47; 188]));
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("second");

    let master = get(proxy.http, "/live/second.m3u8?token=x");
    assert_eq!(
        master.headers().one("content-type"),
        "application/vnd.apple.mpegurl"
    );
    assert_eq!(
        master.text(),
        MASTER.replace("i2o25565", &format!("i2o25565&spbhid={id}"))
    );
    let media = get(proxy.http, uris(&master.text())[0]);
    assert_eq!(
        media.text(),
        MEDIA.replace("i2o25565", &format!("i2o25565&spbhid={id}"))
    );
    let segment = get(proxy.http, &format!("/live/{}", uris(&media.text())[0]));
    assert_eq!((segment.status(), segment.body.len()), (200, 188));
    assert_eq!(segment.headers().one("content-type"), "video/MP2T");

    let targets: Vec<String> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(
        targets,
        [
            "/live/second.m3u8?token=x",
            "/live/second.m3u8?hls_ctx=i2o25565",
            "/live/second-1093.ts?hls_ctx=i2o25565"
        ]
    );
}

/// Playlist lines and what becomes of them; `ID` stands for `spbhid=` and the session's id, `HOST` for the proxy's address.
const LINES: &[(&str, &str)] = &[
    ("a-1.ts", "a-1.ts?ID"),
    ("a-1.ts?x=1", "a-1.ts?x=1&ID"),
    ("a-1.ts?x=1&y=%2F+z", "a-1.ts?x=1&y=%2F+z&ID"),
    ("a-1.ts#t=1", "a-1.ts?ID#t=1"),
    ("a-1.ts?x=1#t=?1", "a-1.ts?x=1&ID#t=?1"),
    ("/live/a-1.ts", "/live/a-1.ts?ID"),
    ("../other/a-1.m4s", "../other/a-1.m4s?ID"),
    ("a.ts.ts/b.ts", "a.ts.ts/b.ts?ID"),
    ("v/720p.m3u8", "v/720p.m3u8?ID"),
    ("a 1.ts", "a 1.ts?ID"),
    ("?n=1", "?n=1&ID"),
    ("http://HOST/live/a-1.ts", "http://HOST/live/a-1.ts?ID"),
    ("//HOST/live/a-1.ts", "//HOST/live/a-1.ts?ID"),
    (
        "http://cdn.ts.example.com/a-1.ts",
        "http://cdn.ts.example.com/a-1.ts",
    ),
    (
        "https://cdn.example.com/a-1.ts?x=1",
        "https://cdn.example.com/a-1.ts?x=1",
    ),
    ("//cdn.example.com/a-1.ts", "//cdn.example.com/a-1.ts"),
    ("data:video/mp2t;base64,R0A=", "data:video/mp2t;base64,R0A="),
    (
        "#EXTINF:2.000, title of a-1.ts",
        "#EXTINF:2.000, title of a-1.ts",
    ),
    (
        "#EXTINF:2.000,URI=\"a-1.ts\"",
        "#EXTINF:2.000,URI=\"a-1.ts\"",
    ),
    ("# a comment on a-1.ts", "# a comment on a-1.ts"),
    ("#", "#"),
    ("", ""),
    ("#EXT-X-ENDLIST", "#EXT-X-ENDLIST"),
    (
        "#EXT-X-MAP:URI=\"init.mp4\"",
        "#EXT-X-MAP:URI=\"init.mp4?ID\"",
    ),
    (
        "#EXT-X-MAP:URI=\"init.mp4?v=1\",BYTERANGE=\"720@0\"",
        "#EXT-X-MAP:URI=\"init.mp4?v=1&ID\",BYTERANGE=\"720@0\"",
    ),
    (
        "#EXT-X-KEY:METHOD=AES-128,URI=\"live/a-5.key\",IV=0x01",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"live/a-5.key?ID\",IV=0x01",
    ),
    ("#EXT-X-KEY:METHOD=NONE", "#EXT-X-KEY:METHOD=NONE"),
    (
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://key.ts\",KEYFORMAT=\"com.apple\"",
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://key.ts\",KEYFORMAT=\"com.apple\"",
    ),
    (
        "#EXT-X-KEY:METHOD=AES-128,URI=\"data:;base64,AA==\"",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"data:;base64,AA==\"",
    ),
    (
        "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k.key\"",
        "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k.key?ID\"",
    ),
    (
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en, URI=\",URI=\"en.m3u8\"",
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en, URI=\",URI=\"en.m3u8?ID\"",
    ),
    (
        "#EXT-X-MEDIA:NAME=\"x,URI=y.ts\"",
        "#EXT-X-MEDIA:NAME=\"x,URI=y.ts\"",
    ),
    ("#EXT-X-MEDIA:X-URI=\"a.ts\"", "#EXT-X-MEDIA:X-URI=\"a.ts\""),
    ("#EXT-X-MEDIA:URI-X=\"a.ts\"", "#EXT-X-MEDIA:URI-X=\"a.ts\""),
    (
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"",
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8?ID\"",
    ),
    (
        "#EXT-X-PART:DURATION=0.3,URI=\"a-1.1.m4s\"",
        "#EXT-X-PART:DURATION=0.3,URI=\"a-1.1.m4s?ID\"",
    ),
    (
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p.m4s\"",
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p.m4s?ID\"",
    ),
    (
        "#EXT-X-MAP:URI=\"http://cdn.example.com/init.mp4\"",
        "#EXT-X-MAP:URI=\"http://cdn.example.com/init.mp4\"",
    ),
    ("#EXT-X-BYTERANGE:100@0", "#EXT-X-BYTERANGE:100@0"),
    (
        "#EXT-X-STREAM-INF:BANDWIDTH=1,NAME=\"a.ts\"",
        "#EXT-X-STREAM-INF:BANDWIDTH=1,NAME=\"a.ts\"",
    ),
];

#[test]
fn uris_get_the_session_and_everything_else_stays() {
    let origin = Origin::start();
    // What the origin says changes from request to request: nothing of it may be shared.
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    let host = proxy.http.to_string();
    let id = format!("spbhid={}", live_id("a"));
    let fill = |line: &str| {
        line.replace("HOST", &host)
            .replace("ID#", &format!("{id}#"))
            .replace("?ID", &format!("?{id}"))
            .replace("&ID", &format!("&{id}"))
    };
    for bom in ["", "\u{feff}"] {
        for newline in ["\n", "\r\n"] {
            for last in [newline, ""] {
                let list = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
                    let lines: Vec<String> = LINES.iter().map(|pair| fill(pick(pair))).collect();
                    format!("{bom}#EXTM3U{newline}{}{last}", lines.join(newline))
                };
                origin.on("/live/a.m3u8", Reply::playlist(list(|pair| pair.0)));
                let got = get(proxy.http, "/live/a.m3u8");
                let (got, wanted) = (got.text(), list(|pair| pair.1));
                for (got, wanted) in got.split('\n').zip(wanted.split('\n')) {
                    assert_eq!(
                        got, wanted,
                        "bom {bom:?}, newline {newline:?}, last {last:?}"
                    );
                }
                assert_eq!(got, wanted);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_text_stay() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    origin.on(
        "/live/a.m3u8",
        Reply::playlist(b"#EXTM3U\n#EXTINF:2,\xe9t\xe9 \xff\na-\xe9.ts\n"),
    );
    let id = live_id("a");
    let wanted = [
        b"#EXTM3U\n#EXTINF:2,\xe9t\xe9 \xff\na-\xe9.ts?spbhid=".as_slice(),
        id.as_bytes(),
        b"\n",
    ]
    .concat();
    assert_eq!(get(proxy.http, "/live/a.m3u8").body, wanted);
}

#[test]
fn every_framing_of_a_playlist_becomes_a_length() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    for reply in [
        Reply::playlist(MEDIA),
        Reply::playlist(MEDIA).chunked(),
        Reply::playlist(MEDIA).until_close(),
    ] {
        origin.on("/live/a.m3u8", reply);
        let response = get(proxy.http, "/live/a.m3u8");
        let wanted = MEDIA.replace("i2o25565", &format!("i2o25565&spbhid={id}"));
        assert_eq!(response.text(), wanted);
        assert_eq!(
            response.headers().one("content-length"),
            wanted.len().to_string()
        );
        assert!(!response.headers().has("transfer-encoding"));
    }
}

#[test]
fn the_session_is_the_streams_url() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::playlist("#EXTM3U\na-1.ts\n").into());
    let proxy = Proxy::before(&origin, &[]);
    for (host, target, stream) in [
        ("127.0.0.1:18080", "/live/a.m3u8", "__defaultVhost__/live/a"),
        ("localhost", "/live/a.m3u8", "__defaultVhost__/live/a"),
        ("[::1]:18080", "/live/a.m3u8", "__defaultVhost__/live/a"),
        (
            "ts.example.com:18080",
            "/live/a.m3u8",
            "ts.example.com/live/a",
        ),
        (
            "ts.example.com",
            "/live/a.m3u8?vhost=v.example.com",
            "v.example.com/live/a",
        ),
        (
            "ts.example.com",
            "/live/a.m3u8?x=1&domain=d.example.com",
            "d.example.com/live/a",
        ),
        (
            "127.0.0.1",
            "/live/a.m3u8?app=other&stream=b",
            "__defaultVhost__/other/b",
        ),
    ] {
        let response = get_with(proxy.http, target, &[("Host", host)]);
        let wanted = format!("#EXTM3U\na-1.ts?spbhid={}\n", session_id(stream));
        assert_eq!(response.text(), wanted, "{host} {target}");
    }
}

#[test]
fn a_playlist_is_asked_for_plainly() {
    let origin = Origin::start();
    let full = Reply::playlist("#EXTM3U\n#EXT-X-ENDLIST\n")
        .header("Accept-Ranges", "bytes")
        .header(
            "Digest",
            "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
        )
        .header(
            "Content-Digest",
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        )
        .header(
            "Repr-Digest",
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        )
        .header("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ==")
        .header("Cache-Control", "no-cache");
    origin.on("/live/a.m3u8", full);
    let proxy = Proxy::before(&origin, &[]);
    let headers = [
        ("Range", "bytes=0-"),
        ("If-Range", "\"x\""),
        ("If-None-Match", "\"x\""),
        ("If-Match", "\"x\""),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Accept-Encoding", "gzip, br"),
        ("User-Agent", "Lavf/59"),
    ];
    let response = get_with(proxy.http, "/live/a.m3u8", &headers);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().one("cache-control"), "no-cache");
    for dropped in [
        "accept-ranges",
        "digest",
        "content-digest",
        "repr-digest",
        "content-md5",
        "content-range",
    ] {
        assert!(!response.headers().has(dropped), "{dropped}");
    }
    let request = origin.only_request();
    assert_eq!(request.method, "GET");
    assert_eq!(request.headers.one("user-agent"), "Lavf/59");
    for (name, _) in &headers[..6] {
        assert!(!request.headers.has(name), "{name}");
    }
    assert_eq!(request.headers.one("accept-encoding"), "identity");
}

#[test]
fn head_of_a_playlist_is_answered_from_its_get() {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist(MEDIA));
    let proxy = Proxy::before(&origin, &[]);
    let mut client = Client::connect(proxy.http);
    client.request("HEAD", "/live/a.m3u8", &[]);
    let head = client.read_response(SOON);
    let whole = client.get("/live/a.m3u8", &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(
        head.headers().one("content-length"),
        whole.body.len().to_string()
    );
    assert_eq!(
        head.headers().one("content-type"),
        "application/vnd.apple.mpegurl"
    );
    assert!(origin.requests().iter().all(|r| r.method == "GET"));
}

#[test]
fn what_is_no_playlist_goes_through_untouched() {
    let origin = Origin::start();
    // What the origin says changes from request to request: nothing of it may be shared.
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    let zipped = [0x1f, 0x8b, 8, 0, b'a', b'.', b't', b's', b'\n'];
    for (reply, status, body) in [
        (
            Reply::ok("text/html", "<html>\na-1.ts\n"),
            200,
            b"<html>\na-1.ts\n".as_slice(),
        ),
        (Reply::ok("text/plain", ""), 200, b""),
        (
            Reply::playlist(zipped).header("Content-Encoding", "gzip"),
            200,
            &zipped,
        ),
        (
            Reply::playlist("#EXTM3U\na.ts\n").header("Content-Encoding", "x"),
            200,
            b"#EXTM3U\na.ts\n",
        ),
        (
            Reply::new(404).body("#EXTM3U\na-1.ts\n"),
            404,
            b"#EXTM3U\na-1.ts\n",
        ),
        (Reply::new(403).body("no\n"), 403, b"no\n"),
    ] {
        origin.on("/live/a.m3u8", reply.clone());
        let response = get(proxy.http, "/live/a.m3u8");
        assert_eq!(
            (response.status(), response.body.as_slice()),
            (status, body),
            "{reply:?}"
        );
        assert_eq!(
            response.headers().one("content-length"),
            body.len().to_string(),
            "{reply:?}"
        );
    }
}

#[test]
fn a_playlist_of_more_than_16_mebibytes_is_refused() {
    let origin = Origin::start();
    // What the origin says changes from request to request: nothing of it may be shared.
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    let of = |bytes: usize| {
        let mut list = "#EXTM3U\n".to_owned();
        list.extend(std::iter::repeat_n(
            "#EXT-X-COMMENT:12345678901234567890123456789012\n",
            bytes / 48,
        ));
        list
    };
    origin.on("/live/a.m3u8", Reply::playlist(of((16 << 20) - 100)));
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    for reply in [
        Reply::playlist(of(17 << 20)),
        Reply::playlist(of(17 << 20)).chunked(),
    ] {
        origin.on("/live/a.m3u8", reply);
        assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 502);
    }
}

#[test]
fn a_segment_goes_through_with_its_ranges_and_conditions() {
    let origin = Origin::start();
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    for (status, headers) in [
        (
            206,
            vec![
                ("Content-Range", "bytes 0-2/10"),
                ("Accept-Ranges", "bytes"),
                ("ETag", "\"e\""),
            ],
        ),
        (416, vec![("Content-Range", "bytes */10")]),
    ] {
        let mut reply = Reply::new(status)
            .header("Content-Type", "video/mp4")
            .body("abc");
        reply = headers
            .iter()
            .fold(reply, |reply, (name, value)| reply.header(name, value));
        origin.on("/live/init.mp4", reply);
        let asked = [
            ("Range", "bytes=0-2"),
            ("If-Range", "\"e\""),
            ("Accept-Encoding", "identity"),
        ];
        let response = get_with(proxy.http, &format!("/live/init.mp4?spbhid={id}"), &asked);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (status, "abc")
        );
        for (name, value) in headers {
            assert_eq!(response.headers().one(name), value);
        }
        let request = origin.last_request();
        assert_eq!(request.target, "/live/init.mp4");
        for (name, value) in asked {
            assert_eq!(request.headers.one(name), value);
        }
    }
    origin.on("/live/a-1.ts", Reply::new(304).header("ETag", "\"e\""));
    let asked = [
        ("If-None-Match", "\"e\""),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    let response = get_with(proxy.http, &format!("/live/a-1.ts?spbhid={id}"), &asked);
    assert_eq!(
        (
            response.status(),
            response.headers().one("etag"),
            response.body.len()
        ),
        (304, "\"e\"", 0)
    );
    for (name, value) in asked {
        assert_eq!(origin.last_request().headers.one(name), value);
    }
}

#[test]
fn the_origin_sees_the_query_without_the_session() {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/MP2T", "x").into());
    let proxy = Proxy::before(&origin, &[]);
    let id = live_id("a");
    for (asked, seen) in [
        ("/live/a-1.ts?spbhid=ID", "/live/a-1.ts"),
        ("/live/a-1.ts?x=1&spbhid=ID", "/live/a-1.ts?x=1"),
        (
            "/live/a-1.ts?spbhid=ID&x=%2f&y&z=",
            "/live/a-1.ts?x=%2f&y&z=",
        ),
        ("/live/a-1.ts?a=1&spbhid=ID&b=2", "/live/a-1.ts?a=1&b=2"),
        ("/live/a-1.ts?xspbhid=1&spbhid=ID", "/live/a-1.ts?xspbhid=1"),
        ("/live/%41%20b-1.ts?spbhid=ID", "/live/%41%20b-1.ts"),
        ("/live/key.key?spbhid=ID", "/live/key.key"),
        ("/live/s.m4s?spbhid=ID", "/live/s.m4s"),
        ("/live/s.aac?spbhid=ID", "/live/s.aac"),
        ("/live/s.vtt?spbhid=ID", "/live/s.vtt"),
    ] {
        assert_eq!(
            get(proxy.http, &asked.replace("ID", &id)).status(),
            200,
            "{asked}"
        );
        assert_eq!(origin.last_request().target, seen, "{asked}");
    }
}

/// Two origins that answer everything; each playlist is a master with a variant elsewhere.
fn two_origins() -> ([Origin; 2], Proxy) {
    let origins = [Origin::start(), Origin::start()];
    for origin in &origins {
        origin.otherwise(|request| {
            let answer = match request
                .path()
                .rsplit_once('.')
                .map(|(_, extension)| extension)
            {
                Some("m3u8") if request.path().contains("variant") => {
                    Reply::playlist("#EXTM3U\nsegment-1.ts\n")
                }
                Some("m3u8") => Reply::playlist(
                    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/elsewhere/variant.m3u8\n",
                ),
                _ => Reply::ok("video/x", "media"),
            };
            Answer::from(answer)
        });
    }
    let proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    (origins, proxy)
}

#[test]
fn variants_segments_and_other_formats_come_from_the_streams_origin() {
    let (origins, proxy) = two_origins();
    let mut served = BTreeMap::new();
    for n in 0..8 {
        let name = format!("stream{n}");
        let id = live_id(&name);
        let master = get(proxy.http, &format!("/live/{name}.m3u8")).text();
        assert_eq!(
            uris(&master),
            [format!("/elsewhere/variant.m3u8?spbhid={id}")]
        );
        let variant = get(proxy.http, uris(&master)[0]).text();
        assert_eq!(
            uris(&variant),
            [format!("segment-1.ts?spbhid={id}")],
            "a variant belongs to its master's session"
        );
        assert_eq!(
            get(proxy.http, &format!("/elsewhere/{}", uris(&variant)[0])).text(),
            "media"
        );
        assert_eq!(
            get(proxy.http, &format!("/live/{name}.flv")).text(),
            "media"
        );
        let counts: Vec<usize> = origins.iter().map(|o| o.requests().len()).collect();
        served.insert(name, counts);
    }
    let mut last = [0, 0];
    let mut streams = [0, 0];
    for (name, counts) in served {
        let gained = [counts[0] - last[0], counts[1] - last[1]];
        assert!(gained == [4, 0] || gained == [0, 4], "{name}: {gained:?}");
        streams[usize::from(gained[1] == 4)] += 1;
        last = [counts[0], counts[1]];
    }
    assert_eq!(streams, [4, 4], "fewest streams first");
}

#[test]
fn a_session_outlives_the_proxy_and_is_read_by_another() {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
    let first = Proxy::before(&origin, &[]);
    let list = get(first.http, "/live/a.m3u8").text();
    drop(first);
    let second = Proxy::before(&origin, &[]);
    assert_eq!(
        get(second.http, &format!("/live/{}", uris(&list)[0])).text(),
        "segment"
    );
}

#[test]
fn a_session_that_names_no_stream_reaches_no_origin() {
    let origin = Origin::start();
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "segment"));
    let proxy = Proxy::before(&origin, &[]);
    for id in ["!!", "abc", "", "%ff%fe", "_____", "a=="] {
        let response = get(proxy.http, &format!("/live/a-1.ts?spbhid={id}"));
        assert_eq!(response.status(), 404, "{id:?}: {}", response.text());
    }
    assert_eq!(origin.requests().len(), 0);
    proxy.assert_no_panic();
}

#[test]
fn head_of_a_segment_is_its_head() {
    let origin = Origin::start();
    origin.on(
        "/live/a-1.ts",
        Reply::ok("video/MP2T", "segment").body_on_head(),
    );
    let proxy = Proxy::before(&origin, &[]);
    let target = format!("/live/a-1.ts?spbhid={}", live_id("a"));
    let head = fetch(proxy.http, "HEAD", &target, &[]);
    assert_eq!(
        (
            head.status(),
            head.headers().one("content-length"),
            head.body.len()
        ),
        (200, "7", 0)
    );
    assert_eq!(origin.only_request().method, "HEAD");
    for _ in 0..3 {
        assert_eq!(get(proxy.http, &target).text(), "segment");
    }
}
