//! Static files: the player page, the console's files, or what an operator puts there.

use crate::files::{FileRequest, Files, accepts_gzip};
use crate::http::Headers;
use crate::server::answers::send_file;
use crate::server::exchange::Exchange;
use std::borrow::Cow;

/// Answers a request for a static file.
pub fn file(files: &Files, exchange: Exchange) {
    let line = |name| one_line(&exchange.head.headers, name);
    let (if_none_match, if_modified_since) = (line("if-none-match"), line("if-modified-since"));
    let (range, if_range) = (line("range"), line("if-range"));
    let request = FileRequest {
        method_is_head: exchange.is_head(),
        if_none_match: if_none_match.as_deref(),
        if_modified_since: if_modified_since.as_deref(),
        range: range.as_deref(),
        if_range: if_range.as_deref(),
        accepts_gzip: line("accept-encoding").is_some_and(|line| accepts_gzip(&line)),
    };
    let answer = files.answer(&exchange.head.target, &request);
    send_file(exchange, answer);
}

/// All lines of a header as one (RFC 9110 section 5.2). What is no text makes a condition that does not
/// hold; without it, another would be decided on.
fn one_line<'a>(headers: &'a Headers, name: &'a str) -> Option<Cow<'a, str>> {
    let mut lines = headers.all(name).map(String::from_utf8_lossy);
    let first = lines.next()?;
    Some(lines.fold(first, |joined, line| joined + ", " + line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_header_are_joined() {
        let of = |lines: &[&[u8]]| {
            let headers = Headers::of(lines.iter().map(|line| ("If-None-Match", *line)));
            one_line(&headers, "if-none-match").map(Cow::into_owned)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"\"a,b\""]).as_deref(), Some("\"a,b\""));
        assert_eq!(of(&[b"\"a\"", b"\"b\""]).as_deref(), Some("\"a\", \"b\""));
        assert_eq!(of(&[b"\"\xff\""]).as_deref(), Some("\"\u{fffd}\""));
    }
}
