//! Heads of requests and responses, kept exactly as they came.

/// Header lines in their order, with their names' spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Every value of `name` (in any case), in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of `name`, or `None`.
    ///
    /// # Panics
    /// When there are two: a header that is sent twice is what most tests look for.
    #[track_caller]
    pub fn maybe(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(
            all.len() < 2,
            "header {name} came {} times: {:?}",
            all.len(),
            self.0
        );
        all.first().copied()
    }

    /// The one value of `name`.
    ///
    /// # Panics
    /// When there is none, or two.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        let value = self.maybe(name);
        value.unwrap_or_else(|| panic!("no header {name} in {:?}", self.0))
    }

    /// Whether `name` is there, once or more often.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether a line is spelt exactly `name` (SRS takes some names only in one spelling).
    pub fn spelt(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// Whether one of the comma separated words of `name` is `word` (in any case).
    pub fn lists(&self, name: &str, word: &str) -> bool {
        let mut words = self
            .all(name)
            .into_iter()
            .flat_map(|value| value.split(','));
        words.any(|w| w.trim().eq_ignore_ascii_case(word))
    }
}

/// Where the head in `bytes` ends: the index after its empty line.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Reads a whole head: its first line and its headers.
///
/// # Errors
/// What is wrong with it. This is strict: a bare CR or LF, a space before the colon or a folded line is wrong.
pub fn parse(raw: &[u8]) -> Result<(String, Headers), String> {
    let text = String::from_utf8_lossy(raw).into_owned();
    let whole = text
        .strip_suffix("\r\n\r\n")
        .ok_or_else(|| format!("not a whole head: {text:?}"))?;
    let mut lines = whole.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("no colon in {line:?}"))?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(format!("bad header name in {line:?}"));
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(format!("control character in {line:?}"));
        }
        headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    if first.contains(['\r', '\n', '\0']) {
        return Err(format!("control character in {first:?}"));
    }
    Ok((first, Headers(headers)))
}

/// The path of a request target: what is before its query.
pub fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// The query of a request target, without its `?`; empty when there is none.
pub fn query_of(target: &str) -> &str {
    target.split_once('?').map_or("", |(_, query)| query)
}

/// The value of `name` in a query, as it is written there.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}
