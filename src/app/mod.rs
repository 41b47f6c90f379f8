//! The proxy put together: both servers, from their settings to their end.
//!
//! [`Proxy::start`] goes through its steps in order: bind the ports, choose where origins are kept, build the parts
//! that both servers share, build the two servers, log what listens where, start the background tasks.

mod capacity;
mod error;
mod handover;
pub mod health;
mod https;
pub mod inherited;
mod parts;
mod static_origins;
mod successor;
mod tasks;

use crate::api::{Guard, Operators, PlayerStats};
use crate::balancer::Balancer;
use crate::balancer::origin::OriginState;
use crate::balancer::peer::{PeerCache, PeerStatus};
use crate::cache::counters::Snapshot;
use crate::channel::Channels;
use crate::config::Config;
use crate::files::Files;
use crate::hooks::Hooks;
use crate::http::host::is_near;
use crate::listener::{Admission, Closing, PublicSocket, TlsAcceptor};
use crate::logging::LogFormat;
use crate::player::context::PlayerContext;
use crate::player::hls::state::HlsState;
use crate::player::live_list::LiveList;
use crate::player::live_relay::LiveRelay;
use crate::player::public_url::PublicUrl;
use crate::player::router::Router;
use crate::player::waits::OriginWaits;
use crate::runtime::limits::Limits;
use crate::runtime::threads;
use crate::runtime::warn_once::WarnOnce;
use crate::server::context::AccessLog;
use crate::server::endpoint::{EndpointSettings, HttpEndpoint, listen};
use crate::server::profile::ServerProfile;
use crate::server::server::Bounds;
use crate::upstream::forwarding::Forwarding;
use capacity::Capacity;
pub use error::StartError;
use handover::Handover;
use inherited::{Inherited, OPERATORS as OPERATORS_SOCKET, PLAYERS, PLAYERS_TLS};
use log::{info, warn};
use parts::Parts;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use successor::Program;
use tasks::Tasks;

/// Workers for requests of the System API.
const OPERATOR_WORKERS: usize = 64;
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
    channels: Arc<Channels>,
    grace: Duration,
    upgrade_grace: Duration,
    balancer: Arc<dyn Balancer>,
    hls: Arc<HlsState>,
    hooks: Arc<Hooks>,
    program: Program,
    tasks: Tasks,
    tls: Option<Arc<TlsAcceptor>>,
}

