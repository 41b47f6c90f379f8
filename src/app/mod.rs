//! The proxy put together: both servers, from their settings to their end.

use crate::api::{Guard, Operators, PlayerStats};
use crate::balancer::Balancer;
use crate::balancer::memory::Memory;
use crate::balancer::origin::{Endpoints, Origin};
use crate::balancer::peer::PeerStatus;
use crate::balancer::redis::{Redis, RedisError};
use crate::cache::HlsCache;
use crate::config::{Config, DefaultBackend, LoadBalancerType};
use crate::files::Files;
use crate::locate::OriginLocator;
use crate::locate::poller::ApiPoller;
use crate::metrics::Metrics;
use crate::player::context::PlayerContext;
use crate::player::live::LiveRelay;
use crate::player::router::Router;
use crate::runtime::limits::Limits;
use crate::runtime::sys;
use crate::runtime::threads;
use crate::server::endpoint::{EndpointSettings, HttpEndpoint, ListenError, listen};
use crate::server::profile::ServerProfile;
use crate::server::server::Bounds;
use crate::stream::stats::StreamStats;
use crate::upstream::forwarding::Forwarding;
use crate::upstream::{OriginClient, OriginTimes};
use log::{info, warn};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, process};
use thiserror::Error;

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
/// The default backend's heartbeat, at the least.
const OWN_HEARTBEAT: Duration = Duration::from_secs(30);
/// Proxies that share a Redis tell each other this often what they serve.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);

