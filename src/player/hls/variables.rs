//! Variables of a playlist: `EXT-X-DEFINE` (draft-pantos-hls-rfc8216bis section 4.4.2.3) and the `{$name}`
//! that stand for them in URIs.

use crate::http::query::query_value;
use crate::player::hls::syntax::attribute;
use memchr::memmem;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use std::borrow::Cow;
use std::collections::HashMap;

/// Longest text that a variable or a URI may grow to, in bytes. Values may name earlier variables, and would double
/// from line to line otherwise.
const MAX_VALUE: usize = 8192;

/// What a value out of a query must not bring into a line or a quoted attribute.
const UNFIT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// What is known of a playlist's variables at one line of it.
#[derive(Debug)]
pub struct Variables<'a> {
    /// The query of the playlist's URL as the player asked for it.
    query: &'a str,
    values: HashMap<&'a [u8], Cow<'a, [u8]>>,
}

/// A URI with what is known put in.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    /// There is no variable in it.
    Plain,
    /// All of its variables are known.
    Whole(Vec<u8>),
    /// Some are not: from this byte on the text is the player's to complete.
    Open(Vec<u8>, usize),
    /// It grows beyond all measure.
    TooLong,
}

impl<'a> Variables<'a> {
    /// None yet. `query` is that of the playlist's URL, which `QUERYPARAM` is about.
    pub fn new(query: Option<&'a str>) -> Self {
        Self {
            query: query.unwrap_or_default(),
            values: HashMap::new(),
        }
    }

    /// Takes an `EXT-X-DEFINE`'s attributes. `IMPORT`, whose value is in the playlist that the player came from,
    /// stays unknown; so does a `QUERYPARAM` that the URL does not have.
    pub fn define(&mut self, attributes: &'a [u8]) {
        if let Some(name) = attribute(attributes, "NAME") {
            let Some(value) = attribute(attributes, "VALUE") else {
                return;
            };
            let value = match self.resolve(value) {
                Resolved::Plain => Cow::Borrowed(value),
                Resolved::Whole(value) => Cow::Owned(value),
                Resolved::Open(..) | Resolved::TooLong => return,
            };
            self.values.insert(name, value);
        } else if let Some(name) = attribute(attributes, "QUERYPARAM") {
            let text = std::str::from_utf8(name).ok();
            if let Some(value) = text.and_then(|name| query_value(self.query, name)) {
                let value = Cow::from(percent_encode(value.as_bytes(), UNFIT));
                self.values
                    .insert(name, value.into_owned().into_bytes().into());
            }
        }
    }

    /// Puts what is known into a URI.
    pub fn resolve(&self, uri: &[u8]) -> Resolved {
        let Some(first) = memmem::find(uri, b"{$") else {
            return Resolved::Plain;
        };
        let mut out = uri[..first].to_vec();
        let mut rest = &uri[first..];
        let mut open = None;
        while let Some(at) = memmem::find(rest, b"{$") {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let end = rest.iter().position(|b| *b == b'}').map(|end| end + 1);
            let known = end.and_then(|end| self.values.get(&rest[2..end - 1]));
            match (known, end) {
                (Some(value), Some(end)) => {
                    out.extend_from_slice(value);
                    rest = &rest[end..];
                }
                (_, end) => {
                    open.get_or_insert(out.len());
                    let (reference, after) = rest.split_at(end.unwrap_or(2));
                    out.extend_from_slice(reference);
                    rest = after;
                }
            }
            if out.len() > MAX_VALUE {
                return Resolved::TooLong;
            }
        }
        out.extend_from_slice(rest);
        // A value that reads like a variable would be one to the player once it stands in the text.
        let open = open.or_else(|| memmem::find(&out, b"{$"));
        match open {
            Some(at) => Resolved::Open(out, at),
            None => Resolved::Whole(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Resolved {
        Resolved::Whole(text.into())
    }

    #[test]
    fn what_is_known_is_put_in_and_the_rest_stays() {
        let mut variables = Variables::new(Some("tok=a%20b%22c&x=%3Fy=1&e"));
        assert_eq!(
            variables.resolve(b"{$a}.ts"),
            Resolved::Open("{$a}.ts".into(), 0)
        );
        for define in [
            &b"NAME=\"a\",VALUE=\"1\""[..],
            b"NAME=\"b\",VALUE=\"{$a}{$a}\"",
            b"NAME=\"c\",VALUE=\"{$unknown}\"",
            b"NAME=\"d\"",
            b"QUERYPARAM=\"tok\"",
            b"QUERYPARAM=\"x\"",
            b"QUERYPARAM=\"e\"",
            b"QUERYPARAM=\"missing\"",
            b"IMPORT=\"theirs\"",
        ] {
            variables.define(define);
        }
        let rows: [(&str, Resolved); 12] = [
            ("a.ts", Resolved::Plain),
            ("{$a}.ts", whole("1.ts")),
            ("{$b}-{$a}.ts", whole("11-1.ts")),
            ("a.ts{$x}", whole("a.ts?y=1")),
            ("a.ts?t={$tok}", whole("a.ts?t=a%20b%22c")),
            ("a{$e}.ts", whole("a.ts")),
            ("{$a}{$c}", Resolved::Open("1{$c}".into(), 1)),
            ("a{$d}", Resolved::Open("a{$d}".into(), 1)),
            (
                "{$a}?t={$theirs}",
                Resolved::Open("1?t={$theirs}".into(), 4),
            ),
            ("a{$missing}{$a}", Resolved::Open("a{$missing}1".into(), 1)),
            ("a{$", Resolved::Open("a{$".into(), 1)),
            ("a{$}", Resolved::Open("a{$}".into(), 1)),
        ];
        for (uri, expected) in rows {
            assert_eq!(variables.resolve(uri.as_bytes()), expected, "{uri}");
        }
    }

    #[test]
    fn values_cannot_double_for_ever() {
        let lines: Vec<String> = (1..64)
            .map(|n| format!("NAME=\"v{n}\",VALUE=\"{{$v{}}}{{$v{}}}\"", n - 1, n - 1))
            .collect();
        let mut variables = Variables::new(None);
        variables.define(b"NAME=\"v0\",VALUE=\"xxxxxxxxxx\"");
        for line in &lines {
            variables.define(line.as_bytes());
        }
        assert!(
            variables
                .values
                .values()
                .all(|value| value.len() <= MAX_VALUE)
        );
        assert!(matches!(variables.resolve(b"{$v63}"), Resolved::Open(..)));
        assert_eq!(variables.resolve(&b"{$v9}".repeat(20)), Resolved::TooLong);
    }
}
