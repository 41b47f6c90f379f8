//! The `.env` file: the lines of it that are settings of ours.
//!
//! Other programs read the same file (a compose stack's `NAME=Main Studio 1`, JSON): a line that is not ours neither ends
//! the start nor is looked at. Values are literal: nothing in them is expanded, for a token may have a `$`.

use std::collections::HashMap;
use std::path::Path;

use crate::config::error::ConfigError;
use crate::config::names::PREFIX;

/// The bytes of the file. `None` where there is none, or nothing that could be one: a directory of that name, a
/// working directory that cannot be searched.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map(Some);
    bytes.map_err(|error| ConfigError::new(format!("cannot read .env: {error}")))
}

/// The first value of each of our names. Lines are never shown: they may hold a token.
///
/// # Errors
/// A line of ours that cannot be read, by its number.
pub fn values(bytes: &[u8]) -> Result<HashMap<String, String>, ConfigError> {
    // The byte order mark that some editors put first.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut values = HashMap::new();
    let mut lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    while let Some((line, number)) = lines.next() {
        if !is_ours(line) {
            continue;
        }
        let refused = |accepted: &str| {
            ConfigError::new(format!(
                ".env line {number} cannot be read; accepted: {accepted}"
            ))
        };
        let utf8 = |line| std::str::from_utf8(line).map_err(|_| refused("text in UTF-8"));
        let mut literal = Literal::default();
        literal.add(utf8(line)?.trim_end());
        // A quoted value may have several lines.
        while literal.is_open() {
            let Some((line, _)) = lines.next() else { break };
            literal.text.push('\n');
            literal.add(utf8(line)?);
        }
        literal.text.push('\n');
        for item in dotenvy::from_read_iter(literal.text.as_bytes()) {
            let (name, value) =
                item.map_err(|_| refused("NAME=value, quoted where it has spaces"))?;
            values.entry(name).or_insert(value);
        }
    }
    Ok(values)
}

fn is_ours(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let name = line
        .strip_prefix(b"export")
        .map_or(line, <[u8]>::trim_ascii_start);
    name.starts_with(PREFIX.as_bytes())
}

/// A line with each `$` escaped that the library would otherwise expand: all but those in single quotes.
#[derive(Default)]
struct Literal {
    text: String,
    single: bool,
    double: bool,
}

impl Literal {
    /// Whether a quote is still to be closed.
    fn is_open(&self) -> bool {
        self.single || self.double
    }

    fn add(&mut self, line: &str) {
        let mut escaped = false;
        for character in line.chars() {
            match character {
                '#' if !self.is_open() && self.text.ends_with([' ', '\t']) => break, // a comment
                '$' if !self.single && !escaped => self.text.push('\\'),
                '\'' if !self.double && !escaped => self.single = !self.single,
                '"' if !self.single && !escaped => self.double = !self.double,
                _ => {}
            }
            escaped = character == '\\' && !self.single && !escaped;
            self.text.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_file_that_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("directory")).unwrap();
        std::fs::write(path("file"), "A=b").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        for name in [
            "none",
            "directory",
            "file/.env",
            "none/.env",
            "link",
            "loop",
        ] {
            assert!(read(&path(name)).unwrap().is_none(), "{name}");
        }
        assert_eq!(read(&path("file")).unwrap().unwrap(), b"A=b");
    }
}