/// Why the proxy does not start: one line that names what.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot share origins: {0}")]
    Redis(#[source] RedisError),
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A running proxy.
pub struct Proxy {
    players: HttpEndpoint,
    operators: HttpEndpoint,
    grace: Duration,
    viewers: Arc<StreamStats>,
    cache: Arc<HlsCache>,
    balancer: Arc<dyn Balancer>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Binds both servers and serves from now on, on threads of its own.
    ///
    /// # Errors
    /// [`StartError`] when a port is taken, or the system lacks something.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let limits = Limits::raise_and_read();
        threads::set_max(usize::try_from(limits.mapped_threads).unwrap_or(usize::MAX));
        let players = listen(config.http_server, "PROXY_HTTP_SERVER", "players")?;
        let whom = "origins and operators";
        let operators = listen(config.system_api, "PROXY_SYSTEM_API", whom)?;
        let connections = limits
            .connections()
            .saturating_sub(OPERATOR_CONNECTIONS / 2)
            .max(8);
        let operator_connections = OPERATOR_CONNECTIONS.min(limits.connections());

        let redis = match config.load_balancer_type {
            LoadBalancerType::Memory => None,
            LoadBalancerType::Redis => {
                let redis = Redis::connect(&config.redis, config.origin_server_ttl);
                Some(Arc::new(redis.map_err(StartError::Redis)?))
            }
        };
        let balancer: Arc<dyn Balancer> = match &redis {
            Some(redis) => redis.clone(),
            None => Arc::new(Memory::new(config.origin_server_ttl)),
        };
        let metrics = Arc::new(Metrics::new()?);
        let times = OriginTimes {
            connect: config.connect_timeout,
            response: config.response_timeout,
            stall: config.stall_timeout,
        };
        let idle = limits.idle_origin_connections();
        let client = Arc::new(OriginClient::new(times, idle, metrics.watch("http")));
        let api_client = Arc::new(OriginClient::new(times, idle / 8, metrics.watch("api")));
        let locator = Arc::new(OriginLocator::new(
            balancer.clone(),
            ApiPoller::new(api_client.clone()),
            config.stream_wait,
        ));
        let viewers = Arc::new(StreamStats::default());
        let cache = Arc::new(HlsCache::new(config.hls_cache));
        let files = config
            .static_files
            .clone()
            .map_or_else(Files::embedded, Files::directory);
        // Random: an id in a log or a Via names this process among all others.
        let name = format!("{:06x}", fastrand::u32(..0x100_0000));
        let own_name = format!("srs-stream-proxy-{name}{:04x}", fastrand::u16(..));
        let router = Router::new(PlayerContext {
            locator,
            client: client.clone(),
            forwarding: Forwarding {
                trusted: config.trusted_proxies.clone(),
                name: own_name.clone(),
            },
            stats: viewers.clone(),
            cache: cache.clone(),
            files,
            live: LiveRelay::threads(config.max_streams),
        });
        let bounds = Bounds {
            short: SHORT_WORKERS.min(connections),
            long: config.max_streams,
            stack: PLAYERS_STACK,
        };
        let settings = |style, name, id_prefix: &str, connections, bounds| EndpointSettings {
            style,
            name,
            id_prefix: id_prefix.to_owned(),
            connections,
            idle_timeout: config.idle_timeout,
            stall: config.stall_timeout,
            bounds,
            observer: metrics.clone(),
        };
        let front = settings(
            ServerProfile::Players,
            "players",
            &name,
            connections,
            bounds,
        );
        let players = HttpEndpoint::new(players, Arc::new(router), front)?;
        let (watched, address) = (viewers.clone(), players.address().to_string());
        let status = move || PeerStatus::of(&own_name, &address, &watched);
        let operators_service = Operators {
            guard: Guard::new(config.system_api_token.clone()),
            balancer: balancer.clone(),
            viewers: viewers.clone(),
            cache: cache.clone(),
            files: Files::embedded(),
            facts: PlayerStats {
                players_port: players.address().port(),
                peer: Box::new(status.clone()),
                players: players.listener().clone(),
                server: players.server().clone(),
                max_streams: config.max_streams,
                metrics: metrics.clone(),
            },
            warned: Mutex::default(),
        };
        let bounds = Bounds {
            short: OPERATOR_WORKERS,
            long: 1,
            stack: OPERATORS_STACK,
        };
        let name = format!("{name}s");
        let service = Arc::new(operators_service);
        let front = settings(
            ServerProfile::Operators,
            whom,
            &name,
            operator_connections,
            bounds,
        );
        let operators = HttpEndpoint::new(operators, service, front)?;
        let proxy = Self {
            players,
            operators,
            grace: config.grace_quit_timeout,
            viewers,
            cache,
            balancer,
            ended: Arc::default(),
        };
        info!("listening for players on {}", proxy.players.address());
        info!(
            "listening for origins and operators on {}",
            proxy.operators.address()
        );
        info!(
            "up to {connections} connections and {} streams at once, from limits of {} descriptors and {} threads",
            config.max_streams, limits.descriptors, limits.threads
        );
        proxy.players.serve()?;
        proxy.operators.serve()?;
        proxy.tidy([client, api_client])?;
        proxy.sweep_shared()?;
        if let Some(redis) = redis {
            let shared = format!("{}:{}", config.redis.host, config.redis.port);
            info!(
                "sharing origins and pins in Redis at {shared} as {}",
                status().proxy
            );
            proxy.every("peer status", ANNOUNCE_EVERY, move || {
                redis.announce(&status())
            })?;
        }
        if let Some(backend) = &config.default_backend {
            proxy.keep_default_backend(backend, config.origin_server_ttl)?;
        }
        Ok(proxy)
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
        self.ended.store(true, Ordering::Release);
        info!("ended");
    }

    /// Takes the rates, closes connections that nobody needs any more, and gives memory back when a crowd has gone.
    fn tidy(&self, clients: [Arc<OriginClient>; 2]) -> io::Result<()> {
        let viewers = self.viewers.clone();
        let mut crowd = threads::Crowd::default();
        self.every("rates", StreamStats::step(), move || {
            viewers.sample();
            if crowd.has_gone(threads::alive()) {
                sys::give_back_memory();
            }
            for client in &clients {
                client.close_idle();
            }
        })
    }

    /// Frees shared segments that have expired, also while nobody asks for any.
    fn sweep_shared(&self) -> io::Result<()> {
        if !self.cache.is_on() {
            return Ok(());
        }
        let cache = self.cache.clone();
        self.every("shared fetches", HlsCache::SWEEP, move || cache.sweep())
    }

    /// Registers the default backend, and again before its TTL is over.
    fn keep_default_backend(&self, backend: &DefaultBackend, ttl: Duration) -> io::Result<()> {
        let origin = Origin {
            server: "default-backend".to_owned(),
            service: "default".to_owned(),
            pid: process::id().to_string(),
            device_id: "default-backend".to_owned(),
            ip: backend.ip,
            endpoints: Endpoints {
                rtmp: vec![backend.rtmp.to_string()],
                http: vec![backend.http.to_string()],
                api: vec![backend.api.to_string()],
                ..Endpoints::default()
            },
        };
        let balancer = self.balancer.clone();
        let register = move || {
            // An origin's own heartbeat for this address says more: it stays.
            let own = |view: &crate::balancer::OriginView| {
                view.origin.http_address() == origin.http_address()
                    && *view.id != *origin.id()
                    && view.state != crate::balancer::origin::OriginState::Stale
            };
            if balancer.origins().iter().any(own) {
                return;
            }
            if let Err(error) = balancer.register(origin.clone()) {
                warn!("the default backend cannot be registered: {error}");
            }
        };
        register();
        self.every(
            "default backend",
            OWN_HEARTBEAT.min(ttl / 3).max(Duration::from_millis(10)),
            register,
        )
    }

    fn every(
        &self,
        name: &str,
        time: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<()> {
        let ended = self.ended.clone();
        let turn = move || {
            while !ended.load(Ordering::Acquire) {
                thread::sleep(time);
                work();
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(turn)
            .map(drop)
    }
}
