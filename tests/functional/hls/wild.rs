//! HLS as it is in the wild: playlists and set-ups that people reported, each played through the proxy.

use crate::common::SOON;
use crate::common::answer::Reply;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::hls::{live_id, uris};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use std::io::Read;
use std::time::Duration;

/// An origin that answers segments, and a proxy before it that shares nothing: what the origin says changes.
fn alone() -> (Origin, Proxy) {
    let origin = Origin::start();
    origin.otherwise(|_| Reply::ok("video/MP2T", "media").into());
    let proxy = Proxy::before(&origin, &[("PROXY_HLS_CACHE", "0")]);
    (origin, proxy)
}

#[test]
fn variables_are_put_in_and_their_queries_reach_the_origin() {
    let (origin, proxy) = alone();
    let defines = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"auth\",VALUE=\"?exp=9&sig=a\"\n\
        #EXT-X-DEFINE:QUERYPARAM=\"tok\"\n#EXT-X-DEFINE:IMPORT=\"theirs\"\n";
    origin.on(
        "/live/a.m3u8",
        Reply::playlist(format!(
            "{defines}#EXTINF:2,\nd-1.ts{{$auth}}\n#EXTINF:2,\nd-2.ts?t={{$tok}}\n#EXTINF:2,\nd-{{$theirs}}.ts\n"
        )),
    );
    let list = get(proxy.http, "/live/a.m3u8?tok=s%2F1").text();
    assert!(list.starts_with(defines), "{list}");
    let id = live_id("a");
    assert_eq!(
        uris(&list),
        [
            format!("d-1.ts?exp=9&sig=a&spbhid={id}"),
            format!("d-2.ts?t=s/1&spbhid={id}"),
            "d-{$theirs}.ts".to_owned(),
        ]
    );
    for (uri, seen) in uris(&list)
        .into_iter()
        .zip(["/live/d-1.ts?exp=9&sig=a", "/live/d-2.ts?t=s/1"])
    {
        assert_eq!(get(proxy.http, &format!("/live/{uri}")).text(), "media");
        assert_eq!(origin.last_request().target, seen);
    }
}

#[test]
fn whatever_names_a_file_of_the_same_host_leads_back() {
    let (origin, proxy) = alone();
    let id = format!("spbhid={}", live_id("a"));
    for line in [
        "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/steering@\",PATHWAY-ID=\"x\"",
        "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"ad.m3u8@\"",
        "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-LIST=\"ads.json@\"",
        "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI=\"tiles.m3u8@\"",
        "#EXT-X-SESSION-DATA:DATA-ID=\"x\",URI=\"data.json@\"",
        "#EXT-X-PREFETCH:a-9.ts@",
    ] {
        let list = format!("#EXTM3U\n{line}\n");
        origin.on("/live/a.m3u8", Reply::playlist(list.replace('@', "")));
        let wanted = list.replace('@', &format!("?{id}"));
        assert_eq!(get(proxy.http, "/live/a.m3u8").text(), wanted);
    }
}

#[test]
fn the_public_name_is_ours_when_a_trusted_proxy_tells_it() {
    let origin = Origin::start();
    let list = "#EXTM3U\nhttps://live.example.com/live/a-1.ts\nhttps://live.example.com:8443/live/a-2.ts\n\
        //live.example.com/live/a-3.ts\nhttps://cdn.example.com/live/a-4.ts\n";
    origin.on("/live/a.m3u8", Reply::playlist(list));
    let id = live_id("a");
    let ours = list.replace("a-1.ts", &format!("a-1.ts?spbhid={id}"));
    let ours = ours.replace("a-2.ts", &format!("a-2.ts?spbhid={id}"));
    let ours = ours.replace("a-3.ts", &format!("a-3.ts?spbhid={id}"));
    for (trusted, forwarded, wanted) in [
        ("127.0.0.1", "live.example.com", &*ours),
        ("127.0.0.1", "live.example.com, inner", &*ours),
        ("127.0.0.1", "other.example.com", list),
        ("192.0.2.1", "live.example.com", list),
    ] {
        // Shared answers differ by the name that they were made for.
        let proxy = Proxy::before(&origin, &[("PROXY_TRUSTED_PROXIES", trusted)]);
        assert_eq!(get(proxy.http, "/live/a.m3u8").text(), list);
        let headers = [("X-Forwarded-Host", forwarded)];
        let response = get_with(proxy.http, "/live/a.m3u8", &headers);
        assert_eq!(response.text(), wanted, "{trusted} {forwarded}");
    }
}

