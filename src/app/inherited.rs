//! Sockets that this process did not open: from systemd (socket activation), or from the process that it replaces.
//!
//! Both come by the `LISTEN_FDS` convention (sd_listen_fds(3)): descriptors from 3 on, `LISTEN_FDS` their count,
//! `LISTEN_FDNAMES` their names. Ours are `players`, `operators`, `players-tls` and `predecessor`; without names the
//! first is the players', the second the operators', and the third that of players by HTTPS.

use listenfd::ListenFd;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::{env, io};

/// The name of the players' listening socket.
pub const PLAYERS: &str = "players";
/// The name of the listening socket of players who come by HTTPS.
pub const PLAYERS_TLS: &str = "players-tls";
/// The name of the System API's listening socket.
pub const OPERATORS: &str = "operators";
/// The name of the socket to the process that is replaced.
pub const PREDECESSOR: &str = "predecessor";

/// What a process was given at its start.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Listens for players; `None`: the address of the settings is bound.
    pub players: Option<TcpListener>,
    /// Listens for players by HTTPS; `None`: the address of the settings is bound, where there is one.
    pub players_tls: Option<TcpListener>,
    /// Listens for origins and operators; `None`: the address of the settings is bound.
    pub operators: Option<TcpListener>,
    /// The process that is replaced waits at the other end.
    pub predecessor: Option<UnixStream>,
}

impl Inherited {
    /// Takes the sockets that the environment names, and the names out of the environment. Only the first call finds
    /// any; it must come before other threads look into the environment.
    ///
    /// # Errors
    /// What is named there is no socket of its kind: says which.
    pub fn from_env() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let named: Vec<&str> = names.split(':').collect();
        let index = |name: &str, otherwise: Option<usize>| {
            let known = named.iter().position(|own| *own == name);
            let ours = [PLAYERS, OPERATORS, PLAYERS_TLS];
            let unnamed = !ours.iter().any(|own| named.contains(own));
            known.or(otherwise.filter(|_| unnamed))
        };
        let told = |what: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("the socket for {what}: {error}"))
        };
        let mut listener = |name, place| match index(name, Some(place)) {
            Some(index) if index < sockets.len() => sockets
                .take_tcp_listener(index)
                .map_err(|error| told(name, error)),
            _ => Ok(None),
        };
        let (players, operators) = (listener(PLAYERS, 0)?, listener(OPERATORS, 1)?);
        let players_tls = listener(PLAYERS_TLS, 2)?;
        let predecessor = match index(PREDECESSOR, None) {
            Some(index) if index < sockets.len() => sockets
                .take_custom(
                    index,
                    libc::AF_UNIX,
                    libc::SOCK_STREAM,
                    "unix stream socket",
                )
                .map_err(|error| told(PREDECESSOR, error))?,
            _ => None,
        };
        Ok(Self {
            players,
            players_tls,
            operators,
            predecessor,
        })
    }
}
