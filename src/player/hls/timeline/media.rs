//! A media playlist as its timeline sees it: numbers, names and discontinuities, not what is in between.

use crate::player::hls::syntax::{attribute, is_tag, lines, split_bom, tag_value, uri_of_line};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Names of segments that are remembered, the newest ones: what is compared with the next playlist.
pub const MAX_NAMES: usize = 512;
/// The target duration of a list that has none, in seconds: SRS's own default.
const USUAL_TARGET: u64 = 10;
/// The longest that is believed, in seconds.
const MAX_TARGET: u64 = 60;

/// What counts of a media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// `EXT-X-MEDIA-SEQUENCE`: the number of the first segment.
    pub first: u64,
    /// Segments, those that `EXT-X-SKIP` stands for among them.
    pub count: u64,
    /// Segments that `EXT-X-SKIP` stands for.
    pub skipped: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity: u64,
    /// `EXT-X-DISCONTINUITY` tags, all of them.
    pub tags: u64,
    /// Those before the first segment that is listed.
    pub tags_before_first: u64,
    /// For each tag the count of segments before it; at most [`MAX_NAMES`] of them, from the front.
    tag_places: Vec<u64>,
    /// There are parts after the last segment (RFC 8216bis section 4.4.4.9): of one that is being made.
    pub partial: bool,
    /// There is an `EXT-X-ENDLIST`.
    pub ended: bool,
    pub target: Duration,
    /// The sum of the listed segments' durations (`EXTINF`).
    duration: Duration,
    /// Hashes of the last segments' names.
    names: VecDeque<u32>,
}

impl MediaPlaylist {
    /// Reads a playlist. `None` where it is no media playlist: it has neither `EXT-X-TARGETDURATION` nor
    /// `EXT-X-MEDIA-SEQUENCE`, as a list of channels, or it lists variants; and where its numbers are none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut list = Self {
            first: 0,
            count: 0,
            skipped: 0,
            discontinuity: 0,
            tags: 0,
            tags_before_first: 0,
            tag_places: Vec::new(),
            partial: false,
            ended: false,
            target: Duration::from_secs(USUAL_TARGET),
            duration: Duration::ZERO,
            names: VecDeque::new(),
        };
        let mut is_media = false;
        for line in lines(split_bom(body).1) {
            if let Some(uri) = uri_of_line(line) {
                list.count += 1;
                list.partial = false;
                if list.names.len() == MAX_NAMES {
                    list.names.pop_front();
                }
                list.names.push_back(name(uri));
            } else if line.starts_with(b"#EXT-X-") {
                is_media |= list.tag(line)?;
            } else if let Some(value) = tag_value(line, "#EXTINF") {
                list.duration += seconds(value);
            }
        }
        // Numbers up to the last one must exist.
        list.first.checked_add(list.count)?;
        is_media.then_some(list)
    }

    /// Takes a tag; gives whether only media playlists have it. `None` where the list is no media playlist at all, or
    /// no number stands where one must.
    fn tag(&mut self, line: &[u8]) -> Option<bool> {
        if is_tag(line, "#EXT-X-STREAM-INF") {
            return None;
        }
        if let Some(value) = tag_value(line, "#EXT-X-MEDIA-SEQUENCE") {
            self.first = number(value)?;
        } else if let Some(value) = tag_value(line, "#EXT-X-TARGETDURATION") {
            // Some write a fraction.
            let whole = value.split(|b| *b == b'.').next().and_then(number);
            let seconds = whole.unwrap_or(USUAL_TARGET).clamp(1, MAX_TARGET);
            self.target = Duration::from_secs(seconds);
        } else {
            self.other_tag(line)?;
            return Some(false);
        }
        Some(true)
    }

    fn other_tag(&mut self, line: &[u8]) -> Option<()> {
        if let Some(value) = tag_value(line, "#EXT-X-DISCONTINUITY-SEQUENCE") {
            self.discontinuity = number(value)?;
        } else if is_tag(line, "#EXT-X-DISCONTINUITY") {
            self.tags += 1;
            if self.count == self.skipped {
                self.tags_before_first += 1;
            }
            if self.tag_places.len() < MAX_NAMES {
                self.tag_places.push(self.count);
            }
        } else if is_tag(line, "#EXT-X-PART") {
            self.partial = true;
        } else if let Some(value) = tag_value(line, "#EXT-X-SKIP") {
            self.skipped = number(attribute(value, "SKIPPED-SEGMENTS")?)?;
            self.count = self.count.checked_add(self.skipped)?;
        } else if is_tag(line, "#EXT-X-ENDLIST") {
            self.ended = true;
        }
        Some(())
    }

    /// The mean duration of the listed segments; zero where they tell none.
    pub fn segment_duration(&self) -> Duration {
        let listed = self.count.saturating_sub(self.skipped);
        u32::try_from(listed)
            .ok()
            .and_then(|listed| self.duration.checked_div(listed))
            .unwrap_or_default()
    }

    /// The number of the last segment; one before the first where there is none.
    pub fn last(&self) -> i128 {
        i128::from(self.first) + i128::from(self.count) - 1
    }

    /// Numbers and hashed names of the last segments, in order.
    pub fn named(&self) -> impl Iterator<Item = (i128, u32)> {
        let oldest = self.last() + 1 - self.names.len() as i128;
        let names = self.names.iter().enumerate();
        names.map(move |(index, name)| (oldest + index as i128, *name))
    }

    /// `EXT-X-DISCONTINUITY` tags before the segment that comes after so many.
    pub fn tags_before(&self, segments: u64) -> u64 {
        let places = self.tag_places.iter();
        places.filter(|place| **place <= segments).count() as u64
    }
}

/// A decimal integer (RFC 8216 section 4.2).
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| all)?
        .parse()
        .ok()
}

/// The duration of an `EXTINF`, which a title may follow; zero where there is no number, a minute at most.
fn seconds(value: &[u8]) -> Duration {
    let end = value.iter().position(|b| *b == b',');
    let number = std::str::from_utf8(&value[..end.unwrap_or(value.len())]);
    let number = number.ok().and_then(|text| text.trim().parse::<f64>().ok());
    let seconds = number.unwrap_or(0.0).clamp(0.0, MAX_TARGET as f64);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A hash of the last part of a URI's path: hosts, directories and queries may differ from player to player, by a
/// token or a context, where the file is the same.
pub fn name(uri: &[u8]) -> u32 {
    let end = uri.iter().position(|b| b"?#".contains(b));
    let path = &uri[..end.unwrap_or(uri.len())];
    let start = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let mut hasher = DefaultHasher::new();
    path[start..].hash(&mut hasher);
    hasher.finish() as u32
}
