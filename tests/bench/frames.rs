//! A live frame that carries its own send time, and its way through chunked coding (RFC 9112 section 7.1).
//!
//! A frame is `magic (4) | length (4) | send time (8) | number (4) | filling`, integers little-endian. The time is that
//! of this process: origin and players run in it, so there is no clock to agree on.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// 25 frames a second.
pub const FRAME_TIME: Duration = Duration::from_millis(40);
/// Frames a second.
pub const FRAME_RATE: f64 = 25.0;
/// 1 Mb/s at 25 frames a second.
pub const FRAME_BYTES: usize = 5000;

const MAGIC: &[u8; 4] = b"SPB1";
const HEADER: usize = 20;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since some moment before the first call's return, the same for all threads.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

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
        header[8..16].copy_from_slice(&now().to_le_bytes());
        header[16..20].copy_from_slice(&number.to_le_bytes());
        &self.bytes
    }
}

/// Where in the chunked coding the next byte belongs.
enum Coding {
    /// The body ends with the connection.
    Identity,
    /// In a chunk's size, of which this much is known.
    Size(usize),
    /// In a chunk extension of a chunk with this size.
    Extension(usize),
    /// In a chunk's data, with this much left.
    Data(usize),
    /// In the line end after a chunk's data.
    DataEnd,
}

/// Reads frames out of a response body, in whatever pieces it comes.
pub struct FrameReader {
    coding: Coding,
    header: [u8; HEADER],
    have: usize,
    filling_left: usize,
    next_number: Option<u32>,
}

impl FrameReader {
    pub fn new(chunked: bool) -> FrameReader {
        let coding = if chunked {
            Coding::Size(0)
        } else {
            Coding::Identity
        };
        FrameReader {
            coding,
            header: [0; HEADER],
            have: 0,
            filling_left: 0,
            next_number: None,
        }
    }

    /// Takes the next bytes of the body and calls `whole` with the send time of each frame that is now whole.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        whole: &mut impl FnMut(u64),
    ) -> Result<(), &'static str> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.coding {
                Coding::Identity => return self.payload(bytes, whole),
                Coding::Data(left) => {
                    let (data, after) = bytes.split_at(left.min(bytes.len()));
                    self.payload(data, whole)?;
                    let left = left - data.len();
                    self.coding = if left == 0 {
                        Coding::DataEnd
                    } else {
                        Coding::Data(left)
                    };
                    bytes = after;
                    continue;
                }
                Coding::Size(size) => self.coding = size_byte(size, first)?,
                Coding::Extension(size) if first == b'\n' => self.coding = chunk_of(size)?,
                Coding::DataEnd if first == b'\n' => self.coding = Coding::Size(0),
                Coding::DataEnd if first != b'\r' => return Err("no line end after a chunk"),
                Coding::Extension(_) | Coding::DataEnd => {}
            }
            bytes = rest;
        }
        Ok(())
    }

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

fn size_byte(size: usize, byte: u8) -> Result<Coding, &'static str> {
    match byte {
        b'\r' => Ok(Coding::Size(size)),
        b'\n' => chunk_of(size),
        b';' => Ok(Coding::Extension(size)),
        _ => {
            let digit = char::from(byte)
                .to_digit(16)
                .ok_or("a chunk size is not a number")?;
            size.checked_mul(16)
                .map(|size| Coding::Size(size + digit as usize))
                .ok_or("a chunk size is too large")
        }
    }
}

fn chunk_of(size: usize) -> Result<Coding, &'static str> {
    if size == 0 {
        Err("the live stream ended")
    } else {
        Ok(Coding::Data(size))
    }
}
