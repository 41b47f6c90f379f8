//! One socket: waiting for it, and receiving what has come.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// Polls one socket for `events`; `None` when `time` passes without any.
pub(super) fn wait_for(
    socket: &TcpStream,
    events: PollFlags,
    time: Option<Duration>,
) -> io::Result<Option<PollFlags>> {
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    let mut fds = [PollFd::new(socket, events)];
    match poll(&mut fds, time.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(None),
        Ok(_) => Ok(Some(fds[0].revents())),
        Err(error) => Err(error.into()),
    }
}

/// Receives what there is, waiting for `time` where there is nothing yet. What has come already needs
/// no waiting for: the watching thread has seen it come.
pub(super) fn receive(socket: &TcpStream, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((got, _)) => return Ok(got),
            Err(Errno::AGAIN) if wait_for(socket, PollFlags::IN, Some(time))?.is_none() => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
