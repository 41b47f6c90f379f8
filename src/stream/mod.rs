//! Streams by name: the stream URL as SRS writes it, the HLS session id made of it, and statistics per stream.

pub mod clients;
pub mod origin_id;
pub mod session;
pub mod stats;
pub mod url;
