//! SRS's heartbeat: what an origin says of itself.

use crate::balancer::origin::port;
use crate::balancer::origin::{Endpoints, Origin};
use serde_json::{Map, Value};
use std::net::IpAddr;
use thiserror::Error;

/// Longest id or name that is kept, in bytes.
const MAX_TEXT: usize = 200;
/// Most endpoints of one kind.
const MAX_ENDPOINTS: usize = 64;

/// Why a heartbeat is not taken. Each names the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadHeartbeat {
    #[error("the body is not a JSON object: {0}")]
    NotJson(String),
    #[error("{0}: missing or empty, but it is mandatory")]
    Missing(&'static str),
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
}

/// Whether nothing at that address can be an origin: unspecified, multicast, broadcast, and link-local, where clouds have
/// their metadata services.
fn is_no_origins(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    link_local || ip.is_unspecified() || ip.is_multicast()
}

/// Reads the body of a heartbeat, as SRS sends it (`device_id`, `ip`, `server`, `service`, `pid`, and
/// arrays of endpoints `rtmp`, `http`, `https`, `api`, `srt`, `rtc`). Unknown fields are left alone.
///
/// # Errors
/// [`BadHeartbeat`] with the first field that is missing or wrong.
pub fn parse(body: &[u8]) -> Result<Origin, BadHeartbeat> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| BadHeartbeat::NotJson(error.to_string()))?;
    let ip = mandatory(&fields, "ip")?;
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| BadHeartbeat::Invalid("ip", format!("{ip:?} is not an IP address")))?;
    let ip = ip.to_canonical();
    if is_no_origins(ip) {
        return Err(BadHeartbeat::Invalid(
            "ip",
            format!("{ip} is no origin's address"),
        ));
    }
    let rtmp = endpoints(&fields, "rtmp")?;
    if rtmp.is_empty() {
        return Err(BadHeartbeat::Missing("rtmp"));
    }
    Ok(Origin {
        server: mandatory(&fields, "server")?,
        service: mandatory(&fields, "service")?,
        pid: mandatory(&fields, "pid")?,
        device_id: text(&fields, "device_id")?.unwrap_or_default(),
        ip,
        endpoints: Endpoints {
            rtmp,
            http: endpoints(&fields, "http")?,
            https: endpoints(&fields, "https")?,
            api: endpoints(&fields, "api")?,
            srt: endpoints(&fields, "srt")?,
            rtc: endpoints(&fields, "rtc")?,
        },
    })
}

fn mandatory(fields: &Map<String, Value>, name: &'static str) -> Result<String, BadHeartbeat> {
    text(fields, name)?
        .filter(|text| !text.is_empty())
        .ok_or(BadHeartbeat::Missing(name))
}

fn text(fields: &Map<String, Value>, name: &'static str) -> Result<Option<String>, BadHeartbeat> {
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(), // a pid is one, after all
        Some(_) => return Err(BadHeartbeat::Invalid(name, "not a string".to_owned())),
    };
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        let why = format!("longer than {MAX_TEXT} bytes, or with control characters");
        return Err(BadHeartbeat::Invalid(name, why));
    }
    Ok(Some(text))
}

fn endpoints(fields: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, BadHeartbeat> {
    let list = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MAX_ENDPOINTS => list,
        Some(_) => {
            let why = format!("not an array of at most {MAX_ENDPOINTS} endpoints");
            return Err(BadHeartbeat::Invalid(name, why));
        }
    };
    let mut endpoints = Vec::with_capacity(list.len());
    for endpoint in list {
        let text = match endpoint {
            Value::Number(number) => number.to_string(), // a port is one, after all
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        if text.len() > MAX_TEXT || port(&text).is_none() {
            return Err(BadHeartbeat::Invalid(
                name,
                format!("{endpoint} names no port"),
            ));
        }
        endpoints.push(text);
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const SAMPLE: &str = r#"{"device_id":"origin2","ip":"192.0.2.2","server":"vid-7181o76","service":"84l9f067","pid":"7901","rtmp":["21936"],"http":["28081"],"api":["21986"]}"#;

    #[test]
    fn srs_own_words() {
        let origin = parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(origin.id(), "vid-7181o76-84l9f067-7901");
        assert_eq!(
            origin.http_address().unwrap().to_string(),
            "192.0.2.2:28081"
        );
        assert_eq!(origin.api_address().unwrap().to_string(), "192.0.2.2:21986");
        assert_eq!(origin.device_id, "origin2");
    }

    #[test]
    fn endpoint_forms() {
        for good in [
            "8080",
            ":8080",
            "0.0.0.0:8080",
            "tcp://:8080",
            "tcp://0.0.0.0:8080",
            "udp://0.0.0.0:8080",
            "[::]:8080",
            "tcp://[::1]:8080",
            "tcp://8080",
            "*:8080",
        ] {
            assert_eq!(port(good), Some(8080), "{good}");
        }
        for bad in [
            "", ":", "0", "65536", ":-1", "+80", "80a", "a b:80", "tcp://", "8080/x", "::x",
        ] {
            assert_eq!(port(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports_may_be_numbers() {
        let text = SAMPLE
            .replace("\"28081\"", "28081")
            .replace("\"21936\"", "21936");
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            parse(SAMPLE.as_bytes()).unwrap()
        );
    }

    #[test]
    fn each_wrong_field_is_named() {
        let sample: Value = serde_json::from_str(SAMPLE).unwrap();
        for (field, value) in [
            ("ip", json!(null)),
            ("ip", json!("")),
            ("ip", json!("localhost")),
            ("ip", json!("192.0.2")),
            ("ip", json!("0.0.0.0")),
            ("ip", json!("169.254.169.254")),
            ("ip", json!("255.255.255.255")),
            ("ip", json!("224.0.0.1")),
            ("ip", json!("fe80::1")),
            ("ip", json!("ff02::1")),
            ("ip", json!("::ffff:169.254.1.1")),
            ("ip", json!(["x"])),
            ("server", json!("")),
            ("service", json!(null)),
            ("pid", json!("")),
            ("pid", json!({})),
            ("server", json!("a\nb")),
            ("rtmp", json!([])),
            ("rtmp", json!(null)),
            ("rtmp", json!("1935")),
            ("rtmp", json!(["x"])),
            ("http", json!(["0"])),
            ("http", json!([80.5])),
            ("http", json!([70000])),
            ("http", json!([-1])),
            ("api", json!(["70000"])),
        ] {
            let mut broken = sample.clone();
            broken[field] = value.clone();
            let error = parse(broken.to_string().as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with(&format!("{field}:")),
                "{field}={value}: {error}"
            );
        }
        for broken in ["", "{", "[]", "null", "\"x\"", "{}x"] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

    }
}
