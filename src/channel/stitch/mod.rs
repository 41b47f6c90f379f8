//! Stitching: the bodies of one origin connection after another become one stream without a seam.
//!
//! Pure code: bytes in, units out. Each unit can be followed by any number of viewers; the first connection's
//! units go out byte for byte.

mod flv;
mod frames;
#[cfg(test)]
mod players;
mod presence;
mod timeline;
mod ts;
mod unit;

use crate::media::adts::Adts;
use crate::media::format::{Format, NotThisFormat};
use crate::media::mp3::Mp3;
use flv::FlvStitcher;
use frames::FrameStitcher;
use std::sync::Arc;
use ts::TsStitcher;
pub use unit::Unit;

/// Makes one stream of the bodies of one origin connection after another.
pub struct Stitcher(Kind);

enum Kind {
    // FLV's and TS's state is some hundred bytes.
    Flv(Box<FlvStitcher>),
    Ts(Box<TsStitcher>),
    Adts(FrameStitcher<Adts>),
    Mp3(FrameStitcher<Mp3>),
}

impl Stitcher {
    /// Stitcher of a channel whose first connection's body comes next.
    pub fn new(format: Format) -> Self {
        Self(match format {
            Format::Flv => Kind::Flv(Box::default()),
            Format::Ts => Kind::Ts(Box::default()),
            Format::Adts => Kind::Adts(FrameStitcher::default()),
            Format::Mp3 => Kind::Mp3(FrameStitcher::default()),
        })
    }

    /// Takes what one read of the body brought and calls `out` with each unit that is whole, in order, rewritten
    /// for the outgoing timeline. Configuration is given too, as units, where it differs from what viewers have;
    /// FLV's header is not, for it is in [`Self::opening`].
    ///
    /// # Errors
    /// [`NotThisFormat`] when the body cannot be shared. What `out` got before is whole; nothing more can be pushed.
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(Unit<'_>),
    ) -> Result<(), NotThisFormat> {
        match &mut self.0 {
            Kind::Flv(stitcher) => stitcher.push(bytes, out),
            Kind::Ts(stitcher) => stitcher.push(bytes, out),
            Kind::Adts(stitcher) => stitcher.push(bytes, out),
            Kind::Mp3(stitcher) => stitcher.push(bytes, out),
        }
    }

    /// The next bytes are the body of a new origin connection. The last one's ended without its last chunk, perhaps
    /// inside a unit, of which nothing was or will be given.
    pub fn splice(&mut self) {
        match &mut self.0 {
            Kind::Flv(stitcher) => stitcher.splice(),
            Kind::Ts(stitcher) => stitcher.splice(),
            Kind::Adts(stitcher) => stitcher.splice(),
            Kind::Mp3(stitcher) => stitcher.splice(),
        }
    }

    /// True from [`Self::splice`] to the first key frame of the new connection. Until then no unit is given.
    pub fn is_waiting_for_key(&self) -> bool {
        match &self.0 {
            Kind::Flv(stitcher) => stitcher.is_waiting_for_key(),
            Kind::Ts(stitcher) => stitcher.is_waiting_for_key(),
            Kind::Adts(stitcher) => stitcher.is_waiting_for_key(),
            Kind::Mp3(stitcher) => stitcher.is_waiting_for_key(),
        }
    }

    /// What a viewer gets before its first unit, where that is the next unit given. FLV: header, latest
    /// `onMetaData`, sequence headers. TS: PAT and PMT. ADTS and MP3: nothing.
    ///
    /// The same allocation until configuration changes. In TS there is also a new one at a group's start after
    /// PAT or PMT were sent, so that their continuity counters go on for who begins there. A viewer that begins
    /// at an earlier unit needs the opening of that unit: [`Unit::opening`].
    pub fn opening(&self) -> Arc<[u8]> {
        match &self.0 {
            Kind::Flv(stitcher) => stitcher.opening(),
            Kind::Ts(stitcher) => stitcher.opening(),
            Kind::Adts(_) | Kind::Mp3(_) => Arc::default(),
        }
    }

    /// The begin of a unit of which the rest is yet to come: bytes of the body that no unit has had.
    pub fn pending(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Flv(stitcher) => stitcher.pending().to_vec(),
            Kind::Ts(stitcher) => stitcher.pending(),
            Kind::Adts(stitcher) => stitcher.pending().to_vec(),
            Kind::Mp3(stitcher) => stitcher.pending().to_vec(),
        }
    }

    /// Whether the stream has video. `None`: not known yet. Headers are not believed alone: a stream whose FLV
    /// header or PMT promises video that does not come counts as one without after 1 s of audio.
    pub fn has_video(&self) -> Option<bool> {
        match &self.0 {
            Kind::Flv(stitcher) => stitcher.has_video(),
            Kind::Ts(stitcher) => stitcher.has_video(),
            Kind::Adts(_) | Kind::Mp3(_) => Some(false),
        }
    }
}
