//! Sections: tables in packets (ISO/IEC 13818-1, 2.4.4).

use super::packet::{self, ROOM};

/// The program that the sections are about, and the number of the transport stream: there is only one.
pub const PROGRAM: u8 = 1;

/// Bytes before a table's own content, and of the CRC behind it.
const HEAD: usize = 8;
const CRC: usize = 4;

/// The payload of a packet with a PSI section (2.4.4), stuffed so that it fills the packet.
pub fn payload(table_id: u8, body: &[u8]) -> Vec<u8> {
    // The length counts from what follows it: 5 bytes up to the body, the body, the CRC.
    let mut section = vec![
        table_id,
        0xB0,
        (5 + body.len() + 4) as u8,
        0,
        PROGRAM,
        0xC1,
        0,
        0,
    ];
    section.extend(body);
    section.extend(crc32(&section).to_be_bytes());
    section.insert(0, 0); // pointer_field: it begins here
    section.resize(ROOM, 0xFF);
    section
}

/// The CRC of annex A.
/// Of a section with its own CRC it is zero.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

/// Packets that hold the section `section`, the first of them with the adaptation field `field` unless that is
/// empty. `counter` is that of the first, and is left at the one that follows.
pub fn packets(out: &mut Vec<u8>, pid: u16, counter: &mut u64, section: &[u8], field: &[u8]) {
    let taken = if field.is_empty() { 0 } else { 1 + field.len() };
    let mut payload = vec![0]; // pointer_field: it begins here
    payload.extend(section);
    let whole = (payload.len() + taken).div_ceil(ROOM) * ROOM - taken;
    payload.resize(whole, 0xFF);
    packet::write(out, pid, counter, &payload, field);
}

/// The version of a table, of 5 bits.
pub fn version(section: &[u8]) -> u8 {
    section.get(5).copied().unwrap_or_default() >> 1 & 0x1F
}

/// Replaces version and `table_id_extension` (of a PMT: the program's number) of a table.
pub fn set_head(section: &mut [u8], version: u8, extension: u16) {
    if let Some([_, _, _, high, low, flags, ..]) = section.get_mut(..HEAD) {
        [*high, *low] = extension.to_be_bytes();
        *flags = *flags & !0x3E | version << 1 & 0x3E;
    }
    seal(section);
}

/// Renews a section's CRC.
pub fn seal(section: &mut [u8]) {
    if let Some(content) = section.len().checked_sub(CRC) {
        let crc = crc32(&section[..content]).to_be_bytes();
        section[content..].copy_from_slice(&crc);
    }
}

/// The content of a table between its head and its CRC. `None`: the section is of another table, too short, or
/// announces what is not valid yet.
pub fn content(section: &[u8], table_id: u8) -> Option<&[u8]> {
    let end = section.len().checked_sub(CRC)?;
    let content = section.get(HEAD..end)?;
    (section[0] == table_id && section[5] & 1 == 1).then_some(content)
}

/// Puts the sections of one PID together. A section has at most 4 KiB, for its length has 12 bits.
#[derive(Clone, Debug, Default)]
pub struct SectionAssembler {
    part: Vec<u8>,
    /// A section began since the last gap.
    in_step: bool,
}

impl SectionAssembler {
    /// Takes the payload of the next packet, with whether a section begins in it, and calls `section` with each
    /// section that is whole and has the right CRC.
    pub fn push<E>(
        &mut self,
        payload: &[u8],
        starts: bool,
        mut section: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = payload;
        if starts {
            let Some((pointer, after)) = payload.split_first() else {
                return Ok(());
            };
            let (end, begin) = after.split_at(usize::from(*pointer).min(after.len()));
            self.append(end, &mut section)?;
            self.part.clear();
            self.in_step = true;
            rest = begin;
        }
        self.append(rest, &mut section)
    }

