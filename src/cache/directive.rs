//! What an origin's header lines say of sharing its answer (RFC 9111 sections 3 and 5.2).

use crate::http::Headers;
use std::time::{Duration, SystemTime};

/// No origin's word is believed for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What an origin says of how long its answer may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheDirective {
    /// The answer is for one player only.
    Private,
    /// For this long from now on; not at all after those who wait already where it is zero.
    For(Duration),
    /// The origin says nothing of it.
    Nothing,
}

impl CacheDirective {
    /// How long the answer may be used from now on, at most `most`; `None` where it may not be shared.
    pub fn at_most(self, most: Duration) -> Option<Duration> {
        match self {
            Self::Private => None,
            Self::For(time) => Some(time.min(most)),
            Self::Nothing => Some(most),
        }
    }
}

/// What the header lines of an answer say. An answer with an encoded body is for players who asked for that encoding,
/// and a shared request asks for none.
pub fn directive(headers: &Headers) -> CacheDirective {
    let mut vary = headers.tokens("vary");
    if headers.count("set-cookie") > 0
        || headers.count("content-encoding") > 0
        || !vary.all(|name| name.eq_ignore_ascii_case(b"accept-encoding"))
    {
        return CacheDirective::Private;
    }
    let mut shared_age = None;
    let mut max_age = None;
    for directive in headers.tokens("cache-control") {
        let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], &directive[at + 1..]),
            None => (directive, &b""[..]),
        };
        let is = |other: &[u8]| name.trim_ascii_end().eq_ignore_ascii_case(other);
        // RFC 9111 section 5.2.2.4: what is `no-cache` is given to nobody else without asking, not even to those who
        // wait already.
        if is(b"no-store") || is(b"private") || is(b"no-cache") {
            return CacheDirective::Private;
        } else if is(b"s-maxage") && shared_age.is_none() {
            shared_age = Some(seconds(value));
        } else if is(b"max-age") && max_age.is_none() {
            max_age = Some(seconds(value));
        }
    }
    // RFC 9111 section 4.2.1: s-maxage, else max-age, else Expires.
    match shared_age.or(max_age).or_else(|| expires(headers)) {
        Some(time) => CacheDirective::For(time.min(LONGEST).saturating_sub(age(headers))),
        None => CacheDirective::Nothing,
    }
}

/// The age that an answer had when it came here (RFC 9111 section 5.1).
pub fn age(headers: &Headers) -> Duration {
    headers.one("age").map_or(Duration::ZERO, seconds)
}

/// Seconds of a directive. A value that is no number counts as 0 (RFC 9111 section 4.2.1: stale), a number that is too
/// large as [`LONGEST`].
fn seconds(value: &[u8]) -> Duration {
    let value = value.trim_ascii();
    let value = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value);
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).unwrap_or_default();
    match text.parse() {
        Ok(seconds) if digits => Duration::from_secs(seconds).min(LONGEST),
        _ if digits => LONGEST,
        _ => Duration::ZERO,
    }
}

fn expires(headers: &Headers) -> Option<Duration> {
    let time = |name: &str| {
        let text = headers.text(name)?;
        httpdate::parse_http_date(text).ok()
    };
    headers.one("expires")?;
    let now = time("date").unwrap_or_else(SystemTime::now);
    let until = time("expires").unwrap_or(now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        Headers::of(lines.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn what_origins_say() {
        let time = |seconds| CacheDirective::For(Duration::from_secs(seconds));
        let rows: [(&[(&str, &str)], CacheDirective); 27] = [
            (&[], CacheDirective::Nothing),
            (&[("Cache-Control", "public")], CacheDirective::Nothing),
            (&[("Cache-Control", "max-age=5")], time(5)),
            (&[("cache-control", "Public, MAX-AGE=5")], time(5)),
            (&[("Cache-Control", "max-age=\"5\"")], time(5)),
            (&[("Cache-Control", "max-age=5, s-maxage=2")], time(2)),
            (&[("Cache-Control", "s-maxage=20,max-age=5")], time(20)),
            (&[("Cache-Control", "max-age=5"), ("Age", "3")], time(2)),
            (&[("Cache-Control", "max-age=5"), ("Age", "30")], time(0)),
            (&[("Cache-Control", "max-age=0")], time(0)),
            (&[("Cache-Control", "max-age=-1")], time(0)),
            (&[("Cache-Control", "max-age=x")], time(0)),
            (&[("Cache-Control", "max-age")], time(0)),
            (
                &[("Cache-Control", "max-age=99999999999999999999999")],
                time(24 * 3600),
            ),
            (&[("Cache-Control", "no-cache")], CacheDirective::Private),
            (
                &[("Cache-Control", "no-cache, max-age=5")],
                CacheDirective::Private,
            ),
            (
                &[
                    ("Cache-Control", "max-age=5"),
                    ("Cache-Control", "no-store"),
                ],
                CacheDirective::Private,
            ),
            (
                &[("Cache-Control", "private, max-age=5")],
                CacheDirective::Private,
            ),
            (
                &[("Cache-Control", "Private=\"x\"")],
                CacheDirective::Private,
            ),
            (&[("Set-Cookie", "a=b")], CacheDirective::Private),
            (&[("Vary", "Accept-Encoding")], CacheDirective::Nothing),
            (
                &[("Vary", "accept-encoding, Origin")],
                CacheDirective::Private,
            ),
            (&[("Vary", "*")], CacheDirective::Private),
            (&[("Content-Encoding", "gzip")], CacheDirective::Private),
            (&[("Expires", "0")], time(0)),
            (
                &[
                    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("Expires", "Sun, 06 Nov 1994 08:49:40 GMT"),
                ],
                time(3),
            ),
            (&[("Cache-Control", "max-age=5"), ("Expires", "0")], time(5)),
        ];
        for (lines, expected) in rows {
            assert_eq!(directive(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_limit_is_never_passed() {
        const LIMIT: Duration = Duration::from_millis(500);
        assert_eq!(CacheDirective::Private.at_most(LIMIT), None);
        assert_eq!(CacheDirective::Nothing.at_most(LIMIT), Some(LIMIT));
        let long = CacheDirective::For(Duration::from_secs(9));
        assert_eq!(long.at_most(LIMIT), Some(LIMIT));
        let none = CacheDirective::For(Duration::ZERO);
        assert_eq!(none.at_most(LIMIT), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn whatever_is_said_one_of_them_private_makes_it_private(
            before in "[ -~]{0,20}", after in "[ -~]{0,20}", name in "no-store|private|no-cache|No-Store",
        ) {
            let value = format!("{before},{name},{after}");
            prop_assert_eq!(directive(&headers(&[("Cache-Control", &value)])), CacheDirective::Private);
        }
    }
}
