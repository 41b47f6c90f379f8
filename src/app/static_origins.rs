//! Origins that the settings name, by address or by name, for servers that send no heartbeats: the default backend and
//! `PROXY_ORIGINS`.

use crate::balancer::origin::{Endpoints, Origin, OriginState};
use crate::balancer::{Balancer, OriginView};
use crate::config::{Config, StaticOrigin};
use log::{info, warn};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::process;
use std::sync::Arc;
use std::time::Duration;

/// The longest time between two registrations, and between two looks at what a name stands for.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest time between two registrations, however short the TTL is.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// A name may stand for several servers; more addresses than these are left out.
const MAX_ADDRESSES: usize = 16;

/// The origins of the settings, which the proxy registers itself, again and again.
pub struct StaticOrigins {
    origins: Vec<KnownOrigin>,
    balancer: Arc<dyn Balancer>,
    resolve: Resolve,
}

/// Gives the addresses that a name with a port stands for. Blocks as long as the system's resolver does.
type Resolve = Box<dyn Fn(&str, u16) -> io::Result<Vec<IpAddr>> + Send>;

/// An origin of the settings, and what its name stood for at the last look.
struct KnownOrigin {
    settings: StaticOrigin,
    /// How the origin calls itself: server, service and process id of a heartbeat.
    server: String,
    service: String,
    pid: String,
    addresses: BTreeSet<IpAddr>,
    /// The last trouble with the name: the same is logged once.
    trouble: Option<String>,
}

impl StaticOrigins {
    /// The origins that the settings name; nothing is registered yet. `None` where they name none.
    pub fn new(config: &Config, balancer: Arc<dyn Balancer>) -> Option<Self> {
        let default = config.default_backend.iter().map(|settings| KnownOrigin {
            settings: settings.clone(),
            server: "default-backend".to_owned(),
            service: "default".to_owned(),
            pid: process::id().to_string(),
            addresses: BTreeSet::new(),
            trouble: None,
        });
        // The same at every proxy that shares a Redis.
        let listed = config
            .origins
            .iter()
            .flat_map(|list| &list.0)
            .map(|settings| KnownOrigin {
                settings: settings.clone(),
                server: settings.host.clone(),
                service: settings.http.to_string(),
                pid: "static".to_owned(),
                addresses: BTreeSet::new(),
                trouble: None,
            });
        let origins: Vec<_> = default.chain(listed).collect();
        let resolve = |host: &str, port: u16| {
            let found = (host, port).to_socket_addrs()?;
            Ok(found.map(|address| address.ip().to_canonical()).collect())
        };
        (!origins.is_empty()).then(|| Self {
            origins,
            balancer,
            resolve: Box::new(resolve),
        })
    }

    /// How often the origins are registered, so that they are never late.
    pub fn interval(ttl: Duration) -> Duration {
        MAX_INTERVAL.min(ttl / 3).max(MIN_INTERVAL)
    }

    /// Registers the origins whose addresses need no look-up. Returns at once.
    pub fn register_addresses(&mut self) {
        for origin in &self.origins {
            if let Ok(ip) = origin.settings.host.parse() {
                origin.register(ip, &*self.balancer);
            }
        }
    }

    /// Looks up the names and registers all origins. Blocks as long as the system's resolver does.
    pub fn register(&mut self) {
        for origin in &mut self.origins {
            origin.look_up(&self.resolve);
            for ip in &origin.addresses {
                origin.register(*ip, &*self.balancer);
            }
        }
    }
}

