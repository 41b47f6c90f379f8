//! Whether decoding can begin at a frame: looks for the first slice of a picture.

/// How a video codec marks its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// MPEG 1 and 2.
    Mpeg2,
    H264,
    Hevc,
}

/// Reads a picture's bytes, in any pieces, up to its first slice.
#[derive(Clone, Copy, Debug)]
pub struct RandomAccess {
    codec: VideoCodec,
    /// The last three bytes. 1: a start code, and the next byte tells of what.
    last: u32,
    /// H.264: there was a sequence parameter set before the first slice.
    has_parameters: bool,
    /// H.264: the next byte is the first of a slice's header, behind a parameter set.
    is_slice: bool,
}

impl RandomAccess {
    pub fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            last: 0xFF_FFFF,
            has_parameters: false,
            is_slice: false,
        }
    }

    /// Takes the next bytes of the picture. `None`: there was no slice yet.
    pub fn push(&mut self, bytes: &[u8]) -> Option<bool> {
        for byte in bytes {
            if self.is_slice {
                return Some(is_intra(*byte));
            }
            if self.last == 1
                && let Some(found) = self.unit(*byte)
            {
                return Some(found);
            }
            self.last = (self.last << 8 | u32::from(*byte)) & 0xFF_FFFF;
        }
        None
    }

    /// The byte behind a start code.
    fn unit(&mut self, byte: u8) -> Option<bool> {
        match self.codec {
            // A sequence header; a picture.
            VideoCodec::Mpeg2 => match byte {
                0xB3 => Some(true),
                0x00 => Some(false),
                _ => None,
            },
            // An IDR; a sequence parameter set; other slices. Servers such as SRS put parameter sets before what
            // the encoder calls a key frame, which need not be an IDR ("open GOP"): then it is one of intra slices.
            VideoCodec::H264 => match byte & 0x1F {
                5 => Some(true),
                7 => {
                    self.has_parameters = true;
                    None
                }
                1 | 2 if self.has_parameters => {
                    self.is_slice = true;
                    None
                }
                1..=4 => Some(false),
                _ => None,
            },
            // IRAP pictures; other slices (ITU-T H.265, table 7-1).
            VideoCodec::Hevc => match byte >> 1 & 0x3F {
                16..=23 => Some(true),
                0..=31 => Some(false),
                _ => None,
            },
        }
    }
}

/// Whether a slice header's first byte is that of an I or SI slice which begins the picture: `first_mb_in_slice` is
/// 0, which is a one bit, then follows `slice_type` in Exp-Golomb code (ITU-T H.264, 7.4.3).
fn is_intra(byte: u8) -> bool {
    let slice_type = byte & 0x7F;
    let is_2_or_4 = slice_type >> 4 == 0b011 || slice_type >> 2 == 0b00101;
    let is_7_or_9 = matches!(slice_type, 0b000_1000 | 0b000_1010);
    byte & 0x80 != 0 && (is_2_or_4 || is_7_or_9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_slices() {
        use VideoCodec::{H264, Hevc, Mpeg2};
        for (codec, picture, expected) in [
            (
                H264,
                &b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67ab\0\0\0\x01\x68c\0\0\x01\x65d"[..],
                Some(true),
            ),
            (H264, b"\0\0\0\x01\x09\xf0\0\0\x01\x41\xe0", Some(false)),
            (
                H264,
                b"\0\0\0\x01\x09\xf0\0\0\x01\x67a\0\0\x01\x41\x88",
                Some(true),
            ),
            (
                H264,
                b"\0\0\0\x01\x09\xf0\0\0\x01\x67a\0\0\x01\x41\xb8",
                Some(true),
            ),
            (
                H264,
                b"\0\0\0\x01\x09\xf0\0\0\x01\x67a\0\0\x01\x41\x9a",
                Some(false),
            ),
            (H264, b"\0\0\0\x01\x09\xf0\0\0\x01\x06\x06\x01\x80", None),
            (H264, b"", None),
            (
                Hevc,
                b"\0\0\0\x01\x46\x01\x10\0\0\x01\x40\x01\0\0\x01\x26\x01",
                Some(true),
            ),
            (Hevc, b"\0\0\0\x01\x46\x01\x10\0\0\x01\x2a\x01", Some(true)),
            (Hevc, b"\0\0\0\x01\x46\x01\x10\0\0\x01\x02\x01", Some(false)),
            (Mpeg2, b"\0\0\x01\xb3abc", Some(true)),
            (Mpeg2, b"\0\0\x01\x00abc", Some(false)),
        ] {
            assert_eq!(
                RandomAccess::new(codec).push(picture),
                expected,
                "{picture:02x?}"
            );
            let mut bytewise = RandomAccess::new(codec);
            let found = picture.iter().find_map(|byte| bytewise.push(&[*byte]));
            assert_eq!(found, expected, "{picture:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_finds_the_same(picture in prop::collection::vec(0..9u8, 0..200), cut: prop::sample::Index) {
            for codec in [VideoCodec::Mpeg2, VideoCodec::H264, VideoCodec::Hevc] {
                let (front, rest) = picture.split_at(cut.index(picture.len() + 1));
                let mut cut = RandomAccess::new(codec);
                let found = cut.push(front).or_else(|| cut.push(rest));
                prop_assert_eq!(found, RandomAccess::new(codec).push(&picture));
            }
        }
    }
}
