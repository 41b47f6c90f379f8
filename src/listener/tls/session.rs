//! The TLS records of one connection, over a socket that somebody else polls.
//!
//! The connection's thread reads and a worker writes: both need the session, so that it has a lock. The lock is held for
//! encrypting 64 KiB at most and for system calls that do not wait.

use crate::listener::socket::wait_for;
use parking_lot::{Mutex, MutexGuard};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use rustls::ServerConnection;
use smallvec::SmallVec;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Bytes that are encrypted before they are offered to the socket. What the socket does not take of them waits in memory:
/// no slow client holds more.
const BATCH: usize = 64 * 1024;

/// What has come from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// No byte of a request: nothing, part of a record, or what TLS needs for itself.
    Nothing,
    /// Bytes of a request, which wait to be taken.
    Bytes,
    /// The client has said that it sends no more, or has broken the protocol, or its connection has ended.
    End,
}

/// One connection's TLS.
#[derive(Debug)]
pub struct TlsSession(Mutex<SessionState>);

#[derive(Debug)]
struct SessionState {
    connection: ServerConnection,
    /// Bytes of requests that are decrypted and wait to be taken.
    waiting: usize,
    /// Nothing comes any more.
    is_ended: bool,
    /// The protocol was broken: nothing is sent any more.
    is_broken: bool,
    /// The last byte that was encrypted has not been reported as taken: see [`TlsSession::send_some`].
    owes_byte: bool,
    /// The client is being told that nothing more is sent to it.
    says_goodbye: bool,
}

