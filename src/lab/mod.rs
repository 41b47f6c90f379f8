//! The lab: something to watch without an SRS server. Nothing else needs it.
//!
//! An [`origin::LabOrigin`] behaves as SRS does over HTTP; a [`demo::Demo`] is the `demo` command: the proxy
//! with two lab origins in one process.
//!
//! Beneath is the media engine, pure code: given the embedded [`Clip`] and a [`Position`] (a moment
//! of the wall clock) it gives bytes. The [`Timeline`] repeats the clip for ever, and as it is a
//! function of the wall clock alone, all lab origins show the same frame with the same timestamp at
//! the same moment: a player that fails over from one to another goes on where it was.
//!
//! ```
//! use srs_stream_proxy::lab::{Clip, FlvMuxer, Muxer, Position, Timeline};
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
//! # Ok::<(), srs_stream_proxy::lab::ClipError>(())
//! ```

pub mod clip;
pub mod content;
pub mod demo;
pub mod flv;
pub mod handler;
pub mod heartbeat;
pub mod hls;
pub mod identity;
pub mod muxer;
pub mod origin;
pub mod position;
pub mod sessions;
pub mod stream;
pub mod timeline;
pub mod ts;
pub mod viewer;

#[cfg(test)]
mod players;

pub use clip::{Clip, ClipError};
pub use flv::FlvMuxer;
pub use hls::Hls;
pub use muxer::Muxer;
pub use position::Position;
pub use timeline::{Frame, Timeline, Track};
pub use ts::TsMuxer;
