//! Where players reach the proxy, as `PROXY_PUBLIC_URL` tells it, and what that means for the links that origins send.

use std::borrow::Cow;

/// Where players reach the proxy.
#[derive(Debug, Clone)]
pub struct PublicUrl {
    /// Host, and port where there is one.
    authority: String,
    /// Begins and ends with a slash: `/`, or `/proxy/` below a path of another server.
    path: String,
    /// Whether the scheme is `https`.
    is_secure: bool,
}

impl PublicUrl {
    /// Reads a URL as the setting has it: a scheme, a host, a path that ends with a slash.
    pub fn new(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        Self {
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            is_secure: scheme.eq_ignore_ascii_case("https"),
        }
    }

    /// Whether players reach the proxy by `https`.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host, and its port where there is one.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// How links in the answer to a request for the path `asked` have to look; `None` where the proxy is at the top of
    /// its public host, and links may stay as origins write them.
    pub fn way_up(&self, asked: &str) -> Option<WayUp<'_>> {
        let up = match asked.matches('/').count() {
            0 | 1 => "./".to_owned(),
            slashes => "../".repeat(slashes - 1),
        };
        (self.path != "/").then_some(WayUp {
            up,
            below: &self.path,
        })
    }
}

/// The way from a request's directory to the top of the proxy, where that is below a path of another server.
///
/// Origins know nothing of that path: what they write from the top (`/live/a.m3u8`, which SRS does; or with the host
/// that the player asked for) would leave it.
#[derive(Debug)]
pub struct WayUp<'a> {
    /// `../` for `/live/a.m3u8`, `./` for `/a.m3u8`.
    up: String,
    /// The public path, with a slash at both ends.
    below: &'a str,
}

impl WayUp<'_> {
    /// The link made relative, where it begins at the top. The link's host, if it has one, is ours: the caller knows.
    /// A link with our host and the public path (SRS's `hls_entry_prefix`) is complete, and stays.
    pub fn relative<'l>(&self, link: &'l [u8]) -> Cow<'l, [u8]> {
        let up = self.up.as_bytes();
        match path_after_host(link) {
            Some(path) if path.starts_with(self.below.as_bytes()) => link.into(),
            Some(path) => [up, path.strip_prefix(b"/").unwrap_or(path)]
                .concat()
                .into(),
            None => match link.strip_prefix(b"/") {
                Some(rest) => [up, rest].concat().into(),
                None => link.into(),
            },
        }
    }
}

/// What follows the host of a link that has one: `/a?b` of `http://host/a?b` and of `//host/a?b`.
pub fn path_after_host(link: &[u8]) -> Option<&[u8]> {
    let slashes = link.windows(2).position(|two| two == b"//")?;
    let scheme = link[..slashes].strip_suffix(b":");
    let named = |scheme: &[u8]| {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        scheme.iter().all(plain)
    };
    if slashes > 0 && !scheme.is_some_and(named) {
        return None; // a path or a query with two slashes in it
    }
    let rest = &link[slashes + 2..];
    // Browsers take a backslash for a slash.
    let end = rest.iter().position(|b| b"/?#\\".contains(b));
    Some(&rest[end.unwrap_or(rest.len())..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_an_authority_and_a_path() {
        for (url, authority, path) in [
            ("https://tv.example.com/", "tv.example.com", "/"),
            ("http://h:8080/a/b/", "h:8080", "/a/b/"),
            ("http://h", "h", "/"),
        ] {
            let url = PublicUrl::new(url);
            assert_eq!((url.authority(), &*url.path), (authority, path));
            assert_eq!(url.way_up("/live/a.m3u8").is_none(), path == "/");
        }
    }

    #[test]
    fn links_from_the_top_become_relative() {
        let url = PublicUrl::new("https://tv.example.com/proxy/");
        for (asked, link, expected) in [
            ("/live/a.m3u8", "/live/a.m3u8?x", "../live/a.m3u8?x"),
            ("/a.m3u8", "/a-1.ts", "./a-1.ts"),
            ("/x/live/a.m3u8", "/live/b.ts", "../../live/b.ts"),
            ("/live/a.m3u8", "a-1.ts", "a-1.ts"),
            ("/live/a.m3u8", "../a-1.ts?to=//x", "../a-1.ts?to=//x"),
            ("/live/a.m3u8", "a//b.ts", "a//b.ts"),
            ("/live/a.m3u8", "a?to=http://x/y", "a?to=http://x/y"),
            // With a host: the caller has seen that it is ours.
            (
                "/live/a.m3u8",
                "http://tv.example.com/live/a.ts?x",
                "../live/a.ts?x",
            ),
            ("/live/a.m3u8", "//tv.example.com/a.ts#t", "../a.ts#t"),
            ("/live/a.m3u8", "https://tv.example.com", "../"),
            ("/live/a.m3u8", "https://tv.example.com?x", "../?x"),
            // Complete already.
            (
                "/live/a.m3u8",
                "https://tv.example.com/proxy/live/a.ts",
                "https://tv.example.com/proxy/live/a.ts",
            ),
        ] {
            let way_up = url.way_up(asked).unwrap();
            let link = way_up.relative(link.as_bytes());
            assert_eq!(String::from_utf8_lossy(&link), expected, "{asked}");
        }
    }
}
