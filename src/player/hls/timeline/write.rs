//! Writes a media playlist by its timeline: numbers, discontinuities and what hangs on them; all else stays.

use crate::player::hls::syntax::{
    Piece, attribute, attributes, is_tag, lines, split_bom, tag_value, uri_of_line,
};
use crate::player::hls::timeline::Mapping;
use crate::player::hls::timeline::media::MediaPlaylist;
use std::borrow::Cow;

const SEQUENCE: &str = "#EXT-X-MEDIA-SEQUENCE";
const DISCONTINUITIES: &str = "#EXT-X-DISCONTINUITY-SEQUENCE";
const DISCONTINUITY: &str = "#EXT-X-DISCONTINUITY";

/// Tags that stand before a segment and belong to it or to what follows (RFC 8216bis section 4.4.4).
const OF_SEGMENTS: [&str; 11] = [
    "#EXTINF",
    "#EXT-X-BYTERANGE",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-KEY",
    "#EXT-X-MAP",
    "#EXT-X-PROGRAM-DATE-TIME",
    "#EXT-X-GAP",
    "#EXT-X-BITRATE",
    "#EXT-X-PART",
    "#EXT-X-PREFETCH",
    "#EXT-X-PREFETCH-DISCONTINUITY",
];

/// Tags of a segment that go with it when it is left out; keys, maps and bit rates hold for those after it.
const OF_ONE_SEGMENT: [&str; 6] = [
    "#EXTINF",
    "#EXT-X-BYTERANGE",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-PROGRAM-DATE-TIME",
    "#EXT-X-GAP",
    "#EXT-X-PART",
];

/// The playlist as it goes out. `list` is what was read of `body`.
///
/// - `EXT-X-MEDIA-SEQUENCE` and `EXT-X-DISCONTINUITY-SEQUENCE` are the mapping's, and are put in where they lack.
/// - Where the mapping wants a mark, one `EXT-X-DISCONTINUITY` stands before the first segment.
/// - An `EXT-X-KEY` without `IV` means the segment's number (RFC 8216 section 5.2): where numbers are shifted, each
///   segment's own IV is written out.
/// - `LAST-MSN` of rendition reports is shifted: the renditions of one origin are numbered alike.
/// - `EXT-X-PLAYLIST-TYPE:EVENT` promises that nothing is removed, which a new epoch breaks: it goes.
pub fn write<'a>(body: &'a [u8], list: &MediaPlaylist, mapping: &Mapping) -> Cow<'a, [u8]> {
    let same_numbers = mapping.shift == 0 && mapping.first == list.first && mapping.drop == 0;
    if same_numbers && mapping.discontinuity == list.discontinuity && !mapping.mark {
        return Cow::Borrowed(body);
    }
    let (bom, text) = split_bom(body);
    let first_line = lines(text).next().unwrap_or_default();
    let mut writer = Writer {
        out: Vec::with_capacity(body.len() + 128),
        mapping,
        end: if first_line.ends_with(b"\r\n") {
            b"\r\n"
        } else {
            b"\n"
        },
        segment: i128::from(list.first) + i128::from(list.skipped),
        listed: 0,
        in_segments: false,
        key: None,
        key_is_due: false,
    };
    writer.out.extend_from_slice(bom);
    let has = |tag: &str| lines(text).any(|line| tag_value(line, tag).is_some());
    let mut missing = Vec::new();
    if !has(SEQUENCE) && mapping.first > 0 {
        missing.push((SEQUENCE, mapping.first));
    }
    if !has(DISCONTINUITIES) && mapping.discontinuity > 0 {
        missing.push((DISCONTINUITIES, mapping.discontinuity));
    }
    for line in lines(text) {
        writer.line(line);
        if is_tag(line, "#EXTM3U") {
            for (tag, value) in std::mem::take(&mut missing) {
                writer.terminate();
                writer.number(tag, value);
            }
        }
    }
    Cow::Owned(writer.out)
}

struct Writer<'a> {
    out: Vec<u8>,
    mapping: &'a Mapping,
    /// How lines end here.
    end: &'static [u8],
    /// The origin's number of the next segment.
    segment: i128,
    /// Segments that were listed so far.
    listed: u64,
    /// The first tag of the first segment is behind.
    in_segments: bool,
    /// The `EXT-X-KEY` line that holds, where its IV is the segment's number.
    key: Option<&'a [u8]>,
    /// It has to be repeated before the next thing that it encrypts.
    key_is_due: bool,
}

impl<'a> Writer<'a> {
    fn line(&mut self, line: &'a [u8]) {
        if uri_of_line(line).is_some() {
            self.begin_segments();
            let dropped = self.is_dropped();
            if !dropped {
                self.repeat_key();
                self.copy(line);
            }
            self.listed += 1;
            self.segment += 1;
            self.key_is_due = self.key.is_some();
        } else if line.starts_with(b"#EXT") {
            self.tag(line);
        } else if !self.is_dropped() || !self.in_segments {
            self.copy(line);
        }
    }

