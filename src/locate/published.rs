//! What an origin's HTTP API says that it publishes.

use crate::stream::url::{ApiMatch, StreamUrl};
use serde::Deserialize;
use std::collections::HashSet;

/// The streams that one origin publishes now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedStreams(HashSet<StreamUrl>);

#[derive(Deserialize)]
struct Page {
    code: i64,
    streams: Vec<ApiEntry>,
}

#[derive(Deserialize)]
struct ApiEntry {
    #[serde(default)]
    url: String,
    #[serde(default)]
    publish: Publish,
}

#[derive(Deserialize, Default)]
struct Publish {
    #[serde(default)]
    active: bool,
}

impl PublishedStreams {
    /// Takes the entries of one page that are being published; gives how many entries it had.
    ///
    /// # Errors
    /// What makes it no answer of SRS's API.
    pub(super) fn add_page(&mut self, body: &[u8]) -> Result<usize, String> {
        let page: Page = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if page.code != 0 {
            return Err(format!("code {}", page.code));
        }
        let entries = page.streams.len();
        for entry in page
            .streams
            .into_iter()
            .filter(|entry| entry.publish.active)
        {
            self.0.extend(StreamUrl::of_api_entry(&entry.url));
        }
        Ok(entries)
    }

    /// How many streams there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &StreamUrl> {
        self.0.iter()
    }

    /// How the stream stands among them.
    pub fn has(&self, stream: &StreamUrl) -> ApiMatch {
        stream.api_match(&self.0)
    }
}

/// What a list as SRS writes it says.
#[cfg(test)]
pub fn of_page(page: &serde_json::Value) -> PublishedStreams {
    let mut publishing = PublishedStreams::default();
    publishing.add_page(page.to_string().as_bytes()).unwrap();
    publishing
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"code":0,"server":"vid-7181o76","service":"84l9f067","pid":"7901","streams":[{"id":"vid-3zun3c5","name":"second","vhost":"vid-r62z765","app":"live","tcUrl":"rtmp://127.0.0.1:21936/live","url":"/live/second","live_ms":1795333098126,"clients":1,"frames":55006,"send_bytes":2577418,"recv_bytes":239802645,"kbps":{"recv_30s":877,"send_30s":0},"publish":{"active":true,"cid":"o287709e"},"video":{"codec":"H264","profile":"Baseline","level":"3","width":640,"height":360},"audio":{"codec":"AAC","sample_rate":44100,"channel":2,"profile":"LC"}}]}"#;

    fn stream(url: &str) -> StreamUrl {
        StreamUrl::parse(url).unwrap()
    }

    #[test]
    fn srs_own_words() {
        let mut publishing = PublishedStreams::default();
        assert_eq!(publishing.add_page(SAMPLE.as_bytes()), Ok(1));
        assert_eq!(
            publishing.has(&stream("__defaultVhost__/live/second")),
            ApiMatch::Exact
        );
        assert_eq!(
            publishing.has(&stream("a.example/live/second")),
            ApiMatch::DefaultVhost
        );
        assert_eq!(
            publishing.has(&stream("__defaultVhost__/live/b")),
            ApiMatch::No
        );
    }

    #[test]
    fn only_what_is_published_counts_and_only_by_url() {
        let mut publishing = PublishedStreams::default();
        let page = r#"{"code":0,"streams":[
            {"url":"/live/gone","name":"x","publish":{"active":false}},
            {"url":"/live/never"},
            {"url":"v.example/live/own","name":"b.flv","app":"push.example","publish":{"active":true}}]}"#;
        assert_eq!(publishing.add_page(page.as_bytes()), Ok(3));
        assert_eq!(
            publishing.has(&stream("v.example/live/own")),
            ApiMatch::Exact
        );
        for no in [
            "v.example/live/gone",
            "__defaultVhost__/live/own",
            "w.example/live/own",
            "__defaultVhost__/live/never",
            "v.example/live/b",
        ] {
            assert_eq!(publishing.has(&stream(no)), ApiMatch::No, "{no}");
        }
    }

    #[test]
    fn rubbish_is_no_answer() {
        for rubbish in [
            "",
            "{}",
            "[]",
            r#"{"code":0}"#,
            r#"{"code":100,"streams":[]}"#,
            "<html>",
        ] {
            assert!(
                PublishedStreams::default()
                    .add_page(rubbish.as_bytes())
                    .is_err(),
                "{rubbish}"
            );
        }
    }
}
