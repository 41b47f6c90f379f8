//! The value of a server's key: an origin, as the SRS project's proxy writes it.

use crate::balancer::origin::port;
use crate::balancer::origin::{Endpoints, Origin};
use crate::balancer::redis::keys;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Longest id or name that is taken, in bytes.
const MAX_TEXT: usize = 200;
/// Most endpoints of one kind that are taken.
const MAX_ENDPOINTS: usize = 64;

/// An origin in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub origin: Origin,
    /// When its last heartbeat came, by the clock of the proxy that took it. `None` where the text says
    /// nothing that can be read.
    pub update_at: Option<SystemTime>,
}

#[derive(Serialize)]
struct Written<'a> {
    ip: IpAddr,
    device_id: &'a str,
    server_id: &'a str,
    service_id: &'a str,
    pid: &'a str,
    rtmp: &'a [String],
    http: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    https: &'a [String],
    api: &'a [String],
    srt: &'a [String],
    rtc: &'a [String],
    update_at: String,
}

/// Everything may be missing or of another type: what matters is looked at one by one.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Read {
    ip: Value,
    device_id: Value,
    server_id: Value,
    service_id: Value,
    pid: Value,
    rtmp: Value,
    http: Value,
    https: Value,
    api: Value,
    srt: Value,
    rtc: Value,
    update_at: Value,
}

impl Server {
    /// The value to write.
    pub fn encode(origin: &Origin, update_at: SystemTime) -> String {
        let written = Written {
            ip: origin.ip,
            device_id: &origin.device_id,
            server_id: &origin.server,
            service_id: &origin.service,
            pid: &origin.pid,
            rtmp: &origin.endpoints.rtmp,
            http: &origin.endpoints.http,
            https: &origin.endpoints.https,
            api: &origin.endpoints.api,
            srt: &origin.endpoints.srt,
            rtc: &origin.endpoints.rtc,
            update_at: humantime::format_rfc3339_nanos(update_at).to_string(),
        };
        // Strings, arrays of them and an address: nothing of it can fail.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads the value of `key`, tolerantly: missing and null arrays are empty, endpoints that name no
    /// port are left out, fields that are not known are left alone.
    ///
    /// # Errors
    /// What makes it no server, in words.
    pub fn decode(key: &str, value: &[u8]) -> Result<Self, String> {
        let read: Read = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let ip = text(&read.ip).and_then(|ip| ip.parse().ok());
        let ip: IpAddr = ip.ok_or_else(|| "ip is no IP address".to_owned())?;
        let named = |name: &str, value: &Value| {
            text(value)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("{name} is missing or no text"))
        };
        let origin = Origin {
            server: named("server_id", &read.server_id)?,
            service: named("service_id", &read.service_id)?,
            pid: named("pid", &read.pid)?,
            device_id: text(&read.device_id).unwrap_or_default(),
            ip: ip.to_canonical(),
            endpoints: Endpoints {
                rtmp: endpoints(&read.rtmp),
                http: endpoints(&read.http),
                https: endpoints(&read.https),
                api: endpoints(&read.api),
                srt: endpoints(&read.srt),
                rtc: endpoints(&read.rtc),
            },
        };
        if key != keys::server(&origin.id()) {
            return Err(format!("it is of {}, not of its key", origin.id()));
        }
        let update_at = read.update_at.as_str().and_then(rfc3339);
        Ok(Self { origin, update_at })
    }
}

fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (text.len() <= MAX_TEXT && !text.chars().any(char::is_control)).then_some(text)
}

fn endpoints(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(text)
        .filter(|endpoint| port(endpoint).is_some())
        .take(MAX_ENDPOINTS)
        .collect()
}

