//! How static files are sent: by the kernel from a directory, gzipped from the binary.

use crate::common::SOON;
use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::proxy::Proxy;
use flate2::read::GzDecoder;
use std::io::Read;
use std::time::Duration;

/// How many reads the proxy has made so far.
fn reads(proxy: &Proxy) -> u64 {
    let path = format!("/proc/{}/io", proxy.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("the process's io");
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    line.and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn the_kernel_sends_a_file_of_a_directory() {
    const BYTES: usize = 20 << 20;
    let body: Vec<u8> = (0..BYTES).map(|at| (at / 1000) as u8).collect();
    let builder = Proxy::builder().file("site/large.bin", &body);
    let root = builder.directory().join("site");
    let proxy = builder.env("PROXY_STATIC_FILES", root.display()).start();
    get(proxy.http, "/nothing");
    let before = reads(&proxy);
    assert!(get(proxy.http, "/large.bin").body == body);
    let asked = reads(&proxy) - before;
    assert!(asked < 1000, "{asked} reads: copied through the process");
    let part = get_with(
        proxy.http,
        "/large.bin",
        &[("Range", "bytes=1000000-5000000")],
    );
    assert!(part.status() == 206 && part.body == body[1_000_000..=5_000_000]);
    // A slow reader gets all of it, too, and the connection goes on.
    let mut slow = Client::connect_small(proxy.http, 4096);
    slow.request("GET", "/large.bin", &[]);
    slow.read_head(SOON);
    std::thread::sleep(Duration::from_millis(200));
    let (rest, _) = slow.read_rest(Duration::from_secs(60));
    assert!(rest == body);
    assert_eq!(slow.get("/nothing", &[]).status(), 404);
    let line = format!("GET /large.bin 200 {BYTES} bytes");
    proxy.wait_for_log(|log| log.contains(&line), SOON);
}

#[test]
fn a_file_that_becomes_shorter_is_visibly_broken_off() {
    let builder = Proxy::builder().file("site/a.bin", vec![7; 8 << 20]);
    let root = builder.directory().join("site");
    let proxy = builder.env("PROXY_STATIC_FILES", root.display()).start();
    let mut client = Client::connect_small(proxy.http, 4096);
    client.request("GET", "/a.bin", &[]);
    client.read_head(SOON);
    client.read_at_least(1000, SOON);
    let file = std::fs::File::options()
        .write(true)
        .open(root.join("a.bin"));
    file.and_then(|file| file.set_len(1000))
        .expect("cutting it");
    let (rest, end) = client.read_rest(SOON);
    assert!(rest.len() < 8 << 20);
    assert_ne!(end, crate::common::body::BodyEnd::Complete);
}

#[test]
fn a_page_of_the_binary_is_sent_gzipped_to_those_who_take_it() {
    let proxy = Proxy::start(&[]);
    let plain = get(proxy.http, "/index.html");
    assert!(!plain.headers().has("content-encoding"));
    assert_eq!(plain.headers().one("vary"), "Accept-Encoding");
    let ask = |more: &[(&str, &str)]| {
        let mut headers = vec![("Accept-Encoding", "gzip, br")];
        headers.extend(more);
        get_with(proxy.http, "/index.html", &headers)
    };
    let gzipped = ask(&[]);
    assert_eq!(gzipped.headers().one("content-encoding"), "gzip");
    assert_eq!(gzipped.headers().one("vary"), "Accept-Encoding");
    assert!(gzipped.body.len() < plain.body.len());
    let mut text = Vec::new();
    GzDecoder::new(&gzipped.body[..])
        .read_to_end(&mut text)
        .expect("gzip");
    assert!(text == plain.body);
    // Two versions, two tags; each is known by its own.
    let (tag, other) = (gzipped.headers().one("etag"), plain.headers().one("etag"));
    assert_ne!(tag, other);
    assert_eq!(ask(&[("If-None-Match", tag)]).status(), 304);
    assert_eq!(ask(&[("If-None-Match", other)]).status(), 200);
    let part = ask(&[("Range", "bytes=0-9")]);
    assert!(part.status() == 206 && part.body == plain.body[..10]);
    assert!(!part.headers().has("content-encoding"));
    let head = fetch(
        proxy.http,
        "HEAD",
        "/index.html",
        &[("Accept-Encoding", "gzip")],
    );
    assert_eq!(
        head.headers().one("content-length"),
        gzipped.body.len().to_string()
    );
    let refused = get_with(proxy.http, "/", &[("Accept-Encoding", "gzip;q=0")]);
    assert!(!refused.headers().has("content-encoding"));
    let console = get_with(proxy.api, "/", &[("Accept-Encoding", "gzip")]);
    assert_eq!(console.headers().one("content-encoding"), "gzip");
}
