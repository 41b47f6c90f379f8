//! A viewer's connection: TCP that never blocks, plain or with TLS upon it.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

pub struct Transport {
    socket: TcpStream,
    /// `None` for plain HTTP.
    tls: Option<Box<ClientConnection>>,
}

impl Transport {
    /// A connection that is on its way: it can be written to once epoll says so.
    pub fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Transport> {
        let name = || ServerName::from(address.ip());
        let tls = tls.map(|config| ClientConnection::new(Arc::clone(config), name()));
        let tls = tls.transpose().map_err(io::Error::other)?;
        Ok(Transport {
            socket: connect(address)?,
            tls: tls.map(Box::new),
        })
    }

    /// Sends a request over the connection that is now there. With TLS this begins the handshake, at whose end `read`
    /// sends the request. A request is small: a connection that does not take it at once is broken.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match &mut self.tls {
            None => self.socket.write_all(request),
            Some(tls) => {
                tls.writer().write_all(request)?;
                send_records(tls, &mut self.socket)
            }
        }
    }

    /// Reads the socket once, into `buffer`, and calls `take` with what came, piece by piece; not at all where nothing
    /// did. The end of the connection is an error.
    pub fn read<E: From<io::Error>>(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut came = match self.socket.read(buffer) {
            Ok(0) => return Err(ended().into()),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(tls) = &mut self.tls else {
            return take(came);
        };
        while !came.is_empty() {
            tls.read_tls(&mut came)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            take_plain(tls, &mut take)?;
        }
        Ok(send_records(tls, &mut self.socket)?)
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Hands on all that is decrypted.
fn take_plain<E: From<io::Error>>(
    tls: &mut ClientConnection,
    take: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = tls.reader();
    loop {
        let count = match reader.fill_buf() {
            // The peer has said that nothing follows.
            Ok([]) => return Err(ended().into()),
            Ok(plain) => {
                take(plain)?;
                plain.len()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        reader.consume(count);
    }
}

fn send_records(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

fn ended() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the connection ended")
}

/// A TCP connection that is on its way.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}
