//! Conditions and ranges of a request (RFC 9110 sections 13 and 14).

use std::ops::Range;
use std::time::{Duration, SystemTime};

/// What a request says about the copy that its client has and the part that it wants. Values are those of
/// the headers, several lines of one joined with commas.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileRequest<'a> {
    /// HEAD, not GET.
    pub method_is_head: bool,
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<&'a str>,
    /// `Range`
    pub range: Option<&'a str>,
    /// `If-Range`
    pub if_range: Option<&'a str>,
    /// Whether `Accept-Encoding` takes gzip, see [`accepts_gzip`].
    pub accepts_gzip: bool,
}

/// What they come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    NotModified,
    Whole,
    /// Bytes of the file, never none.
    Part(Range<u64>),
    Unsatisfiable,
}

impl FileRequest<'_> {
    /// In the order of RFC 9110 section 13.2.2, for a file with a strong `etag`.
    pub fn evaluate(&self, etag: &str, modified: SystemTime, length: u64) -> Outcome {
        let known = match (self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => names(tags, etag),
            (None, Some(date)) => {
                httpdate::parse_http_date(date).is_ok_and(|date| seconds(modified) <= seconds(date))
            }
            (None, None) => false,
        };
        if known {
            return Outcome::NotModified;
        }
        match self.range {
            // Ranges are for GET only (section 14.2).
            Some(range) if !self.method_is_head && self.range_holds(etag, modified) => {
                part(range, length)
            }
            _ => Outcome::Whole,
        }
    }

    /// `If-Range` takes only what tells two versions apart for sure: a strong tag, or a date that is exactly ours
    /// and old enough that nothing else can have changed within its second (section 13.1.5).
    fn range_holds(&self, etag: &str, modified: SystemTime) -> bool {
        let Some(validator) = self.if_range.map(str::trim) else {
            return true;
        };
        let settled = || modified + Duration::from_secs(1) <= SystemTime::now();
        validator == etag
            || httpdate::parse_http_date(validator)
                .is_ok_and(|date| seconds(date) == seconds(modified) && settled())
    }
}

/// Whether an `Accept-Encoding` takes gzip (RFC 9110 section 12.5.3): named, or by `*`, and not with a weight of 0.
pub fn accepts_gzip(header: &str) -> bool {
    let mut any = false;
    for member in header.split(',') {
        let mut parts = member.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        let is_wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|it| it > 0.0));
        if is("gzip") || is("x-gzip") {
            return is_wanted;
        }
        any |= is("*") && is_wanted;
    }
    any
}

/// HTTP dates have whole seconds.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Whether a list of entity tags, or `*`, names this one; weak ones do as well (section 13.1.2).
fn names(list: &str, etag: &str) -> bool {
    let mut rest = list.trim();
    if rest == "*" {
        return true;
    }
    // Commas may be inside of the quotes.
    while let Some(open) = rest.find('"') {
        let Some(close) = rest[open + 1..].find('"') else {
            return false;
        };
        let end = open + close + 2;
        if &rest[open..end] == etag {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// One range of bytes. What is malformed, of another unit, or several ranges, is answered with the whole file,
/// as section 14.2 allows.
fn part(header: &str, length: u64) -> Outcome {
    let Some((unit, set)) = header.split_once('=') else {
        return Outcome::Whole;
    };
    let mut ranges = set
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Outcome::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Outcome::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Outcome::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), number) if number.is_some() || last.is_empty() => {
            let last = number.unwrap_or(u64::MAX);
            if first > last {
                Outcome::Whole
            } else if first >= length {
                Outcome::Unsatisfiable
            } else {
                Outcome::Part(first..last.saturating_add(1).min(length))
            }
        }
        (None, Some(0)) if first.is_empty() => Outcome::Unsatisfiable,
        // The end of nothing is nothing, for which there is no Content-Range.
        (None, Some(_)) if first.is_empty() && length == 0 => Outcome::Whole,
        (None, Some(last)) if first.is_empty() => {
            Outcome::Part(length.saturating_sub(last)..length)
        }
        _ => Outcome::Whole,
    }
}

