//! Origins by hand: `http://host:port?api=port`, or `https://`.

use std::net::IpAddr;
use url::{Host, Url};

/// An origin that the proxy itself registers at start and keeps alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticOrigin {
    /// Its name or address. A name is looked up again and again.
    pub host: String,
    /// Port of its HTTP streams.
    pub http: u16,
    /// Whether its streams come by HTTPS.
    pub is_secure: bool,
    /// Port of its HTTP API; `None`: its streams are found by asking it for them.
    pub api: Option<u16>,
    /// Port of its RTMP service, for other programs that share the Redis.
    pub rtmp: Option<u16>,
}

/// The origins of `PROXY_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginList(pub Vec<StaticOrigin>);

impl OriginList {
    /// Reads URLs with commas between, such as `http://srs1:8080?api=1985,http://10.0.0.2`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let accepted = || {
            "http:// or https:// URLs with commas between, such as http://srs1:8080?api=1985"
                .to_owned()
        };
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let origins: Result<_, _> = parts.map(|part| one(part).ok_or_else(accepted)).collect();
        origins.map(Self)
    }
}

fn one(text: &str) -> Option<StaticOrigin> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.scheme(), "http" | "https")
        && matches!(url.path(), "" | "/")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    let host = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => IpAddr::from(ip).to_string(),
        Host::Ipv6(ip) => IpAddr::from(ip).to_string(),
    };
    let mut api = None;
    for (name, value) in url.query_pairs() {
        match (&*name, value.parse::<u16>()) {
            ("api", Ok(port)) if port > 0 => api = Some(port),
            _ => return None,
        }
    }
    let http = url.port_or_known_default().filter(|port| *port > 0)?;
    bare.then_some(StaticOrigin {
        host,
        http,
        is_secure: url.scheme() == "https",
        api,
        rtmp: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_origins() {
        let origin = |host: &str, http, api| StaticOrigin {
            host: host.to_owned(),
            http,
            is_secure: false,
            api,
            rtmp: None,
        };
        let secure = |origin: StaticOrigin| StaticOrigin {
            is_secure: true,
            ..origin
        };
        for (text, expected) in [
            ("", vec![]),
            ("http://srs1:8080", vec![origin("srs1", 8080, None)]),
            ("http://srs1:8080/", vec![origin("srs1", 8080, None)]),
            ("http://10.0.0.2", vec![origin("10.0.0.2", 80, None)]),
            (
                "http://[::1]:8080?api=1985",
                vec![origin("::1", 8080, Some(1985))],
            ),
            ("https://srs1", vec![secure(origin("srs1", 443, None))]),
            (
                "https://srs1:8443?api=1985",
                vec![secure(origin("srs1", 8443, Some(1985)))],
            ),
            (
                "http://a.b:1/?api=2, http://c:3,",
                vec![origin("a.b", 1, Some(2)), origin("c", 3, None)],
            ),
        ] {
            assert_eq!(OriginList::parse(text), Ok(OriginList(expected)), "{text}");
        }
        for bad in [
            "srs1:8080",
            "http://",
            "http://srs1:0",
            "http://srs1:99999",
            "http://srs1/live",
            "http://srs1?api=0",
            "http://srs1?api=x",
            "http://srs1?key=1",
            "http://user@srs1",
            "rtmp://srs1",
        ] {
            assert!(OriginList::parse(bad).is_err(), "{bad}");
        }
    }
}