#[test]
fn two_proxies_in_a_row_keep_their_sessions_apart() {
    let origin = Origin::start();
    origin.on("/live/a.m3u8", Reply::playlist("#EXTM3U\na-1.ts?x=1\n"));
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "media"));
    let inner = Proxy::before(&origin, &[]);
    let outer = Proxy::start(&[]);
    outer.register_addr(inner.http);
    let list = get(outer.http, "/live/a.m3u8").text();
    let id = live_id("a");
    assert_eq!(uris(&list), [format!("a-1.ts?x=1&spbhid={id}&spbhid={id}")]);
    let segment = get(outer.http, &format!("/live/{}", uris(&list)[0]));
    assert_eq!(segment.text(), "media");
    assert_eq!(origin.last_request().target, "/live/a-1.ts?x=1");
}

#[test]
fn redirects_that_stay_on_the_origin_come_back_with_the_session() {
    let (origin, proxy) = alone();
    let id = live_id("a");
    for (location, wanted) in [
        ("/live/b.m3u8?x=1", format!("/live/b.m3u8?x=1&spbhid={id}")),
        ("b.m3u8", format!("b.m3u8?spbhid={id}")),
        (
            &format!("http://{}/live/b.m3u8", origin.addr()),
            format!("/live/b.m3u8?spbhid={id}"),
        ),
        (
            "https://cdn.example.com/b.m3u8",
            "https://cdn.example.com/b.m3u8".to_owned(),
        ),
    ] {
        let reply = Reply::new(302).header("Location", location);
        origin.on("/live/a.m3u8", reply.clone());
        origin.on("/live/a-1.ts", reply);
        for asked in [
            "/live/a.m3u8".to_owned(),
            format!("/live/a-1.ts?spbhid={id}"),
        ] {
            let response = get(proxy.http, &asked);
            assert_eq!(response.status(), 302);
            assert_eq!(response.headers().one("location"), wanted, "{asked}");
        }
    }
}

#[test]
fn below_a_path_redirects_and_links_lead_back() {
    let origin = Origin::start();
    let proxy = Proxy::before(
        &origin,
        &[("PROXY_PUBLIC_URL", "https://tv.example.com/proxy/")],
    );
    let id = live_id("a");
    let host = origin.addr();
    let complete = "https://tv.example.com/proxy/live/b.m3u8";
    for (location, wanted) in [
        ("/live/b.m3u8?x=1", "../live/b.m3u8?x=1"),
        ("b.m3u8?x=1", "b.m3u8?x=1"),
        (&format!("http://{host}/b.m3u8?x=1"), "../b.m3u8?x=1"),
        (&format!("http://{}/b?x=1", proxy.http), "../b?x=1"),
        (&format!("{complete}?x=1"), &format!("{complete}?x=1")),
    ] {
        let reply = Reply::new(302).header("Location", location);
        let session = &*format!("&spbhid={id}");
        for (asked, path, session) in [
            ("/live/a.m3u8", "/live/a.m3u8", session),
            (
                &format!("/live/a-1.ts?spbhid={id}"),
                "/live/a-1.ts",
                session,
            ),
            ("/live/a.flv", "/live/a.flv", ""),
        ] {
            origin.on(path, reply.clone());
            let response = get(proxy.http, asked);
            let back = response.headers().one("location");
            assert_eq!(back, format!("{wanted}{session}"), "{asked}");
        }
    }
    let own = format!("http://{}/live/c-1.ts", proxy.http);
    let list = format!("#EXTM3U\n{own}\n/live/c-2.ts\nhttps://cdn.example.com/c-3.ts\n");
    origin.on("/live/c.m3u8", Reply::playlist(list));
    let id = live_id("c");
    assert_eq!(
        get(proxy.http, "/live/c.m3u8").text(),
        format!(
            "#EXTM3U\n../live/c-1.ts?spbhid={id}\n../live/c-2.ts?spbhid={id}\nhttps://cdn.example.com/c-3.ts\n"
        )
    );
}

