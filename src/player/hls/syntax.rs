//! What an HLS playlist is (RFC 8216 section 4), read line by line.
//!
//! Works on bytes, for titles and comments are in whatever encoding their author liked.

use memchr::memchr;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether the body is a playlist: `#EXTM3U` alone in the first word that is there. A BOM and blank lines may
/// stand before it: players take both.
pub fn is_playlist(body: &[u8]) -> bool {
    let text = split_bom(body).1.trim_ascii_start();
    text.strip_prefix(b"#EXTM3U")
        .is_some_and(|rest| rest.first().is_none_or(|b| b" \t\r\n".contains(b)))
}

/// Whether the playlist is a master playlist: one that lists variants (RFC 8216 section 4.3.4). What has a
/// segment before the first variant is none.
pub fn is_master(body: &[u8]) -> bool {
    lines(split_bom(body).1)
        .take_while(|line| !line.starts_with(b"#EXTINF:"))
        .any(|line| line.starts_with(b"#EXT-X-STREAM-INF:"))
}

/// The URI of the only variant of a master playlist, as it is written; `None` for media playlists, and for several
/// variants.
pub fn only_variant(body: &[u8]) -> Option<&[u8]> {
    if !is_master(body) {
        return None;
    }
    let mut uris = lines(split_bom(body).1).filter_map(uri_of_line);
    let only = uris.next()?;
    uris.next().is_none().then_some(only)
}

/// The byte order mark, where there is one, and the text after it.
pub fn split_bom(body: &[u8]) -> (&[u8], &[u8]) {
    body.split_at(if body.starts_with(BOM) { BOM.len() } else { 0 })
}

/// The lines with their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

/// The URI that a line consists of; `None` for a blank line, a tag and a comment.
pub fn uri_of_line(line: &[u8]) -> Option<&[u8]> {
    let text = line.trim_ascii();
    (!text.is_empty() && text[0] != b'#').then_some(text)
}

/// The value of a tag that has one, such as `5` for `#EXT-X-TARGETDURATION:5`; `None` where the line is another
/// tag's. White space around the value is left out.
pub fn tag_value<'a>(line: &'a [u8], tag: &str) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(tag.as_bytes())?;
    rest.strip_prefix(b":").map(<[u8]>::trim_ascii)
}

/// Whether the line is that tag, with a value or without.
pub fn is_tag(line: &[u8], tag: &str) -> bool {
    line.strip_prefix(tag.as_bytes())
        .is_some_and(|rest| rest.first().is_none_or(|b| b": \t\r\n".contains(b)))
}

/// A piece of a tag's attribute list (RFC 8216 section 4.2). All pieces after each other are the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What is between values: names, `=`, commas, quotes, and what is no attribute.
    Between(&'a [u8]),
    /// The value of the attribute `name`, without its quotes.
    Value {
        name: &'a [u8],
        value: &'a [u8],
        quoted: bool,
    },
}

/// The pieces of an attribute list: `NAME=value` or `NAME="value"` between commas.
pub fn attributes(list: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = list;
    let mut waiting = None;
    std::iter::from_fn(move || {
        if let Some(value) = waiting.take() {
            return Some(value);
        }
        if rest.is_empty() {
            return None;
        }
        let whole = rest;
        let Some(end) = rest.iter().position(|b| b"=,".contains(b)) else {
            rest = &[];
            return Some(Piece::Between(whole));
        };
        let name = rest[..end].trim_ascii();
        let mut at = end + 1;
        if rest[end] == b',' {
            rest = &rest[at..];
            return Some(Piece::Between(&whole[..at]));
        }
        at += rest[at..].len() - rest[at..].trim_ascii_start().len();
        let quoted = rest.get(at) == Some(&b'"');
        let length = if quoted {
            at += 1;
            let Some(length) = memchr(b'"', &rest[at..]) else {
                rest = &[];
                return Some(Piece::Between(whole)); // a quote that never closes
            };
            length
        } else {
            memchr(b',', &rest[at..]).unwrap_or(rest.len() - at)
        };
        let value = &rest[at..at + length];
        waiting = Some(Piece::Value {
            name,
            value,
            quoted,
        });
        rest = &rest[at + length..];
        Some(Piece::Between(&whole[..at]))
    })
}

