//! Whose a URI is: this proxy's, or another server's.

use crate::player::public_url::PublicUrl;
use std::borrow::Cow;

/// The names under which players reach this proxy: the request's `Host`, the public name that a trusted proxy in front
/// tells of, and that of the settings.
#[derive(Debug, Default)]
pub struct PublicHosts<'a> {
    /// The request's own.
    host: Option<Authority<'a>>,
    forwarded: Option<Authority<'a>>,
    /// The host of `PROXY_PUBLIC_URL`.
    told: Option<Authority<'a>>,
    /// Whether `PROXY_PUBLIC_URL` is one of `https`.
    is_told_secure: bool,
    /// Whether the player came by `https`.
    is_secure: bool,
}

impl<'a> PublicHosts<'a> {
    /// `host` is the request's `Host`; `forwarded` is what a trusted peer says in `X-Forwarded-Host`: the first
    /// of several, with or without a port, and with or without a scheme, as some write it.
    pub fn new(host: Option<&'a str>, forwarded: Option<&'a [u8]>) -> Self {
        let first = |list: &'a [u8]| {
            let entry = list.split(|b| *b == b',').next()?.trim_ascii();
            let entry = match entry.windows(3).position(|part| part == b"://") {
                Some(at) => &entry[at + 3..],
                None => entry,
            };
            let end = entry.iter().position(|b| *b == b'/');
            let authority = Authority::of(&entry[..end.unwrap_or(entry.len())]);
            (!authority.host.is_empty()).then_some(authority)
        };
        Self {
            host: host.map(|host| Authority::of(host.as_bytes())),
            forwarded: forwarded.and_then(first),
            told: None,
            is_told_secure: false,
            is_secure: false,
        }
    }

    /// The same and the host of `PROXY_PUBLIC_URL`, where that is set.
    pub fn and(self, public: Option<&'a PublicUrl>) -> Self {
        Self {
            told: public.map(|url| Authority::of(url.authority().as_bytes())),
            is_told_secure: public.is_some_and(PublicUrl::is_secure),
            ..self
        }
    }

    /// The same for a player that came by the scheme `proto`: what the origin is told in `X-Forwarded-Proto`, the first
    /// of several.
    pub fn by(self, proto: &[u8]) -> Self {
        let first = proto.split(|b| *b == b',').next().unwrap_or_default();
        Self {
            is_secure: first.trim_ascii().eq_ignore_ascii_case(b"https"),
            ..self
        }
    }

    /// Whether a request for the URI comes to this proxy: a relative reference that is no bare fragment, or one
    /// to a public name of ours.
    ///
    /// The request's own `Host` has its port, or the scheme's default one. A proxy in front often tells its name
    /// without the port (nginx's `$host`): then any port is taken for it, and where the name has one a URI without
    /// is ours too.
    pub fn serves(&self, uri: &[u8]) -> bool {
        if uri.is_empty() || uri.starts_with(b"#") {
            return false;
        }
        let (default_ports, rest): (&[&[u8]], &[u8]) = match split_scheme(uri) {
            None if !uri.starts_with(b"//") => return true,
            None => (&[b"80", b"443"], uri),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http") => (&[b"80"], rest),
            // A TLS server in front of the proxy.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"https") => (&[b"443"], rest),
            Some(_) => return false,
        };
        let Some((_, asked, _)) = rest.strip_prefix(b"//").map(split_authority) else {
            return false;
        };
        let own = |host: &Authority<'_>| asked.is(host, default_ports);
        let public = |host: &Authority<'_>| asked.may_be(host);
        self.host.as_ref().is_some_and(own)
            || self.told.as_ref().is_some_and(own)
            || self.forwarded.as_ref().is_some_and(public)
    }

    /// A URI that [`PublicHosts::serves`], as the player can ask for it.
    ///
    /// Origins that do not heed `X-Forwarded-Proto` write `http://` and the host that the player asked for. A page on HTTPS
    /// loads nothing by `http` (Mixed Content, W3C), and the port of HTTPS speaks nothing else: for a player that came by
    /// HTTPS the URI becomes one of `https`. So does one to the host of `PROXY_PUBLIC_URL` where that is one of `https`. A
    /// URI to another of this proxy's names stays.
    pub fn for_player<'u>(&self, uri: &'u [u8]) -> Cow<'u, [u8]> {
        let plain = split_scheme(uri).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"http"));
        let Some((userinfo, asked, after)) = plain
            .and_then(|(_, rest)| rest.strip_prefix(b"//"))
            .map(split_authority)
        else {
            return uri.into();
        };
        let came_by = match (&self.forwarded, &self.host) {
            (Some(public), _) if asked.may_be(public) => Some(public),
            (None, Some(host)) if asked.is(host, &[b"80"]) => Some(host),
            _ => None,
        };
        let told = self.told.as_ref().filter(|told| asked.is(told, &[b"80"]));
        let name = came_by
            .filter(|_| self.is_secure)
            .or(told.filter(|_| self.is_told_secure));
        let Some(name) = name else {
            return uri.into();
        };
        // The port of the other scheme is not meant.
        let port = asked.port.filter(|port| *port != b"80").or(name.port);
        let mut out = [b"https://", userinfo, asked.host].concat();
        if let Some(port) = port {
            out.push(b':');
            out.extend_from_slice(port);
        }
        out.extend_from_slice(after);
        out.into()
    }
}

