//! What the proxy does by itself from time to time, each task on a thread of its own.

use super::parts::Parts;
use super::static_origins::StaticOrigins;
use crate::balancer::peer::PeerStatus;
use crate::cache::HlsCache;
use crate::channel::Channels;
use crate::config::Config;
use crate::hooks::Hooks;
use crate::runtime::{sys, threads};
use crate::stream::stats::StreamStats;
use log::info;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Proxies that share a Redis tell each other this often what they serve.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);

/// HLS viewers who have left are looked for this often.
const SESSIONS_LOOK: Duration = Duration::from_millis(500);

/// The running tasks of a proxy.
pub struct Tasks {
    ended: Arc<AtomicBool>,
}

impl Tasks {
    /// Starts the tasks that the settings ask for. `status` gives what other proxies are told.
    ///
    /// # Errors
    /// What the system says when it has no thread left.
    pub fn start(
        config: &Config,
        parts: &Parts,
        status: impl Fn() -> PeerStatus + Send + 'static,
    ) -> io::Result<Self> {
        let tasks = Self {
            ended: Arc::default(),
        };
        tasks.tidy(parts)?;
        tasks.sweep_cache(&parts.cache)?;
        tasks.leave_silent(&parts.channels)?;
        tasks.watch_sessions(&parts.hooks)?;
        if let Some(redis) = parts.redis.clone() {
            let (host, port) = (&config.redis.host, config.redis.port);
            let name = status().proxy;
            info!("sharing origins and pins in Redis at {host}:{port} as {name}");
            tasks.every("peer status", ANNOUNCE_EVERY, move || {
                redis.announce(&status());
            })?;
        }
        if let Some(mut origins) = StaticOrigins::new(config, parts.balancer.clone()) {
            origins.register_addresses();
            let time = StaticOrigins::interval(config.origin_server_ttl);
            tasks.at_once_and_every("static origins", time, move || origins.register())?;
        }
        Ok(tasks)
    }

    /// Has each task end after its present turn. Does not wait for that.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Takes the rates, closes connections that nobody needs any more, gives memory back when a crowd has gone, and
    /// looks whether there is a new certificate.
    fn tidy(&self, parts: &Parts) -> io::Result<()> {
        let (stats, hooks) = (parts.stats.clone(), parts.hooks.clone());
        let clients = [parts.client.clone(), parts.api_client.clone()];
        let tls = parts.tls.clone();
        let mut crowd = threads::Crowd::default();
        self.every("rates", StreamStats::step(), move || {
            stats.sample();
            hooks.sessions.sample(StreamStats::step().as_secs_f64());
            if crowd.has_gone(threads::alive()) {
                sys::give_back_memory();
            }
            for client in &clients {
                client.close_idle();
            }
            if let Some(tls) = &tls {
                tls.look();
            }
        })
    }

    /// Frees shared segments that have expired, also while nobody asks for any.
    fn sweep_cache(&self, cache: &Arc<HlsCache>) -> io::Result<()> {
        if !cache.is_on() {
            return Ok(());
        }
        let cache = cache.clone();
        self.every("shared fetches", HlsCache::SWEEP, move || cache.sweep())
    }

    /// Has live channels go on from another origin when theirs has fallen silent.
    fn leave_silent(&self, channels: &Arc<Channels>) -> io::Result<()> {
        if !channels.is_on() {
            return Ok(());
        }
        let channels = channels.clone();
        self.every("silent origins", Channels::LOOK, move || {
            channels.leave_silent();
        })
    }

    /// Notices HLS viewers who have left.
    fn watch_sessions(&self, hooks: &Arc<Hooks>) -> io::Result<()> {
        if !hooks.is_on() {
            return Ok(());
        }
        let hooks = hooks.clone();
        self.every("hls sessions", SESSIONS_LOOK, move || {
            hooks.sessions.sweep()
        })
    }

    fn every(
        &self,
        name: &str,
        time: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<()> {
        let mut is_first = true;
        self.at_once_and_every(name, time, move || {
            if !std::mem::take(&mut is_first) {
                work();
            }
        })
    }

    fn at_once_and_every(
        &self,
        name: &str,
        time: Duration,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<()> {
        let ended = self.ended.clone();
        let turn = move || {
            while !ended.load(Ordering::Acquire) {
                work();
                thread::sleep(time);
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(turn)
            .map(drop)
    }
}
