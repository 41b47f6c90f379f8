//! Real media, a real origin and a real player: what ffmpeg decodes through the proxy is what it decodes without.

use crate::common::fetch::get;
use crate::common::nginx::Nginx;
use crate::common::proxy::Proxy;
use crate::common::{SOON, media, tools};

#[test]
fn ffmpeg_decodes_the_same_frames_through_the_proxy() {
    let nginx = Nginx::start(media::directory());
    let proxy = Proxy::start(&[]);
    proxy.register_addr(nginx.addr());
    for (name, frames) in [
        ("a.flv", 100),
        ("a.ts", 100),
        ("ts.m3u8", 100),
        ("fmp4.m3u8", 100),
        ("aes.m3u8", 100),
        ("master.m3u8", 100),
        ("a.aac", 0),
        ("a.mp3", 0),
    ] {
        let direct = media::frames(&format!("http://{}/live/{name}", nginx.addr()));
        let through = media::frames(&format!("http://{}/live/{name}", proxy.http));
        assert_eq!(through, direct, "{name}");
        // Lines of the hash list begin with the number of their stream; the picture is the first where there is one.
        let lines = direct.lines().filter(|line| !line.starts_with('#'));
        let (first, all) = lines.fold((0, 0), |(first, all), line| {
            (first + usize::from(line.starts_with("0,")), all + 1)
        });
        assert!(
            all > 100 && (frames == 0 || first == frames),
            "{name}: {first} of {all} frames"
        );
    }
    proxy.assert_no_panic();
}

#[test]
fn a_whole_playlist_of_segments_goes_through_the_proxy_and_comes_back_to_it() {
    let nginx = Nginx::start(media::directory());
    let proxy = Proxy::start(&[]);
    proxy.register_addr(nginx.addr());
    for name in ["ts.m3u8", "fmp4.m3u8", "aes.m3u8"] {
        let list = get(proxy.http, &format!("/live/{name}")).text();
        let uris = crate::common::hls::uris(&list);
        assert_eq!(uris.len(), 4, "{list}");
        for uri in uris {
            let file = uri.split('?').next().unwrap();
            let segment = get(proxy.http, &format!("/live/{uri}"));
            let original = std::fs::read(media::directory().join("live").join(file))
                .expect("the segment's file");
            assert!(segment.body == original, "{uri}");
        }
    }
    let log = nginx.access_log();
    assert!(
        log.contains("GET /live/ts-0.ts 200") && !log.contains("spbhid"),
        "{log}"
    );
}

#[test]
fn curl_gets_the_file() {
    let nginx = Nginx::start(media::directory());
    let proxy = Proxy::start(&[]);
    proxy.register_addr(nginx.addr());
    let original = std::fs::read(media::directory().join("live/a.flv")).expect("the file");
    for version in ["--http1.1", "--http1.0"] {
        let mut curl = tools::command("curl");
        curl.args(["-sS", "--fail", "--noproxy", "*", version])
            .arg(format!("http://{}/live/a.flv", proxy.http));
        let output = tools::run(&mut curl, SOON * 3);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout == original, "{version}");
    }
}
