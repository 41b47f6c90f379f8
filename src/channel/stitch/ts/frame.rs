//! The frame that a unit begins with.

use crate::media::ts::packet::{PACKET, Packet};
use crate::media::ts::pes::PesHeader;
use crate::media::ts::random_access::{RandomAccess, VideoCodec};

/// Whether `unit` begins with a frame on `pid`.
pub fn begins(unit: &[u8], pid: u16) -> bool {
    header(unit, pid).is_some()
}

/// Presentation and decoding time of the frame that `unit` begins with.
pub fn times(unit: &[u8]) -> Option<(u64, u64)> {
    PesHeader::parse(Packet::new(unit)?.payload())?.times
}

/// Whether `unit` begins with a frame on `pid` at which decoding can begin. The muxer may say so; SRS does not.
pub fn is_key(unit: &[u8], pid: u16, codec: VideoCodec) -> bool {
    let Some((first, header)) = header(unit, pid) else {
        return false;
    };
    if first.is_random_access() {
        return true;
    }
    let mut picture = RandomAccess::new(codec);
    let packets = unit.chunks_exact(PACKET).filter_map(Packet::new);
    let mut skip = header.payload;
    for packet in packets.filter(|packet| packet.pid() == pid) {
        let payload = packet.payload();
        let from = skip.min(payload.len());
        skip -= from;
        if let Some(found) = picture.push(&payload[from..]) {
            return found;
        }
    }
    false
}

fn header(unit: &[u8], pid: u16) -> Option<(Packet<'_>, PesHeader)> {
    let first = Packet::new(unit)?;
    let header = PesHeader::parse(first.payload())?;
    (first.starts() && first.pid() == pid).then_some((first, header))
}
