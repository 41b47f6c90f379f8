//! The header of a PES packet: an elementary stream's frame with its times (ISO/IEC 13818-1, 2.4.3.6).

/// Bytes before the optional header.
const HEAD: usize = 6;
/// Where PTS and DTS stand, and how many bytes each has.
const PTS: usize = 9;
const DTS: usize = 14;
const TIMESTAMP: usize = 5;

/// The begin of a PES packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesHeader {
    /// Bytes of the whole PES packet. `None`: not told, which only video may leave out.
    pub length: Option<usize>,
    /// Presentation and decoding time in 1/90 000 s, of 33 bits. A decoding time that is not told is the same.
    pub times: Option<(u64, u64)>,
    /// Where the elementary stream's bytes begin.
    pub payload: usize,
}

impl PesHeader {
    /// Reads the header that `payload` begins with. `None`: no PES packet begins there, or its header goes on in the
    /// next TS packet, which no muxer is known to do.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[0, 0, 1, stream_id, high, low, ref rest @ ..] = payload else {
            return None;
        };
        let length = match u16::from_be_bytes([high, low]) {
            0 => None,
            length => Some(HEAD + usize::from(length)),
        };
        // Program stream map and directory, padding, private stream 2, ECM, EMM, DSM-CC, H.222.1 type E.
        if matches!(
            stream_id,
            0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF
        ) {
            return Some(Self {
                length,
                times: None,
                payload: HEAD,
            });
        }
        let [_, flags, header, ..] = *rest else {
            return None;
        };
        let pts = || timestamp(payload, PTS);
        let times = match flags >> 6 {
            2 => Some((pts()?, pts()?)),
            3 => Some((pts()?, timestamp(payload, DTS)?)),
            _ => None,
        };
        Some(Self {
            length,
            times,
            payload: HEAD + 3 + usize::from(header),
        })
    }
}

fn timestamp(payload: &[u8], at: usize) -> Option<u64> {
    let bytes: [u8; TIMESTAMP] = *payload.get(at..)?.first_chunk()?;
    let [a, b, c, d, e] = bytes.map(u64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

/// Adds `shift` (1/90 000 s, wrapping) to the times in the header that `payload` begins with.
pub fn shift_times(payload: &mut [u8], shift: i64) {
    if PesHeader::parse(payload).is_none_or(|header| header.times.is_none()) {
        return;
    }
    shift_timestamp(payload, PTS, shift);
    if payload[7] >> 6 == 3 {
        shift_timestamp(payload, DTS, shift);
    }
}

fn shift_timestamp(payload: &mut [u8], at: usize, shift: i64) {
    let Some(old) = timestamp(payload, at) else {
        return;
    };
    let Some(bytes) = payload
        .get_mut(at..)
        .and_then(|it| it.first_chunk_mut::<TIMESTAMP>())
    else {
        return;
    };
    let new = old.wrapping_add_signed(shift);
    let [a, _, c, _, e] = *bytes;
    // The bits around the time's are a mark of its kind, and ones.
    *bytes = [
        a & 0xF1 | (new >> 29) as u8 & 0x0E,
        (new >> 22) as u8,
        c & 1 | (new >> 14) as u8 & 0xFE,
        (new >> 7) as u8,
        e & 1 | (new << 1) as u8,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ts::packet::{PACKET, Packet};
    use proptest::prelude::*;

    #[test]
    fn what_srs_sends() {
        let srs = include_bytes!("../samples/live-head.ts");
        let starts = srs
            .chunks(PACKET)
            .filter_map(Packet::new)
            .filter(|it| it.pid() >= 0x100 && it.starts());
        let headers: Vec<_> = starts
            .filter_map(|it| PesHeader::parse(it.payload()))
            .take(3)
            .collect();
        let times: Vec<_> = headers.iter().map(|header| header.times.unwrap()).collect();
        assert_eq!(times, [(900, 900), (2880, 2880), (4950, 4950)]);
        assert_eq!(headers[1].length, Some(6 + 0x9C));
    }

    #[test]
    fn what_is_no_header() {
        for payload in [
            &b""[..],
            b"\0\0\x01\xe0\0",
            b"\0\0\x02\xe0\0\0\x84\x80\x05\x21\0\x01\0\x01",
            b"\0\0\x01\xe0\0\0\x84\x80\x05\x21\0\x01\0",
            b"\0\0\x01\xe0\0\0\x84\xc0\x0a\x31\0\x01\0\x01\x11\0\x01\0",
        ] {
            assert_eq!(PesHeader::parse(payload), None, "{payload:02x?}");
        }
        let padding = PesHeader::parse(b"\0\0\x01\xbe\0\x04\xff").unwrap();
        assert_eq!(
            padding,
            PesHeader {
                length: Some(10),
                times: None,
                payload: 6
            }
        );
    }

    proptest! {
        #[test]
        fn times_are_shifted_and_wrap(pts in 0..1u64 << 33, dts in 0..1u64 << 33, shift: i64) {
            let mut payload = b"\0\0\x01\xe0\0\0\x84\xc0\x0a\x31\0\x01\0\x01\x11\0\x01\0\x01x".to_vec();
            shift_timestamp(&mut payload, PTS, pts as i64);
            shift_timestamp(&mut payload, DTS, dts as i64);
            prop_assert_eq!(PesHeader::parse(&payload).unwrap().times, Some((pts, dts)));
            shift_times(&mut payload, shift);
            let shifted = |time: u64| time.wrapping_add_signed(shift) & ((1 << 33) - 1);
            prop_assert_eq!(PesHeader::parse(&payload).unwrap().times, Some((shifted(pts), shifted(dts))));
            let marks = [payload[9] & 0xF1, payload[11] & 1, payload[13] & 1, payload[14] & 0xF1, payload[16] & 1, payload[18] & 1];
            prop_assert_eq!(marks, [0x31, 1, 1, 0x11, 1, 1]);
        }

        #[test]
        fn any_bytes_can_be_parsed(mut payload: Vec<u8>, shift: i64) {
            let _ = PesHeader::parse(&payload);
            shift_times(&mut payload, shift);
        }
    }
}
