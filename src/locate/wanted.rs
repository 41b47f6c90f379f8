//! What a look-up is for.

use crate::balancer::PinFormat;
use crate::media::format::Format;

/// The kind of media that an origin is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A live stream: it pins, and follows a stream that has moved. `None`: in no format that is known here.
    Live(Option<Format>),
    /// A playlist: it pins, and follows a stream that has moved.
    Playlist,
    /// A segment, an initialization section or a key: it follows the pin, and never changes it.
    Segment,
}

impl Wanted {
    /// The format that a pin of this request is made by; `None` where it makes none.
    pub(super) fn pin_format(self) -> Option<PinFormat> {
        match self {
            Self::Live(format) => Some(PinFormat::Live(format)),
            Self::Playlist => Some(PinFormat::Playlist),
            Self::Segment => None,
        }
    }
}