#[test]
fn variants_of_different_streams_are_each_found_at_their_own_origin() {
    let origins = [Origin::start_with_api(), Origin::start_with_api()];
    let proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    let master =
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhd.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nsd.m3u8\n";
    origins[0].on("/live/show.m3u8", Reply::playlist(master));
    for (origin, name) in [(&origins[0], "hd"), (&origins[1], "sd")] {
        origin.api().publish(&format!("/live/{name}"));
        let list = format!("#EXTM3U\n#EXTINF:2,\n{name}-1.ts\n");
        origin.on(&format!("/live/{name}.m3u8"), Reply::playlist(list));
        origin.on(&format!("/live/{name}-1.ts"), Reply::ok("video/MP2T", name));
    }
    origins[0].api().publish("/live/show");
    let show = live_id("show");
    let master = get(proxy.http, "/live/show.m3u8").text();
    assert_eq!(
        uris(&master),
        [
            format!("hd.m3u8?spbhid={show}"),
            format!("sd.m3u8?spbhid={show}")
        ]
    );
    for (uri, name, session) in [("hd.m3u8", "hd", "show"), ("sd.m3u8", "sd", "sd")] {
        for _ in 0..2 {
            let list = get(proxy.http, &format!("/live/{uri}?spbhid={show}"));
            assert_eq!(list.status(), 200, "{uri}");
            let wanted = format!("{name}-1.ts?spbhid={}", live_id(session));
            assert_eq!(uris(&list.text()), [&*wanted], "{uri}");
            let segment = get(proxy.http, &format!("/live/{wanted}"));
            assert_eq!(segment.text(), name);
        }
    }
    assert_eq!(
        uris(&get(proxy.http, "/live/show.m3u8").text()),
        uris(&master),
        "nobody has moved"
    );
}

/// An M3U of television: a list of channels, each a stream of its own somewhere.
#[test]
fn channels_of_a_list_are_each_found_at_their_own_origin() {
    let origins = [Origin::start_with_api(), Origin::start_with_api()];
    let proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    let list =
        "#EXTM3U\n#EXTINF:-1 tvg-id=\"one\",One\n/live/one.m3u8\n#EXTINF:-1,Two\n/live/two.m3u8\n";
    origins[0].on("/tv/list.m3u", Reply::ok("audio/x-mpegurl", list));
    origins[0].api().publish("/tv/list");
    for (origin, name) in [(&origins[0], "one"), (&origins[1], "two")] {
        origin.api().publish(&format!("/live/{name}"));
        let list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}-1.ts\n");
        origin.on(&format!("/live/{name}.m3u8"), Reply::playlist(list));
        origin.on(&format!("/live/{name}-1.ts"), Reply::ok("video/MP2T", name));
    }
    let list = get(proxy.http, "/tv/list.m3u").text();
    for (uri, name) in uris(&list).iter().zip(["one", "two"]) {
        assert!(uri.starts_with(&format!("/live/{name}.m3u8?")), "{uri}");
        let playlist = get(proxy.http, uri);
        assert_eq!(playlist.status(), 200, "{uri}");
        let segment = format!("/live/{}", uris(&playlist.text())[0]);
        assert_eq!(get(proxy.http, &segment).text(), name);
    }
    assert_eq!(uris(&list).len(), 2);
}

#[test]
fn a_day_of_segments_is_played() {
    let (origin, proxy) = alone();
    let mut list = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n".to_owned();
    for n in 0..43_200 {
        list += &format!(
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n#EXTINF:2.000,\nlivestream-{n}.ts?token=0123456789abcdef0123456789abcdef\n"
        );
    }
    assert!(list.len() > 5 << 20, "{}", list.len());
    for reply in [
        Reply::playlist(&list),
        Reply::playlist(&list).chunked(),
        Reply::playlist(gzip(list.as_bytes())).header("Content-Encoding", "gzip"),
    ] {
        origin.on("/live/a.m3u8", reply);
        let response = get(proxy.http, "/live/a.m3u8");
        assert_eq!(response.status(), 200);
        let added = "&spbhid=".len() + live_id("a").len();
        assert_eq!(response.body.len(), list.len() + 43_200 * added);
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    flate2::read::GzEncoder::new(body, flate2::Compression::fast())
        .read_to_end(&mut encoded)
        .expect("memory");
    encoded
}

#[test]
fn what_comes_encoded_unasked_is_decoded_and_a_bomb_is_refused() {
    let (origin, proxy) = alone();
    let list = "#EXTM3U\na-1.ts\n";
    let wanted = format!("#EXTM3U\na-1.ts?spbhid={}\n", live_id("a"));
    let mut zlib = Vec::new();
    let best = flate2::Compression::best();
    flate2::read::ZlibEncoder::new(list.as_bytes(), best)
        .read_to_end(&mut zlib)
        .expect("memory");
    for (coding, body) in [
        ("gzip", gzip(list.as_bytes())),
        ("X-GZIP", gzip(list.as_bytes())),
        ("deflate", zlib),
        ("identity", list.as_bytes().to_vec()),
    ] {
        let reply = Reply::playlist(body).header("Content-Encoding", coding);
        origin.on("/live/a.m3u8", reply);
        let response = get_with(proxy.http, "/live/a.m3u8", &[("Accept-Encoding", "gzip")]);
        assert_eq!(response.text(), wanted, "{coding}");
        let left = response.headers().maybe("content-encoding");
        assert!(left.is_none_or(|left| left == "identity"), "{coding}");
        let length = response.headers().one("content-length");
        assert_eq!(length, wanted.len().to_string(), "{coding}");
        assert_eq!(
            origin.last_request().headers.one("accept-encoding"),
            "identity"
        );
    }
    let mut bomb = b"#EXTM3U\n".to_vec();
    bomb.resize(200 << 20, b'\n');
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 2 << 20);
    origin.on(
        "/live/a.m3u8",
        Reply::playlist(bomb).header("Content-Encoding", "gzip"),
    );
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 502);
    assert!(
        proxy.peak_rss_kb() < 100 << 10,
        "{} KiB",
        proxy.peak_rss_kb()
    );
}