impl TlsSession {
    /// A session before its handshake.
    pub(super) fn new(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(BATCH));
        Self(Mutex::new(SessionState {
            connection,
            waiting: 0,
            is_ended: false,
            is_broken: false,
            owes_byte: false,
            says_goodbye: false,
        }))
    }

    /// Goes through the handshake, until `end` at most. `first` is what has been read of it already.
    ///
    /// # Errors
    /// `TimedOut`, what rustls has against it, or what the socket says. An alert has been sent where one is due.
    pub fn handshake(&self, socket: &TcpStream, mut first: &[u8], end: Instant) -> io::Result<()> {
        let mut state = self.lock();
        while !first.is_empty() {
            state.connection.read_tls(&mut first)?;
            state.process(socket)?;
        }
        while state.connection.is_handshaking() {
            state.flush_by(socket, end)?;
            if !state.connection.is_handshaking() {
                break;
            }
            match state.fill(socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => state.process(socket)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_until(socket, PollFlags::IN, end)?;
                }
                Err(error) => return Err(error),
            }
        }
        // A ticket for the client's next connection.
        state.flush_by(socket, end)
    }

    /// Takes decrypted bytes of requests, `None` where there are none now. 0 is the end.
    ///
    /// # Errors
    /// The client has broken the protocol, or what the socket says.
    pub fn receive_some(&self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = self.lock();
        if state.waiting == 0 && state.look(socket)? == Arrived::Nothing {
            return Ok(None);
        }
        state.take(buffer).map(Some)
    }

    /// As [`TlsSession::receive_some`], where the caller has read from the socket already, without the lock: the first `got`
    /// bytes of `buffer`, which are encrypted. 0 is the end of the connection.
    ///
    /// # Errors
    /// As [`TlsSession::receive_some`].
    pub fn receive_read(
        &self,
        socket: &TcpStream,
        buffer: &mut [u8],
        got: usize,
    ) -> io::Result<Option<usize>> {
        let mut state = self.lock();
        state.is_ended |= got == 0;
        let mut encrypted = buffer.get(..got).unwrap_or_default();
        while !encrypted.is_empty() && !state.is_ended {
            state.connection.read_tls(&mut encrypted)?;
            state.process(socket)?;
        }
        match (state.waiting, state.is_ended) {
            (0, false) => Ok(None),
            _ => state.take(buffer).map(Some),
        }
    }

    /// Reads one portion of what has come and does not wait.
    pub fn look(&self, socket: &TcpStream) -> Arrived {
        self.lock().look(socket).unwrap_or(Arrived::End)
    }

    /// Whether decrypted bytes of a request wait to be taken.
    pub fn has_waiting(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Encrypts and sends what the socket takes now, and never waits. Returns how many bytes of `parts` that was.
    ///
    /// What is encrypted must be sent, also where the socket takes only part of it. So that such bytes count as not taken,
    /// the last of them is held back from the figure that is returned: the caller comes again with that byte first, as
    /// with any socket, and by then it is known whether all has gone. Memory holds 64 KiB of it at most.
    ///
    /// # Errors
    /// `AGAIN` when the socket takes nothing now; otherwise what the socket says.
    pub fn send_some(&self, socket: &TcpStream, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut state = self.lock();
        if state.says_goodbye || state.is_broken {
            return Err(Errno::PIPE);
        }
        state.flush(socket)?;
        let mut taken = usize::from(std::mem::take(&mut state.owes_byte));
        let mut parts: SmallVec<[IoSlice<'_>; 8]> = parts.iter().copied().collect();
        let mut rest = &mut parts[..];
        IoSlice::advance_slices(&mut rest, taken);
        while !rest.is_empty() {
            let some = state.connection.writer().write_vectored(rest);
            let some = some.map_err(|error| errno(&error))?;
            if some == 0 {
                return Err(Errno::PIPE); // the session sends no more
            }
            taken += some;
            IoSlice::advance_slices(&mut rest, some);
            match state.flush(socket) {
                Ok(()) => {}
                Err(Errno::AGAIN) => {
                    state.owes_byte = true;
                    return match taken - 1 {
                        0 => Err(Errno::AGAIN),
                        reported => Ok(reported),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Tells the client that nothing more is sent to it (`close_notify`), so that a response that was cut off looks
    /// different. Does not wait; returns whether the socket took it.
    pub fn say_goodbye(&self, socket: &TcpStream) -> bool {
        let mut state = self.lock();
        if state.is_broken {
            return true;
        }
        if !std::mem::replace(&mut state.says_goodbye, true) {
            state.connection.send_close_notify();
        }
        state.flush(socket) != Err(Errno::AGAIN)
    }

    /// Sends the rest of a goodbye that has been begun, until `end` at most.
    pub fn finish_goodbye(&self, socket: &TcpStream, end: Instant) {
        let mut state = self.lock();
        if state.says_goodbye {
            // An error is the client's leaving, or its reading nothing.
            let _ = state.flush_by(socket, end);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.0.lock()
    }
}

impl SessionState {
    /// Takes decrypted bytes; 0 where none wait.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.waiting == 0 {
            return Ok(0);
        }
        let got = self.connection.reader().read(buffer)?;
        self.waiting = self.waiting.saturating_sub(got);
        Ok(got)
    }

    /// Reads one portion of what has come. Is not called while bytes wait: rustls bounds how many may.
    fn look(&mut self, socket: &TcpStream) -> io::Result<Arrived> {
        if self.waiting > 0 {
            return Ok(Arrived::Bytes);
        }
        if self.is_ended {
            return Ok(Arrived::End);
        }
        match self.fill(socket) {
            Ok(0) => self.is_ended = true,
            Ok(_) => self.process(socket)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.is_ended = true;
                return Err(error);
            }
        }
        Ok(match (self.waiting, self.is_ended) {
            (0, true) => Arrived::End,
            (0, false) => Arrived::Nothing,
            _ => Arrived::Bytes,
        })
    }

    fn fill(&mut self, socket: &TcpStream) -> io::Result<usize> {
        self.connection.read_tls(&mut NonBlocking(socket))
    }

    /// Decrypts what has been read, and answers what TLS answers by itself: key updates, and what is refused, such as a
    /// renegotiation.
    fn process(&mut self, socket: &TcpStream) -> io::Result<()> {
        let processed = self.connection.process_new_packets();
        // What the socket does not take now goes before the next response.
        let _ = self.flush(socket);
        match processed {
            Ok(state) => {
                self.waiting = state.plaintext_bytes_to_read();
                self.is_ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                (self.is_ended, self.is_broken) = (true, true);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Sends what is encrypted.
    ///
    /// # Errors
    /// `AGAIN` where the socket does not take all of it now.
    fn flush(&mut self, socket: &TcpStream) -> Result<(), Errno> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut NonBlocking(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(())
    }

    /// The same, waiting until `end` at most. For the connection's own thread, while no worker has the client.
    fn flush_by(&mut self, socket: &TcpStream, end: Instant) -> io::Result<()> {
        loop {
            match self.flush(socket) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => wait_until(socket, PollFlags::OUT, end)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn wait_until(socket: &TcpStream, events: PollFlags, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    wait_for(socket, events, Some(left)).map(drop) // whether anything came is seen by trying
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::PIPE)
}

/// A socket that is not waited for.
struct NonBlocking<'a>(&'a TcpStream);

impl Read for NonBlocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((got, _)) => return Ok(got),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut control = SendAncillaryBuffer::default();
        Ok(sendmsg(self.0, parts, &mut control, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
