//! The clip that the lab loops: 10 s of a test picture with a clock and a beep, made by `make_clip.sh`.

use super::position::{TICKS_PER_MS, TICKS_PER_SECOND};
use crate::media::codec::{AacConfig, AvcConfig};
use crate::media::flv::metadata;
use crate::media::flv::tag::{self, AAC, AVC_INTER, AVC_KEY, CONFIG, FRAME, Tag};

/// The clip in the binary.
static EMBEDDED: &[u8] = include_bytes!("clip.flv");

/// Samples per channel in a frame of AAC.
const AAC_SAMPLES: u64 = 1024;

/// ADTS gives a frame's length, its own 7 bytes included, in 13 bits.
const LONGEST_AUDIO: usize = 0x1FFF - 7;

/// Why a file cannot be the clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    #[error("the clip is not an FLV file")]
    NotFlv,
    #[error("the clip breaks off at byte {0}")]
    Truncated(usize),
    #[error("the clip cannot be looped: {0}")]
    Unfit(&'static str),
}

/// A frame of video.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture<'a> {
    pub key: bool,
    /// NAL units, each with its length before it.
    pub data: &'a [u8],
}

/// A clip that was checked: all frames are whole, and all conditions for looping it hold.
#[derive(Clone, Debug)]
pub struct Clip<'a> {
    pub avc: AvcConfig<'a>,
    pub aac: AacConfig<'a>,
    /// Width and height of the picture.
    pub size: (u32, u32),
    pub(super) pictures: Vec<Picture<'a>>,
    pub(super) sounds: Vec<&'a [u8]>,
    /// 90 kHz ticks between two pictures.
    pub(super) picture_ticks: u64,
    /// 90 kHz ticks that a frame of audio lasts.
    pub(super) sound_ticks: u64,
    /// 90 kHz ticks between two key frames.
    pub(super) gop_ticks: u64,
}

impl Clip<'static> {
    /// The clip in the binary. Its frames are not copied: one is enough for all viewers.
    ///
    /// # Errors
    /// As [`Clip::parse`], which only a binary built from a broken clip gives.
    pub fn embedded() -> Result<Self, ClipError> {
        Self::parse(EMBEDDED)
    }
}

impl<'a> Clip<'a> {
    /// Reads an FLV file.
    ///
    /// # Errors
    /// When it is broken, or cannot be looped: it must have H.264 without B frames and AAC, pictures at
    /// even distances, a key frame first and then at even distances, audio frames that last whole 90 kHz
    /// ticks (48 kHz, 32 kHz, 16 kHz …) and at least as much audio as video.
    pub fn parse(file: &'a [u8]) -> Result<Self, ClipError> {
        let mut reader = Reader::default();
        let mut rest = file;
        let head = rest
            .split_off(..9)
            .filter(|head| head.starts_with(b"FLV\x01"))
            .ok_or(ClipError::NotFlv)?;
        let body = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
        // The head is followed by the length of the tag before, of which there is none.
        rest = body
            .checked_add(4)
            .and_then(|body| file.get(body..))
            .ok_or(ClipError::NotFlv)?;
        while !rest.is_empty() {
            let at = file.len() - rest.len();
            reader.take(Tag::read(&mut rest).ok_or(ClipError::Truncated(at))?)?;
        }
        reader.finish()
    }

    /// 90 kHz ticks until the pictures begin anew.
    pub(super) fn ticks(&self) -> u64 {
        self.picture_ticks * self.pictures.len() as u64
    }

    /// Pictures per second.
    pub fn frame_rate(&self) -> f64 {
        TICKS_PER_SECOND as f64 / self.picture_ticks as f64
    }

    /// Bits per second of video and of audio.
    pub fn bit_rates(&self) -> (u64, u64) {
        let rate = |bytes: usize| bytes as u64 * 8 * TICKS_PER_SECOND / self.ticks();
        (
            rate(self.pictures.iter().map(|p| p.data.len()).sum()),
            rate(self.sounds.iter().map(|s| s.len()).sum()),
        )
    }
}