/// How long a successor waits for what the process that it replaces knows.
const HANDOVER_TIME: Duration = Duration::from_secs(10);
/// How often a process that has handed over looks whether its last viewer has gone.
const RETIRED_LOOK: Duration = Duration::from_millis(100);
/// How often a process that has handed over counts a heartbeat for each origin: they go to its successor.
const RETIRED_HEARTBEAT: Duration = Duration::from_secs(2);

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
    /// Binds both servers, or takes the sockets that were inherited, and serves from now on, on threads of its own.
    ///
    /// # Errors
    /// [`StartError`] when a port is taken, Redis does not answer, or the system lacks something.
    pub fn start(config: &Config, mut inherited: Inherited) -> Result<Self, StartError> {
        let program = Program::own()?;
        let limits = Limits::raise_and_read();
        threads::set_max(usize::try_from(limits.mapped_threads).unwrap_or(usize::MAX));
        let tls = https::acceptor(config)?;
        let players = match inherited.players.take() {
            Some(socket) => socket,
            None => listen(config.http_server, "PROXY_HTTP_SERVER", "players")?,
        };
        let players = https::players_sockets(config, players, &mut inherited, tls.as_ref())?;
        let operators = match inherited.operators.take() {
            Some(socket) => socket,
            None => listen(config.system_api, "PROXY_SYSTEM_API", OPERATORS)?,
        };
        let operators_tls = tls.clone().filter(|_| config.system_api_tls);
        let operators = PublicSocket::new(operators, operators_tls)?;
        let capacity = Capacity::new(config, &limits);
        let name = ProxyName::random();
        let parts = Parts::build(config, &capacity, &limits, &name.full, tls)?;
        if let Some(predecessor) = &inherited.predecessor {
            let handover = Handover::receive(predecessor, HANDOVER_TIME);
            parts.take_over(handover.map_err(StartError::Handover)?);
        }
        parts.hooks.start()?;
        let players = players_endpoint(config, &capacity, &parts, &name, players)?;
        let status = {
            let (stats, address) = (parts.stats.clone(), players.address().to_string());
            let name = name.full.clone();
            let (cache, listener) = (parts.cache.clone(), players.listener().clone());
            let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let started = started.map_or(0, |time| time.as_secs());
            move || {
                let Snapshot {
                    hits,
                    shares,
                    fetches,
                    saved,
                    bytes,
                    ..
                } = cache.snapshot();
                PeerStatus {
                    requests: listener.requests(),
                    hls_cache: PeerCache {
                        hits,
                        shares,
                        fetches,
                        saved,
                        bytes,
                    },
                    started,
                    ..PeerStatus::of(&name, &address, &stats)
                }
            }
        };
        let operators = operators_endpoint(
            config,
            &capacity,
            &parts,
            &name,
            operators,
            &players,
            Box::new(status.clone()),
        )?;
        log_listening(config, &players, &operators);
        capacity.log(&limits);
        log_who_may_ask(config);
        players.serve()?;
        operators.serve()?;
        let tasks = Tasks::start(config, &parts, status)?;
        if let Some(predecessor) = &inherited.predecessor {
            handover::tell_ready(predecessor).map_err(StartError::Handover)?;
        }
        Ok(Self {
            players,
            operators,
            channels: parts.channels.clone(),
            grace: config.grace_quit_timeout,
            upgrade_grace: config.upgrade_grace,
            balancer: parts.balancer,
            hls: parts.hls,
            hooks: parts.hooks,
            program,
            tasks,
            tls: parts.tls,
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

    /// Has a new process of the same program serve in this one's place, on the same sockets, with what this one knows.
    /// Blocks until the new process serves, 10 s at most; then comes [`Proxy::retire`]. Gives the new process's id.
    ///
    /// # Errors
    /// Why the new process does not serve. This one goes on as before.
    pub fn upgrade(&self) -> io::Result<u32> {
        let players = self.players.listener().sockets();
        let operators = self.operators.listener().sockets();
        if players.is_empty() || operators.is_empty() {
            return Err(io::Error::other("this process has stopped listening"));
        }
        let names = [PLAYERS, PLAYERS_TLS].into_iter().zip(&players);
        let names = names.chain([OPERATORS_SOCKET].into_iter().zip(&operators));
        let sockets: Vec<_> = names
            .map(|(name, public)| (name, public.socket()))
            .collect();
        let handover = Handover {
            balancer: self.balancer.snapshot(),
            timelines: self.hls.timelines.records(),
            sessions: self.hooks.sessions.records(),
        };
        self.program.start_successor(&sockets, &handover)
    }

    /// Reads again what can change while the proxy runs: the certificate. Returns whether there is one; the log tells
    /// what came of it.
    pub fn reload(&self) -> bool {
        if let Some(tls) = &self.tls {
            tls.read_again();
        }
        self.tls.is_some()
    }

    /// Ends with the last viewer, after [`Proxy::upgrade`]: accepts nobody, closes each connection after the response
    /// that is under way, and cuts what is left after the upgrade grace time. Where `is_asked_to_end` gives true, the
    /// grace time of a normal end counts from then on.
    pub fn retire(self, mut is_asked_to_end: impl FnMut() -> bool) {
        let streams = self.players.streams();
        let grace = self.upgrade_grace;
        info!("handed over: {streams} streams may go on here for {grace:?}");
        self.hooks.sessions.leave_to_successor();
        self.players.close(Closing::HandOver);
        self.operators.close(Closing::HandOver);
        let mut end = Instant::now() + grace;
        let mut asked = false;
        let mut heartbeat = Instant::now();
        while !self.players.is_finished() && Instant::now() < end {
            thread::sleep(RETIRED_LOOK);
            if !asked && is_asked_to_end() {
                asked = true;
                end = end.min(Instant::now() + self.grace);
            }
            if heartbeat.elapsed() >= RETIRED_HEARTBEAT {
                heartbeat = Instant::now();
                self.keep_origins();
            }
        }
        self.players.await_empty(Instant::now());
        self.operators.await_empty(Instant::now());
        self.hooks.sessions.end();
        self.hooks
            .drain(Instant::now() + self.hooks.time_to_end(self.grace));
        self.tasks.end();
        info!("ended");
    }

    /// Counts a heartbeat for each origin that was alive: channels that go on here may need another origin, hours
    /// after the heartbeats have gone to the successor.
    fn keep_origins(&self) {
        for view in self.balancer.origins() {
            if matches!(
                view.state,
                OriginState::Alive | OriginState::Draining | OriginState::Late
            ) && let Err(error) = self.balancer.register((*view.origin).clone())
            {
                warn!("origin {} cannot be kept: {error}", view.id);
            }
        }
    }

    /// Ends: releases both ports, lets what runs go on for the grace time of the settings, then cuts it.
    pub fn stop(self) {
        let grace = self.grace;
        self.stop_within(grace);
    }

    /// Ends as [`Proxy::stop`] does, with another grace time.
    pub fn stop_within(self, grace: Duration) {
        let streams = self.players.streams();
        info!("ending: no new connections, {streams} streams may go on for {grace:?}");
        let end = Instant::now() + grace;
        self.players.close(Closing::Release);
        self.operators.close(Closing::Release);
        self.channels.stop();
        // Whoever is cut has its `on_stop` within the grace time, too.
        self.players
            .await_empty(end - self.hooks.time_to_end(grace));
        self.operators
            .await_empty(end.min(Instant::now() + Duration::from_millis(500)));
        self.hooks.sessions.end();
        self.hooks.drain(end);
        self.tasks.end();
        info!("ended");
    }
}

fn access_log(config: &Config) -> AccessLog {
    match (config.access_log, config.log_format) {
        (false, _) => AccessLog::Off,
        (true, LogFormat::Text) => AccessLog::On,
        (true, LogFormat::Json) => AccessLog::WithUserAgent,
    }
}

fn players_endpoint(
    config: &Config,
    capacity: &Capacity,
    parts: &Parts,
    name: &ProxyName,
    sockets: Vec<PublicSocket>,
) -> io::Result<HttpEndpoint> {
    let router = Router::new(PlayerContext {
        locator: parts.locator.clone(),
        client: parts.client.clone(),
        forwarding: Forwarding {
            trusted: config.trusted_proxies.clone(),
            name: name.full.clone(),
        },
        stats: parts.stats.clone(),
        cache: parts.cache.clone(),
        channels: parts.channels.clone(),
        // What one origin's silence may take; the rest is for the others.
        waits: OriginWaits::new(capacity.workers / 2),
        public_url: config.public_url.as_deref().map(PublicUrl::new),
        live_list: LiveList::new(config.live_list, config.public_url.clone()),
        hls: parts.hls.clone(),
        files: config
            .static_files
            .clone()
            .map_or_else(Files::embedded, Files::directory),
        live: LiveRelay::threads(capacity.streams),
        hooks: parts.hooks.clone(),
    });
    let settings = EndpointSettings {
        profile: ServerProfile::Players,
        name: "players",
        id_prefix: name.id_prefix.clone(),
        announced_by: config
            .proxy_protocol
            .then(|| config.trusted_proxies.clone()),
        connections: capacity.connections,
        idle_timeout: config.idle_timeout,
        stall: config.stall_timeout,
        bounds: Bounds {
            short: capacity.workers,
            long: capacity.streams,
            stack: PLAYERS_STACK,
        },
        admission: Admission::Everybody,
        trusted: config.trusted_proxies.clone(),
        access_log: access_log(config),
        observer: parts.metrics.clone(),
    };
    HttpEndpoint::new(sockets, Arc::new(router), settings)
}

fn operators_endpoint(
    config: &Config,
    capacity: &Capacity,
    parts: &Parts,
    name: &ProxyName,
    socket: PublicSocket,
    players: &HttpEndpoint,
    peer: Box<dyn Fn() -> PeerStatus + Send + Sync>,
) -> io::Result<HttpEndpoint> {
    let operators = Operators {
        guard: Guard::new(config.system_api_token.clone()),
        balancer: parts.balancer.clone(),
        viewers: parts.stats.clone(),
        hooks: parts.hooks.clone(),
        cache: parts.cache.clone(),
        channels: parts.channels.clone(),
        files: Files::embedded(),
        facts: PlayerStats {
            players_port: players.address().port(),
            public_url: config.public_url.clone(),
            peer,
            players: players.listener().clone(),
            server: players.server().clone(),
            max_streams: capacity.streams,
            metrics: parts.metrics.clone(),
            tls: parts.tls.clone(),
        },
        warned: WarnOnce::new(Some(WARN_EVERY), MAX_WARNED),
    };
    let settings = EndpointSettings {
        profile: ServerProfile::Operators,
        name: OPERATORS,
        id_prefix: format!("{}s", name.id_prefix),
        announced_by: None,
        connections: capacity.operators,
        idle_timeout: config.idle_timeout,
        stall: config.stall_timeout,
        bounds: Bounds {
            short: OPERATOR_WORKERS,
            long: 1,
            stack: OPERATORS_STACK,
        },
        admission: match &config.system_api_token {
            Some(_) => Admission::Everybody,
            None => Admission::Only {
                is_welcome: is_near,
                remedy: "from other networks the System API needs PROXY_SYSTEM_API_TOKEN",
            },
        },
        trusted: config.trusted_proxies.clone(),
        access_log: access_log(config),
        observer: parts.metrics.clone(),
    };
    HttpEndpoint::new(vec![socket], Arc::new(operators), settings)
}

fn log_listening(config: &Config, players: &HttpEndpoint, operators: &HttpEndpoint) {
    info!("listening for players on {}", players.address());
    for public in players.listener().sockets().iter().skip(1) {
        info!("listening for players by HTTPS on {}", public.address());
    }
    let by = match config.system_api_tls {
        true => " by HTTPS",
        false => "",
    };
    info!("listening for {OPERATORS} on {}{by}", operators.address());
}

fn log_who_may_ask(config: &Config) {
    match &config.system_api_token {
        Some(_) => info!("the System API needs the token that is set"),
        None => info!(
            "the System API has no token: it is open to loopback, private and link-local addresses, and to no proxy"
        ),
    }
}
