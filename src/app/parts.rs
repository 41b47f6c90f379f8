//! The parts that both servers share.

use crate::app::capacity::Capacity;
use crate::app::error::StartError;
use crate::app::handover::Handover;
use crate::balancer::Balancer;
use crate::balancer::memory::Memory;
use crate::balancer::redis::{Redis, RedisError};
use crate::cache::HlsCache;
use crate::channel::{ChannelSettings, Channels};
use crate::config::{Config, HookList, LoadBalancerType};
use crate::hooks::{HookSettings, Hooks};
use crate::listener::TlsAcceptor;
use crate::locate::{ApiPoller, LocatorSettings, OriginLocator};
use crate::metrics::Metrics;
use crate::player::hls::state::HlsState;
use crate::runtime::limits::Limits;
use crate::stream::stats::StreamStats;
use crate::upstream::{OriginClient, OriginTimes, OriginTls, OriginTrust};
use log::debug;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a Redis that does not answer is waited for at the start.
const REDIS_START_TIME: Duration = Duration::from_secs(5);
/// Pause between two tries.
const REDIS_START_PAUSE: Duration = Duration::from_millis(200);

/// What the stream server, the System API and the background tasks use together.
pub struct Parts {
    pub balancer: Arc<dyn Balancer>,
    /// The balancer once more, where it is the one that shares a Redis.
    pub redis: Option<Arc<Redis>>,
    pub metrics: Arc<Metrics>,
    /// Asks origins for media.
    pub client: Arc<OriginClient>,
    /// Asks the APIs of origins, so that they do not wait behind media.
    pub api_client: Arc<OriginClient>,
    pub locator: Arc<OriginLocator>,
    pub stats: Arc<StreamStats>,
    pub cache: Arc<HlsCache>,
    /// What HLS remembers between requests.
    pub hls: Arc<HlsState>,
    pub channels: Arc<Channels>,
    pub hooks: Arc<Hooks>,
    /// Shows the certificate, where there is HTTPS.
    pub tls: Option<Arc<TlsAcceptor>>,
}

impl Parts {
    /// Builds the parts as the settings want them, for as much as fits and for a proxy of that name. Blocks until Redis has answered, where one is used.
    ///
    /// # Errors
    /// [`StartError::Redis`] when Redis does not answer, [`StartError::System`] when the metrics cannot be set up.
    pub fn build(
        config: &Config,
        capacity: &Capacity,
        limits: &Limits,
        name: &str,
        tls: Option<Arc<TlsAcceptor>>,
    ) -> Result<Self, StartError> {
        let redis = match config.load_balancer_type {
            LoadBalancerType::Memory => None,
            LoadBalancerType::Redis => {
                let redis = connect_redis(config).map_err(StartError::Redis)?;
                Some(Arc::new(redis))
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
        // Requests that wait for one shared answer.
        let max_readers = capacity.workers / 4;
        let idle = limits.idle_origin_connections();
        let trust = match &config.origin_ca {
            _ if config.origin_insecure => OriginTrust::Anybody,
            Some(path) => OriginTrust::File(path.clone()),
            None => OriginTrust::System,
        };
        let origin_tls = OriginTls::new(&trust)?;
        let client = Arc::new(OriginClient::new(
            times,
            idle,
            origin_tls.clone(),
            metrics.watch("http"),
        ));
        let api_client = Arc::new(OriginClient::new(
            times,
            idle / 8,
            origin_tls,
            metrics.watch("api"),
        ));
        let poller = ApiPoller::new(api_client.clone(), config.origin_api_auth.as_deref());
        let locator = OriginLocator::new(
            balancer.clone(),
            poller,
            LocatorSettings {
                wait: config.stream_wait,
                try_unlisted: config.try_unlisted,
                max_streams: capacity.streams,
            },
        );
        let urls = |list: &Option<HookList>| list.as_ref().map_or_else(Vec::new, |it| it.0.clone());
        let hooks = Hooks::new(HookSettings {
            on_play: urls(&config.on_play),
            on_stop: urls(&config.on_stop),
            timeout: config.hook_timeout,
            fail: config.hook_fail,
            name: name.to_owned(),
            redis: redis.clone(),
            max_waiting: capacity.workers / 2,
        });
        Ok(Self {
            balancer,
            hooks,
            redis,
            metrics,
            client,
            api_client,
            locator: Arc::new(locator),
            stats: Arc::default(),
            hls: Arc::default(),
            cache: Arc::new(HlsCache::new(config.hls_cache, max_readers)),
            channels: Channels::new(ChannelSettings {
                share: config.live_share,
                gop_cache: config.gop_cache,
                buffer: config.live_buffer,
                resume: config.live_resume,
                max_streams: capacity.streams,
            }),
            tls,
        })
    }

    /// Goes on from what the process knew that this one replaces.
    pub fn take_over(&self, handover: Handover) {
        self.balancer.restore(handover.balancer);
        self.hls.timelines.restore(&handover.timelines);
        self.hooks.restore(&handover.sessions);
    }
}

/// Connects to Redis, and waits some seconds for one that is being started: whoever starts both at once, as compose
/// does, must not have to know which is up first. What will not change, such as a wrong password, is told at once.
fn connect_redis(config: &Config) -> Result<Redis, RedisError> {
    let end = Instant::now() + REDIS_START_TIME;
    loop {
        match Redis::connect(&config.redis, config.origin_server_ttl) {
            Err(error) if error.may_pass() && Instant::now() < end => {
                debug!("waiting for Redis: {error}");
                thread::sleep(REDIS_START_PAUSE);
            }
            result => return result,
        }
    }
}
