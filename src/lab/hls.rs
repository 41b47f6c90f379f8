//! HLS (RFC 8216): the timeline, cut into segments at its key frames.

use std::fmt::Write;

use super::clip::Clip;
use super::muxer::Muxer;
use super::position::{Position, TICKS_PER_SECOND};
use super::timeline::Timeline;
use super::ts::{Counters, TsMuxer};

/// Segments in a playlist. Players begin three from its end (RFC 8216, 6.3.3) and have two to be late by.
pub const WINDOW: u64 = 5;
/// Segments that can be had after they left the playlist: for as long as the longest playlist that had them
/// and their own length (RFC 8216, 6.2.2).
pub const KEPT: u64 = WINDOW + 1;
/// Segments that can be had before this origin's clock says that they are done: a player may have its
/// playlist from an origin whose clock is ahead.
const AHEAD: u64 = 1;

/// Playlists and segments. A segment's number is its time since 1970 in units of its length, which each origin counts
/// from a start of its own, and its bytes depend on nothing else: all lab origins give the same, and segments in a row are one transport
/// stream without a break, with continuity counters that go on.
#[derive(Clone, Debug)]
pub struct Hls<'c> {
    clip: &'c Clip<'c>,
    /// The counters before each segment from 1970 on, until pictures and audio frames are in the same places
    /// again; the last are those of all these segments.
    counters: Vec<Counters>,
}

impl<'c> Hls<'c> {
    /// Prepares for `clip`, which takes a moment. One is enough for all viewers and streams.
    pub fn new(clip: &'c Clip<'c>) -> Self {
        let period = clip.ticks() / gcd(clip.ticks(), clip.sound_ticks) * clip.sound_ticks;
        let mut hls = Self {
            clip,
            counters: vec![Counters::default()],
        };
        let mut bytes = Vec::new();
        for sequence in 0..period / clip.gop_ticks {
            bytes.clear();
            let after = hls.write(sequence, hls.counters[sequence as usize], &mut bytes);
            hls.counters.push(after);
        }
        hls
    }

    /// The length of every segment in seconds.
    fn seconds(&self) -> f64 {
        self.clip.gop_ticks as f64 / TICKS_PER_SECOND as f64
    }

    /// How many segments are done at `now`: the sequence number of the one that is not.
    fn done(&self, now: Position) -> u64 {
        now.ticks() / self.clip.gop_ticks
    }

    /// A number for the segment that an origin calls its first one, where it begins to publish at `now`: one that is
    /// over and forgotten, so that every segment has a number. Another one at each call: as with SRS, numbers begin anew
    /// with each publication, and no two origins have the same.
    pub fn start(&self, now: Position) -> u64 {
        let before = WINDOW + KEPT + fastrand::u64(100..10_000);
        self.done(now).saturating_sub(before)
    }

    /// The media playlist of the stream `name` at `now`, its numbers counted from `start`. `query` (such as
    /// `?hls_ctx=i2o25565`, or nothing) is appended to the segments' names.
    pub fn playlist(&self, now: Position, start: u64, name: &str, query: &str) -> String {
        let done = self.done(now);
        let first = done.saturating_sub(WINDOW);
        let seconds = self.seconds();
        let target = seconds.ceil();
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-TARGETDURATION:{target}\n",
            first.saturating_sub(start)
        );
        for sequence in first..done {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "#EXTINF:{seconds:.3}, no desc\n{name}-{}.ts{query}",
                sequence.saturating_sub(start)
            );
        }
        text
    }

    /// The segment `sequence`; `None`, when at `now` it is not done yet, or gone.
    pub fn segment(&self, now: Position, sequence: u64) -> Option<Vec<u8>> {
        let done = self.done(now);
        let first = done.saturating_sub(WINDOW + KEPT);
        if !(first..done + AHEAD).contains(&sequence) {
            return None;
        }
        let mut out = Vec::new();
        self.write(sequence, self.counters_before(sequence), &mut out);
        Some(out)
    }

    fn counters_before(&self, sequence: u64) -> Counters {
        let Some((all, each)) = self.counters.split_last() else {
            return Counters::default();
        };
        let (rounds, index) = (sequence / each.len() as u64, sequence % each.len() as u64);
        let part = each[index as usize];
        // Only the last bits matter.
        let count = |all: u64, part: u64| rounds.wrapping_mul(all).wrapping_add(part);
        Counters {
            tables: count(all.tables, part.tables),
            video: count(all.video, part.video),
            audio: count(all.audio, part.audio),
        }
    }

    /// Appends the segment to `out` and gives the counters behind it.
    fn write(&self, sequence: u64, before: Counters, out: &mut Vec<u8>) -> Counters {
        let [from, to] = [sequence, sequence + 1]
            .map(|number| Position::from_ticks(number * self.clip.gop_ticks));
        let mut muxer = TsMuxer::continued(self.clip, before);
        for frame in Timeline::new(self.clip)
            .frames_from(from)
            .take_while(|frame| frame.at < to)
        {
            muxer.mux(&frame, out);
        }
        muxer.counters()
    }
}

/// The stream and the sequence number in a segment's file name: `demo` and 1093 for `demo-1093.ts`.
pub fn parse_name(file: &str) -> Option<(&str, u64)> {
    let (name, sequence) = file.strip_suffix(".ts")?.rsplit_once('-')?;
    // Not what parse() would also take: a plus sign.
    let digits = sequence.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !name.is_empty())
        .then(|| sequence.parse().ok())
        .flatten()
        .map(|sequence| (name, sequence))
}

