//! Where the packets of a transport stream begin.

use super::packet::PACKET;
use crate::media::format::NotThisFormat;
use crate::media::splitter::{Framing, MAX_GARBAGE, Next};

/// The first byte of each packet. It may stand elsewhere in a packet too.
const SYNC: u8 = 0x47;

/// The units of a transport stream: each packet. After bytes that are no packet, a packet is taken for one once
/// the first byte of the next stands behind it.
#[derive(Clone, Copy, Debug)]
pub struct TsFraming {
    in_step: bool,
    garbage: usize,
}

impl Default for TsFraming {
    fn default() -> Self {
        Self {
            in_step: true,
            garbage: 0,
        }
    }
}

impl Framing for TsFraming {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
        if bytes[0] != SYNC {
            self.in_step = false;
            return self.skip(bytes);
        }
        if !self.in_step {
            match bytes.get(PACKET) {
                None => return Ok(Next::More(PACKET + 1)),
                Some(&SYNC) => self.in_step = true,
                Some(_) => return self.skip(bytes),
            }
        }
        if bytes.len() >= PACKET {
            self.garbage = 0;
        }
        Ok(Next::Unit(PACKET))
    }
}

impl TsFraming {
    fn skip(&mut self, bytes: &[u8]) -> Result<Next, NotThisFormat> {
        let rest = &bytes[1..];
        let skipped = 1 + rest
            .iter()
            .position(|byte| *byte == SYNC)
            .unwrap_or(rest.len());
        self.garbage += skipped;
        match self.garbage <= MAX_GARBAGE {
            true => Ok(Next::Skip(skipped)),
            false => Err(NotThisFormat("no TS packet in 64 KiB")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::splitter::tests::split;
    use proptest::prelude::*;

    static SRS: &[u8] = include_bytes!("../samples/live-head.ts");

    #[test]
    fn packets_are_found_again_behind_garbage() {
        for garbage in [&b""[..], b"rubbish", b"GGGG", &[SYNC; 400], &[0; 60_000]] {
            let bytes = [&SRS[..376], garbage, &SRS[376..3760]].concat();
            for cut in [1, 100, 188, 10_000] {
                let (units, end) = split(TsFraming::default(), &bytes, &[cut]);
                assert_eq!(end, Ok(()));
                assert!(
                    units
                        .iter()
                        .all(|unit| unit.len() == PACKET && unit[0] == SYNC)
                );
                let found = |packet: &[u8]| units.iter().any(|unit| unit == packet);
                let lost = SRS[..3760].chunks(PACKET).filter(|it| !found(it)).count();
                // Garbage that begins like a packet hides what follows it.
                let most = if garbage.starts_with(b"G") { 4 } else { 0 };
                assert!(lost <= most, "{lost} after {}", garbage.len());
            }
        }
    }

    #[test]
    fn what_is_no_transport_stream() {
        for bytes in [&[0; 70_000][..], &b"G\0\0".repeat(23_334)] {
            let (units, end) = split(TsFraming::default(), bytes, &[999]);
            assert!(units.len() <= 1, "{}", units.len());
            assert_eq!(end, Err(NotThisFormat("no TS packet in 64 KiB")));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_cut_gives_the_same_packets(cuts in prop::collection::vec(1..700usize, 1..20), place in 0..5000usize, garbage: Vec<u8>) {
            let bytes = [&SRS[..place], &garbage, &SRS[place..8000]].concat();
            prop_assert_eq!(split(TsFraming::default(), &bytes, &cuts), split(TsFraming::default(), &bytes, &[bytes.len()]));
        }
    }
}
