//! The packets of a transport stream (ISO/IEC 13818-1, 2.4.3.2), and sections in them.

/// Bytes of a packet, and of it what follows the 4 bytes of its header.
pub const PACKET: usize = 188;
const ROOM: usize = PACKET - 4;

/// The program that the sections are about, and the number of the transport stream: there is only one.
pub const PROGRAM: u8 = 1;

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

/// The payload of a packet with a PSI section (2.4.4), stuffed so that it fills the packet.
pub fn section(table_id: u8, body: &[u8]) -> Vec<u8> {
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
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc_of_the_usual_check() {
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
        let pat = section(0, &[0, 1, 0xF0, 1]);
        assert_eq!(crc32(&pat[1..17]), 0, "over itself and its CRC it is zero");
    }

    proptest! {
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
