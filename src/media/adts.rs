//! ADTS: AAC frames, each with a header that tells its configuration (ISO/IEC 14496-3, annex 1.A).

use super::audio_frames::{FrameFormat, FrameFraming, FrameHeader};
use super::codec::{AacConfig, FREQUENCIES};

/// The units of an ADTS stream: each frame.
pub type AdtsFraming = FrameFraming<Adts>;

/// AAC with ADTS headers.
#[derive(Clone, Copy, Debug)]
pub struct Adts;

/// Samples per channel in a raw data block.
const SAMPLES: u32 = 1024;

impl FrameFormat for Adts {
    const HEADER: usize = 7;

    fn header(bytes: &[u8]) -> Option<FrameHeader> {
        let [0xFF, second, third, fourth, fifth, sixth, seventh, ..] = *bytes else {
            return None;
        };
        // The layer is always zero. The lowest bit tells that there is no CRC.
        (second & 0xF6 == 0xF0).then_some(())?;
        let length =
            usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        let header = if second & 1 == 1 { 7 } else { 9 };
        Some(FrameHeader {
            length: (length >= header).then_some(length)?,
            samples: SAMPLES * u32::from(1 + (seventh & 3)),
            sample_rate: *FREQUENCIES.get(usize::from(third >> 2 & 0xF))?,
        })
    }
}

/// The header before an AAC frame of `length` bytes (ISO/IEC 14496-3, 1.A.2), without a CRC.
pub fn header(config: &AacConfig<'_>, length: usize) -> [u8; 7] {
    let length = length + 7;
    [
        0xFF,
        0xF1,
        (config.object_type - 1) << 6 | config.frequency_index << 2 | config.channels >> 2,
        config.channels << 6 | (length >> 11) as u8 & 3,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1F,
        0xFC,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::format::NotThisFormat;
    use crate::media::splitter::tests::split;
    use proptest::prelude::*;

    static SRS: &[u8] = include_bytes!("samples/live-head.aac");

    #[test]
    fn header_of_a_known_frame() {
        let config = AacConfig::parse(&[0x11, 0x88]).unwrap();
        assert_eq!(
            header(&config, 193),
            [0xFF, 0xF1, 0x4C, 0x40, 0x19, 0x1F, 0xFC]
        );
        assert_eq!(
            header(&config, 8184),
            [0xFF, 0xF1, 0x4C, 0x43, 0xFF, 0xFF, 0xFC]
        );
    }

    #[test]
    fn what_srs_sends() {
        let (units, end) = split(AdtsFraming::default(), SRS, &[1000]);
        assert_eq!(end, Ok(()));
        assert!(SRS.starts_with(&units.concat()));
        assert!(units.len() > 100, "{}", units.len());
        let header = Adts::header(&units[0]).unwrap();
        assert_eq!((header.samples, header.sample_rate), (1024, 44_100));
        assert_eq!(header.length, units[0].len());
    }

    #[test]
    fn what_is_between_frames_is_left_out() {
        let (frames, _) = split(AdtsFraming::default(), SRS, &[SRS.len()]);
        let id3 = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0xFF; 130]].concat();
        let garbage = b"garbage\xff\xf1\xffgarbage\xff";
        let bytes = [
            &id3,
            &frames[0],
            &garbage[..],
            &frames[1],
            &frames[2],
            &id3,
            &frames[3],
        ]
        .concat();
        for cut in [1, 7, 1000] {
            let (units, end) = split(AdtsFraming::default(), &bytes, &[cut]);
            assert_eq!((&units[..], end), (&frames[..4], Ok(())), "{cut}");
        }
    }

    #[test]
    fn what_is_no_adts() {
        for byte in [0, 0xFF, b'I'] {
            let (units, end) = split(AdtsFraming::default(), &[byte; 70_000], &[1000]);
            assert_eq!(
                (units.len(), end),
                (0, Err(NotThisFormat("no audio frame in 64 KiB")))
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_cut_gives_the_same_frames(cuts in prop::collection::vec(1..700usize, 1..20), place: prop::sample::Index, bytes: Vec<u8>) {
            let at = place.index(SRS.len());
            let damaged = [&SRS[..at], &bytes, &SRS[at..]].concat();
            prop_assert_eq!(split(AdtsFraming::default(), &damaged, &cuts), split(AdtsFraming::default(), &damaged, &[damaged.len()]));
        }
    }
}
