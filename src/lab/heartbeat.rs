//! SRS's heartbeat, as an origin sends it.

use super::identity::Identity;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{info, warn};
use serde_json::json;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Uri;

/// Between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(5);
/// After one that failed.
const RETRY: Duration = Duration::from_secs(1);
/// What one may take in all.
const TIME: Duration = Duration::from_secs(3);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: u64 = 4096;
/// An origin must name an RTMP port, SRS's own; the lab has none.
const RTMP: &str = "1935";

/// Sends heartbeats, at once and every few seconds, until it is dropped.
pub struct Heartbeat {
    /// Its being there is what keeps the thread.
    _alive: Sender<()>,
    registered: Receiver<()>,
}

impl Heartbeat {
    /// Begins to send heartbeats of that origin to `url`, without its query, as SRS does. `listens` is its
    /// own address, where that is a certain one; else it says the one by which it reaches `url`.
    ///
    /// # Errors
    /// What making a thread says.
    pub fn start(identity: &Identity, listens: IpAddr, url: &str) -> io::Result<Self> {
        let (alive, ended) = bounded::<()>(0);
        let (tell, registered) = bounded(1);
        let sender = HeartbeatSender {
            identity: identity.clone(),
            listens,
            url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            agent: Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None) // the default obeys HTTP_PROXY
                .timeout_global(Some(TIME))
                .build()
                .into(),
        };
        thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || sender.run(&ended, &tell))?;
        Ok(Self {
            _alive: alive,
            registered,
        })
    }

    /// Told once, when the first heartbeat was taken.
    pub fn registered(&self) -> &Receiver<()> {
        &self.registered
    }
}

struct HeartbeatSender {
    identity: Identity,
    listens: IpAddr,
    url: String,
    agent: Agent,
}

impl HeartbeatSender {
    fn run(&self, ended: &Receiver<()>, tell: &Sender<()>) {
        let mut works = None;
        loop {
            let result = self.send();
            let now_works = result.is_ok();
            if works.replace(now_works) != Some(now_works) {
                self.log(result);
            }
            if now_works {
                // Full, or nobody listens: it was told before, or need not be.
                let _ = tell.try_send(());
            }
            let wait = if now_works { INTERVAL } else { RETRY };
            if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// The whole URL may end in a token: the log has its server only.
    fn log(&self, result: Result<(), String>) {
        let uri = self.url.parse::<Uri>().unwrap_or_default();
        let to = uri.authority().map_or("", |authority| authority.as_str());
        let name = &self.identity.device;
        match result {
            Ok(()) => info!("lab origin {name} is registered at {to}"),
            Err(error) => {
                warn!("lab origin {name} cannot register at {to}, and tries again: {error}");
            }
        }
    }

    fn send(&self) -> Result<(), String> {
        let ip = self
            .own_ip()
            .map_err(|error| format!("no way there: {error}"))?;
        let mut answer = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .send(body(&self.identity, ip))
            .map_err(|error| error.to_string())?;
        // Read whole, so that the connection is kept.
        let body = answer.body_mut().with_config().limit(MAX_ANSWER);
        let text = body.read_to_string().map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status(), text.trim()))
        }
    }

    fn own_ip(&self) -> io::Result<IpAddr> {
        if !self.listens.is_unspecified() {
            return Ok(self.listens);
        }
        let uri = self.url.parse::<Uri>().map_err(io::Error::other)?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let mut addresses = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs()?;
        let no_address = || io::Error::other("its name has no address");
        source_address(addresses.next().ok_or_else(no_address)?)
    }
}

/// The address from which this host would send to `to`. Nothing is sent.
fn source_address(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

fn body(identity: &Identity, ip: IpAddr) -> String {
    let port = identity.port.to_string();
    json!({
        "device_id": identity.device,
        "ip": ip,
        "server": identity.server,
        "service": identity.service,
        "pid": identity.pid,
        "rtmp": [RTMP],
        "http": [port],
        "api": [port],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::heartbeat::parse;

    #[test]
    fn the_proxy_reads_what_is_sent() {
        let identity = Identity::new("lab-a", 4123);
        let origin = parse(body(&identity, Ipv4Addr::LOCALHOST.into()).as_bytes()).unwrap();
        assert_eq!(origin.device_id, "lab-a");
        let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4123)));
        assert_eq!(
            (origin.http_address(), origin.api_address()),
            (address, address)
        );
        assert_eq!(
            *origin.id(),
            format!("vid-lab-a-4123-{}-{}", identity.service, identity.pid)
        );
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 12025));
        assert_eq!(source_address(to).unwrap(), Ipv4Addr::LOCALHOST);
    }
}