/// Digits; more than fit are as good as the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"a,b\"";
    /// Sun, 06 Nov 1994 08:49:37 GMT
    const TIME: u64 = 784_111_777;

    fn modified() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(TIME * 1000 + 900)
    }

    fn evaluate(request: FileRequest<'_>) -> Outcome {
        request.evaluate(TAG, modified(), 10)
    }

    #[test]
    fn gzip_is_taken_where_it_is_named_and_not_refused() {
        for (header, taken) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("x-gzip", true),
            ("*", true),
            ("br;q=1, *;q=0.1", true),
            ("", false),
            ("br", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; Q=0.000, *", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
        ] {
            assert_eq!(accepts_gzip(header), taken, "{header}");
        }
    }

    #[test]
    fn a_known_version_is_not_sent_again() {
        let [before, at, after] = [
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:38 GMT",
        ];
        for (tags, date, known) in [
            (Some(TAG), None, true),
            (Some("W/\"a,b\""), None, true),
            (Some("*"), None, true),
            (Some("\"x\", W/\"y,\" , \"a,b\""), None, true),
            (Some("\"x\""), None, false),
            (Some("a,b"), None, false),
            (Some("\"x,\"a,b\""), None, false),
            (Some("\"a,b"), None, false),
            (Some(""), None, false),
            (None, Some(at), true),
            (None, Some(after), true),
            (None, Some("Sunday, 06-Nov-94 08:49:37 GMT"), true),
            (None, Some(before), false),
            (None, Some("nonsense"), false),
            (None, Some("2030-01-01"), false),
            // The date does not count beside a tag.
            (Some("\"x\""), Some(at), false),
            (Some(TAG), Some(before), true),
        ] {
            for method_is_head in [false, true] {
                let request = FileRequest {
                    if_none_match: tags,
                    if_modified_since: date,
                    range: Some("bytes=0-1"),
                    method_is_head,
                    ..Default::default()
                };
                assert_eq!(
                    evaluate(request) == Outcome::NotModified,
                    known,
                    "{tags:?} {date:?}"
                );
            }
        }
    }

    #[test]
    fn ranges_of_ten_bytes() {
        use Outcome::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-", Part(0..10)),
            ("bytes=0-0", Part(0..1)),
            ("bytes=3-5", Part(3..6)),
            ("bytes=9-9", Part(9..10)),
            ("bytes=5-99", Part(5..10)),
            ("bytes=5-99999999999999999999999", Part(5..10)),
            ("bytes=5-18446744073709551615", Part(5..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-10", Part(0..10)),
            ("bytes=-99", Part(0..10)),
            ("BYTES = 1-2", Part(1..3)),
            ("bytes= , 1-2 ,", Part(1..3)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-3", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-b", Whole),
            ("bytes=a-1", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=--1", Whole),
            ("bytes=1--", Whole),
            ("bytes=1-2-", Whole),
            ("bytes=1", Whole),
            ("bytes 1-2", Whole),
            ("lines=1-2", Whole),
            ("", Whole),
        ] {
            let request = FileRequest {
                range: Some(range),
                ..Default::default()
            };
            assert_eq!(evaluate(request), expected, "{range}");
            let request = FileRequest {
                method_is_head: true,
                ..request
            };
            assert_eq!(evaluate(request), Whole, "HEAD {range}");
        }
        assert_eq!(part("bytes=0-", 0), Unsatisfiable);
        assert_eq!(part("bytes=-5", 0), Whole);
        assert_eq!(evaluate(FileRequest::default()), Whole);
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        for (validator, holds) in [
            (TAG, true),
            ("W/\"a,b\"", false),
            ("\"x\"", false),
            ("\"x\", \"a,b\"", false),
            ("*", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("nonsense", false),
        ] {
            let request = FileRequest {
                range: Some("bytes=0-1"),
                if_range: Some(validator),
                ..Default::default()
            };
            let expected = if holds {
                Outcome::Part(0..2)
            } else {
                Outcome::Whole
            };
            assert_eq!(evaluate(request), expected, "{validator}");
        }
        // A file that has changed just now may change again within the second.
        let now = SystemTime::now();
        let date = httpdate::fmt_http_date(now);
        let request = FileRequest {
            range: Some("bytes=0-1"),
            if_range: Some(&date),
            ..Default::default()
        };
        assert_eq!(
            request.evaluate(TAG, now + Duration::from_secs(60), 10),
            Outcome::Whole
        );
        let request = FileRequest {
            if_range: None,
            ..request
        };
        assert_eq!(request.evaluate(TAG, now, 10), Outcome::Part(0..2));
    }

    proptest! {
        #[test]
        fn a_part_is_inside_of_the_file(range in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0u64..500) {
            if let Outcome::Part(part) = part(&range, length) {
                prop_assert!(part.start < part.end && part.end <= length, "{:?}", part);
            }
        }

        #[test]
        fn no_header_panics(range in ".*", tags in ".*", length: u64) {
            part(&range, length);
            names(&tags, TAG);
        }
    }
}
