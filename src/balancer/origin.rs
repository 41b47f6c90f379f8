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
    /// HTTPS, which is asked where there is no `http`. A name before the port is the one that its certificate is for.
    #[serde(default)]
    pub https: Vec<String>,
    pub api: Vec<String>,
    pub srt: Vec<String>,
    pub rtc: Vec<String>,
}

impl Origin {
    /// `server-service-pid`, as the SRS project's proxy names it, too.
    pub fn id(&self) -> OriginId {
        format!("{}-{}-{}", self.server, self.service, self.pid).into()
    }

    /// Where its streams are, by HTTP or else by HTTPS; `None` for one that takes neither.
    pub fn http_address(&self) -> Option<SocketAddr> {
        let endpoints = &self.endpoints;
        self.address(&endpoints.http)
            .or_else(|| self.address(&endpoints.https))
    }

    /// Whom its certificate has to be for; `None` where its streams come by plain HTTP.
    pub fn secured_by(&self) -> Option<CertificateName<'_>> {
        if self.address(&self.endpoints.http).is_some() {
            return None;
        }
        let mut endpoints = self.endpoints.https.iter();
        let endpoint = endpoints.find(|endpoint| port(endpoint).is_some())?;
        let (host, _) = host_and_port(endpoint);
        let is_name = host.parse::<IpAddr>().is_err()
            && !host.contains('*')
            && host.bytes().any(|b| b.is_ascii_alphabetic());
        Some(match is_name {
            true => CertificateName::Host(host),
            false => CertificateName::Address,
        })
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

/// Whom an origin's certificate has to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateName<'a> {
    /// The host of that name.
    Host(&'a str),
    /// The address that is connected.
    Address,
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
    let (host, port) = host_and_port(endpoint);
    let good_host = host.is_empty()
        || host.parse::<IpAddr>().is_ok()
        || host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.*".contains(&b));
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| *port > 0);
    port.filter(|_| good_host && digits)
}

fn host_and_port(endpoint: &str) -> (&str, &str) {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let (host, port) = rest.rsplit_once(':').unwrap_or(("", rest));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn https_is_asked_where_there_is_no_http() {
        use CertificateName::{Address, Host};
        for (http, https, address, name) in [
            ("8080", "", Some(8080), None),
            ("8080", "8443", Some(8080), None),
            ("", "8443", Some(8443), Some(Address)),
            ("", "0.0.0.0:8443", Some(8443), Some(Address)),
            ("", "*:8443", Some(8443), Some(Address)),
            ("", "[::]:8443", Some(8443), Some(Address)),
            (
                "",
                "srs1.example.com:8443",
                Some(8443),
                Some(Host("srs1.example.com")),
            ),
            ("x", "srs1:443", Some(443), Some(Host("srs1"))),
            ("", "", None, None),
        ] {
            let list = |text: &str| Vec::from_iter((!text.is_empty()).then(|| text.to_owned()));
            let origin = Origin {
                server: "s".to_owned(),
                service: "s".to_owned(),
                pid: "1".to_owned(),
                device_id: String::new(),
                ip: [192, 0, 2, 2].into(),
                endpoints: Endpoints {
                    http: list(http),
                    https: list(https),
                    ..Endpoints::default()
                },
            };
            let port = origin.http_address().map(|address| address.port());
            assert_eq!(
                (port, origin.secured_by()),
                (address, name),
                "{http} {https}"
            );
        }
    }

    proptest! {
        #[test]
        fn ports_are_never_zero(text in "\\PC{0,40}") {
            prop_assert_ne!(port(&text), Some(0));
        }
    }
}
