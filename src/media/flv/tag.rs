//! The tags that an FLV file consists of (Adobe's FLV specification 10.1, annex E.4.1).

/// `TagType` values.
pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const SCRIPT: u8 = 18;
/// Script data in AMF 3, which no live server is known to send; players skip it.
pub const SCRIPT_AMF3: u8 = 15;

/// The first byte of a video tag's body: H.264, as a key frame or not (FLV specification 10.1, E.4.3).
pub const AVC_KEY: u8 = 0x17;
pub const AVC_INTER: u8 = 0x27;
/// The first byte of an audio tag's body: AAC; its other bits are fixed for AAC (E.4.2).
pub const AAC: u8 = 0xAF;
/// The second byte of the body of H.264 and AAC: a configuration or a frame.
pub const CONFIG: u8 = 0;
pub const FRAME: u8 = 1;

/// Bytes of a tag before its body.
pub const HEAD: usize = 11;

/// One tag of an FLV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    pub kind: u8,
    /// Decoding time in milliseconds; it wraps after 49.7 days.
    pub timestamp: u32,
    pub body: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Takes a tag and the length that follows it off the front of `file`. `None`, when it breaks off.
    pub fn read(file: &mut &'a [u8]) -> Option<Self> {
        let head = file.split_off(..HEAD)?;
        let body = file.split_off(..u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize)?;
        file.split_off(..4)?;
        // The eighth byte extends the timestamp at its top.
        let timestamp = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        Some(Self {
            kind: head[0] & 0x1F,
            timestamp,
            body,
        })
    }
}

/// Replaces the timestamp of the tag that `tag` begins with.
pub fn set_timestamp(tag: &mut [u8], timestamp: u32) {
    let [extended, low @ ..] = timestamp.to_be_bytes();
    if let Some(field) = tag.get_mut(4..8) {
        field[..3].copy_from_slice(&low);
        field[3] = extended;
    }
}

/// Appends a tag whose body is `front` and then `rest`, and the length that follows it. The body must be
/// shorter than 16 MiB, the most that the format can say.
pub fn write(out: &mut Vec<u8>, kind: u8, timestamp: u32, front: &[u8], rest: &[u8]) {
    let length = front.len() + rest.len();
    let [_, size @ ..] = (length as u32).to_be_bytes();
    let [extended, low @ ..] = timestamp.to_be_bytes();
    out.push(kind);
    out.extend(size);
    out.extend(low);
    out.push(extended);
    out.extend([0, 0, 0]);
    out.extend(front);
    out.extend(rest);
    out.extend(((HEAD + length) as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_extended_byte_is_the_highest() {
        let mut out = Vec::new();
        write(&mut out, VIDEO, 0x1234_5678, b"a", b"bc");
        assert_eq!(out[..11], [9, 0, 0, 3, 0x34, 0x56, 0x78, 0x12, 0, 0, 0]);
        assert_eq!(out[11..], *b"abc\x00\x00\x00\x0e");
        set_timestamp(&mut out, 0x8765_4321);
        assert_eq!(Tag::read(&mut &out[..]).unwrap().timestamp, 0x8765_4321);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(timestamp: u32, front: Vec<u8>, rest: Vec<u8>, cut: prop::sample::Index) {
            let mut out = Vec::new();
            write(&mut out, AUDIO, timestamp, &front, &rest);
            let mut file = &out[..];
            let body = [front, rest].concat();
            prop_assert_eq!(Tag::read(&mut file), Some(Tag { kind: AUDIO, timestamp, body: &body }));
            prop_assert!(file.is_empty());
            prop_assert_eq!(Tag::read(&mut &out[..cut.index(out.len())]), None);
        }
    }
}
