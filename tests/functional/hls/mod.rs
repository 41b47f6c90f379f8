//! HLS: playlists and segments, from their origin and from memory.

mod playlists;
mod shared_playlists;
mod shared_segments;
mod wild;
