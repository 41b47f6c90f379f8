//! HLS sessions, by which the SRS project's proxy finds the stream of a segment.
//!
//! An id of ours says its stream by itself; it is written all the same, so that the segments of our
//! playlists can be asked for at the other proxy, too.

use crate::balancer::redis::cache::{CACHE_TIME, within};
use crate::balancer::redis::sync::text;
use crate::balancer::redis::{Redis, keys};
use crate::stream::session::session_id;
use crate::stream::url::StreamUrl;
use ::redis::{Cmd, Value, cmd};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A session's life after its last use, in seconds.
const SESSION_SECONDS: u64 = 120;
/// A session in use is renewed this often.
const RENEW: Duration = Duration::from_secs(30);
/// Longest id of another proxy's session, in bytes. Its own are some seven letters and digits.
const MAX_ID: usize = 128;

#[derive(Serialize)]
struct Written<'a> {
    spbhid: &'a str,
    stream_url: &'a str,
    full_url: &'a str,
}

#[derive(Deserialize)]
struct Read {
    stream_url: String,
}

/// The stream that a session's value names.
fn decode(value: &[u8]) -> Result<StreamUrl, String> {
    let read: Read = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    StreamUrl::parse(&read.stream_url).ok_or_else(|| "stream_url is no stream URL".to_owned())
}

fn renew(key: &str) -> Cmd {
    let mut expire = cmd("EXPIRE");
    expire.arg(key).arg(SESSION_SECONDS);
    expire
}

impl Redis {
    /// The stream of another proxy's session, which is renewed by that.
    pub(super) fn stream_of(&self, id: &str) -> Option<StreamUrl> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(plain) {
            return None;
        }
        let now = Instant::now();
        {
            let mut cache = self.shared.cache();
            let copy = cache.foreign.of(id);
            let time = if copy.stream.is_some() {
                RENEW
            } else {
                CACHE_TIME
            };
            // While Redis is away the copy is all there is.
            if within(copy.looked, time, now) || !self.client.is_up() {
                return copy.stream.clone();
            }
        }
        let key = keys::session(id);
        let mut get = cmd("GET");
        get.arg(&key);
        let answers = self.client.ask(vec![get, renew(&key)]);
        let stream = match answers.ok()?.into_iter().next()? {
            Value::ServerError(error) => {
                self.shared
                    .skip(&key, error.details().unwrap_or(error.code()));
                None
            }
            value => text(value).and_then(|value| match decode(&value) {
                Ok(stream) => Some(stream),
                Err(why) => {
                    self.shared.skip(&key, &why);
                    None
                }
            }),
        };
        if let Some(stream) = &stream {
            self.client.announce(vec![renew(&keys::hls(stream))]);
        }
        let mut cache = self.shared.cache();
        let copy = cache.foreign.of(id);
        (copy.looked, copy.stream) = (Some(now), stream.clone());
        stream
    }

    /// Writes the session of a playlist that was served. A session that the stream has already, be it
    /// another proxy's, stays beside it: both ids lead to the stream.
    pub(super) fn write_session(&self, stream: &StreamUrl, host: Option<&str>, path: &str) {
        let now = Instant::now();
        {
            let mut cache = self.shared.cache();
            let copy = cache.sessions.of(stream);
            if within(copy.written, RENEW, now) {
                return;
            }
            let since = copy.since.replace(copy.since.unwrap_or(now));
            if copy.written.is_none() && !cache.session_ration.take(since, now) {
                return;
            }
            cache.sessions.of(stream).written = Some(now);
        }
        let id = session_id(stream);
        let host = host.unwrap_or(stream.vhost());
        let written = Written {
            spbhid: &id,
            stream_url: stream.as_str(),
            full_url: &format!("http://{host}{path}"),
        };
        let value = serde_json::to_string(&written).unwrap_or_default(); // three strings
        let (own, hls) = (keys::session(&id), keys::hls(stream));
        let mut set_own = cmd("SET");
        set_own.arg(own).arg(&value).arg("EX").arg(SESSION_SECONDS);
        let mut set_hls = cmd("SET");
        set_hls
            .arg(&hls)
            .arg(&value)
            .arg("EX")
            .arg(SESSION_SECONDS)
            .arg("NX");
        if !self.client.announce(vec![set_own, set_hls, renew(&hls)]) {
            self.shared.cache().sessions.of(stream).written = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_proxys_own_words() {
        let value = br#"{"spbhid":"z8v8f338","stream_url":"ts.example.com/live/a","full_url":"http://ts.example.com/live/a.m3u8"}"#;
        assert_eq!(decode(value).unwrap().as_str(), "ts.example.com/live/a");
        assert!(decode(br#"{"stream_url":"__defaultVhost__/live/a"}"#).is_ok());
        for broken in [
            "",
            "7",
            "{}",
            "[]",
            r#"{"stream_url":7}"#,
            r#"{"stream_url":"/live/a"}"#,
        ] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
