//! What an audio tag is, by the first bytes of its body (FLV specification 10.1, E.4.2; Enhanced RTMP,
//! "Enhanced Audio").

use super::codec::{Codec, Role};
use super::enhanced::{self, Numbers};

const NUMBERS: Numbers = Numbers {
    multitrack: 5,
    modifier: 7,
};
/// Packet type that tells the order of channels.
const MULTICHANNEL: u8 = 4;
/// `SoundFormat` of enhanced tags.
const ENHANCED: u8 = 9;

/// An audio tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    pub codec: Codec,
    pub role: Role,
}

impl Audio {
    /// Reads the front of a tag's body. What breaks off is [`Role::Other`].
    pub fn parse(body: &[u8]) -> Self {
        let audio = match body {
            [first, rest @ ..] if first >> 4 == ENHANCED => enhanced(*first, rest),
            [first, rest @ ..] => classic(*first, rest),
            [] => None,
        };
        audio.unwrap_or(Self {
            codec: Codec::Other,
            role: Role::Other,
        })
    }
}

fn classic(first: u8, rest: &[u8]) -> Option<Audio> {
    let frame = |codec| {
        Some(Audio {
            codec,
            role: Role::Frame,
        })
    };
    match first >> 4 {
        2 | 14 => frame(Codec::Mp3),
        10 => {
            let role = match rest.first()? {
                0 => Role::Configuration { slot: 0 },
                _ => Role::Frame,
            };
            let codec = Codec::Aac;
            Some(Audio { codec, role })
        }
        // Not in the specification. Some write a packet type before the header, others the header at once.
        13 if matches!(rest, [b'O', ..] | [0, b'O', ..]) => {
            let head = rest.strip_prefix(&[0]).unwrap_or(rest);
            match head.starts_with(b"OpusHead") {
                true => Some(Audio {
                    codec: Codec::Opus,
                    role: Role::Configuration { slot: 0 },
                }),
                false => frame(Codec::Opus),
            }
        }
        13 => frame(Codec::Opus),
        _ => frame(Codec::Other),
    }
}

fn enhanced(first: u8, rest: &[u8]) -> Option<Audio> {
    let (packet_type, rest) = enhanced::skip_modifiers(first & 0xF, rest, NUMBERS)?;
    let tag = enhanced::read(packet_type, rest, NUMBERS)?;
    let track = u16::from(tag.track.unwrap_or(0));
    let role = match tag.packet_type {
        enhanced::SEQUENCE_START => Role::Configuration { slot: track },
        MULTICHANNEL => Role::Configuration {
            slot: 0x100 | track,
        },
        enhanced::CODED_FRAMES => Role::Frame,
        _ => Role::Other,
    };
    Some(Audio {
        codec: Codec::of_four_cc(tag.four_cc),
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_as_servers_and_encoders_send_them() {
        use Role::{Configuration, Frame, Other};
        const FIRST: Role = Configuration { slot: 0 };
        for (body, codec, role) in [
            (&b"\xaf\0\x12\x10"[..], Codec::Aac, FIRST),
            (b"\xaf\x01\x21", Codec::Aac, Frame),
            (b"\x2f\xff\xfb", Codec::Mp3, Frame),
            (b"\xdf\0OpusHead\x01", Codec::Opus, FIRST),
            (b"\xdfOpusHead\x01", Codec::Opus, FIRST),
            (b"\xdf\x01\xfc", Codec::Opus, Frame),
            (b"\x72\x01", Codec::Other, Frame),
            (b"\x90OpusOpusHead", Codec::Opus, FIRST),
            (b"\x91Opus\xfc", Codec::Opus, Frame),
            (b"\x92Opus", Codec::Opus, Other),
            (b"\x90mp4a\x12\x10", Codec::Aac, FIRST),
            (b"\x90fLaC", Codec::Flac, FIRST),
            (b"\x91ac-3\x0b", Codec::Ac3, Frame),
            (
                b"\x94Opus\0\x02",
                Codec::Opus,
                Configuration { slot: 0x100 },
            ),
            (b"\x95\0Opus\x07", Codec::Opus, Configuration { slot: 7 }),
            (b"\x97\0\0\x01Opus\xfc", Codec::Opus, Frame),
            (b"\x91Op", Codec::Other, Other),
            (b"\xaf", Codec::Other, Other),
            (b"", Codec::Other, Other),
        ] {
            assert_eq!(Audio::parse(body), Audio { codec, role }, "{body:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(body: Vec<u8>) {
            let _ = Audio::parse(&body);
        }
    }
}
