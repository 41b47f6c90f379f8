//! Who watches what, as SRS's hooks tell it.

use crate::stream::url::{DEFAULT_VHOST, StreamUrl};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// What SRS calls the app of a stream that has none.
const DEFAULT_APP: &str = "__defaultApp__";
/// Bytes of a page's URL that are told: a request chooses it.
const MAX_PAGE: usize = 1024;

/// A viewer as hooks are told of it.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Begins with the proxy's name.
    pub client_id: String,
    pub ip: IpAddr,
    pub stream: StreamUrl,
    /// The host that was asked, without its port; for `tcUrl`.
    pub host: String,
    /// The query with its `?`; empty where there is none.
    pub param: String,
    pub page_url: String,
}

/// Which server calls.
#[derive(Debug)]
pub struct ServerIds {
    /// The proxy's name.
    pub server_id: String,
    /// Another one for each start.
    pub service_id: String,
}

impl Viewer {
    /// Bytes that the texts take.
    pub fn size(&self) -> usize {
        let texts = [&self.client_id, &self.host, &self.param, &self.page_url];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.stream.as_str().len()
    }

    /// A page's URL of a length that is kept.
    pub fn page(url: Option<&str>) -> String {
        let url = url.unwrap_or_default();
        let fits = |end: &usize| url.is_char_boundary(*end);
        let end = (0..=url.len().min(MAX_PAGE)).rev().find(fits);
        url[..end.unwrap_or(0)].to_owned()
    }

    /// The body of an `on_play` call, with the fields of SRS 5 to 7 in their order.
    pub fn on_play(&self, ids: &ServerIds) -> Value {
        let (app, stream) = self.app_and_name();
        json!({
            "server_id": ids.server_id,
            "service_id": ids.service_id,
            "action": "on_play",
            "client_id": self.client_id,
            "ip": self.ip,
            "vhost": self.stream.vhost(),
            "app": app,
            "stream": stream,
            "tcUrl": self.tc_url(),
            "param": self.param,
            "pageUrl": self.page_url,
            "stream_url": self.stream_url(),
            "stream_id": self.stream_id(),
        })
    }

    /// The body of an `on_stop` call: SRS's fields, how long the viewer watched in seconds, and the bytes that it got.
    pub fn on_stop(&self, ids: &ServerIds, watched: Duration, bytes: u64) -> Value {
        let (app, stream) = self.app_and_name();
        json!({
            "server_id": ids.server_id,
            "service_id": ids.service_id,
            "action": "on_stop",
            "client_id": self.client_id,
            "ip": self.ip,
            "vhost": self.stream.vhost(),
            "app": app,
            "tcUrl": self.tc_url(),
            "stream": stream,
            "param": self.param,
            "stream_url": self.stream_url(),
            "stream_id": self.stream_id(),
            "duration": (watched.as_secs_f64() * 1000.0).round() / 1000.0,
            "bytes": bytes,
        })
    }

    /// The stream's app, of several levels perhaps, and its name.
    pub fn app_and_name(&self) -> (&str, &str) {
        let path = self.stream.app_stream().trim_start_matches('/');
        path.rsplit_once('/').unwrap_or((DEFAULT_APP, path))
    }

    /// `/app/stream` for the default vhost, `vhost/app/stream` for another.
    pub fn stream_url(&self) -> &str {
        match self.stream.vhost() {
            DEFAULT_VHOST => self.stream.app_stream(),
            _ => self.stream.as_str(),
        }
    }

    fn tc_url(&self) -> String {
        let host = match self.stream.vhost() {
            DEFAULT_VHOST => &self.host,
            vhost => vhost,
        };
        format!("http://{host}/{}", self.app_and_name().0)
    }

    /// The same for a stream at every proxy and start; SRS's own ids are a publication's.
    pub fn stream_id(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.stream.as_str().hash(&mut hasher);
        format!("vid-{:07x}", hasher.finish() & 0xfff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(url: &str, param: &str) -> Viewer {
        Viewer {
            client_id: "proxy-1".to_owned(),
            ip: [192, 0, 2, 1].into(),
            stream: StreamUrl::parse(url).unwrap(),
            host: "127.0.0.1".to_owned(),
            param: param.to_owned(),
            page_url: "http://page/".to_owned(),
        }
    }

    fn ids() -> ServerIds {
        ServerIds {
            server_id: "proxy".to_owned(),
            service_id: "s".to_owned(),
        }
    }

    #[test]
    fn calls_have_the_fields_of_srs() {
        let viewer = viewer("__defaultVhost__/live/one", "?token=x");
        let id = viewer.stream_id();
        let text = viewer.on_play(&ids()).to_string();
        assert_eq!(
            text,
            format!(
                r#"{{"server_id":"proxy","service_id":"s","action":"on_play","client_id":"proxy-1","ip":"192.0.2.1","vhost":"__defaultVhost__","app":"live","stream":"one","tcUrl":"http://127.0.0.1/live","param":"?token=x","pageUrl":"http://page/","stream_url":"/live/one","stream_id":"{id}"}}"#
            )
        );
        let text = viewer
            .on_stop(&ids(), Duration::from_micros(2_500_400), 7)
            .to_string();
        assert_eq!(
            text,
            format!(
                r#"{{"server_id":"proxy","service_id":"s","action":"on_stop","client_id":"proxy-1","ip":"192.0.2.1","vhost":"__defaultVhost__","app":"live","tcUrl":"http://127.0.0.1/live","stream":"one","param":"?token=x","stream_url":"/live/one","stream_id":"{id}","duration":2.5,"bytes":7}}"#
            )
        );
    }

    #[test]
    fn a_named_vhost_is_in_the_urls() {
        let body = viewer("ts.example.com/a/b/c", "").on_play(&ids());
        assert_eq!(
            (&body["app"], &body["stream"]),
            (&json!("a/b"), &json!("c"))
        );
        assert_eq!(body["stream_url"], "ts.example.com/a/b/c");
        assert_eq!(body["tcUrl"], "http://ts.example.com/a/b");
        let body = viewer("__defaultVhost__/c", "").on_play(&ids());
        assert_eq!(
            (&body["app"], &body["stream_url"]),
            (&json!(DEFAULT_APP), &json!("/c"))
        );
        assert_eq!(Viewer::page(Some(&"é".repeat(1000))).len(), MAX_PAGE);
    }
}