/// A time of RFC 3339 with any offset: Go writes its machine's own, `2026-01-31T20:00:00.5+08:00`.
fn rfc3339(text: &str) -> Option<SystemTime> {
    if text.ends_with('Z') {
        return humantime::parse_rfc3339(text).ok();
    }
    let (time, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let minutes = hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?;
    let offset = Duration::from_secs(minutes * 60);
    let time = humantime::parse_rfc3339(&format!("{time}Z")).ok()?;
    match sign {
        "+" => time.checked_sub(offset),
        "-" => time.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const KEY: &str = "srs-proxy-server:vid-7181o76-84l9f067-7901";
    const GO: &str = r#"{"ip":"192.0.2.2","device_id":"origin2","server_id":"vid-7181o76","service_id":"84l9f067","pid":"7901","rtmp":["21936"],"http":["28081"],"api":["21986"],"srt":null,"rtc":["udp://0.0.0.0:8000"],"update_at":"2026-01-31T20:00:00.123456789+08:00"}"#;

    #[test]
    fn the_go_proxys_own_words() {
        let server = Server::decode(KEY, GO.as_bytes()).unwrap();
        let origin = &server.origin;
        assert_eq!(origin.id(), "vid-7181o76-84l9f067-7901");
        assert_eq!(
            origin.http_address().unwrap().to_string(),
            "192.0.2.2:28081"
        );
        assert_eq!(origin.endpoints.srt, Vec::<String>::new());
        let at = humantime::parse_rfc3339("2026-01-31T12:00:00.123456789Z").unwrap();
        assert_eq!(server.update_at, Some(at));
    }

    #[test]
    fn what_is_written_has_exactly_its_fields_and_comes_back() {
        let server = Server::decode(KEY, GO.as_bytes()).unwrap();
        let written = Server::encode(&server.origin, server.update_at.unwrap());
        let fields: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            fields,
            json!({"ip": "192.0.2.2", "device_id": "origin2", "server_id": "vid-7181o76", "service_id": "84l9f067",
                "pid": "7901", "rtmp": ["21936"], "http": ["28081"], "api": ["21986"], "srt": [],
                "rtc": ["udp://0.0.0.0:8000"], "update_at": "2026-01-31T12:00:00.123456789Z"})
        );
        assert_eq!(Server::decode(KEY, written.as_bytes()), Ok(server));
    }

    #[test]
    fn it_is_read_tolerantly() {
        let good: Value = serde_json::from_str(GO).unwrap();
        for (field, value) in [
            ("pid", json!(7901)),
            ("device_id", json!(null)),
            ("http", json!(null)),
            ("rtmp", json!(["x", 1935, "1935"])),
            ("update_at", json!("yesterday")),
            ("update_at", json!(7)),
            ("new", json!({"x": [1]})),
        ] {
            let mut odd = good.clone();
            odd[field] = value.clone();
            let server = Server::decode(KEY, odd.to_string().as_bytes());
            assert!(server.is_ok(), "{field}={value}: {server:?}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let good: Value = serde_json::from_str(GO).unwrap();
        for (field, value) in [
            ("ip", json!("localhost")),
            ("ip", json!(null)),
            ("server_id", json!("")),
            ("server_id", json!("another")),
            ("service_id", json!(["x"])),
            ("pid", json!("7\n")),
        ] {
            let mut broken = good.clone();
            broken[field] = value.clone();
            let server = Server::decode(KEY, broken.to_string().as_bytes());
            assert!(server.is_err(), "{field}={value}");
        }
        for broken in ["", "x", "[]", "null", "7", "{}"] {
            assert!(Server::decode(KEY, broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn times_with_offsets() {
        let noon = humantime::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        for same in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000+00:00",
            "2026-01-31T20:00:00+08:00",
            "2026-01-31T08:30:00-03:30",
        ] {
            assert_eq!(rfc3339(same), Some(noon), "{same}");
        }
        for bad in [
            "",
            "+08:00",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "ééé+08:00",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), time in "\\PC{0,40}") {
            let _ = Server::decode(KEY, &bytes);
            let _ = rfc3339(&time);
        }
    }
}
