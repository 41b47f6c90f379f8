//! A piece: whole units of a stream, rendered once for all viewers.

use crate::channel::budget::Reservation;
use std::sync::Arc;
use std::time::Instant;

/// How a viewer's response marks its parts: HTTP/1.1 gets chunks (RFC 9112 section 7.1), HTTP/1.0 the bare body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    Bare,
}

/// Digits of the longest chunk size, and its line end.
const SIZE_LINE: usize = 18;

/// Whole units of a stream as one HTTP chunk. Viewers hold references to it and never copy it.
#[derive(Debug)]
pub struct Piece {
    /// Some bytes that are not used, then size line, units, line end.
    buffer: Vec<u8>,
    /// Where the size line begins in `buffer`, and where the units do.
    begin: usize,
    start: usize,
    /// A player can begin here: a key frame's unit is the first, or the stream has no video.
    pub starts_group: bool,
    /// What a player needs before it can begin here: file header and codec configuration.
    pub opening: Arc<[u8]>,
    /// When its last byte came from the origin.
    pub came: Instant,
    /// The piece's share of the memory for live channels, given back when nobody refers to the piece.
    _reserved: Reservation,
}

impl Piece {
    /// Bytes that a viewer with this framing gets.
    pub fn framed(&self, framing: Framing) -> &[u8] {
        match framing {
            Framing::Chunked => &self.buffer[self.begin..],
            Framing::Bare => self.units(),
        }
    }

    /// The units alone.
    pub fn units(&self) -> &[u8] {
        &self.buffer[self.start..self.buffer.len() - 2]
    }

    /// How many of the first `sent` framed bytes belong to units.
    pub fn body_bytes(&self, framing: Framing, sent: usize) -> usize {
        match framing {
            Framing::Chunked => sent
                .saturating_sub(self.start - self.begin)
                .min(self.units().len()),
            Framing::Bare => sent,
        }
    }

    /// Memory that the piece takes, in bytes.
    pub fn size(&self) -> usize {
        self.buffer.capacity()
    }
}

/// The units of one piece while it is put together.
#[derive(Debug, Default)]
pub struct PieceBuilder {
    /// Room for the size line, then the units.
    buffer: Vec<u8>,
    opening: Option<Arc<[u8]>>,
}

/// What is rendered but not yet in a ring.
#[derive(Debug)]
pub struct Rendered {
    buffer: Vec<u8>,
    begin: usize,
    start: usize,
    opening: Option<Arc<[u8]>>,
}

impl PieceBuilder {
    /// Whether there is no unit yet.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() <= SIZE_LINE
    }

    /// Adds a whole unit. Where it is the first and a player can begin there, `opening` is what the player gets
    /// before it.
    pub fn add(&mut self, unit: &[u8], opening: Option<&Arc<[u8]>>) {
        if self.is_empty() {
            // Most pieces are one unit: what is written now is what viewers are sent.
            self.buffer = Vec::with_capacity(SIZE_LINE + unit.len() + 2);
            self.buffer.resize(SIZE_LINE, 0);
            self.opening = opening.cloned();
        }
        self.buffer.extend_from_slice(unit);
    }

    /// Takes the units so far as a chunk; `None` when there is none.
    pub fn take(&mut self) -> Option<Rendered> {
        if self.is_empty() {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let size = buffer.len() - SIZE_LINE;
        let begin = write_size(size, &mut buffer[..SIZE_LINE]);
        buffer.extend_from_slice(b"\r\n");
        // Several units may have taken twice the room; it would be kept for seconds.
        if buffer.capacity() - buffer.len() > buffer.len() / 8 {
            buffer.shrink_to_fit();
        }
        Some(Rendered {
            buffer,
            begin,
            start: SIZE_LINE,
            opening: self.opening.take(),
        })
    }
}

/// Writes a chunk's size line at the end of `room`, without allocating; gives where it begins.
fn write_size(size: usize, room: &mut [u8]) -> usize {
    let mut at = room.len() - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut rest = size;
    loop {
        at -= 1;
        room[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return at;
        }
    }
}

impl Rendered {
    /// One chunk of these bytes.
    pub fn of(units: &[u8], opening: Option<&Arc<[u8]>>) -> Option<Self> {
        let mut builder = PieceBuilder::default();
        builder.add(units, opening);
        builder.take()
    }

    /// Memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        self.buffer.capacity()
    }

    /// The piece. `opening` is the one of a piece that starts no group.
    pub fn into_piece(self, opening: &Arc<[u8]>, came: Instant, reserved: Reservation) -> Piece {
        let Self {
            buffer,
            begin,
            start,
            opening: own,
        } = self;
        let starts_group = own.is_some();
        let opening = own.unwrap_or_else(|| opening.clone());
        Piece {
            buffer,
            begin,
            start,
            starts_group,
            opening,
            came,
            _reserved: reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::budget::Budget;

    fn piece(units: &[u8]) -> Piece {
        let rendered = Rendered::of(units, Some(&Arc::default())).unwrap();
        let reserved = Budget::new(1000).reserve(rendered.size());
        rendered.into_piece(&Arc::default(), Instant::now(), reserved)
    }

    #[test]
    fn a_piece_is_one_chunk_and_its_inside_is_the_body() {
        for size in [1, 15, 16, 4096, 70_000] {
            let units = vec![7; size];
            let piece = piece(&units);
            let chunk = [format!("{size:x}\r\n").as_bytes(), &units, b"\r\n"].concat();
            assert_eq!(piece.framed(Framing::Chunked), chunk);
            assert_eq!(piece.framed(Framing::Bare), units);
        }
    }

    #[test]
    fn framing_is_not_counted() {
        let piece = piece(b"0123456789");
        let counted = |sent| piece.body_bytes(Framing::Chunked, sent);
        assert_eq!(
            [0, 3, 4, 12, 13, 14, 15].map(counted),
            [0, 0, 1, 9, 10, 10, 10]
        );
        assert_eq!(piece.body_bytes(Framing::Bare, 4), 4);
    }

    #[test]
    fn a_builder_takes_units_until_they_are_taken() {
        let mut builder = PieceBuilder::default();
        assert!(builder.take().is_none());
        builder.add(b"ab", Some(&Arc::default()));
        builder.add(b"cd", None);
        let first = builder.take().unwrap();
        assert!(first.opening.is_some());
        assert_eq!(&first.buffer[first.begin..], b"4\r\nabcd\r\n");
        builder.add(b"e", None);
        let second = builder.take().unwrap();
        assert!(second.opening.is_none());
        assert_eq!(&second.buffer[second.begin..], b"1\r\ne\r\n");
    }
}
