//! HAProxy as a peer, set up as well as it can be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::children::Server;
use crate::proxies::Proxy;
use crate::system::{self, cores, descriptor_limit, free_port, loopback, program};

/// Puts HAProxy in front of the first origin; any other is a spare one.
pub fn start(origins: &[SocketAddr], directory: &Path) -> Result<Proxy> {
    let port = free_port()?;
    // HAProxy wants two descriptors a connection, and some for itself.
    let connections = (descriptor_limit() / 2).saturating_sub(200).min(10_000);
    let servers = |options: &str| -> String {
        let server = |(index, origin): (usize, &SocketAddr)| {
            let role = if index == 0 { "" } else { "backup" };
            // A spare origin is asked when a check has found that the first one is down. Without a spare there is
            // nothing to check, and a check would be one more connection at the origin.
            let check = if origins.len() > 1 {
                "check inter 100ms fall 1 rise 1"
            } else {
                ""
            };
            format!("    server origin{index} {origin} {options} {check} {role}\n")
        };
        origins.iter().enumerate().map(server).collect()
    };
    let config = format!(
        "global
    nbthread {threads}
    maxconn {connections}
defaults
    mode http
    maxconn {connections}
    http-reuse always
    option forwardfor
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend players
    bind 127.0.0.1:{port} backlog 4096
    use_backend live if {{ path_end .flv }}
    default_backend hls
backend hls
{hls}backend live
    option http-no-delay
    option redispatch
{live}",
        threads = cores(),
        hls = servers("pool-max-conn -1"),
        live = servers(""),
    );
    let file = directory.join("haproxy.cfg");
    system::write(&file, config)?;
    let mut command = Command::new(program("haproxy")?);
    let mut server = Server::start(
        "haproxy",
        command.arg("-db").arg("-f").arg(&file),
        directory,
    )?;
    system::wait_until_listening(loopback(port), || server.check_alive())?;
    Ok(Proxy::peer(port, server))
}
