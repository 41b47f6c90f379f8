//! ADTS and MP3: frames in a row, which need nothing but whole frames.

use crate::channel::stitch::unit::Unit;
use crate::media::audio_frames::{FrameFormat, FrameFraming};
use crate::media::format::NotThisFormat;
use crate::media::splitter::Splitter;
use std::sync::{Arc, LazyLock};

static NOTHING: LazyLock<Arc<[u8]>> = LazyLock::new(Arc::default);

/// Stitches audio frames. The frames have no times; their lengths make the timeline.
pub struct FrameStitcher<F> {
    splitter: Splitter<FrameFraming<F>>,
    /// The sum of the frames' lengths, in microseconds.
    time: u64,
    waiting: bool,
}

impl<F> Default for FrameStitcher<F>
where
    F: FrameFormat,
{
    fn default() -> Self {
        Self {
            splitter: Splitter::new(FrameFraming::default()),
            time: 0,
            waiting: false,
        }
    }
}

impl<F: FrameFormat> FrameStitcher<F> {
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(Unit<'_>),
    ) -> Result<(), NotThisFormat> {
        let Self {
            splitter,
            time,
            waiting,
        } = self;
        splitter.push(bytes, |frame| {
            *waiting = false;
            out(Unit {
                bytes: frame,
                starts_group: true,
                timestamp: Some(*time / 1000),
                opening: Some(&NOTHING),
            });
            let header = frame.get(..F::HEADER).and_then(F::header);
            let length = header.map_or(0, |header| {
                u64::from(header.samples) * 1_000_000 / u64::from(header.sample_rate)
            });
            *time = time.saturating_add(length);
            Ok(())
        })
    }

    pub fn splice(&mut self) {
        self.splitter = Splitter::new(FrameFraming::default());
        self.waiting = true;
    }

    pub fn is_waiting_for_key(&self) -> bool {
        self.waiting
    }

    pub fn pending(&self) -> &[u8] {
        self.splitter.pending()
    }
}

#[cfg(test)]
mod tests {
    use crate::channel::stitch::Stitcher;
    use crate::media::format::Format;

    static SRS: &[u8] = include_bytes!("../../media/samples/live-head.aac");

    #[test]
    fn frames_go_on_at_a_frame() {
        let mut stitcher = Stitcher::new(Format::Adts);
        let (mut sent, mut times) = (Vec::new(), Vec::new());
        let mut push = |stitcher: &mut Stitcher, bytes: &[u8]| {
            let mut out = |unit: super::Unit<'_>| {
                sent.extend_from_slice(unit.bytes);
                times.push(unit.timestamp.unwrap());
                assert!(unit.starts_group && unit.opening.is_some_and(|it| it.is_empty()));
            };
            stitcher.push(bytes, &mut out).unwrap();
        };
        push(&mut stitcher, &SRS[..1000]);
        assert_eq!(stitcher.has_video(), Some(false));
        stitcher.splice();
        assert!(stitcher.is_waiting_for_key());
        push(&mut stitcher, &SRS[..5]);
        stitcher.splice();
        push(&mut stitcher, SRS);
        assert!(!stitcher.is_waiting_for_key());
        let half = sent
            .windows(7)
            .skip(1)
            .position(|it| it == &SRS[..7])
            .unwrap()
            + 1;
        assert!(half < 1000 && SRS.starts_with(&sent[..half]));
        assert!(SRS.starts_with(&sent[half..]));
        // 1024 samples at 44.1 kHz.
        assert!(
            times
                .windows(2)
                .all(|pair| (23..=24).contains(&(pair[1] - pair[0])))
        );
    }
}
