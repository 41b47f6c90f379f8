//! The times of a stream that goes on from one origin connection to the next.
//!
//! Times are signed ticks that do not wrap, in the unit of the format (FLV: 1 ms; TS: 1/90 000 s).

/// The most tracks of a stream whose times are looked at.
const MAX_TRACKS: usize = 32;

/// The origin's clock, whose numbers have so few bits that they wrap: 32 in FLV (49.7 days), 33 in TS (26.5 h).
#[derive(Clone, Copy, Debug)]
struct Clock {
    bits: u32,
    /// A number as it stood in the stream, and the time that it meant.
    last: Option<(u64, i64)>,
}

impl Clock {
    /// The time that `number` means, which lies less than half a round from the last one's.
    fn near(&self, number: u64) -> i64 {
        let Some((last, time)) = self.last else {
            return number as i64;
        };
        let unused = 64 - self.bits;
        // The difference, with the sign that its highest bit gives.
        time + ((number.wrapping_sub(last) << unused) as i64 >> unused)
    }
}

/// What was sent last of one track (video, an audio language).
#[derive(Clone, Copy, Debug)]
struct Track {
    id: u16,
    video: bool,
    /// Decoding time of the last frame.
    last: Option<i64>,
    /// The latest presentation time.
    shown: i64,
    /// From the frame before to the last one.
    step: i64,
}

/// Decoding and presentation time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub dts: i64,
    pub pts: i64,
}

/// Shifts the times of each connection by one constant, so that they go on where the last connection's ended.
#[derive(Clone, Debug)]
pub struct Timeline {
    per_second: i64,
    clock: Clock,
    shift: i64,
    tracks: Vec<Track>,
    /// The last program clock reference that was sent (TS only).
    reference: Option<i64>,
}

impl Timeline {
    /// The timeline of a format whose timestamps have so many bits and ticks per second.
    pub fn new(bits: u32, per_second: i64) -> Self {
        Self {
            per_second,
            clock: Clock { bits, last: None },
            shift: 0,
            tracks: Vec::new(),
            reference: None,
        }
    }

    /// What is added to the timestamps of this connection, wrapping at the format's bits.
    pub fn shift(&self) -> i64 {
        self.shift
    }

    /// The outgoing time of a timestamp of this connection.
    pub fn outgoing(&mut self, number: u64) -> i64 {
        let time = self.clock.near(number);
        self.clock.last = Some((number, time));
        time + self.shift
    }

    /// As [`Self::outgoing`] for a number that later ones are not measured by.
    pub fn near(&self, number: u64) -> i64 {
        self.clock.near(number) + self.shift
    }

    /// Milliseconds of an outgoing time.
    pub fn millis(&self, time: i64) -> u64 {
        u64::try_from(time.saturating_mul(1000) / self.per_second).unwrap_or(0)
    }

    /// The last decoding time sent on any track.
    pub fn last(&self) -> Option<i64> {
        self.tracks.iter().filter_map(|track| track.last).max()
    }

    /// The last decoding time sent on that track.
    pub fn last_of(&self, id: u16) -> Option<i64> {
        let track = self.tracks.iter().find(|track| track.id == id);
        track.and_then(|track| track.last)
    }

    /// Notes that a frame was sent at those outgoing times. Tracks are numbered by the caller; of more than 32 the
    /// others are not looked at.
    pub fn sent(&mut self, id: u16, video: bool, times: Times) {
        let index = self.tracks.iter().position(|track| track.id == id);
        if index.is_none() && self.tracks.len() < MAX_TRACKS {
            self.tracks.push(Track {
                id,
                video,
                last: None,
                shown: i64::MIN,
                step: 0,
            });
        }
        let index = index.unwrap_or(self.tracks.len() - 1);
        let Some(track) = self.tracks.get_mut(index).filter(|track| track.id == id) else {
            return;
        };
        let step = track.last.map_or(0, |last| times.dts - last);
        // A gap, or a step back, is no frame's length.
        if (1..=self.per_second).contains(&step) {
            track.step = step;
        } else if track.step == 0 {
            // 25 frames/s; 1024 samples at 44.1 kHz.
            track.step = self.per_second * if video { 40 } else { 23 } / 1000;
        }
        track.video = video;
        track.last = Some(times.dts);
        track.shown = track.shown.max(times.pts);
    }

    /// Notes that a program clock reference was sent at that outgoing time.
    pub fn reference_sent(&mut self, time: i64) {
        self.reference = Some(time);
    }

    /// The next timestamp is of another connection, whose clock has nothing to do with the last one's.
    pub fn splice(&mut self) {
        self.clock.last = None;
        self.shift = 0;
    }

