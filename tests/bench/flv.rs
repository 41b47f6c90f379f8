//! The FLV that the encoder makes (Adobe Flash Video File Format Specification 10.1, annex E): H.264 at 25 frames a
//! second and 1 Mb/s, a key frame each two seconds. The container is valid; the pictures hold numbers instead of slices.

use std::sync::LazyLock;

/// Frames from one key frame to the next.
pub const GOP: u64 = 50;
/// Milliseconds from one frame's timestamp to the next one's.
pub const FRAME_MS: u64 = 40;
/// Bytes of a frame's tag without its head and its trailing size.
pub const DATA_BYTES: usize = 5000;
/// A tag's head.
pub const TAG_HEAD: usize = 11;
/// Tag types: audio, video, script.
pub const TAG_KINDS: [u8; 3] = [8, 9, 18];
pub const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// A frame's data begins with the codec (`0x17`: key frame, `0x27`: another), the packet type, a composition time, and the
/// length and the type of its only NAL unit; then come [`MAGIC`], send time (8), number (8) and run (4), little-endian.
pub const STAMP_AT: usize = 10;
pub const STAMP_BYTES: usize = 24;
pub const MAGIC: [u8; 4] = *b"SPB2";

/// Bytes of a frame's data after its stamp.
const FILLING_BYTES: usize = DATA_BYTES - STAMP_AT - STAMP_BYTES;
/// Frames in a row whose fillings differ, a prime.
const FILLINGS: u64 = 251;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |index: u32| (index.wrapping_mul(0x9e37_79b1) >> 11) as u8;
    (0..FILLING_BYTES as u32 + FILLINGS as u32)
        .map(byte)
        .collect()
});

/// The rest of a frame after its stamp. Bytes that were lost, or that are another frame's, show wherever it is compared.
pub fn filling(number: u64, run: u32) -> &'static [u8] {
    let from = (number.wrapping_add(u64::from(run) * 101) % FILLINGS) as usize;
    &PATTERN[from..from + FILLING_BYTES]
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Milliseconds, of the tag: a proxy may have changed this.
    pub timestamp: u32,
    pub key: bool,
    /// [`crate::clock::now`] when the encoder had the frame.
    pub sent: u64,
    pub number: u64,
    /// Which encoder made the frame.
    pub run: u32,
}

/// What a viewer gets before the first frame: header, `onMetaData`, and the decoder's configuration.
pub fn beginning() -> Vec<u8> {
    let mut bytes = b"FLV\x01\x01\0\0\0\x09\0\0\0\0".to_vec();
    // AMF0: the name, then an array of one entry, `width` = 320.
    bytes.extend(tag(
        SCRIPT,
        0,
        b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x05width\0\x40\x74\0\0\0\0\0\0\0\0\x09",
    ));
    // AVCDecoderConfigurationRecord: baseline profile, level 3, one SPS and one PPS.
    bytes.extend(tag(
        VIDEO,
        0,
        b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x04\x67\x42\xc0\x1e\x01\0\x04\x68\xce\x3c\x80",
    ));
    bytes
}

/// A frame as a tag.
pub fn frame(frame: &Frame) -> Vec<u8> {
    let mut data = Vec::with_capacity(DATA_BYTES);
    data.extend_from_slice(&[if frame.key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
    data.extend_from_slice(&((DATA_BYTES - 9) as u32).to_be_bytes());
    data.push(if frame.key { 0x65 } else { 0x41 });
    data.extend_from_slice(&MAGIC);
    data.extend_from_slice(&frame.sent.to_le_bytes());
    data.extend_from_slice(&frame.number.to_le_bytes());
    data.extend_from_slice(&frame.run.to_le_bytes());
    data.extend_from_slice(filling(frame.number, frame.run));
    tag(VIDEO, frame.timestamp, &data)
}

fn tag(kind: u8, timestamp: u32, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    let time = timestamp.to_be_bytes();
    let mut tag = Vec::with_capacity(TAG_HEAD + data.len() + 4);
    tag.push(kind);
    tag.extend_from_slice(&length[1..]);
    tag.extend_from_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
    tag.extend_from_slice(data);
    tag.extend_from_slice(&((TAG_HEAD + data.len()) as u32).to_be_bytes());
    tag
}