/// What was read so far.
#[derive(Default)]
struct Reader<'a> {
    size: Option<(u32, u32)>,
    avc: Option<AvcConfig<'a>>,
    aac: Option<AacConfig<'a>>,
    pictures: Vec<Picture<'a>>,
    times: Vec<u32>,
    sounds: Vec<&'a [u8]>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, tag: Tag<'a>) -> Result<(), ClipError> {
        match (tag.kind, tag.body) {
            (tag::SCRIPT, script) => {
                let side = |key| {
                    metadata::number(script, key).filter(|side| (1.0..=16384.0).contains(side))
                };
                self.size = side("width")
                    .zip(side("height"))
                    .map(|(w, h)| (w as u32, h as u32))
                    .or(self.size);
            }
            (tag::VIDEO, [AVC_KEY, CONFIG, _, _, _, record @ ..]) => {
                let config =
                    AvcConfig::parse(record).ok_or(ClipError::Unfit("bad H.264 configuration"))?;
                if self.avc.replace(config).is_some() {
                    return Err(ClipError::Unfit("two H.264 configurations"));
                }
            }
            (tag::VIDEO, [kind @ (AVC_KEY | AVC_INTER), FRAME, 0, 0, 0, data @ ..]) => {
                let avc = self
                    .avc
                    .as_ref()
                    .ok_or(ClipError::Unfit("a picture before the configuration"))?;
                if !avc.nals(data).are_whole() {
                    return Err(ClipError::Unfit("a broken picture"));
                }
                self.pictures.push(Picture {
                    key: *kind == AVC_KEY,
                    data,
                });
                self.times.push(tag.timestamp);
            }
            // The end of the sequence is no frame.
            (tag::VIDEO, [_, 2, ..]) => {}
            (tag::VIDEO, _) => {
                return Err(ClipError::Unfit("video that is not H.264 without B frames"));
            }
            (tag::AUDIO, [AAC, CONFIG, record @ ..]) => {
                let config =
                    AacConfig::parse(record).ok_or(ClipError::Unfit("bad AAC configuration"))?;
                if self.aac.replace(config).is_some() {
                    return Err(ClipError::Unfit("two AAC configurations"));
                }
            }
            (tag::AUDIO, [AAC, FRAME, data @ ..]) if (1..=LONGEST_AUDIO).contains(&data.len()) => {
                self.sounds.push(data);
            }
            (tag::AUDIO, _) => return Err(ClipError::Unfit("audio that is not AAC")),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Clip<'a>, ClipError> {
        let Self {
            pictures,
            sounds,
            times,
            ..
        } = self;
        let size = self.size.ok_or(ClipError::Unfit("no width and height"))?;
        let avc = self.avc.ok_or(ClipError::Unfit("no H.264 configuration"))?;
        let aac = self.aac.ok_or(ClipError::Unfit("no AAC configuration"))?;
        let step = match times[..] {
            [first, second, ..] => second.saturating_sub(first),
            _ => 0,
        };
        if !(1..=1000).contains(&step)
            || !times
                .windows(2)
                .all(|pair| pair[1].checked_sub(pair[0]) == Some(step))
        {
            return Err(ClipError::Unfit("pictures at uneven distances"));
        }
        let picture_ticks = u64::from(step) * TICKS_PER_MS;
        let gop = pictures
            .iter()
            .skip(1)
            .position(|picture| picture.key)
            .map_or(pictures.len(), |index| index + 1);
        let even = pictures
            .iter()
            .enumerate()
            .all(|(index, picture)| picture.key == (index % gop == 0));
        if !even || pictures.len() % gop != 0 {
            return Err(ClipError::Unfit("key frames at uneven distances"));
        }
        let rate = u64::from(aac.sample_rate());
        let sound_ticks = AAC_SAMPLES * TICKS_PER_SECOND / rate;
        if sound_ticks * rate != AAC_SAMPLES * TICKS_PER_SECOND {
            return Err(ClipError::Unfit(
                "audio frames that last no whole number of 90 kHz ticks",
            ));
        }
        let gop_ticks = gop as u64 * picture_ticks;
        let clip = Clip {
            avc,
            aac,
            size,
            pictures,
            sounds,
            picture_ticks,
            sound_ticks,
            gop_ticks,
        };
        if (clip.sounds.len() as u64) < clip.ticks().div_ceil(sound_ticks) {
            return Err(ClipError::Unfit("less audio than video"));
        }
        Ok(clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_embedded_clip_is_what_was_asked_for() {
        let clip = Clip::embedded().unwrap();
        assert_eq!(clip.size, (640, 360));
        assert_eq!((clip.pictures.len(), clip.sounds.len()), (250, 469));
        assert_eq!(clip.ticks(), 10 * TICKS_PER_SECOND);
        assert_eq!(clip.gop_ticks, 2 * TICKS_PER_SECOND);
        assert_eq!((clip.sound_ticks, clip.frame_rate()), (1920, 25.0));
        assert_eq!(
            (clip.avc.profile(), clip.avc.level().as_str()),
            ("Main", "3")
        );
        assert_eq!(
            (
                clip.aac.profile(),
                clip.aac.sample_rate(),
                clip.aac.channels
            ),
            ("LC", 48_000, 1)
        );
        assert!(EMBEDDED.len() < 500_000, "{}", EMBEDDED.len());
        let (video, audio) = clip.bit_rates();
        let whole = (video + audio) * 10 / 8;
        assert!(
            whole < EMBEDDED.len() as u64 && whole > EMBEDDED.len() as u64 * 9 / 10,
            "{video} {audio}"
        );
    }

    #[test]
    fn broken_files_are_refused() {
        let parse = |file: &[u8]| Clip::parse(file).map(|clip| clip.size);
        assert_eq!(parse(b""), Err(ClipError::NotFlv));
        assert_eq!(
            parse(b"FLV\x01\x05\xff\xff\xff\xff\0\0\0\0"),
            Err(ClipError::NotFlv)
        );
        assert_eq!(
            parse(&EMBEDDED[..EMBEDDED.len() - 1])
                .map_err(|e| matches!(e, ClipError::Truncated(_))),
            Err(true)
        );
        assert_eq!(
            parse(&EMBEDDED[..13]),
            Err(ClipError::Unfit("no width and height"))
        );
        // A file that ends between two tags, after 5 s.
        let mut rest = &EMBEDDED[13..];
        while Tag::read(&mut rest).unwrap().timestamp < 5000 {}
        let half = &EMBEDDED[..EMBEDDED.len() - rest.len()];
        assert_eq!(
            parse(half),
            Err(ClipError::Unfit("key frames at uneven distances"))
        );
    }

    #[test]
    fn a_clip_needs_as_much_audio_as_video() {
        let mut file = EMBEDDED[..13].to_vec();
        let mut rest = &EMBEDDED[13..];
        while let Some(tag) = Tag::read(&mut rest) {
            if tag.kind != tag::AUDIO || tag.timestamp < 9900 {
                tag::write(&mut file, tag.kind, tag.timestamp, tag.body, &[]);
            }
        }
        assert_eq!(
            Clip::parse(&file).map(|clip| clip.size),
            Err(ClipError::Unfit("less audio than video"))
        );
    }

    proptest! {
        #[test]
        fn no_file_is_a_panic(places in prop::collection::vec((0..4000usize, any::<u8>()), 1..4), end in 0..EMBEDDED.len()) {
            let mut file = EMBEDDED[..end].to_vec();
            for (place, byte) in places {
                if let Some(old) = file.get_mut(place) {
                    *old = byte;
                }
            }
            let _ = Clip::parse(&file);
        }
    }
}
