//! Static files: what is served, how, and what never is.

use crate::common::client::Client;
use crate::common::fetch::{fetch, get, get_with};
use crate::common::proxy::{Proxy, ProxyBuilder};
use crate::common::{SOON, tools};
use std::os::unix::fs::symlink;
use std::process::Command;

const SECRET: &str = "the secret outside";

/// A proxy with a directory of files, and a secret beside it.
fn site() -> Proxy {
    let builder = Proxy::builder()
        .file("secret.txt", SECRET)
        .file("site-secret/secret.txt", SECRET)
        .file("site/index.html", "<!doctype html><title>site</title>")
        .file("site/alphabet.txt", "abcdefghijklmnopqrstuvwxyz")
        .file("site/empty.txt", "")
        .file("site/style.css", "body{}")
        .file("site/script.js", "1")
        .file("site/picture.png", "png")
        .file("site/drawing.svg", "<svg/>")
        .file("site/data.json", "{}")
        .file("site/movie.mp4", "mp4")
        .file("site/unknown.qqq", "?")
        .file("site/with space & é.txt", "odd name")
        .file("site/sub/index.html", "sub index")
        .file("site/sub/file.txt", "sub file")
        .file("site/bare/file.txt", "no index here")
        .file("site/.hidden", SECRET)
        .file("site/.git/config", SECRET)
        .file("site/sub/.env", SECRET);
    let root = builder.directory().join("site");
    symlink("alphabet.txt", root.join("inside.txt")).expect("a link");
    symlink("sub", root.join("linked")).expect("a link");
    symlink("../secret.txt", root.join("outside.txt")).expect("a link");
    symlink(builder.directory(), root.join("up")).expect("a link");
    symlink(".hidden", root.join("to-hidden.txt")).expect("a link");
    symlink("round.txt", root.join("round.txt")).expect("a link");
    tools::output(Command::new("mkfifo").arg(root.join("pipe.txt")), SOON);
    serve(builder)
}

fn serve(builder: ProxyBuilder) -> Proxy {
    let root = builder.directory().join("site");
    builder.env("PROXY_STATIC_FILES", root.display()).start()
}

#[test]
fn without_a_directory_the_page_in_the_binary_is_served() {
    let proxy = Proxy::start(&[]);
    let page = get(proxy.http, "/");
    assert_eq!(page.status(), 200);
    assert!(page.headers().one("content-type").starts_with("text/html"));
    assert!(
        page.text().to_ascii_lowercase().contains("<!doctype html>"),
        "{}",
        page.text()
    );
    assert_eq!(get(proxy.http, "/index.html").body, page.body);
    let tag = page.headers().one("etag").to_owned();
    assert_eq!(
        get_with(proxy.http, "/", &[("If-None-Match", &tag)]).status(),
        304
    );
    let part = get_with(proxy.http, "/", &[("Range", "bytes=0-4")]);
    assert_eq!(
        (part.status(), part.body.as_slice()),
        (206, &page.body[..5])
    );
    let head = fetch(proxy.http, "HEAD", "/", &[]);
    assert_eq!(
        head.headers().one("content-length"),
        page.body.len().to_string()
    );
    for missing in ["/nothing", "/../Cargo.toml", "/.gitignore", "/index.html/x"] {
        assert_eq!(get(proxy.http, missing).status(), 404, "{missing}");
    }
}

#[test]
fn files_have_their_types() {
    let proxy = site();
    for (path, content_type, body) in [
        ("/", "text/html", "<!doctype html><title>site</title>"),
        (
            "/index.html",
            "text/html",
            "<!doctype html><title>site</title>",
        ),
        (
            "/index.html?query=x",
            "text/html",
            "<!doctype html><title>site</title>",
        ),
        ("/alphabet.txt", "text/plain", "abcdefghijklmnopqrstuvwxyz"),
        ("/empty.txt", "text/plain", ""),
        ("/style.css", "text/css", "body{}"),
        ("/script.js", "text/javascript", "1"),
        ("/picture.png", "image/png", "png"),
        ("/drawing.svg", "image/svg+xml", "<svg/>"),
        ("/data.json", "application/json", "{}"),
        ("/movie.mp4", "video/mp4", "mp4"),
        ("/unknown.qqq", "application/octet-stream", "?"),
        ("/with%20space%20&%20%C3%A9.txt", "text/plain", "odd name"),
        ("/sub/", "text/html", "sub index"),
        ("/sub/file.txt", "text/plain", "sub file"),
        ("/sub/%66ile.txt", "text/plain", "sub file"),
        ("/inside.txt", "text/plain", "abcdefghijklmnopqrstuvwxyz"),
        ("/linked/file.txt", "text/plain", "sub file"),
    ] {
        let response = get(proxy.http, path);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, body),
            "{path}"
        );
        let got = response.headers().one("content-type");
        assert!(got.starts_with(content_type), "{path}: {got}");
        assert_eq!(
            response.headers().one("content-length"),
            body.len().to_string(),
            "{path}"
        );
    }
}

