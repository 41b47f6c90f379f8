//! What stands between load and origin: nothing, this project's proxy, nginx or HAProxy, each set up as well as it can be.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::certificate::Certificate;
use crate::children::Server;
use crate::system::{self, free_port, loopback};
use crate::{Result, haproxy, nginx_peer};

/// The proxy's release binary: cargo builds it with the bench profile, which is the release profile.
pub const OUR_BINARY: &str = env!("CARGO_BIN_EXE_srs-stream-proxy");

/// What the load goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// No proxy: the origin itself.
    Direct,
    /// This project's proxy.
    Ours,
    /// This project's proxy as it was before, or without what is new.
    Before,
    Nginx,
    Haproxy,
}

impl Target {
    /// All that loads compare; `Before` is for single ones.
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
            Target::Before => "before",
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

impl Origin {
    /// An origin whose API nobody may ask.
    pub fn without_api(address: SocketAddr) -> Origin {
        Origin {
            http: address.port(),
            api: None,
        }
    }
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    /// Where players go.
    pub address: SocketAddr,
    server: Option<Server>,
}

impl Proxy {
    /// A peer that listens on `port` of loopback.
    pub fn peer(port: u16, server: Server) -> Proxy {
        Proxy {
            address: loopback(port),
            server: Some(server),
        }
    }

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
        Target::Ours => ours(&[Origin::without_api(origin)], cache, directory),
        Target::Before => ours_before(None, &[Origin::without_api(origin)], directory),
        Target::Nginx => nginx_peer::start(&[origin], cache, directory),
        Target::Haproxy => haproxy::start(&[origin], directory),
    }
}

/// Puts our proxy or nginx in front of one origin, with a cache, and gives where each speaks TLS besides.
pub fn start_secured(
    target: Target,
    origin: Origin,
    certificate: &Certificate,
    directory: &Path,
) -> Result<(Proxy, SocketAddr)> {
    let port = free_port()?;
    let proxy = match target {
        Target::Ours => {
            let mut command = Command::new(OUR_BINARY);
            command.env_clear();
            command.env("PROXY_HTTPS_SERVER", format!("127.0.0.1:{port}"));
            command.env("PROXY_HTTPS_CERT", &certificate.chain);
            command.env("PROXY_HTTPS_KEY", &certificate.key);
            start_ours(command, &[origin], directory)?
        }
        Target::Nginx => {
            nginx_peer::start_secured(loopback(origin.http), port, certificate, directory)?
        }
        _ => return Err(format!("{target} is not compared by TLS")),
    };
    Ok((proxy, loopback(port)))
}

/// Puts nginx or HAProxy in front of an origin and a spare one, which is asked when the first one fails.
pub fn start_with_spare(
    target: Target,
    origins: [SocketAddr; 2],
    directory: &Path,
) -> Result<Proxy> {
    match target {
        Target::Nginx => nginx_peer::start(&origins, Cache::Off, directory),
        Target::Haproxy => haproxy::start(&origins, directory),
        _ => Err(format!("{target} is given no spare origin")),
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
    let mut command = Command::new(OUR_BINARY);
    // Neither the caller's environment nor a .env of the caller's directory may change what is measured.
    command.env_clear();
    if cache == Cache::Off {
        command.env("PROXY_HLS_CACHE", "0");
    }
    start_ours(command, origins, directory)
}

/// An older build of our proxy, or this one without sharing live streams, where `binary` is `None`.
pub fn ours_before(binary: Option<&Path>, origins: &[Origin], directory: &Path) -> Result<Proxy> {
    let mut command = Command::new(binary.unwrap_or(Path::new(OUR_BINARY)));
    command.env_clear().env("PROXY_HLS_CACHE", "0");
    if binary.is_none() {
        command.env("PROXY_LIVE_SHARE", "off");
    }
    start_ours(command, origins, directory)
}

fn start_ours(mut command: Command, origins: &[Origin], directory: &Path) -> Result<Proxy> {
    let (players, api) = (free_port()?, free_port()?);
    command.current_dir(directory);
    command.env("PROXY_HTTP_SERVER", format!("127.0.0.1:{players}"));
    command.env("PROXY_SYSTEM_API", format!("127.0.0.1:{api}"));
    command.env("PROXY_LOG_LEVEL", "warn");
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
