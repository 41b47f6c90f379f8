//! Which header lines go on: from the player to the origin, and from the origin to the player.

use crate::config::TrustedProxies;
use crate::http::Headers;
use crate::http::head::{RequestHead, Version};
use std::collections::HashSet;
use std::net::IpAddr;

/// Lines that belong to one hop (RFC 9110 section 7.6.1, RFC 9112 section 9.6), and those that frame
/// a body, which each hop does for itself.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "expect",
];

/// Lines of the origin that ours replace: two of them break browsers.
const REPLACED: [&str; 3] = ["server", "date", "x-request-id"];

/// Lines of a player that are about a part of a body, or a form of it, that a playlist is never asked
/// for in: it is read and rewritten whole.
const NOT_FOR_PLAYLISTS: [&str; 7] = [
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "accept-encoding",
];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// How this proxy speaks for its players.
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// Peers whose `X-Forwarded-*` are believed and extended.
    pub trusted: TrustedProxies,
    /// This process, in `Via`.
    pub name: String,
}

impl Forwarding {
    /// Whether the request has been through this very process before.
    pub fn is_loop(&self, headers: &Headers) -> bool {
        headers
            .tokens("via")
            .filter_map(|entry| entry.split(u8::is_ascii_whitespace).nth(1))
            .any(|name| name == self.name.as_bytes())
    }

    /// The name under which the player knows this proxy, as a trusted proxy in front tells it: `X-Forwarded-Host`, which
    /// may be a list, and may have a port or a scheme. `None` where there is none, or the peer is not trusted.
    pub fn public_host(&self, headers: &Headers, peer: IpAddr) -> Option<Vec<u8>> {
        let trusted = self.trusted.contains(peer);
        trusted
            .then(|| joined(headers, "x-forwarded-host"))
            .flatten()
    }

    /// The scheme of the player's URL as the origin is told it: what a trusted proxy in front says, else `scheme`, by which
    /// the request came here.
    pub fn proto(&self, headers: &Headers, peer: IpAddr, scheme: &str) -> Vec<u8> {
        let told = self
            .trusted
            .contains(peer)
            .then(|| joined(headers, "x-forwarded-proto"));
        told.flatten().unwrap_or_else(|| scheme.into())
    }

    /// The lines for the origin: the player's end-to-end ones in their spelling, its `Host`, by which
    /// SRS chooses the vhost, and where it came from. `X-Real-IP` is spelt so, for SRS misses it in
    /// any other case. `scheme` is how the request came here: `http` or `https`.
    pub fn to_origin(
        &self,
        head: &RequestHead,
        peer: IpAddr,
        scheme: &str,
        playlist: bool,
    ) -> Headers {
        let mut headers = Headers::default();
        let trusted = self.trusted.contains(peer);
        if let Some(host) = &head.host {
            headers.push("Host", host.as_bytes());
        }
        let connection = named_by_connection(&head.headers);
        for (name, value) in head.headers.iter() {
            let own_hop = is_one_of(name, &HOP_BY_HOP)
                || connection.contains(&name.as_bytes().to_ascii_lowercase());
            let ours = is_one_of(name, &["host", "via", "x-real-ip"])
                || is_one_of(
                    name,
                    &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"],
                )
                || (!trusted
                    && (starts_with(name, "x-forwarded-") || is_one_of(name, &["forwarded"])));
            let unfit = playlist && is_one_of(name, &NOT_FOR_PLAYLISTS);
            if !(own_hop || ours || unfit) {
                headers.push(name, value);
            }
        }
        if playlist {
            // Without it any encoding would be welcome (RFC 9110 section 12.5.3).
            headers.push("Accept-Encoding", b"identity");
        }
        let told = |name: &str| trusted.then(|| joined(&head.headers, name)).flatten();
        // SRS takes the first entry for the viewer, so what the viewer wrote before it is left out.
        let chain = self.trusted.chain(&head.headers, peer);
        let addresses: Vec<String> = chain.iter().map(IpAddr::to_string).collect();
        headers.push("X-Forwarded-For", addresses.join(", ").as_bytes());
        let host = told("x-forwarded-host").or_else(|| head.host.clone().map(String::into_bytes));
        if let Some(host) = host {
            headers.push("X-Forwarded-Host", &host);
        }
        let proto = self.proto(&head.headers, peer, scheme);
        headers.push("X-Forwarded-Proto", &proto);
        let viewer = addresses.into_iter().next().unwrap_or_default();
        headers.push("X-Real-IP", viewer.as_bytes());
        let version = match head.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let own = format!("{version} {}", self.name);
        let via = match joined(&head.headers, "via") {
            Some(before) => [&before[..], b", ", own.as_bytes()].concat(),
            None => own.into_bytes(),
        };
        headers.push("Via", &via);
        headers
    }
}