#[test]
fn nothing_outside_and_nothing_hidden_is_served() {
    let proxy = site();
    for path in [
        "/../secret.txt",
        "/../site-secret/secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/outside.txt",
        "/up/secret.txt",
        "/up/",
        "/.hidden",
        "/%2ehidden",
        "/.git/config",
        "/sub/.env",
        "/to-hidden.txt",
        "/linked/.env",
        "/secret.txt%00.html",
        "/round.txt",
        "/pipe.txt",
    ] {
        let response = get(proxy.http, path);
        assert!(
            matches!(response.status(), 400 | 404),
            "{path}: {}",
            response.status()
        );
        assert!(
            !response.text().contains(SECRET) && !response.text().contains("root:"),
            "{path}"
        );
    }
    proxy.assert_no_panic();
}

#[test]
fn directories_are_not_listed() {
    let proxy = site();
    assert_eq!(get(proxy.http, "/bare/").status(), 404);
    for (path, location) in [
        ("/sub", "./sub/"),
        ("/bare", "./bare/"),
        ("/linked", "./linked/"),
    ] {
        let response = get(proxy.http, path);
        assert_eq!(
            (response.status(), response.headers().one("location")),
            (301, location)
        );
    }
    // A location that begins with two slashes would lead to another host.
    let response = get(proxy.http, "//sub");
    assert!(
        !response
            .headers()
            .maybe("location")
            .unwrap_or("/")
            .starts_with("//")
    );
    for missing in ["/nothing", "/sub/nothing", "/nothing/", "/alphabet.txt/"] {
        let response = get(proxy.http, missing);
        assert_eq!(response.status(), 404, "{missing}");
        assert!(
            response
                .headers()
                .one("content-type")
                .starts_with("text/plain")
        );
        assert_eq!(
            response.text().trim_end().lines().count(),
            1,
            "{:?}",
            response.text()
        );
    }
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let proxy = site();
    let path = "/alphabet.txt";
    let whole = get(proxy.http, path);
    let tag = whole.headers().one("etag").to_owned();
    let modified = whole.headers().one("last-modified").to_owned();
    assert!(httpdate::parse_http_date(&modified).is_ok(), "{modified}");
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let several = format!("\"x\", {tag}, \"y\"");
    let strong = tag.trim_start_matches("W/");
    let weak = format!("W/{strong}");
    let cases: [(&[(&str, &str)], u16); 12] = [
        (&[("If-None-Match", &tag)], 304),
        (&[("If-None-Match", &several)], 304),
        (&[("If-None-Match", &weak)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"other\"")], 200),
        (&[("If-Modified-Since", &modified)], 304),
        (&[("If-Modified-Since", old)], 200),
        (&[("If-Modified-Since", "no date")], 200),
        // RFC 9110 section 13.1.3: with If-None-Match, the date does not count.
        (
            &[
                ("If-None-Match", "\"other\""),
                ("If-Modified-Since", &modified),
            ],
            200,
        ),
        (&[("If-None-Match", &tag), ("If-Modified-Since", old)], 304),
        (&[("If-None-Match", &tag), ("Range", "bytes=0-1")], 304),
        (
            &[("If-None-Match", "\"other\""), ("Range", "bytes=0-1")],
            206,
        ),
    ];
    for (headers, status) in cases {
        for method in ["GET", "HEAD"] {
            let response = fetch(proxy.http, method, path, headers);
            let status = if method == "HEAD" && status == 206 {
                200
            } else {
                status
            };
            assert_eq!(response.status(), status, "{method} {headers:?}");
            assert_eq!(response.headers().one("etag"), tag);
            if status == 304 {
                assert!(response.body.is_empty());
            }
        }
    }
    // Another content, another tag.
    std::fs::write(proxy.directory().join("site/alphabet.txt"), "ABC").expect("writing");
    let changed = get_with(proxy.http, path, &[("If-None-Match", &tag)]);
    assert_eq!((changed.status(), changed.text().as_str()), (200, "ABC"));
}

/// A browser that guesses how long a page is good would show the old one after an upgrade.
#[test]
fn pages_are_asked_for_again_each_time() {
    let site = site();
    let embedded = Proxy::start(&[]);
    for (proxy, path, page) in [
        (&site, "/", true),
        (&site, "/sub/index.html", true),
        (&site, "/picture.png", false),
        (&embedded, "/", true),
        (&embedded, "/index.html", true),
    ] {
        let whole = get(proxy.http, path);
        let tag = whole.headers().one("etag");
        let again = get_with(proxy.http, path, &[("If-None-Match", tag)]);
        for (response, status) in [(&whole, 200), (&again, 304)] {
            assert_eq!(response.status(), status, "{path}");
            let cache = response.headers().maybe("cache-control");
            assert_eq!(cache, page.then_some("no-cache"), "{path}");
        }
    }
}

