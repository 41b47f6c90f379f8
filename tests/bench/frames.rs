//! A frame that carries its own send time, of a live stream that is no media: `magic (4) | length (4) | send time (8) |
//! number (4) | filling`, integers little-endian.

use std::time::Duration;

use crate::chunks::ChunkDecoder;
use crate::clock;

/// 25 frames a second.
pub const FRAME_TIME: Duration = Duration::from_millis(40);
/// Frames a second.
pub const FRAME_RATE: f64 = 25.0;
/// 1 Mb/s at 25 frames a second.
pub const FRAME_BYTES: usize = 5000;

const MAGIC: &[u8; 4] = b"SPB1";
const HEADER: usize = 20;

/// A frame as one chunk of a chunked body, ready to be stamped and sent again and again.
pub struct FrameChunk {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameChunk {
    pub fn new() -> FrameChunk {
        let mut bytes = format!("{FRAME_BYTES:x}\r\n").into_bytes();
        let start = bytes.len();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(FRAME_BYTES as u32).to_le_bytes());
        bytes.resize(start + FRAME_BYTES, 0x5a);
        bytes.extend_from_slice(b"\r\n");
        FrameChunk { bytes, start }
    }

    /// The chunk of frame `number`, sent now.
    pub fn stamped(&mut self, number: u32) -> &[u8] {
        let header = &mut self.bytes[self.start..self.start + HEADER];
        header[8..16].copy_from_slice(&clock::now().to_le_bytes());
        header[16..20].copy_from_slice(&number.to_le_bytes());
        &self.bytes
    }
}

/// Reads frames out of a response body, in whatever pieces it comes.
pub struct FrameReader {
    chunks: ChunkDecoder,
    frames: Frames,
}

impl FrameReader {
    pub fn new(chunked: bool) -> FrameReader {
        FrameReader {
            chunks: ChunkDecoder::new(chunked),
            frames: Frames {
                header: [0; HEADER],
                have: 0,
                filling_left: 0,
                next_number: None,
            },
        }
    }

    /// Takes the next bytes of the body and calls `whole` with the send time of each frame that is now whole.
    pub fn feed(&mut self, bytes: &[u8], whole: &mut impl FnMut(u64)) -> Result<(), &'static str> {
        let frames = &mut self.frames;
        self.chunks.feed(bytes, |data| frames.payload(data, whole))
    }
}

/// The frames of a body without its coding.
struct Frames {
    header: [u8; HEADER],
    have: usize,
    filling_left: usize,
    next_number: Option<u32>,
}

impl Frames {
    fn payload(
        &mut self,
        mut bytes: &[u8],
        whole: &mut impl FnMut(u64),
    ) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            if self.have < HEADER {
                let count = bytes.len().min(HEADER - self.have);
                self.header[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have == HEADER {
                    self.check_header()?;
                }
            } else {
                let count = bytes.len().min(self.filling_left);
                self.filling_left -= count;
                bytes = &bytes[count..];
            }
            if self.have == HEADER && self.filling_left == 0 {
                whole(u64::from_le_bytes(self.field(8)));
                self.have = 0;
            }
        }
        Ok(())
    }

    fn check_header(&mut self) -> Result<(), &'static str> {
        if self.header[..4] != *MAGIC || u32::from_le_bytes(self.field(4)) as usize != FRAME_BYTES {
            return Err("a frame does not begin where it should");
        }
        self.filling_left = FRAME_BYTES - HEADER;
        let number = u32::from_le_bytes(self.field(16));
        if self.next_number.is_some_and(|expected| expected != number) {
            return Err("a frame is missing or repeated");
        }
        self.next_number = Some(number.wrapping_add(1));
        Ok(())
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.header[at..at + N]);
        field
    }
}
