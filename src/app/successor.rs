//! The process that takes over: this program's own file, started anew with the same arguments and environment.

use super::handover::{self, Handover};
use super::inherited::PREDECESSOR;
use command_fds::{CommandFdExt, FdMapping};
use log::info;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// A successor serves within this, or this process goes on.
const START_TIME: Duration = Duration::from_secs(10);
/// The first descriptor that is passed on (sd_listen_fds(3)).
const FIRST_DESCRIPTOR: i32 = 3;

/// How to start a successor. Made at the start of the process: later its file may have been replaced, and its path
/// is not known by then.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// This process's own program.
    ///
    /// # Errors
    /// What the system says when the path of the program cannot be found out.
    pub fn own() -> io::Result<Self> {
        env::current_exe().map(|path| Self { path })
    }

    /// Starts the successor on those sockets, each with its name, hands over, and waits until the successor serves; 10 s at most. On an
    /// error the successor has been ended.
    ///
    /// # Errors
    /// Why the successor does not serve; this process can go on.
    pub fn start_successor(
        &self,
        sockets: &[(&str, &TcpListener)],
        handover: &Handover,
    ) -> io::Result<u32> {
        let end = Instant::now() + START_TIME;
        let (own, other) = UnixStream::pair()?;
        let (mut names, mut descriptors) = (Vec::new(), Vec::new());
        for (name, socket) in sockets {
            names.push(*name);
            descriptors.push(socket.as_fd().try_clone_to_owned()?);
        }
        names.push(PREDECESSOR);
        descriptors.push(OwnedFd::from(other));
        let mut command = Command::new(&self.path);
        command
            .args(env::args_os().skip(1))
            .env("LISTEN_FDS", descriptors.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // The successor's process id is not known before it runs.
            .env_remove("LISTEN_PID");
        let mappings = (FIRST_DESCRIPTOR..)
            .zip(descriptors)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        command
            .fd_mappings(mappings.collect())
            .map_err(io::Error::other)?;
        let path = self.path.display();
        let mut successor = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("starting {path}: {error}")))?;
        // With it goes this process's copy of the successor's end: its death must be seen.
        drop(command);
        let left = || end.saturating_duration_since(Instant::now()).max(MIN_TIME);
        let served = handover
            .send(&own, left())
            .and_then(|()| handover::await_ready(&own, left()));
        match served {
            Ok(()) => {
                info!("process {} serves in this one's place", successor.id());
                Ok(successor.id())
            }
            Err(error) => Err(io::Error::other(format!(
                "the new process of {path}: {error}{}",
                end_failed(&mut successor)
            ))),
        }
    }
}

/// A timeout of zero would be none at all.
const MIN_TIME: Duration = Duration::from_millis(1);

/// Ends a successor that has failed; gives how it ended, where it did so by itself.
fn end_failed(successor: &mut Child) -> String {
    // One that has closed its sockets is about to end: its exit code says more than that it was killed.
    for _ in 0..20 {
        if let Ok(Some(status)) = successor.try_wait() {
            return format!(" ({status})");
        }
        thread::sleep(Duration::from_millis(10));
    }
    // Fails only for a process that has ended.
    let _ = successor.kill();
    let _ = successor.wait();
    String::new()
}
