//! Cutting a body that arrives in any pieces into the units of its format.

use super::format::NotThisFormat;

/// The most bytes that a unit may have, and so the most that is buffered. A key frame of 4K video at
/// 50 Mb/s has about 2 MB; FLV's own limit is 16 MiB.
pub const MAX_UNIT: usize = 8 * 1024 * 1024;
/// The most bytes in a row that belong to no unit, before the body counts as being in another format.
pub const MAX_GARBAGE: usize = 64 * 1024;
/// Memory that a splitter keeps between two units; what a larger one needed is given back.
const KEPT: usize = 64 * 1024;

/// What the front of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole unit of so many bytes.
    Unit(usize),
    /// So many bytes that belong to no unit. They need not all be there yet.
    Skip(usize),
    /// The begin of something: so many bytes, counted from the front, must be there to tell more.
    More(usize),
}

/// The rules by which a format's units follow each other.
pub trait Framing {
    /// Tells what `bytes`, which are not empty, begin with. Called with a unit's front again and again until
    /// it is whole.
    ///
    /// # Errors
    /// [`NotThisFormat`] when no unit can follow. The framing must not be asked again.
    fn next(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat>;
}

/// Gives whole units of a body that arrives in pieces. Units that are whole in one piece are not copied.
#[derive(Debug, Default)]
pub struct Splitter<F> {
    framing: F,
    /// The front of a unit that is not whole yet.
    part: Vec<u8>,
    /// Bytes to be skipped that have not arrived yet.
    skip: usize,
}

impl<F: Framing> Splitter<F> {
    pub fn new(framing: F) -> Self {
        Self {
            framing,
            part: Vec::new(),
            skip: 0,
        }
    }

    /// Takes the next piece of the body and calls `unit` with each unit that is whole now, in order.
    ///
    /// # Errors
    /// [`NotThisFormat`] of the framing, of a unit over [`MAX_UNIT`], or what `unit` says. The splitter must not be used again.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut unit: impl FnMut(&[u8]) -> Result<(), NotThisFormat>,
    ) -> Result<(), NotThisFormat> {
        loop {
            if let Some(missing) = self.settle(&mut unit)? {
                if bytes.is_empty() {
                    return Ok(());
                }
                let (front, rest) = bytes.split_at(missing.min(bytes.len()));
                self.part.extend_from_slice(front);
                bytes = rest;
                continue;
            }
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            match self.framing.next(bytes)? {
                Next::Unit(length) if (1..=bytes.len()).contains(&length) => {
                    let (whole, rest) = bytes.split_at(length);
                    unit(whole)?;
                    bytes = rest;
                }
                Next::Skip(length) => self.skip = length.max(1),
                Next::Unit(needed) | Next::More(needed) => {
                    within_bound(needed)?;
                    self.part.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
    }

    /// Gives what is whole in the buffer. Returns how many bytes tell more about the rest; `None`: there is no rest.
    fn settle(
        &mut self,
        unit: &mut impl FnMut(&[u8]) -> Result<(), NotThisFormat>,
    ) -> Result<Option<usize>, NotThisFormat> {
        while !self.part.is_empty() {
            let used = match self.framing.next(&self.part)? {
                Next::Unit(length) if (1..=self.part.len()).contains(&length) => {
                    unit(&self.part[..length])?;
                    length
                }
                Next::Skip(length) => {
                    let length = length.max(1);
                    self.skip = length.saturating_sub(self.part.len());
                    length - self.skip
                }
                Next::Unit(needed) | Next::More(needed) => {
                    within_bound(needed)?;
                    return Ok(Some(needed.saturating_sub(self.part.len()).max(1)));
                }
            };
            self.part.drain(..used);
            if self.part.is_empty() {
                self.part.shrink_to(KEPT);
            }
        }
        Ok(None)
    }

    /// Bytes of the unit that has begun and is not whole.
    pub fn buffered(&self) -> usize {
        self.part.len()
    }

    /// The begin of a unit that is not whole.
    pub fn pending(&self) -> &[u8] {
        &self.part
    }
}

fn within_bound(needed: usize) -> Result<(), NotThisFormat> {
    match needed <= MAX_UNIT {
        true => Ok(()),
        false => Err(NotThisFormat("a unit of more than 8 MiB")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A length, then so many bytes; 0 is skipped with the byte after it.
    #[derive(Default)]
    struct Counted;

    impl Framing for Counted {
        fn next(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
            Ok(match usize::from(bytes[0]) {
                0 => Next::Skip(2),
                255 => return Err(NotThisFormat("255")),
                length if bytes.len() > length => Next::Unit(1 + length),
                length => Next::More(1 + length),
            })
        }
    }

    /// The units that `framing` gives of `bytes`, which are pushed in pieces of the given lengths in turn.
    pub fn split<F: Framing>(
        framing: F,
        bytes: &[u8],
        cuts: &[usize],
    ) -> (Vec<Vec<u8>>, Result<(), NotThisFormat>) {
        let mut splitter = Splitter::new(framing);
        let mut units = Vec::new();
        let mut rest = bytes;
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).clamp(1, rest.len().max(1)).min(rest.len()));
            let pushed = splitter.push(piece, |unit| {
                units.push(unit.to_vec());
                Ok(())
            });
            if pushed.is_err() || after.is_empty() {
                return (units, pushed);
            }
            assert!(splitter.buffered() <= MAX_UNIT);
            rest = after;
        }
        (units, Ok(()))
    }

    #[test]
    fn units_and_what_is_between_them() {
        let (units, end) = split(Counted, b"\x02ab\x00x\x01c\x00\x00\x03d", &[1000]);
        assert_eq!(units, [&b"\x02ab"[..], b"\x01c"]);
        assert_eq!(end, Ok(()));
        let (units, end) = split(Counted, b"\x01a\xff", &[1]);
        assert_eq!((units.len(), end), (1, Err(NotThisFormat("255"))));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_units(bytes in prop::collection::vec(0..7u8, 1..300), cuts in prop::collection::vec(1..40usize, 1..20)) {
            prop_assert_eq!(split(Counted, &bytes, &cuts), split(Counted, &bytes, &[bytes.len()]));
        }
    }
}
