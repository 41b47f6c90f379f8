//! Text that is safe in a log line and on a terminal.

use std::fmt;

/// Shows a text with every character escaped that could break a log line or a terminal: control characters,
/// line and paragraph separators, and those that turn the direction of writing. Backslashes stay as they are,
/// so cleaning twice changes nothing more.
#[derive(Clone, Copy, Debug)]
pub struct Clean<'a>(pub &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(breaks) {
            f.write_str(&rest[..at])?;
            let mut characters = rest[at..].chars();
            if let Some(character) = characters.next() {
                write!(f, "{}", character.escape_default())?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

fn breaks(character: char) -> bool {
    let separator = matches!(character, '\u{2028}' | '\u{2029}');
    let direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    character.is_control() || separator || direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_shows_what_it_replaces_and_is_done_once() {
        for (text, clean) in [
            ("", ""),
            ("plain é 世界 \\n", "plain é 世界 \\n"),
            ("\t", "\\t"),
            ("\r\nSet-Cookie: a", "\\r\\nSet-Cookie: a"),
            ("a\u{7f}\u{85}b", "a\\u{7f}\\u{85}b"),
            ("\u{202e}gpj", "\\u{202e}gpj"),
        ] {
            let once = Clean(text).to_string();
            assert_eq!(once, clean);
            assert_eq!(Clean(&once).to_string(), clean);
        }
    }
}
