//! The `demo` command: the proxy and two lab origins in one process, and what to try with them.

use super::origin::{LabError, LabOrigin};
use crate::app::inherited::Inherited;
use crate::app::{Proxy, StartError};
use crate::config::{Config, Listen, OriginArgs};
use log::Level;
use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The stream that both lab origins have.
const BOTH: &str = "demo";
/// Each lab origin, with the stream that it alone has.
const ORIGINS: [(&str, &str); 2] = [("lab-a", "a"), ("lab-b", "b")];
/// Connections that a lab origin takes: its one client is the proxy, and whoever tries its ports.
const CONNECTIONS: usize = 512;
/// What is printed can be tried at once: the origins have registered by then, or never will.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the demo does not start.
#[derive(Debug, Error)]
pub enum DemoError {
    #[error(transparent)]
    Proxy(#[from] StartError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("the demo's origins send their heartbeats by HTTP: PROXY_SYSTEM_API_TLS must be off")]
    SystemApiTls,
}

/// A running demo. Its text says what to try.
pub struct Demo {
    proxy: Proxy,
    labs: Vec<LabOrigin>,
    needs_token: bool,
    registered: bool,
}

impl Demo {
    /// Starts the proxy with its settings, and the lab origins on free ports of the loopback interface.
    ///
    /// # Errors
    /// As [`Proxy::start`] and [`LabOrigin::start`]; or the System API is to speak HTTPS.
    pub fn start(config: &Config) -> Result<Self, DemoError> {
        if config.system_api_tls {
            return Err(DemoError::SystemApiTls);
        }
        let proxy = Proxy::start(config, Inherited::default())?;
        let token = config.system_api_token.as_deref();
        let register = format!(
            "http://{}/api/v1/srs/register{}",
            reachable(proxy.operators_address()),
            token.map_or(String::new(), |token| format!("/{token}"))
        );
        let start = |(device, own): (&str, &str)| {
            let args = OriginArgs {
                streams: vec![own.to_owned(), BOTH.to_owned()],
                listen: Listen {
                    host: Some(Ipv4Addr::LOCALHOST.into()),
                    port: 0,
                },
                device_id: device.to_owned(),
                register: Some(register.clone()),
            };
            LabOrigin::start(&args, CONNECTIONS, Level::Debug)
        };
        let labs = ORIGINS.into_iter().map(start);
        let labs = labs.collect::<Result<Vec<_>, _>>()?;
        let end = Instant::now() + REGISTER_TIMEOUT;
        let registered = labs.iter().all(|lab| lab.await_registered(end));
        Ok(Self {
            proxy,
            labs,
            needs_token: token.is_some(),
            registered,
        })
    }

    /// Ends it at once: its origins end too, so no stream could go on for the proxy's grace time.
    pub fn stop(self) {
        self.proxy.stop_within(Duration::ZERO);
        for lab in self.labs {
            lab.stop();
        }
    }
}

/// An address that one can go to, for one that is listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        // Who listens on all of IPv6 takes IPv4 too.
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Display for Demo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let players = reachable(self.proxy.players_address());
        let operators = reachable(self.proxy.operators_address());
        let token = match self.needs_token {
            true => "-H \"Authorization: Bearer $PROXY_SYSTEM_API_TOKEN\" ",
            false => "",
        };
        writeln!(f, "\nThe proxy is running, with two lab origins behind it.")?;
        if !self.registered {
            writeln!(f, "They have not registered yet: the log says why.")?;
        }
        let [(first, first_own), (second, second_own)] = ORIGINS;
        writeln!(f, "\nStreams, each as .flv, .ts and .m3u8")?;
        writeln!(f, "  /live/{BOTH:4}  on both origins")?;
        writeln!(f, "  /live/{first_own:4}  on {first} only")?;
        writeln!(f, "  /live/{second_own:4}  on {second} only")?;
        writeln!(f, "\nIn a browser")?;
        writeln!(f, "  player   http://{players}/?stream=/live/{BOTH}.m3u8")?;
        writeln!(f, "  console  http://{operators}/")?;
        writeln!(f, "\nIn a player")?;
        for format in ["flv", "ts", "m3u8"] {
            writeln!(f, "  ffplay http://{players}/live/{BOTH}.{format}")?;
        }
        writeln!(f, "\nWith curl")?;
        writeln!(f, "  curl http://{players}/live/{BOTH}.m3u8")?;
        writeln!(
            f,
            "  curl -m 5 -o {BOTH}.flv http://{players}/live/{BOTH}.flv"
        )?;
        writeln!(f, "  curl {token}http://{operators}/api/v1/origins")?;
        writeln!(f, "  curl {token}http://{operators}/api/v1/streams")?;
        writeln!(
            f,
            "\nTake an origin away while you watch /live/{BOTH}; the console shows which one serves it"
        )?;
        for (lab, (device, _)) in self.labs.iter().zip(ORIGINS) {
            let address = lab.address();
            writeln!(f, "  curl -X POST http://{address}/lab/stop  # {device}")?;
        }
        writeln!(
            f,
            "  The page, HLS players, and whoever reconnects go on from the other one.\n  \
             The origin comes back after 20 s, or as you like: /lab/stop?seconds=60"
        )?;
        writeln!(f, "\nCtrl-C ends it all.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_gone_to() {
        for (listened, reached) in [
            ("0.0.0.0:18080", "127.0.0.1:18080"),
            ("[::]:18080", "127.0.0.1:18080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(reachable(listened.parse().unwrap()).to_string(), reached);
        }
    }
}
