//! HLS as it is in the wild: playlists and set-ups that people reported, each played through the proxy.

use crate::common::answer::Reply;
use crate::common::fetch::{get, get_with};
use crate::common::hls::{live_id, uris};
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;

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