#[test]
fn a_playlist_is_known_by_its_path_or_its_type() {
    let (origin, proxy) = alone();
    let id = live_id("a");
    let (list, wanted) = (
        "\u{feff}\r\n\n#EXTM3U\na-1.ts\n",
        format!("\u{feff}\r\n\n#EXTM3U\na-1.ts?spbhid={id}\n"),
    );
    for (path, content_type) in [
        ("/live/a.m3u8", "text/plain"),
        ("/live/a.M3U8", "text/plain"),
        ("/live/a.m3u", "audio/x-mpegurl"),
        ("/live/a.m3u8;jsessionid=1.2", "application/octet-stream"),
    ] {
        origin.on(path, Reply::ok(content_type, list));
        assert_eq!(get(proxy.http, path).text(), wanted, "{path}");
    }
    for content_type in [
        "application/vnd.apple.mpegurl",
        "application/x-mpegURL; charset=utf-8",
        "audio/mpegurl",
    ] {
        // As ffmpeg asks.
        origin.on_request("/live/variant", move |request| {
            let whole = request.headers.maybe("range").is_none();
            let status = if whole { 200 } else { 206 };
            let reply = Reply::new(status).header("Content-Type", content_type);
            reply.body(list).into()
        });
        let target = format!("/live/variant?spbhid={id}");
        let response = get_with(proxy.http, &target, &[("Range", "bytes=0-")]);
        assert_eq!(
            (response.status(), response.text()),
            (200, wanted.clone()),
            "{content_type}"
        );
    }
    // What only looks like one is relayed, whatever its size.
    let segment: Vec<u8> = (0..40 << 20).map(|n| (n % 251) as u8).collect();
    for reply in [
        Reply::ok("video/MP2T", &segment),
        Reply::playlist(&segment).chunked(),
    ] {
        origin.on("/live/x.m3u8", reply);
        let response = get(proxy.http, "/live/x.m3u8?seg=1");
        assert!(response.status() == 200 && response.body == segment);
    }
}

#[test]
fn a_blocking_reload_may_take_three_target_durations() {
    let origin = Origin::start();
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:5\n#EXTINF:1,\na-5.m4s\n";
    origin.on_request("/live/a.m3u8", move |request| {
        let blocks = request.query_value("_HLS_msn").is_some();
        let delay = Duration::from_millis(if blocks { 2500 } else { 0 });
        Reply::playlist(list).after(delay).into()
    });
    let proxy = Proxy::before(&origin, &[("PROXY_RESPONSE_TIMEOUT", "1s")]);
    for target in ["/live/a.m3u8", "/live/a.m3u8?_HLS_msn=6&_HLS_part=0"] {
        assert_eq!(get(proxy.http, target).status(), 200, "{target}");
    }
    assert_eq!(
        origin.last_request().target,
        "/live/a.m3u8?_HLS_msn=6&_HLS_part=0"
    );
}

#[test]
fn files_whose_session_was_dropped_come_from_their_directorys_stream() {
    let origins = [Origin::start(), Origin::start()];
    let proxy = Proxy::start(&[]);
    origins.iter().for_each(|origin| proxy.register(origin));
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"init.mp4\"\n\
        #EXTINF:2,\nb-1.m4s\n#EXTINF:2,\nb-2.ts\n#EXTINF:2,\nb-3.aac\n";
    origins[1].on("/live/b.m3u8", Reply::playlist(list));
    assert_eq!(get(proxy.http, "/live/x.m4s").status(), 404, "not yet");
    assert_eq!(get(proxy.http, "/live/b.m3u8").status(), 200);
    let before = origins[0].requests().len();
    for name in [
        "b-1.m4s",
        "init.mp4",
        "b.m4a",
        "b.m4v",
        "b.cmfv",
        "b.cmfa",
        "b.vtt",
        "b.webvtt",
        "k.key",
        "seg/b-7.M4S",
        "b-2.ts",
        "b-3.aac",
    ] {
        let path = format!("/live/{name}");
        origins[1].on(&path, Reply::ok("application/octet-stream", name));
        let response = get(proxy.http, &format!("{path}?token=x"));
        assert_eq!(
            (response.status(), response.text()),
            (200, name.to_owned()),
            "{name}"
        );
        assert_eq!(origins[1].last_request().target, format!("{path}?token=x"));
    }
    assert_eq!(
        origins[0].requests().len(),
        before,
        "the other is not asked"
    );
    assert_eq!(get(proxy.http, "/elsewhere/init.mp4").status(), 404);
}

