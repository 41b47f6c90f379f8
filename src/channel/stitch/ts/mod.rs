//! MPEG transport streams: counters and clocks that go on, PIDs that stay.
//!
//! A unit is a frame: the TS packets of a PES packet, and those of other PIDs between them. A frame is held until its
//! last packet, so that none goes out in half; muxers tell the end by the PES packet's length, by stuffing, or by
//! going on to another stream. Where they mix the packets of several streams, a unit ends with a video frame's end
//! at the latest, and another stream's frame may be cut in two.

mod counters;
mod departing;
mod frame;
mod incoming;
mod outgoing;
mod rewriter;
mod route;
mod stream;
#[cfg(test)]
mod tests;

use crate::channel::stitch::unit::Unit;
use crate::media::format::NotThisFormat;
use crate::media::splitter::Splitter;
use crate::media::ts::framing::TsFraming;
use crate::media::ts::packet::Packet;
use std::sync::Arc;
use stream::Stream;

/// Stitches TS packets.
#[derive(Default)]
pub struct TsStitcher {
    splitter: Splitter<TsFraming>,
    stream: Stream,
}

impl TsStitcher {
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(Unit<'_>),
    ) -> Result<(), NotThisFormat> {
        let Self { splitter, stream } = self;
        splitter.push(bytes, |unit| match Packet::new(unit) {
            Some(packet) => stream.take(packet, unit, out),
            None => Ok(()),
        })?;
        // Tables, and what else is no frame, do not wait for one.
        match stream.is_open() {
            true => Ok(()),
            false => stream.end_unit(out),
        }
    }

    pub fn splice(&mut self) {
        self.splitter = Splitter::default();
        self.stream.splice();
    }

    pub fn is_waiting_for_key(&self) -> bool {
        self.stream.waiting
    }

    pub fn pending(&self) -> Vec<u8> {
        [&self.stream.held[..], self.splitter.pending()].concat()
    }

    pub fn opening(&self) -> Arc<[u8]> {
        self.stream.opening.clone()
    }

    pub fn has_video(&self) -> Option<bool> {
        self.stream.has_video
    }
}
