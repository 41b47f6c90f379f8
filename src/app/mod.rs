//! The proxy put together: both servers, from their settings to their end.
//!
//! [`Proxy::start`] goes through its steps in order: bind the ports, choose where origins are kept, build the parts
//! that both servers share, build the two servers, log what listens where, start the background tasks.

mod default_backend;
mod error;
mod parts;
mod tasks;

use crate::api::{Guard, Operators, PlayerStats};
use crate::balancer::peer::PeerStatus;
use crate::config::Config;
use crate::files::Files;
use crate::player::context::PlayerContext;
use crate::player::live::LiveRelay;
use crate::player::router::Router;
use crate::runtime::limits::Limits;
use crate::runtime::threads;
use crate::runtime::warn_once::WarnOnce;
use crate::server::endpoint::{EndpointSettings, HttpEndpoint, listen};
use crate::server::profile::ServerProfile;
use crate::server::server::Bounds;
use crate::upstream::forwarding::Forwarding;
pub use error::StartError;
use log::info;
use parts::Parts;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tasks::Tasks;

/// Connections of the System API: origins, operators, a monitor.
const OPERATOR_CONNECTIONS: usize = 256;
/// Workers for its requests.
const OPERATOR_WORKERS: usize = 64;
/// Workers for requests that end soon, where the connections are not fewer: each costs memory only
/// while it is busy.
const SHORT_WORKERS: usize = 4096;
/// Stack of a worker that relays, in bytes.
const PLAYERS_STACK: usize = 256 * 1024;
/// Stack of a worker that reads JSON, in bytes: 128 nested objects, which is where serde_json stops, take up
/// to 384 KiB, and an overflow would end the process.
const OPERATORS_STACK: usize = 1024 * 1024;
/// A refused heartbeat of one address is logged once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Addresses that are remembered for that.
const MAX_WARNED: usize = 1024;
/// What the log calls those who use the System API.
const OPERATORS: &str = "origins and operators";

/// A running proxy.
pub struct Proxy {
    players: HttpEndpoint,
    operators: HttpEndpoint,
    grace: Duration,
    tasks: Tasks,
}

/// How this process is called among all proxies.
struct ProxyName {
    /// The beginning of request ids: random, so that an id in a log names this process among all others.
    id_prefix: String,
    /// The name in `Via` and among proxies that share a Redis.
    full: String,
}

impl ProxyName {
    fn random() -> Self {
        let id_prefix = format!("{:06x}", fastrand::u32(..0x100_0000));
        let full = format!("srs-stream-proxy-{id_prefix}{:04x}", fastrand::u16(..));
        Self { id_prefix, full }
    }
}

impl Proxy {
    /// Binds both servers and serves from now on, on threads of its own.
    ///
    /// # Errors
    /// [`StartError`] when a port is taken, Redis does not answer, or the system lacks something.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let limits = Limits::raise_and_read();
        threads::set_max(usize::try_from(limits.mapped_threads).unwrap_or(usize::MAX));
        let players = listen(config.http_server, "PROXY_HTTP_SERVER", "players")?;
        let operators = listen(config.system_api, "PROXY_SYSTEM_API", OPERATORS)?;
        let parts = Parts::build(config, &limits)?;
        let name = ProxyName::random();
        let players = players_endpoint(config, &limits, &parts, &name, players)?;
        let status = {
            let (stats, address) = (parts.stats.clone(), players.address().to_string());
            let name = name.full.clone();
            move || PeerStatus::of(&name, &address, &stats)
        };
        let operators = operators_endpoint(
            config,
            &limits,
            &parts,
            &name,
            operators,
            &players,
            Box::new(status.clone()),
        )?;
        log_listening(config, &limits, &players, &operators);
        players.serve()?;
        operators.serve()?;
        let tasks = Tasks::start(config, &parts, status)?;
        Ok(Self {
            players,
            operators,
            grace: config.grace_quit_timeout,
            tasks,
        })
    }

    /// Where players come in.
    pub fn players_address(&self) -> SocketAddr {
        self.players.address()
    }

    /// Where origins and operators come in.
    pub fn operators_address(&self) -> SocketAddr {
        self.operators.address()
    }

    /// Ends it: accepts nobody, lets what runs go on for the grace time, then cuts it. The System API
    /// stays for as long as there are streams, so that operators can watch them end.
    pub fn stop(self) {
        let streams = self.players.streams();
        info!(
            "ending: no new connections, {streams} streams may go on for {:?}",
            self.grace
        );
        let end = Instant::now() + self.grace;
        self.players.close();
        self.players.await_empty(end);
        self.operators.close();
        self.operators
            .await_empty(end.min(Instant::now() + Duration::from_millis(500)));
        self.tasks.end();
        info!("ended");
    }
}

