//! What is the same: by this a request finds the fetch that it can share.

use crate::http::head::RequestHead;
use crate::http::query::{without_param, without_spbhid};
use crate::stream::url::StreamUrl;
use std::sync::Arc;

/// The key of a segment or a playlist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    stream: StreamUrl,
    /// The kind, the host and the target, with spaces between: none of them has one inside.
    rest: Arc<str>,
}

impl Key {
    /// A segment of a stream: its path, and its query without `spbhid` and without `hls_ctx`, by which
    /// SRS tells players apart and not segments. Other parameters are part of it: a token is nobody
    /// else's. So is the vhost that the origin will see, for a session id from anywhere must not bring
    /// another vhost's file into a stream.
    ///
    /// `None` where the request names no vhost.
    pub fn segment(stream: &StreamUrl, head: &RequestHead) -> Option<Self> {
        let asked = StreamUrl::of_request(head.host.as_deref(), head.path(), head.query())?;
        let vhost = asked.as_str().split('/').next().unwrap_or_default();
        let target = without_spbhid(&head.target);
        let rest = match target.split_once('?') {
            Some((path, query)) => match without_param(query, "hls_ctx") {
                Some(query) => format!("s {vhost} {path}?{query}"),
                None => format!("s {vhost} {path}"),
            },
            None => format!("s {vhost} {target}"),
        };
        Some(Self {
            stream: stream.clone(),
            rest: rest.into(),
        })
    }

    /// A playlist: the whole URL. The host, and the public one that a trusted proxy tells of, decide which of its URIs
    /// lead back here, and `hls_ctx` is in each of them.
    pub fn playlist(stream: &StreamUrl, head: &RequestHead, public_host: Option<&[u8]>) -> Self {
        let host = head.host.as_deref().unwrap_or_default();
        let public = public_host.unwrap_or_default().escape_ascii();
        let target = without_spbhid(&head.target);
        let rest = format!("p {host} {target} {public}");
        Self {
            stream: stream.clone(),
            rest: rest.into(),
        }
    }

    /// The stream that it belongs to.
    pub fn stream(&self) -> &StreamUrl {
        &self.stream
    }

    /// Its length in memory, in bytes.
    pub fn size(&self) -> usize {
        self.stream.as_str().len() + self.rest.len()
    }
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
        Key::segment(&stream, &head(host, target)).unwrap()
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
    fn segments_of_two_streams_differ() {
        let head = head("a.example", "/live/init.mp4");
        let key = |name: &str| Key::segment(&StreamUrl::parse(name).unwrap(), &head);
        assert_ne!(key("a.example/live/a"), key("a.example/live/b"));
    }

    #[test]
    fn playlists_differ_by_everything_but_the_session_id() {
        let stream = StreamUrl::parse("a.example/live/a").unwrap();
        let key = |host: &str, target: &str| Key::playlist(&stream, &head(host, target), None);
        let one = key("a.example", "/live/a.m3u8?hls_ctx=1");
        assert_eq!(key("a.example", "/live/a.m3u8?hls_ctx=1&spbhid=x"), one);
        assert_ne!(key("a.example", "/live/a.m3u8?hls_ctx=2"), one);
        assert_ne!(key("a.example:80", "/live/a.m3u8?hls_ctx=1"), one);
        assert_ne!(key("a.example", "/live/a.m3u8"), one);
        assert_ne!(
            Key::segment(&stream, &head("a.example", "/live/a.m3u8")),
            Some(key("a.example", "/live/a.m3u8"))
        );
    }
}
