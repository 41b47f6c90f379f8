//! The path of a request for a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What stays as it is in a path besides letters and digits (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A path whose parts are decoded and harmless: none is empty, begins with a dot, or has a slash, a backslash or
/// a control character in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath<'a> {
    parts: Vec<Vec<u8>>,
    /// Whether it ends with a slash, which asks for a directory.
    pub(super) slash: bool,
    query: Option<&'a str>,
}

impl<'a> FilePath<'a> {
    /// Reads a request's target, `/a/b%20c?query`. `None` is a path that cannot lead to anything.
    pub(super) fn parse(target: &'a str) -> Option<Self> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let parts: Vec<Vec<u8>> = path
            .strip_prefix('/')?
            .split('/')
            // Doubled slashes count once.
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).collect())
            .collect();
        let harmless = |part: &Vec<u8>| {
            let bad = |byte: &u8| matches!(byte, b'/' | b'\\') || byte.is_ascii_control();
            // Dot files, and with them "." and "..".
            !part.starts_with(b".") && !part.iter().any(bad)
        };
        parts.iter().all(harmless).then(|| Self {
            slash: path.ends_with('/'),
            parts,
            query,
        })
    }

    /// The parts for the file system.
    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.parts.iter().map(|part| OsStr::from_bytes(part))
    }

    /// The parts with slashes between, where they are text.
    pub(super) fn text(&self) -> Option<String> {
        String::from_utf8(self.parts.join(&b'/')).ok()
    }

    /// The last part, where there is one and it is text.
    pub(super) fn name(&self) -> Option<&str> {
        self.parts
            .last()
            .and_then(|part| std::str::from_utf8(part).ok())
    }

    /// The way from this path to the same with a slash at its end, relative (RFC 9110 section 10.2.2): it leads right
    /// also where the server is below a path of another one, and never to another host.
    pub(super) fn with_slash(&self) -> String {
        let mut location = String::from("./");
        if let Some(part) = self.parts.last() {
            location.extend(percent_encode(part, ENCODED));
            location.push('/');
        }
        // What no URL may have in it cannot go into a header.
        if let Some(query) = self
            .query
            .filter(|query| query.bytes().all(|b| b.is_ascii_graphic()))
        {
            location.push('?');
            location.push_str(query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_decoded() {
        for (target, parts, slash) in [
            ("/", vec![], true),
            ("//", vec![], true),
            ("/a", vec!["a"], false),
            ("/a/", vec!["a"], true),
            ("//a///b//", vec!["a", "b"], true),
            ("/a%20b/%C3%A9", vec!["a b", "é"], false),
            ("/100%", vec!["100%"], false),
            ("/a..b/c.", vec!["a..b", "c."], false),
            ("/a%3fb?c/.d", vec!["a?b"], false),
            ("/%2561", vec!["%61"], false),
        ] {
            let path = FilePath::parse(target).unwrap();
            assert_eq!(
                (path.parts, path.slash),
                (
                    parts.iter().map(|part| part.as_bytes().to_vec()).collect(),
                    slash
                ),
                "{target}"
            );
        }
    }

    #[test]
    fn harmful_paths_lead_nowhere() {
        for target in [
            "",
            "a",
            "*",
            "?",
            "http://a/",
            "/.",
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/./a",
            "/.git",
            "/a/.b",
            "/.a/b",
            "/%2e%2e/a",
            "/%2E./a",
            "/.%2e",
            "/a%2fb",
            "/a%2Fb",
            "/..%2fa",
            "/a\\b",
            "/a%5cb",
            "/..\\a",
            "/a%00",
            "/%00",
            "/a%0d%0ab",
            "/a%7f",
            "/a\tb",
        ] {
            assert_eq!(FilePath::parse(target), None, "{target}");
        }
    }

    #[test]
    fn a_redirect_stays_on_this_host() {
        for (target, location) in [
            ("/a", "./a/"),
            ("/x/a?b=c&d=/e", "./a/?b=c&d=/e"),
            ("/a?", "./a/?"),
            ("//evil.com", "./evil.com/"),
            ("///evil.com//a", "./a/"),
            ("/a b%3Fc%25", "./a%20b%3Fc%25/"),
            ("/é?é", "./%C3%A9/"),
            ("/javascript:x", "./javascript%3Ax/"),
        ] {
            assert_eq!(
                FilePath::parse(target).unwrap().with_slash(),
                location,
                "{target}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_directory(target in "/?([./\\\\%ab\u{e9}]|%2e|%2f|%5C|%00|%ff){0,12}[?]?[a.]{0,2}") {
            let Some(path) = FilePath::parse(&target) else { return Ok(()) };
            for name in path.names() {
                let components: Vec<_> = std::path::Path::new(name).components().collect();
                prop_assert!(matches!(components[..], [std::path::Component::Normal(part)] if part == name));
                prop_assert!(!name.as_bytes().starts_with(b".") && !name.as_bytes().contains(&0));
            }
            let location = path.with_slash();
            let again = FilePath::parse(location.strip_prefix('.').unwrap()).unwrap();
            prop_assert_eq!(again.parts.last(), path.parts.last());
            prop_assert!(again.slash && again.parts.len() <= 1 && !location.starts_with(".//"));
        }
    }
}
