//! Redirects of an origin: those that stay on it come back here, with their session.

use crate::player::hls::rewrite::with_session;
use crate::player::public_hosts::PublicHosts;
use crate::player::public_url::{WayUp, path_after_host};
use crate::upstream::OriginResponse;
use std::borrow::Cow;

/// How a redirect finds back.
#[derive(Debug)]
pub struct Redirect<'a> {
    /// Whose links are ours.
    pub hosts: &'a PublicHosts<'a>,
    /// Where the proxy is below a path of another server.
    pub way_up: Option<WayUp<'a>>,
    /// The id that the link gets; `None` for what has no session, a live stream.
    pub session: Option<&'a str>,
}

impl Redirect<'_> {
    /// Rewrites the `Location` of a redirect (RFC 9110 section 10.2.2) that leads to this proxy or to the origin itself,
    /// whose address players cannot reach. One that leads to another host stays.
    ///
    /// `address` is the origin's `address:port`.
    pub fn bring_back(&self, response: &mut OriginResponse, address: &str) {
        if !(300..400).contains(&response.status) {
            return;
        }
        let location = response.headers.one("location");
        let back = location.and_then(|location| self.brought_back(location, address));
        if let Some(back) = back {
            response.headers.remove("location");
            response.headers.push("Location", &back);
        }
    }

    fn brought_back(&self, location: &[u8], address: &str) -> Option<Vec<u8>> {
        let link: Cow<'_, [u8]> = if self.hosts.serves(location) {
            self.hosts.for_player(location)
        } else if PublicHosts::new(Some(address), None).serves(location) {
            // With one slash: two would begin a host.
            let path = path_after_host(location)?;
            let slashes = path.iter().take_while(|b| **b == b'/').count();
            [b"/", &path[slashes..]].concat().into()
        } else {
            return None;
        };
        let link = match &self.way_up {
            Some(way_up) => way_up.relative(&link),
            None => link,
        };
        Some(match self.session {
            Some(session) => with_session(&link, session),
            None => link.into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::public_url::PublicUrl;

    #[test]
    fn what_stays_on_the_origin_comes_back_and_the_rest_does_not() {
        let hosts = PublicHosts::new(Some("h.example:18080"), None);
        let rows = [
            ("/live/b.m3u8?x=1", Some("/live/b.m3u8?x=1&spbhid=ID")),
            ("b.m3u8#t", Some("b.m3u8?spbhid=ID#t")),
            ("http://10.0.0.1:8080/b.m3u8?x", Some("/b.m3u8?x&spbhid=ID")),
            ("//10.0.0.1:8080/b.m3u8", Some("/b.m3u8?spbhid=ID")),
            ("http://10.0.0.1:8080", Some("/?spbhid=ID")),
            ("http://10.0.0.1:8080//b.m3u8", Some("/b.m3u8?spbhid=ID")),
            (
                "http://h.example:18080/b.m3u8",
                Some("http://h.example:18080/b.m3u8?spbhid=ID"),
            ),
            ("http://10.0.0.1:8081/b.m3u8", None),
            ("https://cdn.example/b.m3u8", None),
            ("", None),
        ];
        let redirect = Redirect {
            hosts: &hosts,
            way_up: None,
            session: Some("ID"),
        };
        for (location, expected) in rows {
            let back = redirect.brought_back(location.as_bytes(), "10.0.0.1:8080");
            let back = back.map(|back| String::from_utf8(back).unwrap());
            assert_eq!(back.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn below_a_path_what_comes_back_is_relative() {
        let public = PublicUrl::new("https://tv.example.com/proxy/");
        let hosts = PublicHosts::new(Some("h.example:18080"), None).and(Some(&public));
        for (location, expected) in [
            ("/live/b.flv?x=1", Some("../live/b.flv?x=1")),
            ("b.flv", Some("b.flv")),
            ("http://10.0.0.1:8080/live/b.flv", Some("../live/b.flv")),
            ("http://10.0.0.1:8080//evil/b.flv", Some("../evil/b.flv")),
            ("http://h.example:18080/b.flv", Some("../b.flv")),
            (
                "https://tv.example.com/proxy/b.flv",
                Some("https://tv.example.com/proxy/b.flv"),
            ),
            ("https://cdn.example/b.flv", None),
        ] {
            let redirect = Redirect {
                hosts: &hosts,
                way_up: public.way_up("/live/a.flv"),
                session: None,
            };
            let back = redirect.brought_back(location.as_bytes(), "10.0.0.1:8080");
            let back = back.map(|back| String::from_utf8(back).unwrap());
            assert_eq!(back.as_deref(), expected, "{location}");
        }
    }
}
