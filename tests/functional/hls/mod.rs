//! HLS: playlists and segments, from their origin and from memory.

mod endless;
mod from_memory;
mod one_for_another;
mod playlists;
mod reach;
mod shared_playlists;
mod shared_segments;
mod timelines;
mod wild;
