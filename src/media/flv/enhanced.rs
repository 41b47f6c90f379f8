//! What tags of Enhanced RTMP (version 2) have before their payload: modifiers, tracks and a FourCC.

/// Packet types that audio and video have in common.
pub const SEQUENCE_START: u8 = 0;
pub const CODED_FRAMES: u8 = 1;

/// The numbers of packet types that audio and video spell differently.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub multitrack: u8,
    /// ModEx: modifiers before the packet, of which the nanoseconds of its timestamp are one.
    pub modifier: u8,
}

/// The begin of an enhanced tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced<'a> {
    /// Packet type behind modifiers and multitrack.
    pub packet_type: u8,
    pub four_cc: [u8; 4],
    /// `None`: the tag has no tracks, which players take for track 0.
    /// Of a tag with several tracks, the first one.
    pub track: Option<u8>,
    /// What follows; of a tag with several tracks, the first track's size and payload.
    pub payload: &'a [u8],
}

/// Skips modifiers before a packet: gives the packet's type, and what follows. `None`: the tag breaks off.
pub fn skip_modifiers(
    mut packet_type: u8,
    mut rest: &[u8],
    numbers: Numbers,
) -> Option<(u8, &[u8])> {
    while packet_type == numbers.modifier {
        let mut size = usize::from(*rest.split_off_first()?) + 1;
        if size == 256 {
            let long = rest.split_off(..2)?;
            size = usize::from(u16::from_be_bytes([long[0], long[1]])) + 1;
        }
        rest.split_off(..size)?;
        packet_type = rest.split_off_first()? & 0xF;
    }
    Some((packet_type, rest))
}

/// Reads tracks and FourCC of a packet. `None`: the tag breaks off.
pub fn read(packet_type: u8, mut rest: &[u8], numbers: Numbers) -> Option<Enhanced<'_>> {
    if packet_type != numbers.multitrack {
        let four_cc = *rest.split_off(..4)?.first_chunk()?;
        return Some(Enhanced {
            packet_type,
            four_cc,
            track: None,
            payload: rest,
        });
    }
    // Its high bits tell whether there is one track, several of one codec, or several of several; in each
    // case the FourCC of the first track stands before that track's number.
    let packet_type = rest.split_off_first()? & 0xF;
    let four_cc = *rest.split_off(..4)?.first_chunk()?;
    let track = *rest.split_off_first()?;
    Some(Enhanced {
        packet_type,
        four_cc,
        track: Some(track),
        payload: rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NUMBERS: Numbers = Numbers {
        multitrack: 6,
        modifier: 7,
    };

    #[test]
    fn modifiers_and_tracks() {
        // A modifier of 3 bytes (nanoseconds), then many tracks of one codec, then a frame of track 2.
        let rest = b"\x02\x01\x02\x03\x06\x11hvc1\x02\0\0\x01x";
        let (packet_type, rest) = skip_modifiers(7, rest, NUMBERS).unwrap();
        assert_eq!(packet_type, 6);
        let tag = read(packet_type, rest, NUMBERS).unwrap();
        assert_eq!(
            (tag.packet_type, &tag.four_cc, tag.track, tag.payload),
            (1, b"hvc1", Some(2), &b"\0\0\x01x"[..])
        );
        let tag = read(0, b"av01\x81", NUMBERS).unwrap();
        assert_eq!(
            (tag.packet_type, tag.track, tag.payload),
            (0, None, &b"\x81"[..])
        );
        // A modifier of 258 bytes.
        let long = [&b"\xff\x01\x01"[..], &[0; 258], b"\x01rest"].concat();
        assert_eq!(skip_modifiers(7, &long, NUMBERS), Some((1, &b"rest"[..])));
        assert_eq!(skip_modifiers(7, &long[..200], NUMBERS), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(packet_type in 0..16u8, bytes: Vec<u8>) {
            let _ = skip_modifiers(packet_type, &bytes, NUMBERS);
            let _ = read(packet_type, &bytes, NUMBERS);
        }
    }
}