/// Userinfo with its `@`, authority and the rest of what follows the two slashes of a URI.
fn split_authority(text: &[u8]) -> (&[u8], Authority<'_>, &[u8]) {
    // Browsers take a backslash for a slash.
    let end = text.iter().position(|b| b"/?#\\".contains(b));
    let (authority, after) = text.split_at(end.unwrap_or(text.len()));
    let userinfo = authority.iter().rposition(|b| *b == b'@');
    let (userinfo, authority) = authority.split_at(userinfo.map_or(0, |at| at + 1));
    (userinfo, Authority::of(authority), after)
}

/// Scheme and rest of a URI that has one (RFC 3986 section 3.1).
fn split_scheme(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = uri.iter().position(|b| b":/?#".contains(b))?;
    let (scheme, rest) = uri.split_at(colon);
    let named = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    rest.strip_prefix(b":")
        .filter(|_| named)
        .map(|rest| (scheme, rest))
}

/// Host and port of a URI or of a `Host` header.
#[derive(Debug)]
struct Authority<'a> {
    host: &'a [u8],
    port: Option<&'a [u8]>,
}

impl<'a> Authority<'a> {
    fn of(text: &'a [u8]) -> Self {
        let colon = text
            .iter()
            .rposition(|b| b":]".contains(b))
            .filter(|at| text[*at] == b':');
        let (host, port) = text.split_at(colon.unwrap_or(text.len()));
        Authority {
            host: host.strip_suffix(b".").unwrap_or(host),
            port: port.get(1..).filter(|port| !port.is_empty()),
        }
    }

    /// Whether both are the same place, a missing port being one of `default_ports`.
    fn is(&self, other: &Authority<'_>, default_ports: &[&[u8]]) -> bool {
        let same_port = match (self.port, other.port) {
            (Some(port), None) | (None, Some(port)) => default_ports.contains(&port),
            (port, other) => port == other,
        };
        same_port && self.host.eq_ignore_ascii_case(other.host)
    }

