//! The clip and its segments, once for all lab origins of a process.

use super::clip::{Clip, ClipError};
use super::hls::Hls;
use std::sync::LazyLock;

static CLIP: LazyLock<Result<Clip<'static>, ClipError>> = LazyLock::new(Clip::embedded);
static HLS: LazyLock<Result<Hls<'static>, ClipError>> =
    LazyLock::new(|| CLIP.as_ref().map(Hls::new).map_err(|error| *error));

/// What a lab origin plays.
#[derive(Clone, Copy, Debug)]
pub struct LabContent {
    pub clip: &'static Clip<'static>,
    pub hls: &'static Hls<'static>,
}

impl LabContent {
    /// The clip in the binary, read and checked at the first call.
    ///
    /// # Errors
    /// As [`Clip::embedded`].
    pub fn embedded() -> Result<Self, ClipError> {
        let clip = CLIP.as_ref().map_err(|error| *error)?;
        let hls = HLS.as_ref().map_err(|error| *error)?;
        Ok(Self { clip, hls })
    }
}
