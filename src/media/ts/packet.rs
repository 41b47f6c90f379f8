//! The packets of a transport stream (ISO/IEC 13818-1, 2.4.3.2 to 2.4.3.5).

/// Bytes of a packet, and of it what follows the 4 bytes of its header.
pub const PACKET: usize = 188;
pub const ROOM: usize = PACKET - 4;

/// PID of packets that only fill.
pub const NULL_PID: u16 = 0x1FFF;
/// Clocks have 33 bits of 1/90 000 s: they wrap after 26.5 hours.
pub const CLOCK_BITS: u32 = 33;
const CLOCK_MASK: u64 = (1 << CLOCK_BITS) - 1;

/// Flags of the adaptation field.
const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const PCR: u8 = 0x10;
const OPCR: u8 = 0x08;
const SPLICE_COUNTDOWN: u8 = 0x04;
const PRIVATE_DATA: u8 = 0x02;
const EXTENSION: u8 = 0x01;

/// Content of an adaptation field that says nothing but that a counter or a version jumps.
pub const DISCONTINUITY_FIELD: &[u8] = &[DISCONTINUITY];

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(&'a [u8; PACKET]);

impl<'a> Packet<'a> {
    /// The packet that `bytes` begin with. `None`: they are too few, or do not begin with the sync byte.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let packet = bytes.first_chunk::<PACKET>()?;
        (packet[0] == 0x47).then_some(Self(packet))
    }

    /// A bit of the packet was wrong and could not be put right.
    pub fn is_damaged(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// `payload_unit_start_indicator`: a PES packet or a section begins in it.
    pub fn starts(self) -> bool {
        self.0[1] & 0x40 != 0 && self.has_payload()
    }

    pub fn pid(self) -> u16 {
        u16::from_be_bytes([self.0[1] & 0x1F, self.0[2]])
    }

    pub fn is_scrambled(self) -> bool {
        self.0[3] & 0xC0 != 0
    }

    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// `continuity_counter`, of 4 bits.
    pub fn counter(self) -> u8 {
        self.0[3] & 0xF
    }

    /// The adaptation field: its flags and what follows them. Empty: there is none.
    fn field(self) -> &'a [u8] {
        match self.0[3] & 0x20 {
            0 => &[],
            _ => self
                .0
                .get(5..5 + usize::from(self.0[4]))
                .unwrap_or_default(),
        }
    }

    fn flags(self) -> u8 {
        self.field().first().copied().unwrap_or_default()
    }

    /// What the packet carries. Empty, when there is nothing or the adaptation field's length is wrong.
    pub fn payload(self) -> &'a [u8] {
        let from = match self.0[3] >> 4 & 3 {
            1 => 4,
            3 => 5 + usize::from(self.0[4]),
            _ => PACKET,
        };
        self.0.get(from..).unwrap_or_default()
    }

    /// `random_access_indicator`: decoding can begin here.
    pub fn is_random_access(self) -> bool {
        self.flags() & RANDOM_ACCESS != 0
    }

    /// Base of the program clock reference, in 1/90 000 s.
    pub fn reference(self) -> Option<u64> {
        let field = self.field();
        match field {
            [flags, a, b, c, d, e, _, ..] if flags & PCR != 0 => {
                Some(u64::from(u32::from_be_bytes([*a, *b, *c, *d])) << 1 | u64::from(e >> 7))
            }
            _ => None,
        }
    }

    /// Whether the adaptation field is longer than what it says, which muxers do to fill the last packet of a PES
    /// packet.
    pub fn is_stuffed(self) -> bool {
        if self.0[3] & 0x20 == 0 {
            return false;
        }
        let [flags, rest @ ..] = self.field() else {
            return true; // a length of zero is one byte of stuffing
        };
        let clocks = [PCR, OPCR]
            .iter()
            .filter(|flag| flags & **flag != 0)
            .count()
            * 6;
        let mut needed = clocks + usize::from(flags & SPLICE_COUNTDOWN != 0);
        for part in [PRIVATE_DATA, EXTENSION] {
            if flags & part != 0 {
                needed += 1 + usize::from(rest.get(needed).copied().unwrap_or_default());
            }
        }
        *flags == 0 || rest.len() > needed
    }
}

/// Replaces the PID of the packet that `packet` begins with.
pub fn set_pid(packet: &mut [u8], pid: u16) {
    let [high, low] = pid.to_be_bytes();
    if let Some([_, first, second, ..]) = packet.get_mut(..4) {
        *first = *first & 0xE0 | high & 0x1F;
        *second = low;
    }
}

/// Replaces the continuity counter, of which 4 bits count.
pub fn set_counter(packet: &mut [u8], counter: u8) {
    if let Some(byte) = packet.get_mut(3) {
        *byte = *byte & 0xF0 | counter & 0xF;
    }
}

/// Adds `shift` (1/90 000 s, wrapping) to the clock references of the packet: PCR and OPCR. Their extensions, of
/// 1/27 000 000 s, stay.
pub fn shift_references(packet: &mut [u8], shift: i64) {
    let flags = Packet::new(packet).map_or(0, Packet::flags);
    let mut at = 6;
    for flag in [PCR, OPCR] {
        if flags & flag == 0 {
            continue;
        }
        if let Some(clock) = packet
            .get_mut(at..at + 5)
            .and_then(|it| it.first_chunk_mut::<5>())
        {
            let [a, b, c, d, e] = *clock;
            let base = u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7);
            let base = base.wrapping_add_signed(shift) & CLOCK_MASK;
            let [a, b, c, d] = ((base >> 1) as u32).to_be_bytes();
            *clock = [a, b, c, d, (base as u8) << 7 | e & 0x7F];
        }
        at += 6;
    }
}