    /// Fixes the shift of this connection by its first frame, whose `times` are those of [`Self::outgoing`]
    /// with no shift yet. The frame comes one frame after the last one sent, and later where it would be shown
    /// before a picture that was sent. `reference` is the connection's first program clock reference, which
    /// does not go back either.
    pub fn begin(&mut self, video: bool, times: Times, reference: Option<i64>) {
        let ends = |of: bool| {
            let tracks = self.tracks.iter().filter(move |track| track.video == of);
            tracks
                .filter_map(|track| Some(track.last? + track.step))
                .max()
        };
        let shown = self
            .tracks
            .iter()
            .filter(|track| track.video && video && track.last.is_some());
        let shown = shown
            .map(|track| track.shown + track.step - times.pts)
            .max();
        let own = ends(video).map(|end| end - times.dts).max(shown);
        let other = ends(!video).map(|end| end - times.dts);
        let clock = self
            .reference
            .zip(reference)
            .map(|(sent, first)| sent + 1 - first);
        let Some(least) = own.or(other).or(clock) else {
            return;
        };
        // What is 10 s and more ahead of this track was not in step before either: nobody waits for it.
        let most = least + 10 * self.per_second;
        let later = [other, clock]
            .into_iter()
            .flatten()
            .filter(|shift| *shift <= most);
        self.shift = later.fold(least, i64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(dts: i64) -> Times {
        Times { dts, pts: dts }
    }

    #[test]
    fn a_clock_wraps() {
        let mut timeline = Timeline::new(32, 1000);
        for (number, time) in [
            (0xFFFF_FFF0, 0xFFFF_FFF0i64),
            (0x10, 0x1_0000_0010),
            (0xFFFF_FFFF, 0xFFFF_FFFF),
            (0, 0x1_0000_0000),
        ] {
            assert_eq!(timeline.outgoing(number), time);
        }
        let mut timeline = Timeline::new(33, 90_000);
        assert_eq!(timeline.outgoing((1 << 33) - 90_000), (1 << 33) - 90_000);
        assert_eq!(timeline.near(45_000), (1 << 33) + 45_000);
        assert_eq!(timeline.millis(180_000), 2000);
        assert_eq!(timeline.millis(-1), 0);
    }

    #[test]
    fn the_first_frame_comes_one_frame_after_the_last() {
        for (video, audio, first, begin) in [
            // The video's next frame is later than the audio's.
            (Some((960, 1000)), Some((987, 1010)), at(5), 1040),
            // The audio's is.
            (Some((960, 1000)), Some((1023, 1046)), at(5), 1069),
            (Some((960, 1000)), None, at(1 << 31), 1040),
            (None, Some((977, 1000)), at(7), 1023),
            // A track that was never in step.
            (Some((960, 1000)), Some((99_000, 99_023)), at(5), 1040),
            // Shown 80 ms after it is decoded; the last picture was shown when it was decoded.
            (Some((960, 1000)), None, Times { dts: 5, pts: 85 }, 1040),
            (None, None, at(77), 77),
        ] {
            let mut timeline = Timeline::new(32, 1000);
            for (track, times) in [(0, video), (1, audio)] {
                if let Some((before, last)) = times {
                    timeline.sent(track, track == 0, at(before));
                    timeline.sent(track, track == 0, at(last));
                }
            }
            timeline.splice();
            timeline.begin(true, first, None);
            assert_eq!(first.dts + timeline.shift(), begin, "{video:?} {audio:?}");
        }
    }

    #[test]
    fn pictures_and_clock_references_do_not_go_back() {
        let mut timeline = Timeline::new(33, 90_000);
        timeline.sent(
            0,
            true,
            Times {
                dts: 3600,
                pts: 10_800,
            },
        );
        timeline.sent(
            0,
            true,
            Times {
                dts: 7200,
                pts: 7200,
            },
        );
        timeline.reference_sent(5000);
        timeline.splice();
        timeline.begin(true, Times { dts: 0, pts: 0 }, Some(-9000));
        assert_eq!(timeline.shift(), 14_400, "after the picture of 10 800");
        timeline.splice();
        timeline.begin(true, Times { dts: 0, pts: 3600 }, Some(-20_000));
        assert_eq!(timeline.shift(), 25_001, "after the reference of 5000");
    }

    proptest! {
        #[test]
        fn any_numbers_can_come(numbers in prop::collection::vec((0..3u16, any::<u32>(), any::<i32>()), 1..50), splices in 1..5usize) {
            let mut timeline = Timeline::new(32, 1000);
            for chunk in numbers.chunks(numbers.len().div_ceil(splices)) {
                timeline.splice();
                for (index, (track, number, composition)) in chunk.iter().enumerate() {
                    let dts = timeline.outgoing(u64::from(*number));
                    let mut times = Times { dts, pts: dts + i64::from(*composition) };
                    if index == 0 {
                        let last = timeline.last_of(*track);
                        timeline.begin(*track == 0, times, None);
                        times = Times { dts: dts + timeline.shift(), pts: times.pts + timeline.shift() };
                        prop_assert!(last.is_none_or(|last| last < times.dts));
                    }
                    timeline.sent(*track, *track == 0, times);
                }
            }
        }
    }
}
