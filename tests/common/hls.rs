//! HLS sessions as the contract defines them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The session id of a stream: its URL (`vhost/app/stream`) in unpadded base64url.
pub fn session_id(stream_url: &str) -> String {
    URL_SAFE_NO_PAD.encode(stream_url)
}

/// The session id of `/live/NAME` under the default vhost, as a request to an IP address asks for it.
pub fn live_id(name: &str) -> String {
    session_id(&format!("__defaultVhost__/live/{name}"))
}

/// The URIs in a playlist's lines.
pub fn uris(playlist: &str) -> Vec<&str> {
    playlist
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}
