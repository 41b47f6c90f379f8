//! Header lines, in the order and spelling in which they came.

/// The header lines of a request or a response. Names keep their spelling and compare without case;
/// values are bytes, for HTTP allows more than ASCII in them (RFC 9110 section 5.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Box<str>, Box<[u8]>)>);

impl Headers {
    /// Takes lines over in order.
    pub fn of<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self(
            lines
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.into(), value.into()));
    }

    /// Every line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The values of all lines of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(line, _)| line.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// How many lines have that name.
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// The value of the first line of that name.
    pub fn one(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(line, _)| line.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of the first line of that name, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.one(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Drops all lines of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(line, _)| !line.eq_ignore_ascii_case(name));
    }

    /// The members of a comma-separated list header, over all its lines (RFC 9110 section 5.6.1).
    pub fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty())
    }

    /// Whether a comma-separated list header has that member, without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name)
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_span_lines() {
        let headers = Headers::of(
            [
                ("Connection", &b"keep-alive, X-One"[..]),
                ("connection", b" ,x-two"),
                ("Via", b"1.1 a"),
            ]
            .into_iter(),
        );
        assert!(headers.has_token("CONNECTION", "x-one"));
        assert!(headers.has_token("connection", "X-TWO"));
        assert!(!headers.has_token("connection", "x"));
        assert_eq!(headers.tokens("connection").count(), 3);
        assert_eq!(headers.count("Connection"), 2);
        assert_eq!(headers.text("via"), Some("1.1 a"));
    }
}
