//! Media containers and codec configuration: FLV tags, TS packets, ADTS and MP3 frames. Pure code: bytes in,
//! units or values out.

pub mod adts;
pub mod audio_frames;
pub mod codec;
pub mod flv;
pub mod format;
pub mod mp3;
pub mod splitter;
pub mod ts;
