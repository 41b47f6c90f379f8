//! What the handlers of the stream server share.

use crate::cache::HlsCache;
use crate::channel::Channels;
use crate::files::Files;
use crate::hooks::Hooks;
use crate::locate::OriginLocator;
use crate::player::hls::state::HlsState;
use crate::player::live_list::LiveList;
use crate::player::live_relay::LiveRelay;
use crate::player::public_url::PublicUrl;
use crate::player::waits::OriginWaits;
use crate::runtime::pool::Pool;
use crate::stream::origin_id::OriginId;
use crate::stream::stats::{ByteCounter, StreamStats, Viewer};
use crate::stream::url::StreamUrl;
use crate::upstream::OriginClient;
use crate::upstream::forwarding::Forwarding;
use std::sync::Arc;

/// The parts of the proxy that answering a player needs; one for the process.
pub struct PlayerContext {
    pub locator: Arc<OriginLocator>,
    pub client: Arc<OriginClient>,
    pub forwarding: Forwarding,
    pub stats: Arc<StreamStats>,
    pub cache: Arc<HlsCache>,
    /// How many short requests wait for each origin.
    pub waits: Arc<OriginWaits>,
    /// What a visitor of the player page may pick.
    pub live_list: LiveList,
    pub hls: Arc<HlsState>,
    /// Where players reach this proxy (`PROXY_PUBLIC_URL`); `None` where nothing is told.
    pub public_url: Option<PublicUrl>,
    /// The static files: the embedded pages, or a directory.
    pub files: Files,
    /// The live streams that viewers share.
    pub channels: Arc<Channels>,
    /// The threads that relay live streams to one viewer each.
    pub live: Arc<Pool<Box<LiveRelay>>>,
    /// Who may watch, and who watches.
    pub hooks: Arc<Hooks>,
}

impl PlayerContext {
    /// A playlist or a segment of a stream is served; see [`StreamStats::touch`]. The stream is counted under the
    /// locator's name for it.
    pub fn touch(
        &self,
        stream: &StreamUrl,
        origin: &OriginId,
        address: &str,
        player: Option<u64>,
    ) -> ByteCounter {
        let name = self.locator.name_of(stream);
        self.stats.touch(&name, origin, address, player)
    }

    /// A live viewer of a stream comes; see [`StreamStats::live`].
    pub fn live_viewer(&self, stream: &StreamUrl, origin: &OriginId, address: &str) -> Viewer {
        let name = self.locator.name_of(stream);
        self.stats.live(&name, origin, address)
    }
}
