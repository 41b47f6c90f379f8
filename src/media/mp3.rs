//! MP3: frames of MPEG audio, layer III (ISO/IEC 11172-3, 2.4.1.3; ISO/IEC 13818-3 for lower sample rates;
//! "MPEG 2.5" is Fraunhofer's own extension to still lower ones).

use super::audio_frames::{FrameFormat, FrameFraming, FrameHeader};

/// The units of an MP3 stream: each frame.
pub type Mp3Framing = FrameFraming<Mp3>;

/// MPEG audio, layer III.
#[derive(Clone, Copy, Debug)]
pub struct Mp3;

/// Bits per second / 1000 by index: MPEG 1, and MPEG 2 and 2.5. Index 0 is a rate that is not told, 15 is
/// forbidden.
const BIT_RATES: [[usize; 15]; 2] = [
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples per second of MPEG 1 by index.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

impl FrameFormat for Mp3 {
    const HEADER: usize = 4;

    fn header(bytes: &[u8]) -> Option<FrameHeader> {
        let [0xFF, second, third, ..] = *bytes else {
            return None;
        };
        // Eleven bits of synchronization, and layer III.
        (second & 0xE6 == 0xE2).then_some(())?;
        let halved = match second >> 3 & 3 {
            3 => 0, // MPEG 1
            2 => 1, // MPEG 2
            0 => 2, // MPEG 2.5
            _ => return None,
        };
        let bit_rate = *BIT_RATES[halved.min(1)].get(usize::from(third >> 4))?;
        let sample_rate = SAMPLE_RATES.get(usize::from(third >> 2 & 3))? >> halved;
        let samples = if halved == 0 { 1152 } else { 576 };
        let padding = usize::from(third >> 1 & 1);
        (bit_rate > 0).then_some(FrameHeader {
            length: samples as usize / 8 * bit_rate * 1000 / sample_rate as usize + padding,
            samples,
            sample_rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::splitter::tests::split;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        for (bytes, expected) in [
            (b"\xff\xfb\x90\x00", Some((417, 1152, 44_100))), // MPEG 1, 128 kb/s
            (b"\xff\xfb\x92\x00", Some((418, 1152, 44_100))), // padded
            (b"\xff\xfa\xe4\x00", Some((960, 1152, 48_000))), // with CRC, 320 kb/s
            (b"\xff\xf3\x84\x00", Some((192, 576, 24_000))),  // MPEG 2, 64 kb/s
            (b"\xff\xe3\x48\x00", Some((288, 576, 8_000))),   // MPEG 2.5, 32 kb/s
            (b"\xff\xfb\x00\x00", None),                      // bit rate not told
            (b"\xff\xfb\xf0\x00", None),
            (b"\xff\xfb\x9c\x00", None), // no sample rate
            (b"\xff\xeb\x90\x00", None), // no version
            (b"\xff\xfd\x90\x00", None), // layer II
            (b"\xff\xf1\x50\x80", None), // ADTS
        ] {
            let header = Mp3::header(bytes);
            let found = header.map(|it| (it.length, it.samples, it.sample_rate));
            assert_eq!(found, expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_tag_at_the_begin_is_left_out() {
        let frame = [&b"\xff\xfb\x90\x00"[..], &[0; 413]].concat();
        let bytes = [&b"ID3\x03\0\0\0\0\0\x04tagg"[..], &frame, &frame].concat();
        let (units, end) = split(Mp3Framing::default(), &bytes, &[5]);
        assert_eq!((units, end), (vec![frame.clone(), frame], Ok(())));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(bytes in prop::collection::vec(prop_oneof![Just(0xFFu8), Just(0xFB), Just(0x90), any::<u8>()], 0..3000), cuts in prop::collection::vec(1..700usize, 1..20)) {
            let frame = [&b"\xff\xfb\x90\x00"[..], &[0; 413]].concat();
            let bytes = [&frame, &bytes[..], &frame, &frame].concat();
            prop_assert_eq!(split(Mp3Framing::default(), &bytes, &cuts), split(Mp3Framing::default(), &bytes, &[bytes.len()]));
        }
    }
}
