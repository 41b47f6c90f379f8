//! The bytes of a live segment, known beforehand from its number, so that those of another one are found.

use std::sync::LazyLock;

/// What a segment holds: 2 s at 1 Mb/s.
pub const SEGMENT_BYTES: usize = 256 * 1024;

/// The number at the segment's beginning.
const STAMP_BYTES: usize = 8;

/// What follows the number, the same in all segments.
static FILLING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let packets = STAMP_BYTES..SEGMENT_BYTES;
    packets.map(|at| (at / 188) as u8).collect()
});

/// The segment of that number.
pub fn segment(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(&FILLING);
    bytes
}

/// Checks a segment's bytes in whatever pieces they come.
pub struct SegmentCheck {
    pub number: u64,
    /// Bytes so far.
    at: usize,
}

impl SegmentCheck {
    pub fn new(number: u64) -> SegmentCheck {
        SegmentCheck { number, at: 0 }
    }

    /// Takes the next bytes. An error is for ever.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let stamp = self.number.to_be_bytes();
        let stamp_left = stamp.get(self.at..).unwrap_or_default();
        let (begin, rest) = bytes.split_at(bytes.len().min(stamp_left.len()));
        if *begin != stamp_left[..begin.len()] {
            return Err("another segment's bytes");
        }
        let at = (self.at + begin.len()).saturating_sub(STAMP_BYTES);
        if FILLING.get(at..at + rest.len()) != Some(rest) {
            return Err("a segment's bytes are not its own");
        }
        self.at += bytes.len();
        Ok(())
    }
}
