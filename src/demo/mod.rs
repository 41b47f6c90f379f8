//! The lab: something to watch without an SRS server. Nothing else needs it.
//!
//! A [`lab::Lab`] is an origin that behaves as SRS does over HTTP, and a [`tour::Tour`] is the `demo` command:
//! the proxy with two of them in one process.
//!
//! Beneath is the media engine, pure code: given the embedded [`Clip`] and a [`Position`] (a moment
//! of the wall clock) it gives bytes. The [`Timeline`] repeats the clip for ever, and as it is a
//! function of the wall clock alone, all lab origins show the same frame with the same timestamp at
//! the same moment: a player that fails over from one to another goes on where it was.
//!
//! ```
//! use srs_stream_proxy::demo::{Clip, FlvMuxer, Muxer, Position, Timeline};
//! use std::time::SystemTime;
//!
//! let clip = Clip::embedded()?;
//! let now = Position::from(SystemTime::now());
//! let (mut muxer, mut bytes) = (FlvMuxer::new(&clip), Vec::new());
//! // A live viewer: frames up to now at once, each later one when its time has come.
//! for frame in Timeline::new(&clip).join(now).take(10) {
//!     let _wait = frame.at.since(now);
//!     muxer.mux(&frame, &mut bytes);
//! }
//! assert!(bytes.starts_with(b"FLV"));
//! # Ok::<(), srs_stream_proxy::demo::ClipError>(())
//! ```

pub mod clip;
pub mod codec;
pub mod flv;
pub mod heartbeat;
pub mod hls;
pub mod identity;
pub mod lab;
pub mod media;
pub mod metadata;
pub mod packet;
pub mod position;
pub mod published;
pub mod sessions;
pub mod site;
pub mod tag;
pub mod timeline;
pub mod tour;
pub mod ts;
pub mod viewer;

#[cfg(test)]
mod players;

pub use clip::{Clip, ClipError};
pub use flv::FlvMuxer;
pub use hls::Hls;
pub use position::Position;
pub use timeline::{Frame, Timeline, Track};
pub use ts::TsMuxer;

/// Turns frames into the bytes of a live stream.
pub trait Muxer {
    /// Appends `frame` to `out`, and before the first frame whatever the format begins with. A viewer
    /// can play what follows when the first frame is a key frame, as [`Timeline::join`] gives it.
    fn mux(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>);
}