/// Cuts `payload` into packets, the last of which is stuffed. The first carries the adaptation field `field`
/// (its flags and what they announce), unless that is empty.
pub fn write(out: &mut Vec<u8>, pid: u16, counter: &mut u64, payload: &[u8], mut field: &[u8]) {
    let [pid_high, pid_low] = pid.to_be_bytes();
    let mut rest = payload;
    let mut start = 0x40;
    while !rest.is_empty() {
        let needed = if field.is_empty() { 0 } else { 1 + field.len() };
        let (data, after) = rest.split_at(rest.len().min(ROOM - needed));
        let adaptation = ROOM - data.len();
        let control = if adaptation == 0 { 0x10 } else { 0x30 };
        out.extend([
            0x47,
            start | pid_high,
            pid_low,
            control | (*counter & 0xF) as u8,
        ]);
        if let Some(length) = adaptation.checked_sub(1) {
            out.push(length as u8);
            // A field of no length has not even flags.
            let flags = if field.is_empty() && length > 0 {
                &[0][..]
            } else {
                field
            };
            out.extend(flags);
            out.resize(out.len() + length - flags.len(), 0xFF);
        }
        out.extend(data);
        *counter = counter.wrapping_add(1);
        (rest, start, field) = (after, 0, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_of_srs() {
        let srs = include_bytes!("../samples/live-head.ts");
        let packet = Packet::new(&srs[2 * PACKET..]).unwrap();
        assert!(packet.starts() && packet.has_payload() && !packet.is_random_access());
        assert!(!packet.is_damaged() && !packet.is_scrambled() && !packet.is_stuffed());
        assert_eq!(
            (packet.pid(), packet.counter(), packet.reference()),
            (0x100, 0, Some(900))
        );
        assert_eq!(packet.payload()[..4], [0, 0, 1, 0xE0]);
    }

    #[test]
    fn references_are_shifted_and_wrap() {
        for (reference, shift, expected) in [
            (900, 100, 1000),
            (900, -901, CLOCK_MASK),
            (CLOCK_MASK, 1, 0),
            (0x1_2345_6789, 0x1111_1111, 0x1_3456_789A),
        ] {
            let mut packet = [0xFF; PACKET];
            let base: u64 = reference;
            packet[..6].copy_from_slice(&[0x47, 1, 0, 0x20, 183, 0x18]);
            for at in [6, 12] {
                packet[at..at + 4].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
                packet[at + 4] = (base as u8) << 7 | 0x7E;
            }
            let before = packet;
            shift_references(&mut packet, shift);
            assert_eq!(Packet::new(&packet).unwrap().reference(), Some(expected));
            assert_eq!(packet[6..12], packet[12..18], "OPCR too");
            assert_eq!(
                (packet[10] & 0x7F, packet[11]),
                (before[10] & 0x7F, before[11])
            );
            assert_eq!(packet[18..], before[18..]);
        }
    }

    #[test]
    fn stuffing_is_told_from_content() {
        for (field, stuffed) in [
            (&b""[..], true),                // one byte: the length
            (b"\x00", true),                 // two: flags that say nothing
            (b"\x80", false),                // a discontinuity
            (b"\x10abcdef", false),          // a clock
            (b"\x10abcdef\xff", true),       // a clock and stuffing
            (b"\x02\x02ab", false),          // private data
            (b"\x12abcdef\x02ab\xff", true), // a clock, private data and stuffing
            (b"\x12abcdef\xff", false),      // private data of a wrong length
        ] {
            let mut packet = [0; PACKET];
            packet[..5].copy_from_slice(&[0x47, 1, 0, 0x30, field.len() as u8]);
            packet[5..5 + field.len()].copy_from_slice(field);
            let packet = Packet::new(&packet).unwrap();
            assert_eq!(packet.is_stuffed(), stuffed, "{field:02x?}");
            assert_eq!(packet.payload().len(), ROOM - 1 - field.len());
        }
    }

    proptest! {
        #[test]
        fn any_packet_can_be_read(mut bytes in prop::collection::vec(any::<u8>(), PACKET), shift: i64) {
            bytes[0] = 0x47;
            let packet = Packet::new(&bytes).unwrap();
            let _ = (packet.is_stuffed(), packet.payload(), packet.reference(), packet.is_random_access());
            shift_references(&mut bytes, shift);
            set_pid(&mut bytes, 0x1234);
            set_counter(&mut bytes, 0x2F);
            let packet = Packet::new(&bytes).unwrap();
            prop_assert_eq!((packet.pid(), packet.counter()), (0x1234, 0xF));
        }

        #[test]
        fn packets_hold_exactly_the_payload(payload in prop::collection::vec(any::<u8>(), 1..800), field in prop::collection::vec(any::<u8>(), 0..20), first: u8) {
            let (mut out, mut counter) = (Vec::new(), u64::from(first));
            write(&mut out, 0x101, &mut counter, &payload, &field);
            prop_assert_eq!(out.len(), (counter - u64::from(first)) as usize * PACKET);
            let mut back: Vec<u8> = Vec::new();
            for (number, packet) in out.chunks(PACKET).enumerate() {
                prop_assert_eq!(packet[1] & 0x40 == 0x40, number == 0);
                prop_assert_eq!(usize::from(packet[3] & 0xF), (usize::from(first) + number) % 16);
                let adaptation = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
                if number == 0 && !field.is_empty() {
                    prop_assert_eq!(&packet[5..5 + field.len()], &field[..]);
                } else if adaptation > 1 {
                    prop_assert_eq!(packet[5], 0);
                }
                back.extend(&packet[4 + adaptation..]);
            }
            prop_assert_eq!(back, payload);
        }
    }
}