/// All lines of a list header as one, or `None` where there is none (RFC 9110 section 5.3).
fn joined(headers: &Headers, name: &str) -> Option<Vec<u8>> {
    let entries: Vec<&[u8]> = headers.tokens(name).collect();
    (!entries.is_empty()).then(|| entries.join(&b", "[..]))
}

/// The names in `Connection`, in lower case: the lines of that hop (RFC 9110 section 7.6.1). They are looked up for each
/// line, and a head of 32 KiB may name 16 000 of them.
fn named_by_connection(headers: &Headers) -> HashSet<Vec<u8>> {
    let names = headers.tokens("connection");
    names.map(<[u8]>::to_ascii_lowercase).collect()
}

/// The lines for the player: the origin's end-to-end ones.
pub fn to_player(response: &Headers) -> Headers {
    let connection = named_by_connection(response);
    let kept = response.iter().filter(|(name, _)| {
        !is_one_of(name, &HOP_BY_HOP)
            && !connection.contains(&name.as_bytes().to_ascii_lowercase())
            && !is_one_of(name, &REPLACED)
            && !starts_with(name, "access-control-")
    });
    Headers::of(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::parse;

    fn forwarding(trusted: &str) -> Forwarding {
        Forwarding {
            trusted: TrustedProxies::parse(trusted).unwrap(),
            name: "me-1".to_owned(),
        }
    }

    fn sent(lines: &str, trusted: &str, playlist: bool) -> Vec<String> {
        sent_by("http", lines, trusted, playlist)
    }

    fn sent_by(scheme: &str, lines: &str, trusted: &str, playlist: bool) -> Vec<String> {
        let head = parse(
            format!("GET /live/a.flv HTTP/1.1\r\nHost: a.example:80\r\n{lines}\r\n").as_bytes(),
        );
        let peer = "192.0.2.9".parse().unwrap();
        let headers = forwarding(trusted).to_origin(&head.unwrap(), peer, scheme, playlist);
        let line =
            |(name, value): (&str, &[u8])| format!("{name}: {}", String::from_utf8_lossy(value));
        headers.iter().map(line).collect()
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        let lines = "X-Forwarded-For: 1.1.1.1\r\nx-real-ip: 1.1.1.1\r\nX-Forwarded-Host: evil\r\n\
            X-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.1.1.1\r\nX-Own: 1\r\n";
        assert_eq!(
            sent(lines, "127.0.0.0/8", false),
            [
                "Host: a.example:80",
                "X-Own: 1",
                "X-Forwarded-For: 192.0.2.9",
                "X-Forwarded-Host: a.example:80",
                "X-Forwarded-Proto: http",
                "X-Real-IP: 192.0.2.9",
                "Via: 1.1 me-1",
            ]
        );
    }

    #[test]
    fn a_trusted_peer_is_believed_and_extended() {
        let lines = "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX-Forwarded-Host: b.example\r\n\
            X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nVia: 1.0 front\r\n";
        assert_eq!(
            sent(lines, "192.0.2.0/24", false),
            [
                "Host: a.example:80",
                "X-Forwarded-Port: 443",
                "X-Forwarded-For: 2.2.2.2, 192.0.2.9",
                "X-Forwarded-Host: b.example",
                "X-Forwarded-Proto: https",
                "X-Real-IP: 2.2.2.2",
                "Via: 1.0 front, 1.1 me-1",
            ]
        );
    }

    #[test]
    fn the_scheme_is_that_of_the_players_connection() {
        for (scheme, lines, trusted, expected) in [
            ("https", "", "", "https"),
            ("http", "", "192.0.2.9", "http"),
            ("https", "X-Forwarded-Proto: http\r\n", "", "https"),
            ("https", "X-Forwarded-Proto: http\r\n", "192.0.2.9", "http"),
            ("http", "X-Forwarded-Proto: https\r\n", "192.0.2.9", "https"),
        ] {
            let sent = sent_by(scheme, lines, trusted, false);
            let line = format!("X-Forwarded-Proto: {expected}");
            assert!(sent.contains(&line), "{scheme} {lines}: {sent:?}");
        }
    }

    #[test]
    fn what_belongs_to_the_hop_stays_on_it() {
        let lines = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
            Upgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Connection: x\r\nExpect: 100-continue\r\n\
            Content-Length: 0\r\nAccept: */*\r\n";
        let sent = sent(lines, "", false);
        assert_eq!(sent[0..2], ["Host: a.example:80", "Accept: */*"]);
        assert_eq!(sent.len(), 7, "{sent:?}");
    }

    #[test]
    fn playlists_are_asked_for_whole_and_plain() {
        let lines = "Range: bytes=0-\r\nIf-None-Match: x\r\nIf-Range: x\r\nIf-Modified-Since: x\r\n\
            Accept-Encoding: gzip\r\nUser-Agent: p\r\n";
        assert_eq!(sent(lines, "", true)[1], "User-Agent: p");
        assert_eq!(sent(lines, "", true)[2], "Accept-Encoding: identity");
        assert_eq!(sent(lines, "", true).len(), 8);
        assert_eq!(sent(lines, "", false).len(), 12);
    }

    #[test]
    fn a_loop_is_seen_by_the_own_name_only() {
        let own = forwarding("");
        for (via, looped) in [
            ("1.1 me-1", true),
            ("1.0 a, 1.1 me-1", true),
            ("1.1 me-10", false),
            ("me-1", false),
        ] {
            let headers = Headers::of([("via", via.as_bytes())].into_iter());
            assert_eq!(own.is_loop(&headers), looped, "{via}");
        }
    }

    #[test]
    fn the_player_gets_the_origins_own_lines() {
        let lines = [
            ("Content-Type", "video/x-flv"),
            ("Content-Length", "5"),
            ("Connection", "Close, X-Hop"),
            ("X-Hop", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Server", "SRS"),
            ("Date", "x"),
            ("Access-Control-Allow-Origin", "http://a"),
            ("X-Request-Id", "1"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
        ];
        let origin = Headers::of(lines.iter().map(|(name, value)| (*name, value.as_bytes())));
        let kept: Vec<_> = to_player(&origin)
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(kept, ["Content-Type", "Set-Cookie", "Set-Cookie"]);
    }

    /// It was read once for each header line: 5 to 7 ms in a release build.
    #[test]
    fn a_long_connection_header_is_read_once() {
        let forwarding = forwarding("10.0.0.0/8");
        let head = |lines: usize| {
            let connection: Vec<String> = (0..5000).map(|n| format!("{n:x}")).collect();
            let mut text = format!(
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n",
                connection.join(",")
            );
            for n in 0..lines {
                text += &format!("X-{n}: y\r\n");
            }
            parse(format!("{text}\r\n").as_bytes()).unwrap()
        };
        let best = |lines: usize| {
            let head = head(lines);
            let run = || {
                let began = crate::runtime::thread_time();
                forwarding.to_origin(&head, [192, 0, 2, 9].into(), "http", false);
                crate::runtime::thread_time() - began
            };
            (0..10).map(|_| run()).min().unwrap()
        };
        let (one, many) = (best(1), best(90));
        assert!(many < 5 * one, "{one:?} for one line, {many:?} for 90");
    }
}
