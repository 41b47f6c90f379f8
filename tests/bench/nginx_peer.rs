//! nginx as a peer, set up as well as it can be.

use std::net::SocketAddr;
use std::path::Path;

use crate::certificate::Certificate;
use crate::proxies::{Cache, Proxy};
use crate::system::free_port;
use crate::{Result, nginx};

/// Puts nginx in front of the first origin; any other is a spare one.
pub fn start(origins: &[SocketAddr], cache: Cache, directory: &Path) -> Result<Proxy> {
    let port = free_port()?;
    let server = nginx::start(directory, port, &http(port, origins, cache, "", directory))?;
    Ok(Proxy::peer(port, server))
}

/// Puts nginx with its cache in front of an origin; it speaks TLS at `secure_port` besides.
pub fn start_secured(
    origin: SocketAddr,
    secure_port: u16,
    certificate: &Certificate,
    directory: &Path,
) -> Result<Proxy> {
    let port = free_port()?;
    let secured = format!(
        "listen 127.0.0.1:{secure_port} ssl reuseport backlog=4096;
            ssl_certificate {};
            ssl_certificate_key {};
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_session_cache shared:tls:10m;",
        certificate.chain.display(),
        certificate.key.display()
    );
    let http = http(port, &[origin], Cache::On, &secured, directory);
    let server = nginx::start(directory, port, &http)?;
    Ok(Proxy::peer(port, server))
}

/// The configuration; `secured` is what the server has besides to speak TLS.
fn http(
    port: u16,
    origins: &[SocketAddr],
    cache: Cache,
    secured: &str,
    directory: &Path,
) -> String {
    let (storage, segments, playlists) = match cache {
        Cache::Off => (String::new(), "", ""),
        Cache::On => (
            format!(
                "proxy_cache_path {}/cache levels=1:2 keys_zone=hls:10m max_size=64m inactive=60s use_temp_path=off;
                open_file_cache max=1000 inactive=30s;",
                directory.display()
            ),
            // The query, which has the viewer's session, is not part of the key: one answer for all viewers. For
            // playlists that is more than nginx ought to be told, since they have that session in each URI.
            "proxy_cache hls; proxy_cache_lock on; proxy_cache_valid 200 60s; proxy_cache_key $uri;",
            // A second is the least that nginx can be told. `updating` lets the others have the old one meanwhile.
            "proxy_cache hls; proxy_cache_lock on; proxy_cache_valid 200 1s; proxy_cache_key $uri;
            proxy_cache_use_stale updating;",
        ),
    };
    let servers: String = origins
        .iter()
        .enumerate()
        .map(|(index, origin)| {
            let role = if index == 0 { "" } else { " backup" };
            format!("server {origin}{role}; ")
        })
        .collect();
    format!(
        r#"{storage}
        upstream origin {{ {servers} keepalive 256; keepalive_requests 100000000; }}
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_buffer_size 16k;
        proxy_buffers 8 64k;
        proxy_busy_buffers_size 128k;
        proxy_max_temp_file_size {temp_file};
        server {{
            listen 127.0.0.1:{port} reuseport backlog=4096;
            {secured}
            location / {{ proxy_pass http://origin; }}
            location ~ \.ts$ {{ {segments} proxy_pass http://origin; }}
            location ~ \.m3u8$ {{ {playlists} proxy_pass http://origin; }}
            location ~ \.flv$ {{ proxy_buffering off; proxy_pass http://origin; }}
        }}"#,
        temp_file = if cache == Cache::On { "1024m" } else { "0" },
    )
}
