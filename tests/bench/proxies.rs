//! What stands between load and origin: nothing, this project's proxy, nginx or HAProxy, each set up as well as it can be.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::children::Server;
use crate::system::{self, cores, descriptor_limit, free_port, loopback, program};
use crate::{Result, nginx};

/// The proxy's release binary: cargo builds it with the bench profile, which is the release profile.
pub const OUR_BINARY: &str = env!("CARGO_BIN_EXE_srs-stream-proxy");

/// What the load goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// No proxy: the origin itself.
    Direct,
    /// This project's proxy.
    Ours,
    Nginx,
    Haproxy,
}

impl Target {
    pub const ALL: [Target; 4] = [Target::Direct, Target::Ours, Target::Nginx, Target::Haproxy];

    pub fn is_peer(self) -> bool {
        matches!(self, Target::Nginx | Target::Haproxy)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Target::Direct => "direct",
            Target::Ours => "ours",
            Target::Nginx => "nginx",
            Target::Haproxy => "HAProxy",
        })
    }
}

/// Whether a proxy may answer out of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    Off,
    On,
}

/// An origin as it registers itself.
pub struct Origin {
    pub http: u16,
    /// Where its HTTP API listens, if it has one.
    pub api: Option<u16>,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    /// Where players go.
    pub address: SocketAddr,
    server: Option<Server>,
}

impl Proxy {
    /// The proxy's first process; direct has none.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }
}

/// Puts `target` in front of one origin, ready for players.
pub fn start(target: Target, origin: SocketAddr, cache: Cache, directory: &Path) -> Result<Proxy> {
    match target {
        Target::Direct => Ok(Proxy {
            address: origin,
            server: None,
        }),
        Target::Ours => ours(
            &[Origin {
                http: origin.port(),
                api: None,
            }],
            cache,
            directory,
        ),
        Target::Nginx => {
            let port = free_port()?;
            let server =
                nginx::start(directory, port, &nginx_http(port, origin, cache, directory))?;
            Ok(Proxy {
                address: loopback(port),
                server: Some(server),
            })
        }
        Target::Haproxy => haproxy(origin, directory),
    }
}

/// An HTTP client for single requests.
pub fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .input_buffer_size(16 * 1024)
        .output_buffer_size(16 * 1024)
        .build()
        .into()
}

/// Our proxy with its defaults, but for the cache; quiet as the others are.
pub fn ours(origins: &[Origin], cache: Cache, directory: &Path) -> Result<Proxy> {
    let (players, api) = (free_port()?, free_port()?);
    let mut command = Command::new(OUR_BINARY);
    // Neither the caller's environment nor a .env of the caller's directory may change what is measured.
    command.env_clear().current_dir(directory);
    command.env("PROXY_HTTP_SERVER", format!("127.0.0.1:{players}"));
    command.env("PROXY_SYSTEM_API", format!("127.0.0.1:{api}"));
    command.env("PROXY_LOG_LEVEL", "warn");
    if cache == Cache::Off {
        command.env("PROXY_HLS_CACHE", "0");
    }
    let mut server = Server::start("srs-stream-proxy", &mut command, directory)?;
    system::wait_until_listening(loopback(api), || server.check_alive())?;
    system::wait_until_listening(loopback(players), || server.check_alive())?;
    let client = client();
    for (index, origin) in origins.iter().enumerate() {
        register(&client, api, index, origin)?;
    }
    Ok(Proxy {
        address: loopback(players),
        server: Some(server),
    })
}

/// What SRS's heartbeat says.
fn register(client: &ureq::Agent, api: u16, index: usize, origin: &Origin) -> Result<()> {
    let heartbeat = serde_json::json!({
        "device_id": format!("origin{index}"), "ip": "127.0.0.1",
        "server": format!("vid-{index}"), "service": format!("service{index}"), "pid": index.to_string(),
        "rtmp": ["1935"], "http": [origin.http.to_string()],
        "api": origin.api.map(|port| port.to_string()).into_iter().collect::<Vec<_>>(),
    });
    let answer = client
        .post(format!("http://127.0.0.1:{api}/api/v1/srs/register"))
        .content_type("application/json")
        .send(heartbeat.to_string())
        .map_err(|error| format!("registering an origin: {error}"))?;
    if answer.status() == 200 {
        Ok(())
    } else {
        Err(format!("registering an origin: status {}", answer.status()))
    }
}

fn nginx_http(port: u16, origin: SocketAddr, cache: Cache, directory: &Path) -> String {
    let (storage, segments, playlists) = match cache {
        Cache::Off => (String::new(), "", ""),
        Cache::On => (
            format!(
                "proxy_cache_path {}/cache levels=1:2 keys_zone=hls:10m max_size=64m inactive=30s use_temp_path=off;
                open_file_cache max=1000 inactive=30s;",
                directory.display()
            ),
            // As our cache does: 10 s, whatever the viewer's session is.
            "proxy_cache hls; proxy_cache_lock on; proxy_cache_valid 200 10s; proxy_cache_key $uri;",
            // A second is the least that nginx can be told. `updating` lets the others have the old one meanwhile.
            "proxy_cache hls; proxy_cache_lock on; proxy_cache_valid 200 1s; proxy_cache_key $request_uri;
            proxy_cache_use_stale updating;",
        ),
    };
    format!(
        r#"{storage}
        upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}
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
            location / {{ proxy_pass http://origin; }}
            location ~ \.ts$ {{ {segments} proxy_pass http://origin; }}
            location ~ \.m3u8$ {{ {playlists} proxy_pass http://origin; }}
            location ~ \.flv$ {{ proxy_buffering off; proxy_pass http://origin; }}
        }}"#,
        temp_file = if cache == Cache::On { "1024m" } else { "0" },
    )
}

fn haproxy(origin: SocketAddr, directory: &Path) -> Result<Proxy> {
    let port = free_port()?;
    // HAProxy wants two descriptors a connection, and some for itself.
    let connections = (descriptor_limit() / 2).saturating_sub(200).min(10_000);
    let config = format!(
        "global
    nbthread {threads}
    maxconn {connections}
defaults
    mode http
    maxconn {connections}
    http-reuse always
    option forwardfor
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend players
    bind 127.0.0.1:{port} backlog 4096
    use_backend live if {{ path_end .flv }}
    default_backend hls
backend hls
    server origin {origin} pool-max-conn -1
backend live
    option http-no-delay
    server origin {origin}\n",
        threads = cores(),
    );
    let file = directory.join("haproxy.cfg");
    system::write(&file, config)?;
    let mut command = Command::new(program("haproxy")?);
    let mut server = Server::start(
        "haproxy",
        command.arg("-db").arg("-f").arg(&file),
        directory,
    )?;
    system::wait_until_listening(loopback(port), || server.check_alive())?;
    Ok(Proxy {
        address: loopback(port),
        server: Some(server),
    })
}
