//! Streams of audio frames that each begin with a header: ADTS and MP3.

use super::format::NotThisFormat;
use super::splitter::{Framing, MAX_GARBAGE, Next};

/// What a frame's header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the frame with its header.
    pub length: usize,
    /// Samples per channel.
    pub samples: u32,
    /// Samples per second.
    pub sample_rate: u32,
}

/// A format whose frames have headers.
pub trait FrameFormat {
    /// Bytes from which a header can be read.
    const HEADER: usize;
    /// Reads the header that `bytes`, of at least [`Self::HEADER`] bytes, begin with. `None`: there is none.
    fn header(bytes: &[u8]) -> Option<FrameHeader>;
}

/// The units of a stream of audio frames: each frame. ID3v2 tags (id3.org, 2.4.0, section 3) are left out.
///
/// A frame is given as soon as it is whole. After bytes that are no frame, a frame is taken for one once
/// another follows it.
#[derive(Clone, Copy, Debug)]
pub struct FrameFraming<F> {
    in_step: bool,
    garbage: usize,
    format: std::marker::PhantomData<F>,
}

impl<F> Default for FrameFraming<F> {
    fn default() -> Self {
        Self {
            in_step: true,
            garbage: 0,
            format: std::marker::PhantomData,
        }
    }
}

/// Bytes of an ID3v2 tag's header, and of the footer that may follow the tag.
const ID3: usize = 10;

impl<F: FrameFormat> Framing for FrameFraming<F> {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
        let id3 = b"ID3";
        let known = id3.len().min(bytes.len());
        if bytes[..known] == id3[..known] {
            let Some(head) = bytes.get(..ID3) else {
                return Ok(Next::More(ID3));
            };
            // Seven bits a byte, so that no byte looks like the begin of a frame.
            let size = head[6..]
                .iter()
                .fold(0, |size, byte| size << 7 | usize::from(byte & 0x7F));
            let footer = if head[5] & 0x10 == 0 { 0 } else { ID3 };
            return Ok(Next::Skip(ID3 + size + footer));
        }
        if bytes.len() < F::HEADER && bytes[0] == 0xFF {
            return Ok(Next::More(F::HEADER));
        }
        let header = bytes.get(..F::HEADER).and_then(F::header);
        let Some(header) = header else {
            self.in_step = false;
            return self.skip(bytes);
        };
        if !self.in_step {
            let needed = header.length + F::HEADER;
            match bytes.get(header.length..needed).map(F::header) {
                None => return Ok(Next::More(needed)),
                Some(None) => return self.skip(bytes),
                Some(Some(_)) => self.in_step = true,
            }
        }
        if header.length <= bytes.len() {
            self.garbage = 0;
        }
        Ok(Next::Unit(header.length))
    }
}

impl<F> FrameFraming<F> {
    /// Skips the first byte, and what follows up to where a frame may begin.
    fn skip(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
        let rest = &bytes[1..];
        let skipped = 1 + rest
            .iter()
            .position(|byte| matches!(byte, 0xFF | b'I'))
            .unwrap_or(rest.len());
        self.garbage += skipped;
        match self.garbage <= MAX_GARBAGE {
            true => Ok(Next::Skip(skipped)),
            false => Err(NotThisFormat("no audio frame in 64 KiB")),
        }
    }
}
