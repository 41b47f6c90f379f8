//! What the HLS handlers remember between requests.

use crate::player::hls::last::LastPlaylists;
use crate::player::hls::reading::PlaylistMemory;
use crate::player::hls::timelines::Timelines;

/// The memory of HLS; one for the process.
#[derive(Debug, Default)]
pub struct HlsState {
    /// How the numbers of playlists go on.
    pub timelines: Timelines,
    /// What went out last.
    pub last: LastPlaylists,
    /// What large playlists take while they are read.
    pub memory: PlaylistMemory,
}
