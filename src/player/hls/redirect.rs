//! Redirects of an origin: those that stay on it come back here, with their session.

use crate::player::hls::public_hosts::PublicHosts;
use crate::player::hls::rewrite::with_session;
use crate::upstream::OriginResponse;

/// Rewrites the `Location` of a redirect (RFC 9110 section 10.2.2) that leads to this proxy or to the origin itself,
/// whose address players cannot reach: it gets the session's id. One that leads to another host stays.
///
/// `address` is the origin's `address:port`.
pub fn bring_back(
    response: &mut OriginResponse,
    hosts: &PublicHosts<'_>,
    address: &str,
    session: &str,
) {
    if !(300..400).contains(&response.status) {
        return;
    }
    let location = response.headers.one("location");
    let back = location.and_then(|location| brought_back(location, hosts, address, session));
    if let Some(back) = back {
        response.headers.remove("location");
        response.headers.push("Location", &back);
    }
}

fn brought_back(
    location: &[u8],
    hosts: &PublicHosts<'_>,
    address: &str,
    session: &str,
) -> Option<Vec<u8>> {
    if hosts.serves(location) {
        return Some(with_session(location, session));
    }
    if !PublicHosts::new(Some(address), None).serves(location) {
        return None;
    }
    // `serves` has seen the two slashes.
    let slashes = location.windows(2).position(|two| two == b"//")?;
    let rest = &location[slashes + 2..];
    let path = &rest[rest
        .iter()
        .position(|b| b"/?#".contains(b))
        .unwrap_or(rest.len())..];
    let root: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    Some(with_session(&[root, path].concat(), session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_the_origin_comes_back_and_the_rest_does_not() {
        let hosts = PublicHosts::new(Some("h.example:18080"), None);
        let rows = [
            ("/live/b.m3u8?x=1", Some("/live/b.m3u8?x=1&spbhid=ID")),
            ("b.m3u8#t", Some("b.m3u8?spbhid=ID#t")),
            ("http://10.0.0.1:8080/b.m3u8?x", Some("/b.m3u8?x&spbhid=ID")),
            ("//10.0.0.1:8080/b.m3u8", Some("/b.m3u8?spbhid=ID")),
            ("http://10.0.0.1:8080", Some("/?spbhid=ID")),
            (
                "http://h.example:18080/b.m3u8",
                Some("http://h.example:18080/b.m3u8?spbhid=ID"),
            ),
            ("http://10.0.0.1:8081/b.m3u8", None),
            ("https://cdn.example/b.m3u8", None),
            ("", None),
        ];
        for (location, expected) in rows {
            let back = brought_back(location.as_bytes(), &hosts, "10.0.0.1:8080", "ID");
            let back = back.map(|back| String::from_utf8(back).unwrap());
            assert_eq!(back.as_deref(), expected, "{location}");
        }
    }
}
