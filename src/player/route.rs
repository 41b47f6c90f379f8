//! Which handler a target belongs to.

use crate::http::query::names_session;

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
    if is_playlist(path) {
        Route::Playlist
    } else if query.is_some_and(names_session) {
        Route::Segment
    } else if ["flv", "ts", "aac", "mp3"].iter().any(is) {
        Route::Live
    } else {
        Route::File
    }
}

/// Whether a path has a playlist's extension (RFC 8216 section 4), before any `;parameters`.
pub fn is_playlist(path: &str) -> bool {
    let path = without_parameters(path);
    path.rsplit_once('.').is_some_and(|(_, extension)| {
        extension.eq_ignore_ascii_case("m3u8") || extension.eq_ignore_ascii_case("m3u")
    })
}

/// Whether a path has an extension that files of HLS sessions have, and live streams have not.
pub fn is_hls_file(path: &str) -> bool {
    const EXTENSIONS: [&str; 10] = [
        "m4s", "mp4", "m4a", "m4v", "cmfv", "cmfa", "vtt", "webvtt", "key", "m4i",
    ];
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS
        .iter()
        .any(|one| extension.eq_ignore_ascii_case(one))
}

/// A path without the parameters of its last part (RFC 3986 section 3.3): `/live/a.m3u8;id=1` is `/live/a.m3u8`.
pub fn without_parameters(path: &str) -> &str {
    let file = path.rfind('/').map_or(0, |slash| slash + 1);
    path[file..]
        .find(';')
        .map_or(path, |semicolon| &path[..file + semicolon])
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
            ("/live/a.m3u", Route::Playlist),
            ("/live/a.m3u8;jsessionid=1.2?x", Route::Playlist),
            ("/live/a.m3u8;x/b.ts", Route::Live),
            ("/live/a;b.m3u8", Route::File),
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
