//! FLV (Adobe's FLV specification 10.1, annex E), with the codecs that Enhanced RTMP adds (version 2,
//! "Enhanced Audio" and "Enhanced Video").

pub mod audio;
pub mod codec;
pub mod enhanced;
pub mod framing;
pub mod metadata;
pub mod tag;
pub mod video;
