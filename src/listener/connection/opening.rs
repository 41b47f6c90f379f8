//! What comes before a connection's first request: the load balancer's announcement, and the TLS handshake.

use super::{Connection, FIRST_READ, HEAD_TIME};
use crate::http::head::Rejection;
use crate::listener::proxy_protocol::{self, Parsed};
use crate::listener::tls::TlsAcceptor;
use log::debug;
use std::io;
use std::net::Shutdown;
use std::time::Instant;

/// The answer to a request without TLS where TLS is spoken. nginx, too, answers it with a 400.
const PLAIN: Rejection = Rejection {
    status: 400,
    message: "This port speaks HTTPS: the URL has to begin with https://",
};

impl Connection<'_> {
    /// Goes through the TLS handshake, on this thread: no worker is there for it yet. Returns `false` where the
    /// connection is to end.
    // Not a part of `run`'s frame: each connection's thread keeps the pages of its stack that it has touched once, and a
    // session by value is a page of its own.
    #[inline(never)]
    pub(super) fn shake_hands(&mut self, tls: &TlsAcceptor) -> bool {
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        if self.unread.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, FIRST_READ) {
                // Health checks of load balancers connect and leave.
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        // A method begins with a letter, a TLS record with 22.
        if self.unread.first().is_some_and(u8::is_ascii_alphabetic) {
            tls.count_failure();
            self.refuse(&PLAIN, None);
            return false;
        }
        let shaken = match tls.session() {
            Ok(session) => session
                .handshake(self.client.transport().socket(), &self.unread, end)
                .map(|()| session),
            Err(error) => Err(io::Error::other(error)),
        };
        self.unread = Vec::new();
        match shaken {
            Ok(session) => {
                self.client.secure(session);
                true
            }
            Err(error) => {
                tls.count_failure();
                let peer = self.client.peer();
                debug!("closed a connection from {peer}: its TLS handshake: {error}");
                // Closed with bytes unread, it would be reset, and the client would not see the alert.
                self.client.transport().shut(Shutdown::Write);
                if error.kind() == io::ErrorKind::InvalidData {
                    self.discard();
                }
                false
            }
        }
    }

    /// Reads the PROXY protocol header.
    #[inline(never)]
    pub(super) fn read_announcement(&mut self) -> Result<(), &'static str> {
        let end = Instant::now() + HEAD_TIME.min(self.idle_timeout);
        loop {
            match proxy_protocol::parse(&self.unread) {
                Parsed::Header(length, client) => {
                    self.unread.drain(..length);
                    if let Some(client) = client {
                        self.client.announce(client);
                    }
                    return Ok(());
                }
                Parsed::Malformed => return Err("no PROXY protocol header, or a malformed one"),
                Parsed::Partial => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read_more(left, proxy_protocol::MAX_HEADER) {
                Ok(0) => return Err("it ended before its PROXY protocol header did"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err("its PROXY protocol header did not arrive in time");
                }
                Err(_) => return Err("it failed before its PROXY protocol header was read"),
            }
        }
    }
}