    /// Whether both have one name, and no ports that differ.
    fn may_be(&self, other: &Authority<'_>) -> bool {
        let differ = matches!((self.port, other.port), (Some(own), Some(other)) if own != other);
        !differ && self.host.eq_ignore_ascii_case(other.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_uris_are_ours_by_host_and_port() {
        let rows = [
            (Some("h.com"), "http://h.com/a.ts", true),
            (Some("h.com:80"), "http://h.com/a.ts", true),
            (Some("h.com"), "https://h.com/a.ts", true),
            (Some("h.com:443"), "https://h.com/a.ts", true),
            (Some("h.com:80"), "https://h.com/a.ts", false),
            (Some("h.com"), "http://h.com:443/a.ts", false),
            (Some("h.com"), "//h.com/a.ts", true),
            (Some("h.com"), "//h.com:443/a.ts", true),
            (Some("h.com"), "//h.com:8080/a.ts", false),
            (Some("h.com:8080"), "http://user:word@h.com:8080/a.ts", true),
            (Some("H.com.:"), "http://h.com/a.ts", true),
            (Some("[::1]:8080"), "http://[::1]:8080/a.ts", true),
            (Some("[::1]"), "http://[::1]:80/a.ts", true),
            (Some("[::1]:8080"), "http://[::1]/a.ts", false),
            (Some("h.com"), "http:///a.ts", false),
            (None, "http://h.com/a.ts", false),
            (None, "a.ts", true),
            (None, "#t=1", false),
            (Some("h.com"), "data:,x", false),
        ];
        for (host, uri, ours) in rows {
            let hosts = PublicHosts::new(host, None);
            assert_eq!(hosts.serves(uri.as_bytes()), ours, "{host:?} {uri}");
        }
    }

    #[test]
    fn the_host_of_the_settings_is_ours() {
        let public = PublicUrl::new("https://tv.example.com/proxy/");
        let hosts = PublicHosts::new(Some("10.0.0.1:18080"), None).and(Some(&public));
        assert!(hosts.serves(b"https://tv.example.com/proxy/a.ts"));
        assert!(hosts.serves(b"http://10.0.0.1:18080/a.ts"));
        assert!(!hosts.serves(b"https://tv.example.com:8443/a.ts"));
    }

    #[test]
    fn the_public_name_that_a_proxy_in_front_tells_of_is_ours() {
        let rows = [
            ("live.example.com", "https://live.example.com/a.ts", true),
            ("live.example.com", "//LIVE.example.com/a.ts", true),
            (
                "live.example.com",
                "https://live.example.com:8443/a.ts",
                true,
            ),
            (
                "live.example.com:8443",
                "https://live.example.com:8443/a.ts",
                true,
            ),
            (
                "live.example.com:8443",
                "https://live.example.com/a.ts",
                true,
            ),
            (
                "live.example.com:8443",
                "https://live.example.com:9443/a.ts",
                false,
            ),
            (
                "live.example.com, inner",
                "http://live.example.com/a.ts",
                true,
            ),
            ("live.example.com, inner", "http://inner/a.ts", false),
            (
                "https://live.example.com:8443/",
                "https://live.example.com:8443/a",
                true,
            ),
            ("live.example.com", "https://other.example.com/a.ts", false),
            ("", "http:///a.ts", false),
        ];
        for (forwarded, uri, ours) in rows {
            let hosts = PublicHosts::new(Some("10.0.0.1:18080"), Some(forwarded.as_bytes()));
            assert_eq!(hosts.serves(uri.as_bytes()), ours, "{forwarded} {uri}");
            assert!(hosts.serves(b"http://10.0.0.1:18080/a.ts"));
        }
    }

    #[test]
    fn who_came_by_https_gets_links_by_https() {
        let secure = PublicUrl::new("https://tv.example.com/");
        let plain = PublicUrl::new("http://tv.example.com/");
        let inner = || PublicHosts::new(Some("10.0.0.1:18080"), Some(b"live.example.com"));
        let own = |host| PublicHosts::new(Some(host), None);
        let rows = [
            (
                own("h:18443").by(b"https"),
                "http://h:18443/a?b#c",
                "https://h:18443/a?b#c",
            ),
            (
                own("h:18443").by(b"HTTPS, http"),
                "HTTP://H:18443/a",
                "https://H:18443/a",
            ),
            (own("h").by(b"https"), "http://h:80/a", "https://h/a"),
            (own("h").by(b"https"), "http://u:p@h", "https://u:p@h"),
            (
                own("[::1]:1").by(b"https"),
                "http://[::1]:1/a",
                "https://[::1]:1/a",
            ),
            (
                own("h:18443").by(b"https"),
                "a?to=http://h:18443/",
                "a?to=http://h:18443/",
            ),
            (own("h:18443").by(b"https"), "//h:18443/a", "//h:18443/a"),
            (
                own("h:18443").by(b"https"),
                "https://h:18443/a",
                "https://h:18443/a",
            ),
            (
                own("h:18443").by(b"http"),
                "http://h:18443/a",
                "http://h:18443/a",
            ),
            (
                own("h:18443").by(b"http, https"),
                "http://h:18443/a",
                "http://h:18443/a",
            ),
            (own("h:18443"), "http://h:18443/a", "http://h:18443/a"),
            // Another server's.
            (
                own("h:18443").by(b"https"),
                "http://h:8080/a",
                "http://h:8080/a",
            ),
            (
                own("h:18443").by(b"https"),
                "http://other/a",
                "http://other/a",
            ),
            // A server in front, which has the certificate.
            (
                inner().by(b"https"),
                "http://live.example.com/a",
                "https://live.example.com/a",
            ),
            (
                inner().by(b"https"),
                "http://live.example.com:80/a",
                "https://live.example.com/a",
            ),
            (
                inner().by(b"https"),
                "http://10.0.0.1:18080/a",
                "http://10.0.0.1:18080/a",
            ),
            (
                inner().by(b"http"),
                "http://live.example.com/a",
                "http://live.example.com/a",
            ),
            // The settings know the scheme.
            (
                own("h").and(Some(&secure)),
                "http://tv.example.com/a",
                "https://tv.example.com/a",
            ),
            (own("h").and(Some(&secure)), "http://h/a", "http://h/a"),
            (
                own("h").and(Some(&plain)),
                "http://tv.example.com/a",
                "http://tv.example.com/a",
            ),
        ];
        for (hosts, uri, expected) in rows {
            let link = hosts.for_player(uri.as_bytes());
            assert_eq!(String::from_utf8_lossy(&link), expected, "{hosts:?}");
        }
    }
}
