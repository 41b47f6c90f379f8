//! The `health` command: asks the System API of a running proxy how it is.

use crate::config::HealthArgs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use ureq::Agent;

/// The answer has to come within this time: who watches containers asks every few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `/healthz` (ready: it can serve players), or `/livez` (alive: it answers), at the address of the settings. Blocks for
/// 3 s at most. Gives what the proxy says.
///
/// # Errors
/// Why the proxy is not well, in a line.
pub fn ask(args: &HealthArgs) -> Result<String, String> {
    let listen = args.config.system_api;
    let ip = match listen.host {
        Some(ip) if !ip.is_unspecified() => ip,
        Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(ip, listen.port);
    let path = if args.live { "/livez" } else { "/healthz" };
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent
        .get(format!("http://{address}{path}"))
        .call()
        .map_err(|error| format!("asking {address}: {error}"))?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(4096);
    let body = body.read_to_string().unwrap_or_default();
    match status.is_success() {
        true => Ok(body.trim_end().to_owned()),
        false => Err(format!("{status}: {}", body.trim_end())),
    }
}
