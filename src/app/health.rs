//! The `health` command: asks the System API of a running proxy how it is.

use crate::balancer::origin::CertificateName;
use crate::config::HealthArgs;
use crate::http::Headers;
use crate::upstream::{
    OriginClient, OriginError, OriginTimes, OriginTls, OriginTrust, UpstreamObserver,
};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The answer has to come within this time: who watches containers asks every few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the answer that are shown.
const MAX_ANSWER: u64 = 4096;

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
    let times = OriginTimes {
        connect: TIMEOUT,
        response: TIMEOUT,
        stall: TIMEOUT,
    };
    // Its certificate is for a public name, not for the address of this host.
    let tls = OriginTls::new(&OriginTrust::Anybody).map_err(|error| error.to_string())?;
    let client = OriginClient::new(times, 0, tls, Arc::new(Nobody));
    let secured_by = args
        .config
        .system_api_tls
        .then_some(CertificateName::Address);
    let host = address.to_string();
    let headers = Headers::of([("Host", host.as_bytes())].into_iter());
    let response = client
        .look_up(address, secured_by, path, &headers, TIMEOUT)
        .map_err(|error| format!("asking {address}: {error}"))?;
    let mut body = Vec::new();
    // Half an answer is shown, too: the status is what counts.
    let _ = response.body.take(MAX_ANSWER).read_to_end(&mut body);
    let body = String::from_utf8_lossy(&body).trim_end().to_owned();
    match response.status {
        200..300 => Ok(body),
        status => Err(format!("{status}: {body}")),
    }
}

/// Counts nothing.
struct Nobody;

impl UpstreamObserver for Nobody {
    fn connected(&self, _: Duration) {}

    fn answered(&self, _: SocketAddr, _: Duration) {}

    fn failed(&self, _: SocketAddr, _: &OriginError) {}
}