    fn append<E>(
        &mut self,
        bytes: &[u8],
        section: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.in_step {
            return Ok(());
        }
        self.part.extend_from_slice(bytes);
        loop {
            match self.part[..] {
                // Behind the last section there is stuffing.
                [0xFF, ..] => {
                    self.part.clear();
                    self.in_step = false;
                    return Ok(());
                }
                [_, high, low, ..] => {
                    let length = 3 + usize::from(u16::from_be_bytes([high & 0xF, low]));
                    let Some(whole) = self.part.get(..length) else {
                        return Ok(());
                    };
                    if length >= HEAD + CRC && high & 0x80 != 0 && crc32(whole) == 0 {
                        section(whole)?;
                    }
                    self.part.drain(..length);
                }
                _ => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::packet::{DISCONTINUITY_FIELD, PACKET, Packet};
    use proptest::prelude::*;

    /// The most bytes of a section with its header: its length has 12 bits.
    const MAX_SECTION: usize = 3 + 0xFFF;

    #[test]
    fn crc_of_the_usual_check() {
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
        let pat = payload(0, &[0, 1, 0xF0, 1]);
        assert_eq!(crc32(&pat[1..17]), 0, "over itself and its CRC it is zero");
    }

    fn sections(packets: &[u8]) -> Vec<Vec<u8>> {
        let (mut assembler, mut found) = (SectionAssembler::default(), Vec::new());
        for packet in packets.chunks(PACKET).filter_map(Packet::new) {
            let pushed = assembler.push(packet.payload(), packet.starts(), |section| {
                found.push(section.to_vec());
                Ok::<(), ()>(())
            });
            assert_eq!(pushed, Ok(()));
            assert!(assembler.part.len() <= MAX_SECTION + PACKET);
        }
        found
    }

    #[test]
    fn what_srs_sends() {
        let srs = include_bytes!("../samples/live-head.ts");
        let [pat, pmt] =
            [&srs[..PACKET], &srs[52 * PACKET..53 * PACKET]].map(|it| sections(it).concat());
        assert_eq!(content(&pat, 0), Some(&[0, 1, 0xF0, 1][..]));
        assert_eq!(content(&pat, 2), None);
        let streams = [
            0xE1, 0, 0xF0, 0, 0x0F, 0xE1, 1, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 0,
        ];
        assert_eq!(content(&pmt, 2), Some(&streams[..]));
        let mut changed = pmt.clone();
        set_head(&mut changed, 31, 7);
        assert_eq!((crc32(&changed), version(&changed)), (0, 31));
        assert_eq!(changed[3..5], [0, 7]);
        assert_eq!(content(&changed, 2), Some(&streams[..]));
        changed[8] ^= 1;
        let mut packet = Vec::new();
        packets(&mut packet, 0x1001, &mut 0, &changed, &[]);
        assert!(sections(&packet).is_empty(), "its CRC is wrong");
    }

    proptest! {
        #[test]
        fn sections_are_found_in_their_packets(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 1..4), jumps: bool) {
            let table = |body: &Vec<u8>| {
                let [high, low] = ((5 + body.len() + CRC) as u16).to_be_bytes();
                let mut section = vec![2, 0xB0 | high, low, 0, 1, 0xC1, 0, 0];
                section.extend(body);
                section.extend([0; CRC]);
                seal(&mut section);
                section
            };
            let tables: Vec<_> = bodies.iter().map(table).collect();
            let (mut out, mut counter) = (Vec::new(), 0);
            for table in &tables {
                packets(&mut out, 0x20, &mut counter, table, if jumps { DISCONTINUITY_FIELD } else { &[] });
            }
            prop_assert_eq!(out.len(), counter as usize * PACKET);
            prop_assert_eq!(sections(&out), tables);
        }

        #[test]
        fn any_payload_can_be_pushed(payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..184), any::<bool>()), 0..60)) {
            let mut assembler = SectionAssembler::default();
            for (payload, starts) in payloads {
                let _ = assembler.push(&payload, starts, |_| Ok::<(), ()>(()));
                prop_assert!(assembler.part.len() <= MAX_SECTION + PACKET);
            }
        }
    }
}
