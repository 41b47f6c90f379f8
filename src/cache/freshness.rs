//! How long answers are kept, and which requests may get one (RFC 9111, and what live HLS allows beyond it).

use crate::http::head::RequestHead;
use std::time::Duration;

/// Largest segment that is shared, in bytes.
pub const MAX_SEGMENT: u64 = 16 * 1024 * 1024;
/// How long a segment is kept after its last byte, where the origin does not say.
pub const SEGMENT_TIME: Duration = Duration::from_secs(10);
/// How long an initialization section is kept at most, whatever the origin says. Its name has no number: after a new
/// publish the same name is another file.
pub const UNNUMBERED_TIME: Duration = Duration::from_secs(1);
/// How long a playlist is kept at most.
pub const PLAYLIST_TIME: Duration = Duration::from_millis(500);
/// How long a 404 is kept at most: a crowd for a stream that is not there must not crush the origins.
pub const NOT_FOUND_TIME: Duration = Duration::from_millis(250);

/// Whether others may share the answer to this request: a plain GET for the whole that says nothing of who asks, and
/// does not itself forbid a stored answer (RFC 9111 section 5.2.1).
pub fn is_plain(head: &RequestHead) -> bool {
    head.method == "GET" && head.headers.all("range").all(is_whole) && may_take_stored(head)
}

/// Whether the request may be answered from what is stored: it says nothing of who asks, has no conditions, and wants
/// no answer of its own.
pub fn may_take_stored(head: &RequestHead) -> bool {
    let personal = |name: &str| {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let conditional = name
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case("if-"));
        is("authorization") || is("cookie") || conditional
    };
    !head.headers.iter().any(|(name, _)| personal(name)) && !wants_its_own(head)
}

/// Whether a range is the whole (RFC 9110 section 14.2): ffmpeg and mpv ask for it always.
pub fn is_whole(range: &[u8]) -> bool {
    range.trim_ascii().eq_ignore_ascii_case(b"bytes=0-")
}

/// `no-store` or `no-cache` of the request; `Pragma: no-cache` is how HTTP/1.0 says it (RFC 9111 section 5.4).
fn wants_its_own(head: &RequestHead) -> bool {
    let has = |name, token| head.headers.has_token(name, token);
    has("cache-control", "no-store")
        || has("cache-control", "no-cache")
        || (has("pragma", "no-cache") && head.headers.count("cache-control") == 0)
}

/// The longest time that a file of an HLS session is kept, by its path; `None` where the path sets no limit.
///
/// A segment has a number in its name, and each number is another file. What has none (`init.mp4`, `a-init.mp4`) has
/// the same name after a new publish.
pub fn time_limit(path: &str) -> Option<Duration> {
    (!is_numbered(path)).then_some(UNNUMBERED_TIME)
}

fn is_numbered(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    let is_init = stem
        .as_bytes()
        .windows(4)
        .any(|part| part.eq_ignore_ascii_case(b"init"));
    // Never an initialization section, wherever the number stands. Others (`.mp4`) may have the stream's name, whose
    // digits are no sequence number: that one is at the end.
    let media = ["ts", "m4s", "aac", "mp3", "vtt"];
    let counts = |stem: &str| match media.iter().any(|one| extension.eq_ignore_ascii_case(one)) {
        true => stem.bytes().any(|byte| byte.is_ascii_digit()),
        false => stem.ends_with(|end: char| end.is_ascii_digit()),
    };
    !is_init && counts(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse;

    #[test]
    fn plain_requests() {
        for (method, line, plain) in [
            ("GET", "Accept: */*", true),
            ("GET", "Accept-Encoding: gzip", true),
            ("GET", "If: x", true),
            ("HEAD", "Accept: */*", false),
            ("GET", "Range: bytes=0-", true),
            ("GET", "Range: bytes=0-1", false),
            ("GET", "Range: bytes=1-", false),
            ("GET", "if-range: x", false),
            ("GET", "If-None-Match: *", false),
            ("GET", "If-Modified-Since: x", false),
            ("GET", "authorization: Basic x", false),
            ("GET", "Cookie: a=b", false),
            ("GET", "Cache-Control: max-age=0", true),
            ("GET", "Cache-Control: no-store", false),
            ("GET", "cache-control: max-age=0, No-Cache", false),
            ("GET", "Pragma: no-cache", false),
            ("GET", "Pragma: no-cache\r\nCache-Control: max-age=9", true),
        ] {
            let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            assert_eq!(is_plain(&head), plain, "{method} {line}");
        }
    }

    #[test]
    fn segments_have_a_number_and_initialization_sections_have_none() {
        for numbered in [
            "/live/a-12.ts",
            "/live/12.m4s",
            "/live/a-12-1700000000x.ts",
            "/live/a/seg7.mp4",
            "/live/key_3.key",
        ] {
            assert_eq!(time_limit(numbered), None, "{numbered}");
        }
        for unnumbered in [
            "/live/init.mp4",
            "/live/a-init.mp4",
            "/live/cam1-INIT.mp4",
            "/live/init-0.m4s",
            "/live/720p.mp4",
            "/live1/a.key",
            "/live/a.ts",
            "/",
        ] {
            assert_eq!(
                time_limit(unnumbered),
                Some(UNNUMBERED_TIME),
                "{unnumbered}"
            );
        }
    }
}
