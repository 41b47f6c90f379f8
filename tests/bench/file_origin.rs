//! nginx as an origin of HLS: any stream's playlist, segments and keys.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use crate::children::Server;
use crate::system::{self, free_port, loopback};
use crate::{Result, nginx};

/// What a segment holds: 1 MiB.
pub const SEGMENT_BYTES: usize = 1 << 20;
/// Segments in a playlist.
pub const SEGMENTS: usize = 6;

pub struct FileOrigin {
    pub address: SocketAddr,
    _nginx: Server,
}

/// A media playlist that stays as it is.
pub fn playlist(stream: &str, session: &str) -> String {
    media_playlist(stream, session, 1093..1093 + SEGMENTS as u64)
}

/// A media playlist as SRS writes it, with segments of 2 s, and a session of its own in each segment's URI.
pub fn media_playlist(stream: &str, session: &str, numbers: Range<u64>) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-TARGETDURATION:2\n",
        numbers.start
    );
    for number in numbers {
        text.push_str(&format!(
            "#EXTINF:2.000, no desc\n{stream}-{number}.ts?hls_ctx={session}\n"
        ));
    }
    text
}

/// The media playlist of a day: so many segments, each with a date and a token.
pub fn day(segments: usize) -> String {
    let mut text =
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:2\n".to_owned();
    let token = "x".repeat(40);
    for number in 0..segments {
        text.push_str(&format!(
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n#EXTINF:2.000,\nday-{number}.ts?token={token}\n"
        ));
    }
    text
}

/// Starts an origin that has every stream; playlists that are in its directory are those. A key has a playlist's bytes: relayed as it is, it shows what a proxy that
/// rewrites playlists would do without rewriting.
pub fn start(directory: &Path) -> Result<FileOrigin> {
    let port = free_port()?;
    system::write(&directory.join("media.m3u8"), playlist("live", "i2o25565"))?;
    let segment: Vec<u8> = (0..SEGMENT_BYTES).map(|at| (at / 188) as u8).collect();
    system::write(&directory.join("segment.ts"), segment)?;
    let http = format!(
        r"server {{
            listen 127.0.0.1:{port} reuseport backlog=4096;
            root {directory};
            open_file_cache max=100 inactive=600s;
            open_file_cache_valid 600s;
            types {{ }}
            location ~ \.m3u8$ {{ default_type application/vnd.apple.mpegurl; try_files $uri /media.m3u8 =404; }}
            location ~ \.key$ {{ default_type application/octet-stream; try_files /media.m3u8 =404; }}
            location ~ \.ts$ {{ default_type video/MP2T; try_files /segment.ts =404; }}
            location / {{ return 404; }}
        }}",
        directory = directory.display()
    );
    Ok(FileOrigin {
        address: loopback(port),
        _nginx: nginx::start(directory, port, &http)?,
    })
}

/// Origins that have different streams, and APIs that say so, at one port each.
pub struct StreamOrigins {
    pub ports: Vec<u16>,
    _nginx: Server,
}

/// Starts `count` origins; each of `streams` is published at one of them.
pub fn start_many(directory: &Path, count: usize, streams: &[String]) -> Result<StreamOrigins> {
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = free_port()?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let live = directory.join(port.to_string()).join("live");
        fs::create_dir_all(&live).map_err(|error| format!("making {}: {error}", live.display()))?;
        let mut entries = Vec::new();
        for stream in streams.iter().skip(index).step_by(count) {
            system::write(
                &live.join(format!("{stream}.m3u8")),
                playlist(stream, "i2o25565"),
            )?;
            entries.push(serde_json::json!({
                "id": format!("vid-{stream}"), "name": stream, "vhost": "vid-r62z765", "app": "live",
                "tcUrl": "rtmp://127.0.0.1/live", "url": format!("/live/{stream}"), "clients": 1,
                "publish": { "active": true, "cid": "o287709e" },
            }));
        }
        let answer = serde_json::json!({ "code": 0, "server": "vid", "service": "s", "pid": "1", "streams": entries });
        system::write(
            &directory.join(port.to_string()).join("streams.json"),
            answer.to_string(),
        )?;
    }
    let listen: String = ports
        .iter()
        .map(|port| format!("listen 127.0.0.1:{port} backlog=4096;\n"))
        .collect();
    let http = format!(
        r#"server {{
            {listen}
            root {directory}/$server_port;
            open_file_cache max=1000 inactive=600s;
            open_file_cache_valid 600s;
            types {{ }}
            location = /api/v1/streams/ {{
                default_type application/json;
                if ($arg_start ~ "^[1-9]") {{ return 200 '{{"code":0,"streams":[]}}'; }}
                try_files /streams.json =404;
            }}
            location ~ \.m3u8$ {{ default_type application/vnd.apple.mpegurl; try_files $uri =404; }}
            location / {{ return 404; }}
        }}"#,
        directory = directory.display()
    );
    let last = ports.last().copied().unwrap_or_default();
    Ok(StreamOrigins {
        _nginx: nginx::start(directory, last, &http)?,
        ports,
    })
}
