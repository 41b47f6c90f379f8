//! ADTS: AAC frames, each with a header that tells its configuration (ISO/IEC 14496-3, annex 1.A).

use super::codec::AacConfig;

/// The header before an AAC frame of `length` bytes (ISO/IEC 14496-3, 1.A.2), without a CRC.
pub fn header(config: &AacConfig<'_>, length: usize) -> [u8; 7] {
    let length = length + 7;
    [
        0xFF,
        0xF1,
        (config.object_type - 1) << 6 | config.frequency_index << 2 | config.channels >> 2,
        config.channels << 6 | (length >> 11) as u8 & 3,
        (length >> 3) as u8,
        (length << 5) as u8 | 0x1F,
        0xFC,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_a_known_frame() {
        let config = AacConfig::parse(&[0x11, 0x88]).unwrap();
        assert_eq!(
            header(&config, 193),
            [0xFF, 0xF1, 0x4C, 0x40, 0x19, 0x1F, 0xFC]
        );
        assert_eq!(
            header(&config, 8184),
            [0xFF, 0xF1, 0x4C, 0x43, 0xFF, 0xFF, 0xFC]
        );
    }
}
