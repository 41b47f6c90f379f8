//! Live streams: FLV, TS, AAC, MP3.

mod media;
mod relay;
