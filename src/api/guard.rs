//! Who may use the System API: the operator and its origins, and no web page through their browser.

use crate::http::head::{host_name, is_address_or_localhost};
use crate::http::query::query_value;
use crate::server::exchange::Exchange;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// SRS drops the query of its heartbeat URL: the token may be the last segment of this path.
pub const REGISTER: &str = "/api/v1/srs/register";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub message: &'static str,
}

/// Who may ask the System API for what: no page of another site, no name that could be rebound, no stranger.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    token: Option<String>,
}

impl Guard {
    /// With a token everyone who has it may come; without, whoever is near.
    pub fn new(token: Option<String>) -> Self {
        Self { token }
    }

    /// Decides on a request.
    ///
    /// # Errors
    /// What to answer instead: 401 or 403.
    pub fn check(&self, exchange: &Exchange) -> Result<(), Refused> {
        let head = &exchange.head;
        let changing = !matches!(head.method.as_str(), "GET" | "HEAD");
        let origin = head.headers.text("origin");
        if changing && head.headers.count("origin") > 0 && !is_own(origin, head.host.as_deref()) {
            return Err(Refused {
                status: 403,
                message: "Not from a web page of another site.",
            });
        }
        let path = head.path();
        match &self.token {
            None if !is_near(exchange.peer().ip()) => Err(Refused {
                status: 403,
                message: "From other networks this needs PROXY_SYSTEM_API_TOKEN to be set.",
            }),
            None if !head.host.as_deref().is_none_or(is_address_or_localhost) => Err(Refused {
                status: 403,
                message: "Use an IP address or localhost in the URL, or set PROXY_SYSTEM_API_TOKEN.",
            }),
            None => Ok(()),
            Some(_) if is_open(path) => Ok(()),
            Some(token) => {
                let given = [bearer(exchange), in_query(exchange), in_path(path)];
                let matches = |given: String| bool::from(given.as_bytes().ct_eq(token.as_bytes()));
                if given.into_iter().flatten().any(matches) {
                    return Ok(());
                }
                Err(Refused {
                    status: 401,
                    message: "This needs the token: Authorization: Bearer, ?token=, or the last \
                              segment of the heartbeat's path.",
                })
            }
        }
    }
}

/// What needs no token: the version, the health, and the console, a page without data, which asks for
/// the token itself.
fn is_open(path: &str) -> bool {
    matches!(
        path,
        "/api/v1/versions" | "/healthz" | "/livez" | "/" | "/favicon.ico"
    )
}

fn bearer(exchange: &Exchange) -> Option<String> {
    let value = exchange.head.headers.text("authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

fn in_query(exchange: &Exchange) -> Option<String> {
    query_value(exchange.head.query()?, "token").map(|token| token.into_owned())
}

fn in_path(path: &str) -> Option<String> {
    let token = path.strip_prefix(REGISTER)?.strip_prefix('/')?;
    Some(token.to_owned())
}

/// Loopback, private and link-local networks (RFC 1918, RFC 4193, RFC 3927, RFC 4291).
fn is_near(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an `Origin` header names this server, by the `Host` that the browser used for it.
fn is_own(origin: Option<&str>, host: Option<&str>) -> bool {
    let (Some(origin), Some(host)) = (origin, host) else {
        return false;
    };
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    authority.eq_ignore_ascii_case(host) && !host_name(host).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "0.0.0.0",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[test]
    fn own_and_foreign_pages() {
        let host = Some("127.0.0.1:12025");
        assert!(is_own(Some("http://127.0.0.1:12025"), host));
        assert!(is_own(Some("https://127.0.0.1:12025"), host));
        for foreign in [
            "http://evil.example",
            "null",
            "http://127.0.0.1",
            "http://127.0.0.1:12025.evil.example",
            "",
        ] {
            assert!(!is_own(Some(foreign), host), "{foreign}");
        }
        assert!(!is_own(Some("http://a"), None));
        assert!(!is_own(None, host));
    }
}
