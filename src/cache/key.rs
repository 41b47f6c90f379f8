//! What is the same: the name by which a request finds the answer that it can share.

use crate::http::head::{RequestHead, host_name};
use crate::http::query::{own_session, raw_value, without_param, without_spbhid};
use crate::stream::session::split_epoch;
use crate::stream::url::StreamUrl;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

/// The key of a segment or a playlist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    stream: StreamUrl,
    /// The kind, the host, the sites that the request names, and the target, with spaces between: none of them has one
    /// inside.
    rest: Arc<str>,
}

impl Key {
    /// The key of a segment of a stream: the host as the origin sees it, the target without `spbhid` and without
    /// `hls_ctx` (by which SRS tells players apart, not segments), and the site that `Referer` and `Origin` name, for
    /// many origins decide by it (SRS's `refer`, nginx's `valid_referers`). So is the session's epoch. Other parameters are part of it: a token is
    /// nobody else's.
    pub fn segment(stream: &StreamUrl, head: &RequestHead) -> Self {
        let target = identity(&head.target);
        // Servers choose by the name, without case and port.
        let host = host_name(head.host.as_deref().unwrap_or_default()).to_ascii_lowercase();
        let mut rest = asked_by('s', &host, head);
        rest.push_str(&epoch(head));
        rest.push(' ');
        match target.split_once('?') {
            Some((path, query)) => {
                rest.push_str(path);
                if let Some(query) = without_param(query, "hls_ctx") {
                    rest.push('?');
                    rest.push_str(&query);
                }
            }
            None => rest.push_str(&target),
        }
        Self {
            stream: stream.clone(),
            rest: rest.into(),
        }
    }

    /// The key of a playlist: as for a segment, with `hls_ctx`, which is in each of the playlist's URIs. The host, and
    /// the public one that a trusted proxy tells of, decide which of those URIs lead back here. An origin may write
    /// them with `proto`, the scheme of the player's URL: a page on HTTPS cannot play those of another.
    pub fn playlist(
        stream: &StreamUrl,
        head: &RequestHead,
        public_host: Option<&[u8]>,
        proto: &[u8],
    ) -> Self {
        let host = head.host.as_deref().unwrap_or_default();
        let mut rest = asked_by('p', host, head);
        rest.push_str(&identity(&head.target));
        rest.push(' ');
        rest.extend(
            public_host
                .unwrap_or_default()
                .escape_ascii()
                .map(char::from),
        );
        rest.push(' ');
        rest.extend(proto.escape_ascii().map(char::from));
        Self {
            stream: stream.clone(),
            rest: rest.into(),
        }
    }

    /// The stream that the answer belongs to.
    pub fn stream(&self) -> &StreamUrl {
        &self.stream
    }

    /// Whether the key is a segment's.
    pub fn is_segment(&self) -> bool {
        self.rest.starts_with('s')
    }

    /// The key's length in memory, in bytes.
    pub fn size(&self) -> usize {
        self.stream.as_str().len() + self.rest.len()
    }
}

/// The target without what tells nothing apart: our `spbhid`, and how the player fares (CMCD, CTA-5004).
fn identity(target: &str) -> Cow<'_, str> {
    let target = without_spbhid(target);
    let cmcd = match target.split_once('?') {
        Some((path, query)) if raw_value(query, "CMCD").is_some() => {
            let query = without_param(query, "CMCD");
            Some(query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
        }
        _ => None,
    };
    cmcd.map_or(target, Cow::from)
}

/// The epoch in a request's session id: names of files come again in the next one.
fn epoch(head: &RequestHead) -> String {
    let id = head.query().and_then(own_session);
    let epoch = id.as_deref().and_then(|id| split_epoch(id).1);
    epoch.unwrap_or_default().to_owned()
}

/// The kind, and what an origin may decide by beside the target: the host, and the sites that sent the player.
fn asked_by(kind: char, host: &str, head: &RequestHead) -> String {
    let site = |name| head.headers.one(name).map(site).unwrap_or_default();
    let mut text = String::with_capacity(64 + host.len() + head.target.len());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{kind} {host} {} {} ",
        site("referer"),
        site("origin")
    );
    text
}

