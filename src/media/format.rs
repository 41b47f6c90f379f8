//! Which formats a live stream comes in, and what is said of a body that is not in the one expected.

use thiserror::Error;

/// Container of a live stream over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// HTTP-FLV: header, then tags.
    Flv,
    /// HTTP-TS: packets of 188 bytes.
    Ts,
    /// AAC frames with ADTS headers.
    Adts,
    /// MPEG audio, layer III.
    Mp3,
}

impl Format {
    /// The extension of a live stream's path, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Adts => "aac",
            Self::Mp3 => "mp3",
        }
    }

    /// The format that SRS serves under a path's extension, in any case. `None`: not a live format.
    pub fn from_extension(extension: &str) -> Option<Self> {
        let formats = [
            ("flv", Self::Flv),
            ("ts", Self::Ts),
            ("aac", Self::Adts),
            ("mp3", Self::Mp3),
        ];
        let is = |(name, _): &&(&str, Self)| extension.eq_ignore_ascii_case(name);
        formats.iter().find(is).map(|(_, format)| *format)
    }
}

/// The body breaks the rules of its format, or has something that cannot be shared by several viewers
/// (several programs, encryption, a unit over the bound). It must be relayed as it is, to one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cannot be shared: {0}")]
pub struct NotThisFormat(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions() {
        for (extension, format) in [
            ("flv", Some(Format::Flv)),
            ("TS", Some(Format::Ts)),
            ("aac", Some(Format::Adts)),
            ("mp3", Some(Format::Mp3)),
            ("m3u8", None),
            ("", None),
        ] {
            assert_eq!(Format::from_extension(extension), format, "{extension}");
        }
    }
}
