//! The default backend: one origin that the settings name, for servers that send no heartbeats.

use crate::balancer::origin::{Endpoints, Origin, OriginState};
use crate::balancer::{Balancer, OriginView};
use crate::config;
use log::warn;
use std::process;
use std::sync::Arc;
use std::time::Duration;

/// The longest time between two registrations.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// The shortest time between two registrations, however short the TTL is.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The default backend, which the proxy registers itself.
pub struct DefaultBackend {
    origin: Origin,
    balancer: Arc<dyn Balancer>,
}

impl DefaultBackend {
    /// The origin of those settings; nothing is registered yet.
    pub fn new(settings: &config::DefaultBackend, balancer: Arc<dyn Balancer>) -> Self {
        let origin = Origin {
            server: "default-backend".to_owned(),
            service: "default".to_owned(),
            pid: process::id().to_string(),
            device_id: "default-backend".to_owned(),
            ip: settings.ip,
            endpoints: Endpoints {
                rtmp: vec![settings.rtmp.to_string()],
                http: vec![settings.http.to_string()],
                api: vec![settings.api.to_string()],
                ..Endpoints::default()
            },
        };
        Self { origin, balancer }
    }

    /// How often the origin is registered, so that its TTL is never over.
    pub fn interval(ttl: Duration) -> Duration {
        MAX_INTERVAL.min(ttl / 3).max(MIN_INTERVAL)
    }

    /// Registers the origin, unless one with a heartbeat of its own has the same address: that one says more of
    /// itself, and stays.
    pub fn register(&self) {
        let is_there = |view: &OriginView| {
            view.origin.http_address() == self.origin.http_address()
                && *view.id != *self.origin.id()
                && view.state != OriginState::Stale
        };
        if self.balancer.origins().iter().any(is_there) {
            return;
        }
        if let Err(error) = self.balancer.register(self.origin.clone()) {
            warn!("the default backend cannot be registered: {error}");
        }
    }
}
