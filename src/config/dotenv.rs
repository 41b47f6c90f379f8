//! The `.env` file.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use crate::config::error::ConfigError;

/// The bytes of the file, `None` where there is none. A directory of that name is somebody else's.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let read = || match std::fs::metadata(path)? {
        metadata if metadata.is_file() => std::fs::read(path).map(Some),
        _ => Ok(None),
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map_err(|error| ConfigError::new(format!("cannot read .env: {error}"))),
    }
}

/// The first value of each name. Its lines are never shown: they may hold a token.
pub(super) fn values(bytes: &[u8]) -> Result<HashMap<String, String>, ConfigError> {
    let line = Cell::new(0);
    let source = Lines {
        // The byte order mark that some editors put first.
        rest: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes),
        line: &line,
    };
    let mut values = HashMap::new();
    // dotenvy takes a space at the end of a last line without a newline for an open quote.
    for item in dotenvy::from_read_iter(source.chain(&b"\n"[..])) {
        match item {
            Ok((name, value)) => {
                values.entry(name).or_insert(value);
            }
            Err(error) => {
                let (lines, what) = match error {
                    dotenvy::Error::LineParse(text, _) => (
                        text.trim_end().lines().count(),
                        "NAME=value, quoted where it has spaces".to_owned(),
                    ),
                    error => (1, error.to_string()),
                };
                let first = (line.get() + 1).saturating_sub(lines.max(1));
                return Err(ConfigError::new(format!(
                    ".env line {first} cannot be read; accepted: {what}"
                )));
            }
        }
    }
    Ok(values)
}

/// Hands out one line a read, which makes it known in which line a reader stopped.
struct Lines<'a> {
    rest: &'a [u8],
    line: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let newline = self.rest.iter().position(|byte| *byte == b'\n');
        let line = newline.map_or(self.rest.len(), |end| end + 1);
        let length = line.min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        if length == line && length > 0 {
            self.line.set(self.line.get() + 1);
        }
        Ok(length)
    }
}