/// RFC 9110 section 5.2: several lines of a header are one list.
#[test]
fn conditions_may_come_in_several_lines() {
    let proxy = site();
    let path = "/alphabet.txt";
    let whole = get(proxy.http, path);
    let tag = whole.headers().one("etag");
    let lines = [("If-None-Match", "\"other\""), ("If-None-Match", tag)];
    assert_eq!(get_with(proxy.http, path, &lines).status(), 304);
    // Two ranges are not served in part, be they in one line or in two.
    let lines = [("Range", "bytes=0-1"), ("Range", "bytes=2-3")];
    let response = get_with(proxy.http, path, &lines);
    assert_eq!((response.status(), response.body.len()), (200, 26));
    // Neither of two validators is the file's own.
    let lines = [
        ("Range", "bytes=0-1"),
        ("If-Range", tag),
        ("If-Range", "\"x\""),
    ];
    assert_eq!(get_with(proxy.http, path, &lines).status(), 200);
}

#[test]
fn ranges_are_served() {
    let proxy = site();
    let path = "/alphabet.txt";
    for (range, part, at) in [
        ("bytes=0-0", "a", "bytes 0-0/26"),
        ("bytes=0-4", "abcde", "bytes 0-4/26"),
        ("bytes=3-5", "def", "bytes 3-5/26"),
        ("bytes=20-", "uvwxyz", "bytes 20-25/26"),
        ("bytes=25-25", "z", "bytes 25-25/26"),
        ("bytes=20-99999999999999999999", "uvwxyz", "bytes 20-25/26"),
        ("bytes=-3", "xyz", "bytes 23-25/26"),
        ("bytes=-100", "abcdefghijklmnopqrstuvwxyz", "bytes 0-25/26"),
        ("bytes=0-", "abcdefghijklmnopqrstuvwxyz", "bytes 0-25/26"),
        ("BYTES=0-0", "a", "bytes 0-0/26"),
    ] {
        let response = get_with(proxy.http, path, &[("Range", range)]);
        assert_eq!(
            (response.status(), response.text().as_str()),
            (206, part),
            "{range}"
        );
        assert_eq!(response.headers().one("content-range"), at, "{range}");
        assert_eq!(
            response.headers().one("content-length"),
            part.len().to_string(),
            "{range}"
        );
        assert!(
            response
                .headers()
                .one("content-type")
                .starts_with("text/plain")
        );
    }
    for range in [
        "bytes=26-",
        "bytes=26-30",
        "bytes=99999999999999999999-",
        "bytes=-0",
    ] {
        let response = get_with(proxy.http, path, &[("Range", range)]);
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(
            response.headers().one("content-range"),
            "bytes */26",
            "{range}"
        );
    }
    // RFC 9110 section 14.2: what is no valid range is as if it were not there.
    for range in [
        "bytes=5-2",
        "bytes=x-y",
        "bytes=",
        "bytes",
        "lines=0-1",
        "bytes=--1",
        "bytes=1",
        "bytes=0-1-2",
    ] {
        let response = get_with(proxy.http, path, &[("Range", range)]);
        assert_eq!(
            (response.status(), response.body.len()),
            (200, 26),
            "{range}"
        );
    }
    let whole = get(proxy.http, path);
    assert_eq!(whole.headers().one("accept-ranges"), "bytes");
    let modified = whole.headers().one("last-modified").to_owned();
    for (condition, status) in [("\"other\"", 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)] {
        let headers = [("Range", "bytes=0-1"), ("If-Range", condition)];
        assert_eq!(
            get_with(proxy.http, path, &headers).status(),
            status,
            "{condition}"
        );
    }
    // A strong tag holds for a range, a weak one never does (RFC 9110 section 13.1.5).
    let tag = whole.headers().one("etag").to_owned();
    let status = get_with(
        proxy.http,
        path,
        &[("Range", "bytes=0-1"), ("If-Range", &tag)],
    )
    .status();
    assert_eq!(
        status,
        if tag.starts_with("W/") { 200 } else { 206 },
        "{tag}, {modified}"
    );
    assert_eq!(
        get_with(proxy.http, "/empty.txt", &[("Range", "bytes=0-0")]).status(),
        416
    );
}

#[test]
fn head_is_get_without_its_body() {
    let proxy = site();
    let mut client = Client::connect(proxy.http);
    for path in ["/", "/alphabet.txt", "/empty.txt", "/nothing", "/sub"] {
        let whole = client.get(path, &[]);
        client.request("HEAD", path, &[]);
        let head = client.read_response(SOON);
        assert_eq!(
            (head.status(), head.body.len()),
            (whole.status(), 0),
            "{path}"
        );
        for name in [
            "content-type",
            "content-length",
            "etag",
            "last-modified",
            "accept-ranges",
            "location",
        ] {
            assert_eq!(
                head.headers().maybe(name),
                whole.headers().maybe(name),
                "{path}: {name}"
            );
        }
    }
}

#[test]
fn a_big_file_is_whole() {
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n / 7) as u8).collect();
    let proxy = serve(Proxy::builder().file("site/big.bin", &content));
    let mut client = Client::connect(proxy.http);
    assert!(client.get("/big.bin", &[]).body == content);
    let part = client.get("/big.bin", &[("Range", "bytes=1000000-3999999")]);
    assert!(part.body == content[1_000_000..4_000_000]);
    assert!(crate::common::fetch::get10(proxy.http, "/big.bin", &[]).body == content);
}
