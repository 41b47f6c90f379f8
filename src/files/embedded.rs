//! The `www` directory in the binary.

use std::time::{Duration, SystemTime};

use rust_embed::Embed;

use crate::files::found::{Content, FileLookup, FoundFile, http_time, mime};
use crate::files::path::FilePath;

/// What lies at the top of `www`.
// The patterns' stars match slashes too, so what is deeper has to be taken out again.
#[derive(Embed)]
#[folder = "www"]
#[include = "*.html"]
#[include = "*.css"]
#[include = "*.js"]
#[include = "*.svg"]
#[include = "*.ico"]
#[include = "*.png"]
#[exclude = "*/*"]
struct Pages;

/// The players, which are there when `npm ci` was run in `www` before the build.
#[derive(Embed)]
#[folder = "www"]
#[include = "node_modules/hls.js/dist/hls.min.js"]
#[include = "node_modules/mpegts.js/dist/mpegts.js"]
struct Players;

// `GZIPPED`, made by the build script: the names of the same files and their gzipped bytes, where those are fewer.
include!(concat!(env!("OUT_DIR"), "/gzipped.rs"));

fn gzipped(name: &str) -> Option<&'static [u8]> {
    let found = GZIPPED.iter().find(|(own, _)| *own == name);
    found.map(|(_, bytes)| *bytes)
}

pub(super) fn find(path: &FilePath<'_>) -> FileLookup {
    let Some(mut name) = path.text() else {
        return FileLookup::Missing;
    };
    if path.slash {
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str("index.html");
    }
    match Pages::get(&name).or_else(|| Players::get(&name)) {
        Some(file) => FileLookup::File(found(&name, file)),
        // Only a directory that has a page is one to be sent to.
        None if !path.slash && Pages::get(&format!("{name}/index.html")).is_some() => {
            FileLookup::Redirect(path.with_slash())
        }
        None => FileLookup::Missing,
    }
}

fn found(name: &str, file: rust_embed::EmbeddedFile) -> FoundFile {
    let seconds = Duration::from_secs(file.metadata.last_modified().unwrap_or_default());
    let hash = file.metadata.sha256_hash();
    // Half of it tells files apart as well.
    let tag: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    FoundFile {
        length: file.data.len() as u64,
        content: Content::Memory(file.data),
        mime: mime(name),
        modified: http_time(SystemTime::UNIX_EPOCH + seconds),
        etag: format!("\"{tag}\""),
        gzipped: gzipped(name),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::files::{FileRequest, Files};

    #[test]
    fn the_first_page_is_in_the_binary() {
        let page = std::fs::read("www/index.html").unwrap();
        for target in ["/", "/index.html", "/?stream=/live/a.flv", "//index.html"] {
            let mut answer = Files::embedded()
                .answer(target, &FileRequest::default())
                .unwrap();
            assert_eq!(
                (answer.status, answer.length),
                (200, Some(page.len() as u64)),
                "{target}"
            );
            let mut body = Vec::new();
            answer.body.read_to_end(&mut body).unwrap();
            assert!(body == page);
            let header = |name| {
                answer
                    .headers
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.as_str())
                    .unwrap()
            };
            assert_eq!(header("Content-Type"), "text/html; charset=utf-8");
            let again = FileRequest {
                if_none_match: Some(header("ETag")),
                ..Default::default()
            };
            assert_eq!(
                Files::embedded().answer(target, &again).unwrap().status,
                304
            );
            let again = FileRequest {
                if_modified_since: Some(header("Last-Modified")),
                ..Default::default()
            };
            assert_eq!(
                Files::embedded().answer(target, &again).unwrap().status,
                304
            );
            let part = FileRequest {
                range: Some("bytes=2-4"),
                ..Default::default()
            };
            let mut body = String::new();
            Files::embedded()
                .answer(target, &part)
                .unwrap()
                .body
                .read_to_string(&mut body)
                .unwrap();
            assert_eq!(body.as_bytes(), &page[2..5]);
        }
    }

    #[test]
    fn nothing_else_is() {
        for target in [
            "/nothing",
            "/index.html/",
            "/package.json",
            "/node_modules",
            "/node_modules/",
            "/node_modules/x/y.js",
            "/..",
            "/%ff",
        ] {
            let answer = Files::embedded()
                .answer(target, &FileRequest::default())
                .unwrap();
            assert_eq!(answer.status, 404, "{target}");
        }
        assert!(
            Pages::iter().all(|name| !name.contains('/')),
            "only the top of www"
        );
        assert!(
            Players::iter()
                .all(|name| name.ends_with("/hls.min.js") || name.ends_with("/mpegts.js"))
        );
    }
}