    fn tag(&mut self, line: &'a [u8]) {
        if tag_value(line, SEQUENCE).is_some() {
            return self.number(SEQUENCE, self.mapping.first);
        }
        if tag_value(line, DISCONTINUITIES).is_some() {
            return self.number(DISCONTINUITIES, self.mapping.discontinuity);
        }
        if tag_value(line, "#EXT-X-PLAYLIST-TYPE").is_some_and(|kind| kind == b"EVENT") {
            return;
        }
        if OF_SEGMENTS.iter().any(|tag| is_tag(line, tag)) {
            self.begin_segments();
        }
        let of_one = OF_ONE_SEGMENT.iter().any(|tag| is_tag(line, tag));
        if of_one && self.is_dropped() {
            return;
        }
        // The mark stands for those before the first segment.
        let is_first = self.listed <= self.mapping.drop;
        if self.mapping.mark && is_first && is_tag(line, DISCONTINUITY) {
            return;
        }
        if is_tag(line, "#EXT-X-KEY") {
            return self.new_key(line);
        }
        if ["#EXTINF", "#EXT-X-PART", "#EXT-X-PRELOAD-HINT"]
            .iter()
            .any(|tag| is_tag(line, tag))
        {
            self.repeat_key();
        }
        match tag_value(line, "#EXT-X-RENDITION-REPORT") {
            Some(_) if self.mapping.shift != 0 => self.report(line),
            _ => self.copy(line),
        }
    }

    fn is_dropped(&self) -> bool {
        self.listed < self.mapping.drop
    }

    /// Before the first tag of the first segment.
    fn begin_segments(&mut self) {
        if !std::mem::replace(&mut self.in_segments, true) && self.mapping.mark {
            self.terminate();
            self.out.extend_from_slice(DISCONTINUITY.as_bytes());
            self.out.extend_from_slice(self.end);
        }
    }

    fn new_key(&mut self, line: &'a [u8]) {
        let attributes = tag_value(line, "#EXT-X-KEY").unwrap_or_default();
        let method = attribute(attributes, "METHOD");
        let format = attribute(attributes, "KEYFORMAT").unwrap_or(b"identity");
        if method == Some(b"NONE") || format == b"identity" {
            let numbered = method != Some(b"NONE") && attribute(attributes, "IV").is_none();
            self.key = (numbered && self.mapping.shift != 0).then_some(line);
        }
        self.key_is_due = self.key == Some(line);
        if !self.key_is_due {
            self.copy(line);
        }
    }

    /// Writes the key again, with the next segment's number as its IV.
    fn repeat_key(&mut self) {
        let Some(key) = self.key.filter(|_| self.key_is_due && !self.is_dropped()) else {
            return;
        };
        self.key_is_due = false;
        self.terminate();
        self.out.extend_from_slice(key.trim_ascii_end());
        let iv = format!(",IV=0x{:032x}", self.segment);
        self.out.extend_from_slice(iv.as_bytes());
        self.out.extend_from_slice(self.end);
    }

    /// A rendition report with its number shifted; where it would not fit it is left out.
    fn report(&mut self, line: &'a [u8]) {
        for piece in attributes(line) {
            match piece {
                Piece::Between(text) => self.out.extend_from_slice(text),
                Piece::Value {
                    name: b"LAST-MSN",
                    value,
                    ..
                } => {
                    let digits = value.trim_ascii_end();
                    let number = std::str::from_utf8(digits).ok();
                    let number = number.and_then(|digits| digits.parse::<u64>().ok());
                    let shifted = number.map(|number| i128::from(number) + self.mapping.shift);
                    match shifted.and_then(|shifted| u64::try_from(shifted).ok()) {
                        Some(shifted) => {
                            self.out.extend_from_slice(shifted.to_string().as_bytes());
                            self.out.extend_from_slice(&value[digits.len()..]);
                        }
                        None => self.out.extend_from_slice(value),
                    }
                }
                Piece::Value { value, .. } => self.out.extend_from_slice(value),
            }
        }
    }

    fn number(&mut self, tag: &str, value: u64) {
        self.out
            .extend_from_slice(format!("{tag}:{value}").as_bytes());
        self.out.extend_from_slice(self.end);
    }

    fn copy(&mut self, line: &[u8]) {
        self.out.extend_from_slice(line);
    }

    /// Ends a last line that has no end.
    fn terminate(&mut self) {
        if self.out.last().is_some_and(|last| *last != b'\n') && !self.out.ends_with(b"\xbf") {
            self.out.extend_from_slice(self.end);
        }
    }
}
