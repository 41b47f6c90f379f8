//! An origin: a media server that has announced itself.

use crate::stream::origin_id::OriginId;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// What an origin has said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Survives a restart of the server, and the cloning of its image.
    pub server: String,
    /// New with each start.
    pub service: String,
    pub pid: String,
    /// The operator's name for it; may be empty.
    pub device_id: String,
    pub ip: IpAddr,
    pub endpoints: Endpoints,
}

/// An origin's endpoints, in the words of its heartbeat; each names a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub rtmp: Vec<String>,
    pub http: Vec<String>,
    pub api: Vec<String>,
    pub srt: Vec<String>,
    pub rtc: Vec<String>,
}

impl Origin {
    /// `server-service-pid`, as the SRS project's proxy names it, too.
    pub fn id(&self) -> OriginId {
        format!("{}-{}-{}", self.server, self.service, self.pid).into()
    }

    /// Where its streams are; `None` for one that takes no HTTP.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.address(&self.endpoints.http)
    }

    /// Where its HTTP API is, when it has one.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.address(&self.endpoints.api)
    }

    fn address(&self, endpoints: &[String]) -> Option<SocketAddr> {
        let port = endpoints.iter().find_map(|endpoint| port(endpoint))?;
        Some(SocketAddr::new(self.ip, port))
    }
}

/// How an origin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginState {
    /// Its heartbeat is younger than the TTL.
    Alive,
    /// An operator wants nothing new on it.
    Draining,
    /// It has missed four heartbeats in a row.
    Late,
    /// It could not be connected a moment ago, or failed for three streams in a row.
    Suspect,
    /// Its heartbeat is older than the TTL.
    Stale,
}

/// The port of an endpoint as SRS writes it: `8080`, `:8080`, `0.0.0.0:8080`, `[::]:8080`, each with
/// `tcp://` or `udp://` before it or without. Only the port counts; the address is the heartbeat's.
pub fn port(endpoint: &str) -> Option<u16> {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let (host, port) = rest.rsplit_once(':').unwrap_or(("", rest));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let good_host = host.is_empty()
        || host.parse::<IpAddr>().is_ok()
        || host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.*".contains(&b));
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port > 0);
    port.filter(|_| good_host && digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ports_are_never_zero(text in "\\PC{0,40}") {
            prop_assert_ne!(port(&text), Some(0));
        }
    }
}
