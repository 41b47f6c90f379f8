//! Where the header and the tags of an FLV stream begin and end.

use super::tag;
use crate::media::format::NotThisFormat;
use crate::media::splitter::{Framing, MAX_UNIT, Next};

/// Bytes of a file's header, before what later versions may add.
const HEADER: usize = 9;
/// The most bytes that a header may have with what is added.
const LONGEST_HEADER: usize = 1024;
/// Bytes after the header and after each tag: the length of the tag before.
pub const TRAILER: usize = 4;

/// The units of an FLV stream: first its header, then each tag, with the length that follows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlvFraming {
    header_is_past: bool,
}

impl Framing for FlvFraming {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
        if self.header_is_past {
            return next_tag(bytes);
        }
        let next = next_header(bytes)?;
        self.header_is_past = matches!(next, Next::Unit(length) if length <= bytes.len());
        Ok(next)
    }
}

fn next_header(bytes: &[u8]) -> Result<Next, NotThisFormat> {
    const SIGNATURE: &[u8] = b"FLV\x01";
    let known = SIGNATURE.len().min(bytes.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(NotThisFormat("no FLV header"));
    }
    let Some(&[a, b, c, d]) = bytes.get(5..HEADER) else {
        return Ok(Next::More(HEADER));
    };
    match u32::from_be_bytes([a, b, c, d]) as usize {
        length @ HEADER..=LONGEST_HEADER => Ok(Next::Unit(length + TRAILER)),
        _ => Err(NotThisFormat("an FLV header of a wrong length")),
    }
}

fn next_tag(bytes: &[u8]) -> Result<Next, NotThisFormat> {
    // The bit 0x20 says that the tag is encrypted, the two above it must be zero.
    if !matches!(
        bytes[0],
        tag::AUDIO | tag::VIDEO | tag::SCRIPT | tag::SCRIPT_AMF3
    ) {
        return Err(NotThisFormat("an FLV tag of no known kind"));
    }
    let Some(&[a, b, c]) = bytes.get(1..4) else {
        return Ok(Next::More(tag::HEAD));
    };
    let length = tag::HEAD + u32::from_be_bytes([0, a, b, c]) as usize + TRAILER;
    match length <= MAX_UNIT {
        true => Ok(Next::Unit(length)),
        false => Err(NotThisFormat("an FLV tag of more than 8 MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::splitter::tests::split;
    use proptest::prelude::*;

    static SRS: &[u8] = include_bytes!("../samples/live-head.flv");

    #[test]
    fn what_srs_sends() {
        let (units, end) = split(FlvFraming::default(), SRS, &[4096]);
        assert_eq!(end, Ok(()));
        assert_eq!(units[0], b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        let kinds: Vec<_> = units[1..6].iter().map(|unit| unit[0]).collect();
        assert_eq!(kinds, [18, 8, 9, 9, 8]);
        let length: usize = units.iter().map(Vec::len).sum();
        assert!(SRS.starts_with(&units.concat()) && SRS.len() - length < 10_000);
    }

    #[test]
    fn what_is_no_flv() {
        for (bytes, reason) in [
            (&b"<html>"[..], "no FLV header"),
            (b"FLV\x02\x05\0\0\0\x09\0\0\0\0", "no FLV header"),
            (
                b"FLV\x01\x05\0\0\0\x08\0\0\0\0",
                "an FLV header of a wrong length",
            ),
            (
                b"FLV\x01\x05\xff\0\0\x09\0\0\0\0",
                "an FLV header of a wrong length",
            ),
            (
                b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x28",
                "an FLV tag of no known kind",
            ),
            (
                b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\x80\0\0",
                "an FLV tag of more than 8 MiB",
            ),
        ] {
            for cut in [1, 1000] {
                let (_, end) = split(FlvFraming::default(), bytes, &[cut]);
                assert_eq!(end, Err(NotThisFormat(reason)), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_longer_header_is_one_unit() {
        let bytes = b"FLV\x01\x01\0\0\0\x0bxy\0\0\0\0\x12\0\0\x01\0\0\0\0\0\0\0z\0\0\0\x0c";
        let (units, end) = split(FlvFraming::default(), bytes, &[3]);
        assert_eq!((units.len(), units[0].len(), end), (2, 15, Ok(())));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_units(cuts in prop::collection::vec(1..5000usize, 1..20)) {
            let whole = split(FlvFraming::default(), SRS, &[SRS.len()]);
            prop_assert_eq!(split(FlvFraming::default(), SRS, &cuts), whole);
        }

        #[test]
        fn garbage_neither_panics_nor_grows(garbage: Vec<u8>, cuts in prop::collection::vec(1..50usize, 1..5)) {
            let bytes = [&SRS[..13], &garbage].concat();
            let _ = split(FlvFraming::default(), &bytes, &cuts);
            let _ = split(FlvFraming::default(), &garbage, &cuts);
        }
    }
}
