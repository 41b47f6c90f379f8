//! HTTP-FLV: an FLV file without an end.

use super::clip::Clip;
use super::muxer::Muxer;
use super::position::Position;
use super::timeline::{Frame, Track};
use crate::media::flv::metadata;
use crate::media::flv::tag::{self, AAC, AVC_INTER, AVC_KEY, CONFIG, FRAME};

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Writes FLV.
///
/// Timestamps count from the last midnight (UTC) before the first frame. The time since 1970 does not fit:
/// mpegts.js takes timestamps of 2^31 ms and more, 24.8 days, for negative. But within a day they are the
/// same from all lab origins. They go on past midnight, and wrap at 32 bits after 49.7 days.
#[derive(Clone, Debug)]
pub struct FlvMuxer<'c> {
    clip: &'c Clip<'c>,
    midnight: Option<u64>,
}

impl<'c> FlvMuxer<'c> {
    pub fn new(clip: &'c Clip<'c>) -> Self {
        Self {
            clip,
            midnight: None,
        }
    }

    /// The file's head, metadata and both configurations.
    fn begin(&mut self, first: Position, out: &mut Vec<u8>) -> u64 {
        let midnight = first.millis() - first.millis() % DAY;
        self.midnight = Some(midnight);
        let timestamp = (first.millis() - midnight) as u32;
        // Version 1, audio and video, the head's length; no tag before the first.
        out.extend(b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        // Metadata at any other time than 0 is a stream of subtitles for ffmpeg.
        tag::write(out, tag::SCRIPT, 0, &self.metadata(), &[]);
        tag::write(
            out,
            tag::VIDEO,
            timestamp,
            &[AVC_KEY, CONFIG, 0, 0, 0],
            self.clip.avc.record,
        );
        tag::write(
            out,
            tag::AUDIO,
            timestamp,
            &[AAC, CONFIG],
            self.clip.aac.record,
        );
        midnight
    }

    fn metadata(&self) -> Vec<u8> {
        let (width, height) = self.clip.size;
        let (video, audio) = self.clip.bit_rates();
        metadata::body(&[
            ("width", width.into()),
            ("height", height.into()),
            ("framerate", self.clip.frame_rate()),
            ("videocodecid", 7.0),
            ("videodatarate", video as f64 / 1000.0),
            ("audiocodecid", 10.0),
            ("audiodatarate", audio as f64 / 1000.0),
            ("audiosamplerate", self.clip.aac.sample_rate().into()),
        ])
    }
}

impl Muxer for FlvMuxer<'_> {
    fn mux(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let midnight = match self.midnight {
            Some(midnight) => midnight,
            None => self.begin(frame.at, out),
        };
        let timestamp = frame.at.millis().wrapping_sub(midnight) as u32;
        match frame.track {
            Track::Video => {
                let kind = if frame.key { AVC_KEY } else { AVC_INTER };
                tag::write(
                    out,
                    tag::VIDEO,
                    timestamp,
                    &[kind, FRAME, 0, 0, 0],
                    frame.data,
                );
            }
            Track::Audio => tag::write(out, tag::AUDIO, timestamp, &[AAC, FRAME], frame.data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::timeline::Timeline;
    use crate::media::flv::tag::Tag;
    use std::time::Duration;

    /// Noon on some day.
    const NOON: u64 = 20_000 * DAY + DAY / 2;

    fn at(millis: u64) -> Position {
        Position::from_unix(Duration::from_millis(millis))
    }

    #[test]
    fn what_is_muxed_is_a_clip_again() {
        let clip = Clip::embedded().unwrap();
        let (mut muxer, mut out) = (FlvMuxer::new(&clip), Vec::new());
        for frame in Timeline::new(&clip)
            .join(at(NOON))
            .take_while(|frame| frame.at < at(NOON + 10_000))
        {
            muxer.mux(&frame, &mut out);
        }
        let again = Clip::parse(&out).unwrap();
        assert_eq!(
            (&again.avc, &again.aac, again.size),
            (&clip.avc, &clip.aac, clip.size)
        );
        assert!(
            again
                .pictures
                .iter()
                .map(|p| p.data)
                .eq(clip.pictures.iter().map(|p| p.data))
        );
        assert_eq!(again.sounds, clip.sounds);
    }

    #[test]
    fn a_stream_begins_with_its_configurations_and_the_time_of_day() {
        let clip = Clip::embedded().unwrap();
        let (mut muxer, mut out) = (FlvMuxer::new(&clip), Vec::new());
        for frame in Timeline::new(&clip).join(at(NOON + 700)).take(3) {
            muxer.mux(&frame, &mut out);
        }
        let mut rest = &out[13..];
        let tags: Vec<_> = std::iter::from_fn(|| Tag::read(&mut rest)).collect();
        let noon = (DAY / 2) as u32;
        let seen: Vec<_> = tags
            .iter()
            .map(|tag| (tag.kind, tag.timestamp, tag.body[..2].to_vec()))
            .collect();
        assert_eq!(
            seen[..4],
            [
                (tag::SCRIPT, 0, vec![2, 0]),
                (tag::VIDEO, noon, vec![0x17, 0]),
                (tag::AUDIO, noon, vec![0xAF, 0]),
                (tag::VIDEO, noon, vec![0x17, 1]),
            ]
        );
        assert_eq!((tags.len(), rest.len()), (6, 0));
        assert_eq!(metadata::number(tags[0].body, "width"), Some(640.0));
        assert_eq!(metadata::number(tags[0].body, "framerate"), Some(25.0));
    }

    #[test]
    fn timestamps_go_on_past_midnight_and_wrap_at_32_bits() {
        let clip = Clip::embedded().unwrap();
        let mut muxer = FlvMuxer::new(&clip);
        let frame = Timeline::new(&clip).join(at(NOON)).next().unwrap();
        muxer.mux(&frame, &mut Vec::new());
        let midnight = NOON - DAY / 2;
        for (after, timestamp) in [
            (DAY, 86_400_000),
            (1 << 31, 1 << 31),
            ((1 << 32) - 1, u32::MAX),
            (1 << 32, 0),
            ((1 << 32) + 40, 40),
        ] {
            let mut out = Vec::new();
            muxer.mux(
                &Frame {
                    at: at(midnight + after),
                    ..frame
                },
                &mut out,
            );
            assert_eq!(Tag::read(&mut &out[..]).unwrap().timestamp, timestamp);
        }
    }
}
