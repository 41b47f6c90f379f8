//! What the HLS handlers remember between requests.

use crate::http::head::RequestHead;
use crate::player::hls::directories::Directories;
use crate::player::hls::last::LastPlaylists;
use crate::player::hls::reading::PlaylistMemory;
use crate::player::hls::timelines::Timelines;
use crate::stream::url::StreamUrl;

/// The memory of HLS; one for the process.
#[derive(Debug, Default)]
pub struct HlsState {
    /// How the numbers of playlists go on.
    pub timelines: Timelines,
    /// Whose files a directory has.
    pub directories: Directories,
    /// What went out last.
    pub last: LastPlaylists,
    /// What large playlists take while they are read.
    pub memory: PlaylistMemory,
}

impl HlsState {
    /// The stream whose file a URL without a session names, where its query was dropped on the way: by its
    /// directory; and where `may_be_live` says that a live stream may have that name, too, by what its playlist lists.
    pub fn stream_of_file(&self, head: &RequestHead, may_be_live: bool) -> Option<StreamUrl> {
        let by_url = StreamUrl::of_request(head.host.as_deref(), head.path(), head.query())?;
        let stream = self.directories.get(&by_url)?;
        let is_listed = || self.timelines.lists(&stream, head.path().as_bytes());
        (!may_be_live || is_listed()).then_some(stream)
    }
}
