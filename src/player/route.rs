//! Which handler a target belongs to.

use crate::http::query::own_session;

/// What a request is for, as its path and query tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/api/v1/versions`.
    Versions,
    /// `/api/v1/live`.
    LiveList,
    /// An HLS playlist.
    Playlist,
    /// A media file, an initialization section or a key of an HLS session.
    Segment,
    /// HTTP-FLV, HTTP-TS, AAC or MP3 without an end.
    Live,
    /// A static file.
    File,
}

impl Route {
    /// The word that metrics have for it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Versions | Self::LiveList => "api",
            Self::Playlist => "playlist",
            Self::Segment => "segment",
            Self::Live => "live",
            Self::File => "file",
        }
    }
}

/// The route of a target, path and query.
pub fn route(target: &str) -> Route {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if path == "/api/v1/versions" {
        return Route::Versions;
    }
    if path == "/api/v1/live" {
        return Route::LiveList;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is = |one: &&str| extension.eq_ignore_ascii_case(one);
    if is(&"m3u8") {
        Route::Playlist
    } else if query.and_then(own_session).is_some() {
        Route::Segment
    } else if ["flv", "ts", "aac", "mp3"].iter().any(is) {
        Route::Live
    } else {
        Route::File
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (target, expected) in [
            ("/api/v1/versions", Route::Versions),
            ("/api/v1/versions?x", Route::Versions),
            ("/api/v1/live", Route::LiveList),
            ("/api/v1/live.flv", Route::Live),
            ("/live/a.m3u8", Route::Playlist),
            ("/live/a.M3U8?spbhid=x", Route::Playlist),
            ("/live/a-1.ts?spbhid=x", Route::Segment),
            ("/live/init.mp4?a=b&spbhid=x", Route::Segment),
            ("/live/a.key?spbhid=x", Route::Segment),
            ("/live/a.ts", Route::Live),
            ("/live/a.flv?token=.m3u8", Route::Live),
            ("/live/a.aac", Route::Live),
            ("/live/a.mp3", Route::Live),
            ("/live/a.mp4", Route::File),
            ("/live.ts/a", Route::File),
            ("/a.ts/", Route::File),
            ("/", Route::File),
            ("*", Route::File),
        ] {
            assert_eq!(route(target), expected, "{target}");
        }
    }
}
