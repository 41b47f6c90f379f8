//! The clip, repeated for ever on the wall clock.

use super::clip::Clip;
use super::position::Position;

/// Which of the two tracks a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    Video,
    Audio,
}

/// A frame at its place on the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'c> {
    /// When it is due. Decoding and presentation time, for there are no B frames.
    pub at: Position,
    pub track: Track,
    /// A key frame of the video, where decoding can begin.
    pub key: bool,
    /// Video: NAL units, each with its length before it. Audio: a raw AAC frame.
    pub data: &'c [u8],
}

/// The endless stream that the clip makes. Loops begin at multiples of the clip's length since 1970, so the
/// seconds in the picture of a clip of 10 s are the last digit of the wall clock's.
///
/// Audio frames (1024 samples) do not divide the clip's length. They run on at their own pace without a
/// gap, at multiples of their length since 1970, and each loop plays as many of the clip's frames as begin
/// in it: 469, 469, 469, 468 for 10 s at 48 kHz. So audio lags the picture by less than one of its frames
/// and never drifts. The clip is silent around its ends, so nothing is heard of it.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'c> {
    clip: &'c Clip<'c>,
}

impl<'c> Timeline<'c> {
    pub fn new(clip: &'c Clip<'c>) -> Self {
        Self { clip }
    }

    /// What a new viewer gets: everything since the last key frame at or before `now`, as SRS's GOP cache
    /// gives it, and then on without end.
    pub fn join(&self, now: Position) -> Frames<'c> {
        self.frames_from(Position::from_ticks(
            now.ticks() - now.ticks() % self.clip.gop_ticks,
        ))
    }

    /// All frames at or after `position`, in the order of their times (video first where they are equal),
    /// without end.
    pub fn frames_from(&self, position: Position) -> Frames<'c> {
        Frames {
            clip: self.clip,
            picture: position.ticks().div_ceil(self.clip.picture_ticks),
            sound: position.ticks().div_ceil(self.clip.sound_ticks),
        }
    }
}

/// The frames of a [`Timeline`]. Never ends.
#[derive(Clone, Debug)]
pub struct Frames<'c> {
    clip: &'c Clip<'c>,
    /// The next picture and audio frame, counted since 1970.
    picture: u64,
    sound: u64,
}

impl<'c> Iterator for Frames<'c> {
    type Item = Frame<'c>;

    fn next(&mut self) -> Option<Frame<'c>> {
        let clip = self.clip;
        let picture_at = self.picture * clip.picture_ticks;
        let sound_at = self.sound * clip.sound_ticks;
        if picture_at <= sound_at {
            let index = self.picture % clip.pictures.len() as u64;
            self.picture += 1;
            let picture = clip.pictures.get(index as usize)?;
            let at = Position::from_ticks(picture_at);
            return Some(Frame {
                at,
                track: Track::Video,
                key: picture.key,
                data: picture.data,
            });
        }
        let loop_at = sound_at - sound_at % clip.ticks();
        let index = self.sound - loop_at.div_ceil(clip.sound_ticks);
        self.sound += 1;
        let data = clip.sounds.get(index as usize)?;
        Some(Frame {
            at: Position::from_ticks(sound_at),
            track: Track::Audio,
            key: false,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::position::TICKS_PER_SECOND;
    use proptest::prelude::*;
    use std::time::Duration;

    /// 20 000 s, the start of a loop whose first audio frame begins with it.
    const START: u64 = 20_000 * TICKS_PER_SECOND;

    fn on<'c>(timeline: Timeline<'c>, track: Track, from: u64, to: u64) -> Vec<Frame<'c>> {
        let frames = timeline.frames_from(Position::from_ticks(from));
        frames
            .take_while(|frame| frame.at.ticks() < to)
            .filter(|frame| frame.track == track)
            .collect()
    }

    #[test]
    fn audio_carries_its_fraction_over_four_loops() {
        let clip = Clip::embedded().unwrap();
        let timeline = Timeline::new(&clip);
        let ten = 10 * TICKS_PER_SECOND;
        for (number, count) in [469, 469, 469, 468, 469].into_iter().enumerate() {
            let from = START + number as u64 * ten;
            let sounds = on(timeline, Track::Audio, from, from + ten);
            assert_eq!(sounds.len(), count, "loop {number}");
            assert!(
                sounds
                    .iter()
                    .map(|frame| frame.data)
                    .eq(clip.sounds[..count].iter().copied()),
                "loop {number}"
            );
            assert!(
                sounds[0].at.ticks() - from < clip.sound_ticks,
                "loop {number}"
            );
            let pictures = on(timeline, Track::Video, from, from + ten);
            assert!(
                pictures
                    .iter()
                    .map(|frame| frame.data)
                    .eq(clip.pictures.iter().map(|picture| picture.data))
            );
            assert_eq!(pictures[0].at.ticks(), from);
        }
    }

    #[test]
    fn a_viewer_begins_at_the_last_key_frame() {
        let clip = Clip::embedded().unwrap();
        let timeline = Timeline::new(&clip);
        for (now, from) in [
            (20_000, 20_000),
            (20_001, 20_000),
            (20_002, 20_002),
            (20_013, 20_012),
        ] {
            let first = timeline
                .join(Position::from_unix(Duration::from_secs(now)))
                .next()
                .unwrap();
            assert!(first.key && first.track == Track::Video);
            assert_eq!(first.at.millis(), from * 1000);
        }
        let late = Position::from_unix(Duration::from_millis(20_003_999));
        assert_eq!(timeline.join(late).next().unwrap().at.millis(), 20_002_000);
    }

    #[test]
    fn the_timeline_has_ends_that_do_not_panic() {
        let clip = Clip::embedded().unwrap();
        for now in [Position::default(), Position::from_unix(Duration::MAX)] {
            assert_eq!(Timeline::new(&clip).join(now).take(2000).count(), 2000);
        }
    }

    proptest! {
        #[test]
        fn time_rises_evenly_from_anywhere(ticks in 0..(1u64 << 50)) {
            let clip = Clip::embedded().unwrap();
            let from = Position::from_ticks(ticks);
            let frames: Vec<_> = Timeline::new(&clip).frames_from(from).take(3000).collect();
            prop_assert!(frames.is_sorted_by_key(|frame| frame.at));
            for (track, step) in [(Track::Video, clip.picture_ticks), (Track::Audio, clip.sound_ticks)] {
                let times: Vec<_> = frames.iter().filter(|f| f.track == track).map(|f| f.at.ticks()).collect();
                prop_assert!(times[0] >= ticks && times[0] - ticks < step);
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] == step));
            }
        }

        #[test]
        fn who_joins_later_sees_the_same(ticks in 0..(1u64 << 50), later in 0..2_000_000u64) {
            let clip = Clip::embedded().unwrap();
            let timeline = Timeline::new(&clip);
            let second = Position::from_ticks(ticks + later);
            let first = timeline.join(Position::from_ticks(ticks)).skip_while(|frame| frame.at < second);
            prop_assert!(first.take(500).eq(timeline.frames_from(second).take(500)));
        }
    }
}
