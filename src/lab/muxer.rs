//! What turns frames into bytes.

use super::timeline::Frame;

/// Turns frames into the bytes of a live stream.
pub trait Muxer {
    /// Appends `frame` to `out`, and before the first frame whatever the format begins with. A viewer
    /// can play what follows when the first frame is a key frame, as [`super::Timeline::join`] gives it.
    fn mux(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>);
}