#[test]
fn a_plain_segment_with_a_length_is_a_file() {
    let origin = Origin::start();
    let body = vec![0x47; 188 * 1000];
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", &body));
    let proxy = Proxy::before(&origin, &[("PROXY_MAX_STREAMS", "1")]);
    let ask = || {
        let response = get(proxy.http, "/live/a-1.ts?token=x");
        let length = response.headers().one("content-length").to_owned();
        assert_eq!(length, body.len().to_string());
        assert!(response.body == body);
        response
    };
    ask();
    // Once its playlist went through here it is known to be a file: it is shared, and takes no stream's place.
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\na-1.ts\n";
    origin.on("/live/a.m3u8", Reply::playlist(list));
    assert_eq!(get(proxy.http, "/live/a.m3u8").status(), 200);
    let live = origin.live_flv("/live/b.flv");
    let mut viewer = Client::connect(proxy.http);
    viewer.request("GET", "/live/b.flv", &[]);
    let mut feed = live.next();
    feed.send(b"begin");
    assert_eq!(viewer.read_head(SOON).status, 200);
    ask();
    let before = origin.requests().len();
    for _ in 0..2 {
        assert!(ask().headers().has("age"));
    }
    assert_eq!(origin.requests().len(), before);
}

#[test]
fn the_range_from_0_is_the_whole_and_shared_and_cmcd_is_no_identity() {
    let origin = Origin::start();
    let id = live_id("a");
    origin.on("/live/a-1.ts", Reply::ok("video/MP2T", "0123456789"));
    origin.on(
        "/live/a.m3u8",
        Reply::playlist("#EXTM3U\n#EXTINF:2,\na-1.ts\n"),
    );
    let proxy = Proxy::before(&origin, &[]);
    let whole = get(proxy.http, &format!("/live/a-1.ts?spbhid={id}&CMCD=bl%3D1"));
    assert_eq!((whole.status(), whole.text().as_str()), (200, "0123456789"));
    for n in 0..3 {
        let target = format!("/live/a-1.ts?CMCD=bl%3D{n}&spbhid={id}");
        let headers = [("Range", "bytes=0-"), ("CMCD-Request", "bl=1")];
        let response = get_with(proxy.http, &target, &headers);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (206, "0123456789")
        );
        assert_eq!(response.headers().one("content-range"), "bytes 0-9/10");
        assert_eq!(response.headers().one("content-length"), "10");
        let list = get_with(proxy.http, &format!("/live/a.m3u8?CMCD=bl%3D{n}"), &headers);
        assert_eq!(list.status(), 200);
    }
    for path in ["/live/a-1.ts", "/live/a.m3u8"] {
        assert_eq!(origin.requests_for(path).len(), 1, "{path} is shared");
    }
    assert_eq!(
        origin.requests_for("/live/a-1.ts")[0].target,
        "/live/a-1.ts?CMCD=bl%3D1"
    );
    assert_eq!(
        origin.requests_for("/live/a.m3u8")[0].target,
        "/live/a.m3u8?CMCD=bl%3D0"
    );
    // So is a part of what is in memory.
    let part = get_with(
        proxy.http,
        &format!("/live/a-1.ts?spbhid={id}"),
        &[("Range", "bytes=2-")],
    );
    assert_eq!((part.status(), part.text().as_str()), (206, "23456789"));
    assert_eq!(part.headers().one("content-range"), "bytes 2-9/10");
}

#[test]
fn a_preflight_names_authorization_and_what_it_asked_for() {
    let proxy = Proxy::start(&[]);
    let asked = |names| {
        let headers = [
            ("Origin", "https://page.example"),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", names),
        ];
        let response = fetch(proxy.http, "OPTIONS", "/live/a.m3u8", &headers);
        response
            .headers()
            .one("access-control-allow-headers")
            .to_owned()
    };
    assert_eq!(
        asked("authorization,x-token"),
        "*, Authorization, authorization, x-token"
    );
    assert_eq!(asked("x y, z"), "*, Authorization, z");
}