/// How many players may be connected at once.
fn player_connections(limits: &Limits) -> usize {
    limits
        .connections()
        .saturating_sub(OPERATOR_CONNECTIONS / 2)
        .max(8)
}

fn players_endpoint(
    config: &Config,
    limits: &Limits,
    parts: &Parts,
    name: &ProxyName,
    socket: TcpListener,
) -> io::Result<HttpEndpoint> {
    let connections = player_connections(limits);
    let router = Router::new(PlayerContext {
        locator: parts.locator.clone(),
        client: parts.client.clone(),
        forwarding: Forwarding {
            trusted: config.trusted_proxies.clone(),
            name: name.full.clone(),
        },
        stats: parts.stats.clone(),
        cache: parts.cache.clone(),
        files: config
            .static_files
            .clone()
            .map_or_else(Files::embedded, Files::directory),
        live: LiveRelay::threads(config.max_streams),
    });
    let settings = EndpointSettings {
        profile: ServerProfile::Players,
        name: "players",
        id_prefix: name.id_prefix.clone(),
        connections,
        idle_timeout: config.idle_timeout,
        stall: config.stall_timeout,
        bounds: Bounds {
            short: SHORT_WORKERS.min(connections),
            long: config.max_streams,
            stack: PLAYERS_STACK,
        },
        observer: parts.metrics.clone(),
    };
    HttpEndpoint::new(socket, Arc::new(router), settings)
}

fn operators_endpoint(
    config: &Config,
    limits: &Limits,
    parts: &Parts,
    name: &ProxyName,
    socket: TcpListener,
    players: &HttpEndpoint,
    peer: Box<dyn Fn() -> PeerStatus + Send + Sync>,
) -> io::Result<HttpEndpoint> {
    let operators = Operators {
        guard: Guard::new(config.system_api_token.clone()),
        balancer: parts.balancer.clone(),
        viewers: parts.stats.clone(),
        cache: parts.cache.clone(),
        files: Files::embedded(),
        facts: PlayerStats {
            players_port: players.address().port(),
            peer,
            players: players.listener().clone(),
            server: players.server().clone(),
            max_streams: config.max_streams,
            metrics: parts.metrics.clone(),
        },
        warned: WarnOnce::new(Some(WARN_EVERY), MAX_WARNED),
    };
    let settings = EndpointSettings {
        profile: ServerProfile::Operators,
        name: OPERATORS,
        id_prefix: format!("{}s", name.id_prefix),
        connections: OPERATOR_CONNECTIONS.min(limits.connections()),
        idle_timeout: config.idle_timeout,
        stall: config.stall_timeout,
        bounds: Bounds {
            short: OPERATOR_WORKERS,
            long: 1,
            stack: OPERATORS_STACK,
        },
        observer: parts.metrics.clone(),
    };
    HttpEndpoint::new(socket, Arc::new(operators), settings)
}

fn log_listening(
    config: &Config,
    limits: &Limits,
    players: &HttpEndpoint,
    operators: &HttpEndpoint,
) {
    info!("listening for players on {}", players.address());
    info!("listening for {OPERATORS} on {}", operators.address());
    info!(
        "up to {} connections and {} streams at once, from limits of {} descriptors and {} threads",
        player_connections(limits),
        config.max_streams,
        limits.descriptors,
        limits.threads
    );
}
