//! Who may use the System API: the operator and its origins, and no web page through their browser.

use crate::http::head::{RequestHead, host_name};
use crate::http::host::{is_near, is_private_host};
use crate::http::query::query_value;
use crate::server::exchange::Exchange;
use subtle::ConstantTimeEq;

/// SRS drops the query of its heartbeat URL: the token may be the last segment of this path.
pub const REGISTER: &str = "/api/v1/srs/register";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub message: &'static str,
}

/// Who may ask for what: health and version anybody; the rest who has the token or, where none is set, who is near.
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
            _ if is_for_anybody(path) => Ok(()),
            None if !is_near(exchange.peer().ip()) => Err(Refused {
                status: 403,
                message: "From other networks this needs PROXY_SYSTEM_API_TOKEN to be set.",
            }),
            // A reverse proxy on this host makes everybody a near peer.
            None if came_through_proxy(head) => Err(Refused {
                status: 403,
                message: "Through a proxy (X-Forwarded-*, Forwarded, Via) this needs PROXY_SYSTEM_API_TOKEN to be set.",
            }),
            None if !head.host.as_deref().is_none_or(is_private_host) => Err(Refused {
                status: 403,
                message: "Use an IP address, localhost or a name without a dot in the URL, or set \
                          PROXY_SYSTEM_API_TOKEN.",
            }),
            None => Ok(()),
            Some(_) if is_console(path) => Ok(()),
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

/// What tells nothing of streams: monitors and load balancers ask for it, by any name and through anything.
fn is_for_anybody(path: &str) -> bool {
    matches!(path, "/api/v1/versions" | "/healthz" | "/livez")
}

/// The console needs no token: a page without data, which asks for the token itself.
fn is_console(path: &str) -> bool {
    matches!(path, "/" | "/favicon.ico")
}

/// Whether a proxy has passed the request on, and says so.
fn came_through_proxy(head: &RequestHead) -> bool {
    let tells = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-forwarded-") || matches!(&*name, "forwarded" | "via")
    };
    head.headers.iter().any(|(name, _)| tells(name))
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