impl KnownOrigin {
    /// Asks the system what the name stands for. Where it does not say, the addresses of before stay: a resolver that
    /// fails for a minute must not take origins away.
    fn look_up(&mut self, resolve: &Resolve) {
        let host = &self.settings.host;
        let found = match resolve(host, self.settings.http) {
            Ok(found) => found,
            Err(error) => return self.complain(format!("cannot look up {host}: {error}")),
        };
        let found: BTreeSet<IpAddr> = found.into_iter().take(MAX_ADDRESSES).collect();
        if found.is_empty() {
            return self.complain(format!("{host} has no address"));
        }
        self.trouble = None;
        if found != self.addresses {
            if host.parse::<IpAddr>().is_err() {
                info!("{host} is {}", list(&found));
            }
            self.addresses = found;
        }
    }

    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("an origin of the settings: {trouble}");
            self.trouble = Some(trouble);
        }
    }

    /// The endpoint of an origin that is asked by HTTPS, with the name that its certificate has to be for.
    fn secure_endpoints(&self) -> Vec<String> {
        let StaticOrigin { host, http, .. } = &self.settings;
        let endpoint = match host.parse::<IpAddr>() {
            Ok(_) => http.to_string(),
            Err(_) => format!("{host}:{http}"),
        };
        Vec::from_iter(self.settings.is_secure.then_some(endpoint))
    }

    /// Registers the origin at an address, unless one with a heartbeat of its own has the same address: that one says
    /// more of itself, and stays.
    fn register(&self, ip: IpAddr, balancer: &dyn Balancer) {
        let port = |port: Option<u16>| port.iter().map(u16::to_string).collect();
        // A name with several addresses is several servers; and an address that a name has left is not the new one.
        let server = match self.settings.host.parse::<IpAddr>() {
            Ok(_) => self.server.clone(),
            Err(_) => format!("{}_{ip}", self.server),
        };
        let origin = Origin {
            server,
            service: self.service.clone(),
            pid: self.pid.clone(),
            device_id: self.server.clone(),
            ip,
            endpoints: Endpoints {
                rtmp: port(self.settings.rtmp),
                http: port(Some(self.settings.http).filter(|_| !self.settings.is_secure)),
                https: self.secure_endpoints(),
                api: port(self.settings.api),
                ..Endpoints::default()
            },
        };
        let is_there = |view: &OriginView| {
            view.origin.http_address() == origin.http_address()
                && *view.id != *origin.id()
                && view.state != OriginState::Stale
        };
        if balancer.origins().iter().any(is_there) {
            return;
        }
        if let Err(error) = balancer.register(origin) {
            let host = &self.settings.host;
            warn!("the origin {host} of the settings cannot be registered: {error}");
        }
    }
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::memory::Memory;
    use crate::config::{Command, parse_from};
    use parking_lot::Mutex;

    #[test]
    fn a_name_is_looked_up_again_and_an_address_that_it_left_is_registered_no_more() {
        let arguments = ["proxy", "--origins", "http://srs:8080"].map(Into::into);
        let Ok(Command::Proxy(config)) = parse_from(arguments, [], || Ok(None)) else {
            panic!("no settings")
        };
        let balancer = Arc::new(Memory::new(Duration::from_secs(300)));
        let mut origins = StaticOrigins::new(&config, balancer.clone()).unwrap();
        let answer: Arc<Mutex<Option<Vec<IpAddr>>>> = Arc::default();
        let told = answer.clone();
        origins.resolve = Box::new(move |host, port| {
            assert_eq!((host, port), ("srs", 8080));
            told.lock()
                .clone()
                .ok_or_else(|| io::Error::other("no answer"))
        });
        let mut known_after = |found: Option<&[u8]>| {
            let ip = |last: &u8| IpAddr::from([192, 0, 2, *last]);
            *answer.lock() = found.map(|found| found.iter().map(ip).collect());
            origins.register();
            let addresses = origins.origins[0].addresses.iter();
            let registered: Vec<String> = addresses.map(IpAddr::to_string).collect();
            (registered.join(" "), balancer.origins().len())
        };
        assert_eq!(known_after(None), (String::new(), 0));
        assert_eq!(known_after(Some(&[1])), ("192.0.2.1".to_owned(), 1));
        let both = "192.0.2.2 192.0.2.3".to_owned();
        // The one of before ends with its TTL: its streams may still run.
        assert_eq!(known_after(Some(&[3, 2])), (both.clone(), 3));
        // A resolver that fails for a minute takes nothing away.
        assert_eq!(known_after(None), (both.clone(), 3));
        assert_eq!(known_after(Some(&[])), (both, 3));
    }
}
