//! Live streams: FLV, TS, AAC, MP3.

mod channel_ends;
mod channels;
mod judges;
mod media;
mod relay;
mod slow_viewers;
mod splices;
mod viewer;
