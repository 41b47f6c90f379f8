//! A port that takes no connection.

use super::origin::bound;
use socket2::Socket;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A port whose connections are never accepted: connecting to it takes until the connecter gives up.
pub struct DeafPort {
    addr: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl DeafPort {
    pub fn start() -> DeafPort {
        DeafPort::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// On the address of an origin that was stopped: its machine is gone.
    pub fn at(addr: SocketAddr) -> DeafPort {
        let listener = bound(addr);
        listener.listen(0).expect("listening");
        let addr = listener
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .expect("an address");
        // Linux drops the first packet of further connections once the queue is full.
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the accept queue never fills");
        }
        DeafPort {
            addr,
            _listener: listener,
            _waiting: waiting,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