/// The value of the first attribute of that name.
pub fn attribute<'a>(list: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    attributes(list).find_map(|piece| match piece {
        Piece::Value { name, value, .. } if name == wanted.as_bytes() => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/second.m3u8?hls_ctx=i2o25565\n";
    const MEDIA: &str =
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.000, no desc\nsecond-1093.ts\n";

    #[test]
    fn what_is_a_playlist() {
        let rows: [(&[u8], bool); 13] = [
            (b"#EXTM3U", true),
            (b"#EXTM3U\n", true),
            (b"#EXTM3U\r\n#EXT", true),
            (b"#EXTM3U x-tvg-url=\"x\"\n", true),
            (b"\xef\xbb\xbf#EXTM3U\n", true),
            (b"\n#EXTM3U\n", true),
            (b"\xef\xbb\xbf\r\n \r\n#EXTM3U\r\n", true),
            (b"#EXTM3U8\n", false),
            (b"#EXTM3", false),
            (b"a.ts\n#EXTM3U\n", false),
            (b"\n\n", false),
            (b"", false),
            (b"<html>", false),
        ];
        for (body, expected) in rows {
            assert_eq!(is_playlist(body), expected, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn the_only_variant_of_a_master() {
        let uri = b"/live/second.m3u8?hls_ctx=i2o25565";
        assert!(is_master(MASTER.as_bytes()));
        assert!(!is_master(MEDIA.as_bytes()));
        assert_eq!(only_variant(MASTER.as_bytes()), Some(&uri[..]));
        assert_eq!(
            only_variant(MASTER.replace('\n', " \r\n\r\n").as_bytes()),
            Some(&uri[..])
        );
        assert_eq!(only_variant(MASTER.trim_end().as_bytes()), Some(&uri[..]));
        assert_eq!(only_variant(MEDIA.as_bytes()), None);
        assert_eq!(
            only_variant(format!("{MASTER}other.m3u8\n").as_bytes()),
            None
        );
        assert_eq!(
            only_variant(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"),
            None
        );
        assert_eq!(only_variant(b""), None);
        let i_frames = "#EXTM3U\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\n";
        assert!(!is_master(i_frames.as_bytes()));
        assert_eq!(
            only_variant(MASTER.replace("#EXTM3U\n", i_frames).as_bytes()),
            Some(&uri[..])
        );
    }

    #[test]
    fn attributes_are_found_by_name() {
        let list = b"BYTERANGE=\"7@0\", URI = \"a,b=c\",X=1,Y,Z=\"";
        assert_eq!(attribute(list, "URI"), Some(&b"a,b=c"[..]));
        assert_eq!(attribute(list, "X"), Some(&b"1"[..]));
        assert_eq!(attribute(list, "Y"), None);
        assert_eq!(attribute(list, "Z"), None);
        assert!(is_tag(b"#EXT-X-DISCONTINUITY\r\n", "#EXT-X-DISCONTINUITY"));
        assert!(!is_tag(
            b"#EXT-X-DISCONTINUITY-SEQUENCE:1",
            "#EXT-X-DISCONTINUITY"
        ));
        assert_eq!(
            tag_value(b"#EXT-X-TARGETDURATION: 5 \r\n", "#EXT-X-TARGETDURATION"),
            Some(&b"5"[..])
        );
    }

    proptest! {
        #[test]
        fn pieces_are_the_list(list in prop::collection::vec(prop::sample::select(&b"AURI=,\" x"[..]), 0..40)) {
            let whole: Vec<u8> = attributes(&list)
                .flat_map(|piece| match piece {
                    Piece::Between(text) => text.to_vec(),
                    Piece::Value { value, .. } => value.to_vec(),
                })
                .collect();
            prop_assert_eq!(whole, list);
        }
    }
}