/// The master playlist that SRS answers first, whose one line leads to `media`, a media playlist's URI with a
/// session such as `/live/demo.m3u8?hls_ctx=i2o25565`.
pub fn master(media: &str) -> String {
    format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n{media}\n")
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::packet::PACKET;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(millis: u64) -> Position {
        Position::from_unix(Duration::from_millis(millis))
    }

    #[test]
    fn playlists_are_like_those_of_srs() {
        let clip = Clip::embedded().unwrap();
        let hls = Hls::new(&clip);
        let text = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:1089\n#EXT-X-TARGETDURATION:2\n\
            #EXTINF:2.000, no desc\nsecond-1089.ts?hls_ctx=i2o25565\n#EXTINF:2.000, no desc\nsecond-1090.ts?hls_ctx=i2o25565\n\
            #EXTINF:2.000, no desc\nsecond-1091.ts?hls_ctx=i2o25565\n#EXTINF:2.000, no desc\nsecond-1092.ts?hls_ctx=i2o25565\n\
            #EXTINF:2.000, no desc\nsecond-1093.ts?hls_ctx=i2o25565\n";
        assert_eq!(
            hls.playlist(at(2_188_000), 0, "second", "?hls_ctx=i2o25565"),
            text
        );
        assert_eq!(
            hls.playlist(at(2_189_999), 0, "second", "?hls_ctx=i2o25565"),
            text
        );
        assert!(
            hls.playlist(at(2_190_000), 0, "demo", "")
                .ends_with("\ndemo-1094.ts\n")
        );
        assert_eq!(hls.playlist(at(1999), 0, "demo", "").lines().count(), 4);
        // An origin that began with segment 1000.
        let counted = hls.playlist(at(2_188_000), 1000, "second", "?hls_ctx=i2o25565");
        assert!(counted.contains("#EXT-X-MEDIA-SEQUENCE:89\n"), "{counted}");
        assert!(
            counted.ends_with("\nsecond-93.ts?hls_ctx=i2o25565\n"),
            "{counted}"
        );
        assert_eq!(
            master("/live/second.m3u8?hls_ctx=i2o25565"),
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/second.m3u8?hls_ctx=i2o25565\n"
        );
    }

    #[test]
    fn segments_come_and_go() {
        let clip = Clip::embedded().unwrap();
        let hls = Hls::new(&clip);
        let now = at(2_188_000);
        for (sequence, there) in [
            (0, false),
            (1082, false),
            (1083, true),
            (1089, true),
            (1093, true),
            (1094, true),
            (1095, false),
            (u64::MAX, false),
        ] {
            assert_eq!(hls.segment(now, sequence).is_some(), there, "{sequence}");
        }
        assert!(hls.segment(at(0), 0).is_some());
        assert_eq!(hls.segment(at(0), 1), None);
    }

    #[test]
    fn names() {
        assert_eq!(parse_name("demo-1093.ts"), Some(("demo", 1093)));
        assert_eq!(parse_name("a-b-7.ts"), Some(("a-b", 7)));
        for no in [
            "demo.ts",
            "demo-.ts",
            "-7.ts",
            "demo-+7.ts",
            "demo-7.m4s",
            "demo-7",
            "demo-99999999999999999999.ts",
        ] {
            assert_eq!(parse_name(no), None, "{no}");
        }
    }

    #[test]
    fn a_live_stream_has_the_bytes_of_its_segments() {
        let clip = Clip::embedded().unwrap();
        let hls = Hls::new(&clip);
        let (mut live, mut segments) = (Vec::new(), Vec::new());
        let mut muxer = TsMuxer::continued(&clip, hls.counters_before(882_000_007));
        for frame in Timeline::new(&clip)
            .join(at(882_000_007 * 2000))
            .take_while(|f| f.at < at(882_000_030 * 2000))
        {
            muxer.mux(&frame, &mut live);
        }
        for sequence in 882_000_007..882_000_030 {
            segments.extend(hls.segment(at(sequence * 2000 + 9000), sequence).unwrap());
        }
        assert!(live == segments);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn segments_go_on_from_one_to_the_next(sequence in 0..(1u64 << 32), asked in (0..9000u64, 0..9000u64)) {
            let clip = Clip::embedded().unwrap();
            let hls = Hls::new(&clip);
            let whole = hls.segment(at(sequence * 2000 + asked.0), sequence).unwrap();
            prop_assert!(hls.segment(at(sequence * 2000 + asked.1), sequence).as_ref() == Some(&whole));
            let mut bytes = whole;
            bytes.extend(hls.segment(at(sequence * 2000 + 2000), sequence + 1).unwrap());
            let mut counters = std::collections::HashMap::new();
            for packet in bytes.chunks(PACKET) {
                let (pid, counter) = (u16::from_be_bytes([packet[1] & 0x1F, packet[2]]), packet[3] & 0xF);
                if let Some(before) = counters.insert(pid, counter) {
                    prop_assert_eq!(counter, (before + 1) & 0xF, "PID {}", pid);
                }
            }
            prop_assert_eq!(counters.len(), 4);
        }
    }
}
