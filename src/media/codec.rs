//! What a decoder must know before the first frame: the configurations of H.264 and AAC.

/// The AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.2.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig<'a> {
    /// The record as it is.
    pub record: &'a [u8],
    pub sps: Vec<&'a [u8]>,
    pub pps: Vec<&'a [u8]>,
    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub length_size: usize,
    profile: u8,
    level: u8,
}

impl<'a> AvcConfig<'a> {
    /// `None`, when `record` breaks off, is of another version, or holds no parameter sets.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let rest = &mut &*record;
        let head = rest.split_off(..5)?;
        let (profile, level, length_size) = (head[1], head[3], usize::from(head[4] & 3) + 1);
        (head[0] == 1 && length_size != 3).then_some(())?;
        let sps = parameter_sets(rest, 0x1F)?;
        let pps = parameter_sets(rest, 0xFF)?;
        Some(Self {
            record,
            sps,
            pps,
            length_size,
            profile,
            level,
        })
    }

    /// The profile by its name, as SRS's API spells it.
    pub fn profile(&self) -> &'static str {
        match self.profile {
            66 => "Baseline",
            77 => "Main",
            88 => "Extended",
            100 => "High",
            _ => "Other",
        }
    }

    /// The level, such as `3` or `3.1`, as SRS's API spells it.
    pub fn level(&self) -> String {
        match (self.level / 10, self.level % 10) {
            (whole, 0) => whole.to_string(),
            (whole, tenth) => format!("{whole}.{tenth}"),
        }
    }

    /// The NAL units of `picture`, each of which has its length before it.
    pub fn nals<'p>(&self, picture: &'p [u8]) -> Nals<'p> {
        Nals {
            rest: picture,
            length_size: self.length_size,
        }
    }
}

/// A count (in the bits of `mask`) and as many parameter sets, at least one.
fn parameter_sets<'a>(rest: &mut &'a [u8], mask: u8) -> Option<Vec<&'a [u8]>> {
    let count = rest.split_off_first()? & mask;
    let sets = (0..count).map(|_| {
        let length = rest.split_off(..2)?;
        let set = rest.split_off(..usize::from(u16::from_be_bytes([length[0], length[1]])))?;
        (!set.is_empty()).then_some(set)
    });
    sets.collect::<Option<Vec<_>>>()
        .filter(|sets| !sets.is_empty())
}

/// NAL units of a picture. Ends at the first that is empty or breaks off.
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    rest: &'a [u8],
    length_size: usize,
}

impl Nals<'_> {
    /// Whether there is at least one NAL unit, and the last ends where the picture does.
    pub fn are_whole(mut self) -> bool {
        self.by_ref().count() > 0 && self.rest.is_empty()
    }
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let length = rest.split_off(..self.length_size)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let nal = rest.split_off(..length).filter(|nal| !nal.is_empty())?;
        self.rest = rest;
        Some(nal)
    }
}

/// The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), as far as ADTS can carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig<'a> {
    /// The config as it is.
    pub record: &'a [u8],
    /// 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object_type: u8,
    /// Index into the table of sampling frequencies.
    pub frequency_index: u8,
    /// 1 to 7: the channel configuration, which up to 6 is the number of channels.
    pub channels: u8,
}

/// Samples per second by index (ISO/IEC 14496-3, table 1.18).
pub const FREQUENCIES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

impl<'a> AacConfig<'a> {
    /// `None`, when `record` breaks off or ADTS has no words for it.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let [first, second, ..] = *record else {
            return None;
        };
        let config = Self {
            record,
            object_type: first >> 3,
            frequency_index: (first & 7) << 1 | second >> 7,
            channels: second >> 3 & 0xF,
        };
        let fits = matches!(config.object_type, 1..=4) && matches!(config.channels, 1..=7);
        (fits && usize::from(config.frequency_index) < FREQUENCIES.len()).then_some(config)
    }

    /// Samples per second.
    pub fn sample_rate(&self) -> u32 {
        FREQUENCIES[usize::from(self.frequency_index)]
    }

    /// The profile by its name, as SRS's API spells it.
    pub fn profile(&self) -> &'static str {
        ["Main", "LC", "SSR", "LTP"][usize::from(self.object_type - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AVC: &[u8] = b"\x01\x4d\x40\x1f\xff\xe1\x00\x03\x67\x4d\x40\x01\x00\x02\x68\xe8";

    #[test]
    fn avc_config() {
        let config = AvcConfig::parse(AVC).unwrap();
        assert_eq!(
            (
                config.profile(),
                config.level().as_str(),
                config.length_size
            ),
            ("Main", "3.1", 4)
        );
        assert_eq!(
            (config.sps, config.pps),
            (vec![&b"\x67\x4d\x40"[..]], vec![&b"\x68\xe8"[..]])
        );
        for cut in 0..AVC.len() {
            assert_eq!(AvcConfig::parse(&AVC[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nals_end_where_they_break_off() {
        let config = AvcConfig::parse(AVC).unwrap();
        let picture = b"\0\0\0\x01a\0\0\0\x02bc";
        assert!(config.nals(picture).eq([&b"a"[..], b"bc"]));
        assert!(config.nals(picture).are_whole());
        for broken in [
            &b""[..],
            b"\0\0\0\x01",
            b"\0\0\0\x01a\0\0\0",
            b"\0\0\0\x01a\0\0\0\0",
            b"\xff\xff\xff\xffa",
        ] {
            assert!(!config.nals(broken).are_whole(), "{broken:?}");
        }
    }

    #[test]
    fn aac_config() {
        let config = AacConfig::parse(&[0x11, 0x88, 0x56]).unwrap();
        assert_eq!(
            (config.profile(), config.sample_rate(), config.channels),
            ("LC", 48_000, 1)
        );
        for broken in [
            &[][..],
            &[0x11],
            &[0x17, 0x88],
            &[0x11, 0x80],
            &[0x01, 0x88],
            &[0xF9, 0x88],
        ] {
            assert_eq!(AacConfig::parse(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes: Vec<u8>) {
            if let Some(config) = AvcConfig::parse(&bytes) {
                let _ = config.nals(&bytes).are_whole();
            }
            if let Some(config) = AacConfig::parse(&bytes) {
                prop_assert!(config.sample_rate() >= 7_350 && !config.profile().is_empty());
            }
        }
    }
}
