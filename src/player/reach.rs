//! What players may reach at an origin: media. An id of a session makes a request go to an origin whatever its path, and
//! the answer may be read by any web page; so neither APIs nor status pages of an origin are served, though the proxy's
//! address may be allowed to see them.

use crate::http::Headers;
use percent_encoding::percent_decode_str;

/// First parts of paths that are never asked for: SRS's APIs, consoles and metrics.
const PRIVATE: [&str; 4] = ["api", "rtc", "console", "metrics"];

/// Types of media, playlists, captions, keys and plain octets beside `video/`, `audio/` and `image/`.
const MEDIA: [&str; 15] = [
    "application/octet-stream",
    "binary/octet-stream",
    "application/mp4",
    "application/mp2t",
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "application/dash+xml",
    "application/ttml+xml",
    "application/x-subrip",
    "application/pgp-keys",
    "application/json", // session data
    "text/vtt",
    "text/srt",
    "text/x-srt",
    "multipart/byteranges",
];

/// Names of files that some servers send as plain text.
const AS_TEXT: [&str; 5] = ["key", "vtt", "webvtt", "srt", "m3u8"];

/// Whether a path leads to what is no player's business, however it is written: `//api`, `/%61pi`, `/x/../api`.
pub fn is_private(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // What follows a semicolon is a parameter to some servers.
    let first = parts.first().and_then(|part| part.split(';').next());
    first.is_some_and(|first| PRIVATE.iter().any(|own| first.eq_ignore_ascii_case(own)))
}

/// Whether an answer of that status for that path may go to a player: errors and redirects always, a body only where its
/// type is one of media.
pub fn is_for_players(status: u16, headers: &Headers, path: &str) -> bool {
    if !(200..300).contains(&status) {
        return true;
    }
    let Some(kind) = headers.text("content-type") else {
        return headers.count("content-type") == 0;
    };
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let as_text = || {
        AS_TEXT
            .iter()
            .any(|one| extension.eq_ignore_ascii_case(one))
    };
    match kind.split('/').next() {
        Some("video" | "audio" | "image") => true,
        _ => MEDIA.contains(&&*kind) || kind == "text/plain" && as_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_are_private_however_their_path_is_written() {
        for path in [
            "/api/v1/raw",
            "/api",
            "//api//v1",
            "/API/v1/summaries",
            "/%61pi/v1/raw",
            "/./api/x.ts",
            "/live/../api/v1/raw",
            "/live/%2e%2e/api/v1/raw",
            "/..%2fapi/x",
            "/\\api/x",
            "/api;x/v1/raw",
            "/rtc/v1/play",
            "/console/ng_index.html",
            "/metrics",
        ] {
            assert!(is_private(path), "{path}");
        }
        for path in [
            "/live/a-1.ts",
            "/live/api/a-1.ts",
            "/apis/a-1.ts",
            "/api.ts",
            "/api/../live/a-1.ts",
            "/",
            "*",
        ] {
            assert!(!is_private(path), "{path}");
        }
    }

    #[test]
    fn bodies_are_media_or_nothing() {
        for (status, kind, path, yes) in [
            (200, "video/MP2T", "/a.ts", true),
            (206, "video/mp4", "/a.m4s", true),
            (200, "audio/aac; x", "/a.aac", true),
            (200, "application/octet-stream", "/a.key", true),
            (200, "Application/Vnd.Apple.Mpegurl", "/a", true),
            (200, "text/vtt; charset=utf-8", "/a.vtt", true),
            (200, "text/plain", "/a.key", true),
            (200, "text/plain", "/status", false),
            (200, "text/html", "/a.ts", false),
            (200, "text/html; charset=utf-8", "/nginx_status", false),
            (200, "application/json", "/data.json", true),
            (200, "", "/a.ts", false),
            (404, "text/html", "/a.ts", true),
            (302, "text/html", "/a.ts", true),
            (503, "application/json", "/a.ts", true),
        ] {
            let headers = Headers::of([("Content-Type", kind.as_bytes())].into_iter());
            assert_eq!(
                is_for_players(status, &headers, path),
                yes,
                "{status} {kind} {path}"
            );
        }
        assert!(
            is_for_players(200, &Headers::default(), "/a.ts"),
            "no type is plain octets"
        );
    }
}
