//! A unit of a stream.

use std::sync::Arc;

/// What is sent to viewers whole or not at all: an FLV tag, TS packets of a frame or of tables, an audio frame.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    pub bytes: &'a [u8],
    /// A viewer can begin before this unit, with [`Unit::opening`] before it: a key frame, or with no video in
    /// the stream any audio frame.
    pub starts_group: bool,
    /// Decoding time in ms on the outgoing timeline, which does not wrap. `None`: the unit has no time of its own.
    #[cfg_attr(not(test), allow(dead_code))]
    // the tests' players hold it against the frame's own
    pub timestamp: Option<u64>,
    /// What a viewer that begins before this unit gets first. `None`: the unit does not start a group.
    pub opening: Option<&'a Arc<[u8]>>,
}
