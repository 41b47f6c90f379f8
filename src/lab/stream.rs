//! A stream that a lab origin publishes, and how it stands in SRS's API.

use super::clip::Clip;
use super::identity::{Identity, word};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One stream, `/live/NAME`, since the origin was opened.
#[derive(Debug)]
pub struct LabStream {
    pub name: String,
    id: String,
    publisher: String,
    since: Instant,
    viewers: AtomicU64,
    sent: AtomicU64,
}

/// Somebody who watches, for as long as this lives.
pub struct ViewerGuard<'p>(&'p LabStream);

impl LabStream {
    /// The stream of that name; its publisher has just come.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: format!("vid-{}", word(7)),
            publisher: word(8),
            since: Instant::now(),
            viewers: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Counts a live viewer.
    pub fn watch(&self) -> ViewerGuard<'_> {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        ViewerGuard(self)
    }

    /// Counts bytes of media that were sent.
    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Its entry in `/api/v1/streams/`, with the fields that SRS has.
    pub fn entry(&self, clip: &Clip<'_>, vhost: &str) -> Value {
        let Self { name, .. } = self;
        let seconds = self.since.elapsed().as_secs_f64();
        let (video, audio) = clip.bit_rates();
        let rate = video + audio;
        let viewers = self.viewers.load(Ordering::Relaxed);
        json!({
            "id": self.id,
            "name": name,
            "vhost": vhost,
            "app": "live",
            "tcUrl": "rtmp://127.0.0.1/live",
            "url": format!("/live/{name}"),
            "live_ms": millis(SystemTime::now()),
            "clients": viewers + 1, // SRS counts the publisher
            "frames": (seconds * clip.frame_rate()) as u64,
            "send_bytes": self.sent.load(Ordering::Relaxed),
            "recv_bytes": (seconds * rate as f64 / 8.0) as u64,
            "kbps": {"recv_30s": rate / 1000, "send_30s": viewers * rate / 1000},
            "publish": {"active": true, "cid": self.publisher},
            "video": {
                "codec": "H264",
                "profile": clip.avc.profile(),
                "level": clip.avc.level(),
                "width": clip.size.0,
                "height": clip.size.1,
            },
            "audio": {
                "codec": "AAC",
                "sample_rate": clip.aac.sample_rate(),
                "channel": clip.aac.channels,
                "profile": clip.aac.profile(),
            },
        })
    }
}

impl Drop for ViewerGuard<'_> {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One page of `/api/v1/streams/`: entries from `start` on, `count` of them, as SRS pages them, which gives
/// ten at least.
pub fn page(
    streams: &[LabStream],
    clip: &Clip<'_>,
    who: &Identity,
    start: usize,
    count: usize,
) -> Value {
    let page = streams.iter().skip(start).take(count.max(LEAST));
    let vhost = format!("vid-{}", who.service);
    json!({
        "code": 0,
        "server": who.server,
        "service": who.service,
        "pid": who.pid,
        "streams": page.map(|stream| stream.entry(clip, &vhost)).collect::<Vec<_>>(),
    })
}

/// Entries of a page unless more are asked for.
pub const LEAST: usize = 10;

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of SRS 7.0.18, whose fields and their types ours must have.
    const SRS: &str = r#"{"id":"vid-3zun3c5","name":"second","vhost":"vid-r62z765","app":"live","tcUrl":"rtmp://127.0.0.1:21936/live","url":"/live/second","live_ms":1795333098126,"clients":1,"frames":55006,"send_bytes":2577418,"recv_bytes":239802645,"kbps":{"recv_30s":877,"send_30s":0},"publish":{"active":true,"cid":"o287709e"},"video":{"codec":"H264","profile":"Baseline","level":"3","width":640,"height":360},"audio":{"codec":"AAC","sample_rate":44100,"channel":2,"profile":"LC"}}"#;

    fn kinds(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    kinds(value, &format!("{path}.{name}"), out);
                }
            }
            Value::String(_) => out.push(format!("{path} string")),
            Value::Bool(_) => out.push(format!("{path} bool")),
            Value::Number(number) if number.is_u64() => out.push(format!("{path} u64")),
            other => out.push(format!("{path} {other}")),
        }
    }

    #[test]
    fn an_entry_has_the_fields_of_srs() {
        let clip = Clip::embedded().unwrap();
        let stream = LabStream::new("demo");
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        kinds(&stream.entry(&clip, "vid-1"), "", &mut ours);
        kinds(&serde_json::from_str(SRS).unwrap(), "", &mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn viewers_come_and_go() {
        let clip = Clip::embedded().unwrap();
        let stream = LabStream::new("demo");
        let clients = || stream.entry(&clip, "vid-1")["clients"].as_u64().unwrap();
        let both = (stream.watch(), stream.watch());
        assert_eq!(clients(), 3);
        drop(both);
        assert_eq!(clients(), 1);
    }

    #[test]
    fn pages() {
        let clip = Clip::embedded().unwrap();
        let who = Identity::new("lab", 8080);
        let streams: Vec<_> = (0..25).map(|n| LabStream::new(&n.to_string())).collect();
        for (start, count, names) in [
            (0, 10, 0..10),
            (0, 1, 0..10),
            (20, 10, 20..25),
            (25, 10, 25..25),
            (3, 12, 3..15),
            (0, usize::MAX, 0..25),
            (usize::MAX, usize::MAX, 0..0),
        ] {
            let page = page(&streams, &clip, &who, start, count);
            let names: Vec<_> = names.map(|n| format!("/live/{n}")).collect();
            let entries = page["streams"].as_array().unwrap().iter();
            let urls: Vec<_> = entries.map(|it| it["url"].as_str().unwrap()).collect();
            assert_eq!(urls, names, "{start} {count}");
            assert_eq!(page["server"], "vid-lab-8080");
        }
    }
}
