//! What a video tag is, by the first bytes of its body (FLV specification 10.1, E.4.3; Enhanced RTMP,
//! "Enhanced Video").

use super::codec::{Codec, Role};
use super::enhanced::{self, Numbers};

const NUMBERS: Numbers = Numbers {
    multitrack: 6,
    modifier: 7,
};
/// Packet types of enhanced video beside those that audio has too.
const CODED_FRAMES_X: u8 = 3;
const METADATA: u8 = 4;
const TS_SEQUENCE_START: u8 = 5;

/// Frame types.
const KEY: u8 = 1;
const COMMAND: u8 = 5;

/// A video tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Video {
    pub codec: Codec,
    pub role: Role,
    /// A frame at which decoding can begin.
    pub key: bool,
    /// Milliseconds from decoding to presentation.
    pub composition: i32,
}

impl Video {
    /// Reads the front of a tag's body. What breaks off is [`Role::Other`].
    pub fn parse(body: &[u8]) -> Self {
        let other = Self {
            codec: Codec::Other,
            role: Role::Other,
            key: false,
            composition: 0,
        };
        let video = match body {
            [first, rest @ ..] if first & 0x80 != 0 => enhanced(*first, rest),
            [first, rest @ ..] => classic(*first, rest),
            [] => None,
        };
        video.unwrap_or(other)
    }
}

fn classic(first: u8, rest: &[u8]) -> Option<Video> {
    let frame_type = first >> 4 & 7;
    if frame_type == COMMAND {
        return None;
    }
    let codec = match first & 0xF {
        7 => Codec::H264,
        // Not in the specification, but what servers and players of Chinese networks use, SRS too.
        12 => Codec::Hevc,
        13 => Codec::Av1,
        14 => Codec::Vvc,
        _ => {
            return Some(Video {
                codec: Codec::Other,
                role: Role::Frame,
                key: frame_type == KEY,
                composition: 0,
            });
        }
    };
    let role = match rest.first()? {
        0 => Role::Configuration { slot: 0 },
        1 => Role::Frame,
        _ => Role::Other,
    };
    Some(Video {
        codec,
        role,
        key: role == Role::Frame && frame_type == KEY,
        composition: match role {
            Role::Frame => composition(&rest[1..])?,
            _ => 0,
        },
    })
}

fn enhanced(first: u8, rest: &[u8]) -> Option<Video> {
    let frame_type = first >> 4 & 7;
    let (packet_type, rest) = enhanced::skip_modifiers(first & 0xF, rest, NUMBERS)?;
    if frame_type == COMMAND && packet_type != METADATA {
        return None;
    }
    let tag = enhanced::read(packet_type, rest, NUMBERS)?;
    let codec = Codec::of_four_cc(tag.four_cc);
    // Tracks have slots of their own; track 0 is what a tag without tracks is about.
    let track = u16::from(tag.track.unwrap_or(0));
    let role = match tag.packet_type {
        enhanced::SEQUENCE_START => Role::Configuration { slot: track },
        METADATA => Role::Configuration {
            slot: 0x100 | track,
        },
        TS_SEQUENCE_START => Role::Configuration {
            slot: 0x200 | track,
        },
        enhanced::CODED_FRAMES | CODED_FRAMES_X => Role::Frame,
        _ => Role::Other,
    };
    let timed = matches!(codec, Codec::H264 | Codec::Hevc | Codec::Vvc)
        && tag.packet_type == enhanced::CODED_FRAMES
        && tag.track.is_none();
    Some(Video {
        codec,
        role,
        key: role == Role::Frame && frame_type == KEY,
        composition: match timed {
            true => composition(tag.payload)?,
            false => 0,
        },
    })
}

/// A signed number of 24 bits.
fn composition(bytes: &[u8]) -> Option<i32> {
    let [a, b, c, ..] = *bytes else {
        return None;
    };
    Some(i32::from_be_bytes([a, b, c, 0]) >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIGURATION: Role = Role::Configuration { slot: 0 };

    #[test]
    fn tags_as_servers_and_encoders_send_them() {
        use Role::{Configuration, Frame, Other};
        for (body, codec, role, key, composition) in [
            (
                &b"\x17\0\0\0\0\x01d"[..],
                Codec::H264,
                CONFIGURATION,
                false,
                0,
            ),
            (b"\x17\x01\0\0\x50\0\0\0\x02", Codec::H264, Frame, true, 80),
            (
                b"\x27\x01\xff\xff\xd8\0\0\0\x02",
                Codec::H264,
                Frame,
                false,
                -40,
            ),
            (b"\x17\x02\0\0\0", Codec::H264, Other, false, 0),
            (b"\x1c\0\0\0\0\x01", Codec::Hevc, CONFIGURATION, false, 0),
            (b"\x1c\x01\0\0\0\0", Codec::Hevc, Frame, true, 0),
            (b"\x2c\x01\0\0\0\0", Codec::Hevc, Frame, false, 0),
            (b"\x57\0", Codec::Other, Other, false, 0),
            (b"\x12\0", Codec::Other, Frame, true, 0),
            (b"\x90hvc1\x01", Codec::Hevc, CONFIGURATION, false, 0),
            (b"\x91hvc1\0\0\x28\0", Codec::Hevc, Frame, true, 40),
            (b"\xa3hvc1\0\0\x28\0", Codec::Hevc, Frame, false, 0),
            (b"\x92hvc1", Codec::Hevc, Other, false, 0),
            (b"\x90av01\x81", Codec::Av1, CONFIGURATION, false, 0),
            (b"\x91av01\x12", Codec::Av1, Frame, true, 0),
            (b"\xa1vp09\x12", Codec::Vp9, Frame, false, 0),
            (
                b"\x94hvc1\x02\0\x09colorInfo",
                Codec::Hevc,
                Configuration { slot: 0x100 },
                false,
                0,
            ),
            (
                b"\xd4hvc1\x02\0\x09colorInfo",
                Codec::Hevc,
                Configuration { slot: 0x100 },
                false,
                0,
            ),
            (b"\xd1\x00", Codec::Other, Other, false, 0),
            (
                b"\x96\x00avc1\x03\x01",
                Codec::H264,
                Configuration { slot: 3 },
                false,
                0,
            ),
            (b"\x96\x01avc1\x03\0\0\0", Codec::H264, Frame, true, 0),
            (b"\x97\0\0\x01vp09\x12", Codec::Vp9, Frame, true, 0),
            (b"\x90hv", Codec::Other, Other, false, 0),
            (b"\x17", Codec::Other, Other, false, 0),
            (b"", Codec::Other, Other, false, 0),
        ] {
            let expected = Video {
                codec,
                role,
                key,
                composition,
            };
            assert_eq!(Video::parse(body), expected, "{body:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(body: Vec<u8>) {
            let video = Video::parse(&body);
            prop_assert!(!video.key || video.role == Role::Frame);
        }
    }
}
