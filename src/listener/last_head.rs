//! The last head of a connection: a player asks for its playlist again and again with the same bytes.

use crate::http::head::{self, Rejection, RequestHead};
use std::sync::Arc;

/// Longest head that is remembered, in bytes: a connection holds it while it is idle.
const MAX_REMEMBERED: usize = 1024;

/// A head and the bytes that it was parsed from.
#[derive(Debug, Default)]
pub(super) struct LastHead(Option<(Box<[u8]>, Arc<RequestHead>)>);

impl LastHead {
    /// Parses a whole head; returns the last one where its bytes are the same.
    ///
    /// # Errors
    /// As [`head::parse`].
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<Arc<RequestHead>, Rejection> {
        if let Some((last, head)) = &self.0
            && **last == *bytes
        {
            return Ok(head.clone());
        }
        self.0 = None;
        let head = Arc::new(head::parse(bytes)?);
        if bytes.len() <= MAX_REMEMBERED {
            self.0 = Some((bytes.into(), head.clone()));
        }
        Ok(head)
    }

    /// Forgets the head: a stream may run for hours.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_parsed_once_and_no_others() {
        let mut last = LastHead::default();
        let mut parse = |target: &str| {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            last.parse(bytes.as_bytes()).expect("a good head")
        };
        let one = parse("/a");
        assert!(Arc::ptr_eq(&parse("/a"), &one));
        let other = parse("/b");
        assert_eq!((one.path(), other.path()), ("/a", "/b"));
        assert!(!Arc::ptr_eq(&parse("/a"), &one), "only the last one");
        let long = format!("/{}", "x".repeat(MAX_REMEMBERED));
        assert!(!Arc::ptr_eq(&parse(&long), &parse(&long)));
        assert!(last.parse(b"nonsense\r\n\r\n").is_err());
        last.forget();
    }
}