/// The site of a URL: scheme and authority (RFC 6454 section 4), not the page. What is no URL is its own site, whole.
fn site(url: &[u8]) -> String {
    let text = String::from_utf8_lossy(url);
    let end = text.find("://").map_or(text.len(), |scheme| {
        let authority = scheme + 3;
        let length = text[authority..].find(['/', '?', '#']);
        length.map_or(text.len(), |length| authority + length)
    });
    // A space would pass for the end of the site.
    text[..end].to_ascii_lowercase().replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse;

    fn head(host: &str, target: &str) -> RequestHead {
        parse(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap()
    }

    fn segment(host: &str, target: &str) -> Key {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        Key::segment(&stream, &head(host, target))
    }

    #[test]
    fn segments_differ_by_path_token_and_vhost_only() {
        let one = segment("a.example:80", "/live/a-1.ts?token=x&spbhid=1&hls_ctx=2");
        for same in [
            "/live/a-1.ts?token=x",
            "/live/a-1.ts?hls_ctx=3&token=x&spbhid=9",
        ] {
            assert_eq!(segment("A.example", same), one, "{same}");
        }
        for other in [
            "/live/a-1.ts",
            "/live/a-1.ts?token=y",
            "/live/a-1.ts?token=x&token=y",
            "/live/a-1.ts?Token=x",
            "/live/a-1.ts?token=x&hls_ctx2=1",
            "/live/a-1.ts?token=x&spbhid=1.2",
            "/live/a-2.ts?token=x",
            "/live/A-1.ts?token=x",
        ] {
            assert_ne!(segment("a.example", other), one, "{other}");
        }
        assert_ne!(segment("b.example", "/live/a-1.ts?token=x"), one);
        assert_eq!(
            segment("a.example", "/live/a-1.ts?hls_ctx=1"),
            segment("a.example", "/live/a-1.ts")
        );
    }

    #[test]
    fn hosts_without_a_dot_and_addresses_differ() {
        let target = "/live/a-1.ts";
        let hosts = ["one", "two", "127.0.0.1", "127.0.0.2", "[::1]"];
        let keys: Vec<Key> = hosts.iter().map(|host| segment(host, target)).collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(
                keys.iter().filter(|other| *other == key).count(),
                1,
                "{}",
                hosts[n]
            );
        }
    }

    #[test]
    fn the_site_that_sent_the_player_is_part_of_it_and_the_page_is_not() {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let keys = |line: &str| {
            let text = format!("GET /live/a-1.ts HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            [
                Key::segment(&stream, &head),
                Key::playlist(&stream, &head, None, b"http"),
            ]
        };
        let one = keys("Referer: https://a.example/one?x");
        assert_eq!(keys("referer: https://A.example/two#y"), one);
        assert_eq!(keys("referer: https://a.example"), one);
        for other in [
            "X: y",
            "Referer: http://a.example/one",
            "Referer: https://a.example:8443/one",
            "Referer: https://a.example@b.example/one",
            "Referer: nonsense",
            "Origin: https://a.example",
            "Referer: https://a.example/\r\nOrigin: null",
        ] {
            let [segment, playlist] = keys(other);
            assert!(segment != one[0] && playlist != one[1], "{other}");
        }
    }

    #[test]
    fn segments_of_two_streams_differ() {
        let head = head("a.example", "/live/init.mp4");
        let key = |name: &str| Key::segment(&StreamUrl::parse(name).unwrap(), &head);
        assert_ne!(key("a.example/live/a"), key("a.example/live/b"));
    }

    #[test]
    fn playlists_differ_by_everything_but_the_session_id() {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let key =
            |host: &str, target: &str| Key::playlist(&stream, &head(host, target), None, b"http");
        let one = key("a.example", "/live/a.m3u8?hls_ctx=1");
        assert_eq!(key("a.example", "/live/a.m3u8?hls_ctx=1&spbhid=x"), one);
        assert_ne!(key("a.example", "/live/a.m3u8?hls_ctx=2"), one);
        assert_ne!(key("a.example:80", "/live/a.m3u8?hls_ctx=1"), one);
        assert_ne!(key("a.example", "/live/a.m3u8"), one);
        assert_ne!(
            Key::segment(&stream, &head("a.example", "/live/a.m3u8")),
            key("a.example", "/live/a.m3u8")
        );
    }
}
