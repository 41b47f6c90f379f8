//! Codecs, by the numbers and FourCCs that FLV has for them.

/// Codec of a video or audio tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    H264,
    Hevc,
    Vvc,
    Av1,
    Vp8,
    Vp9,
    Aac,
    Mp3,
    Opus,
    Flac,
    Ac3,
    Eac3,
    /// Any other, which is passed on as it is.
    Other,
}

impl Codec {
    /// The codec of an enhanced tag.
    pub fn of_four_cc(four_cc: [u8; 4]) -> Self {
        match &four_cc {
            b"avc1" => Self::H264,
            b"hvc1" | b"hev1" => Self::Hevc,
            b"vvc1" => Self::Vvc,
            b"av01" => Self::Av1,
            b"vp08" => Self::Vp8,
            b"vp09" => Self::Vp9,
            b"mp4a" => Self::Aac,
            b".mp3" => Self::Mp3,
            b"Opus" => Self::Opus,
            b"fLaC" => Self::Flac,
            b"ac-3" => Self::Ac3,
            b"ec-3" => Self::Eac3,
            _ => Self::Other,
        }
    }

    /// Whether no frame can be decoded before the codec's configuration. H.264 and HEVC in FLV have their
    /// parameter sets, and the size of the lengths before NAL units, only there.
    pub fn needs_configuration(self) -> bool {
        matches!(
            self,
            Self::H264 | Self::Hevc | Self::Vvc | Self::Aac | Self::Flac
        )
    }
}

/// What a tag is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What a decoder must know before frames that follow. A later configuration with the same slot
    /// replaces it.
    Configuration { slot: u16 },
    /// A frame, or several of as many tracks.
    Frame,
    /// The end of a sequence, a command, or what cannot be read.
    Other,
}
