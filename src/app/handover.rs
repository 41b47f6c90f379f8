//! What a process tells the one that takes over: one JSON object over a socket, then one line back.

use crate::balancer::snapshot::BalancerSnapshot;
use crate::hooks::SessionRecord;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What the successor answers when it serves.
const READY: &str = "ready";
/// The largest handover that is read, in bytes: 200 000 pins of long names are 250 MB.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// What the successor goes on from. A field that the other version does not know is passed over, one that it does not
/// send is empty: both directions of an upgrade work.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handover {
    pub balancer: BalancerSnapshot,
    /// How the numbers of HLS playlists go on: stream, path and record of each.
    pub timelines: Vec<(String, String, String)>,
    /// HLS viewers.
    pub sessions: Vec<SessionRecord>,
}

impl Handover {
    /// Sends the handover to the successor. Blocks for `time` at most where the successor does not read.
    ///
    /// # Errors
    /// What the socket says.
    pub fn send(&self, successor: &UnixStream, time: Duration) -> io::Result<()> {
        successor.set_write_timeout(Some(time))?;
        let mut successor: &UnixStream = successor;
        successor.write_all(&serde_json::to_vec(self)?)?;
        successor.shutdown(Shutdown::Write)
    }

    /// Reads what the predecessor sends, to its end.
    ///
    /// # Errors
    /// What the socket says, or that the bytes are no handover.
    pub fn receive(predecessor: &UnixStream, time: Duration) -> io::Result<Self> {
        predecessor.set_read_timeout(Some(time))?;
        let mut bytes = Vec::new();
        predecessor.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// Tells the predecessor that this process serves now.
///
/// # Errors
/// What the socket says.
pub fn tell_ready(mut predecessor: &UnixStream) -> io::Result<()> {
    writeln!(predecessor, "{READY}")
}

/// Waits until the successor serves, for `time` at most.
///
/// # Errors
/// The successor has ended, or is too slow.
pub fn await_ready(successor: &UnixStream, time: Duration) -> io::Result<()> {
    successor.set_read_timeout(Some(time))?;
    let mut line = String::new();
    let read = BufReader::new(successor.take(64)).read_line(&mut line);
    match read {
        Ok(_) if line.trim_end() == READY => Ok(()),
        Ok(_) => Err(io::Error::other("it ended before it served")),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            Err(io::Error::other(format!(
                "it did not serve within {time:?}"
            )))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_handover_comes_whole_and_is_answered() {
        let (old, new) = UnixStream::pair().unwrap();
        let pins = vec![("v/live/a".to_owned(), "o-1-2".to_owned())];
        let sent = Handover {
            balancer: BalancerSnapshot {
                origins: Vec::new(),
                pins: pins.clone(),
            },
            timelines: Vec::new(),
            sessions: Vec::new(),
        };
        sent.send(&old, SOON).unwrap();
        assert_eq!(Handover::receive(&new, SOON).unwrap().balancer.pins, pins);
        tell_ready(&new).unwrap();
        await_ready(&old, SOON).unwrap();
    }

    #[test]
    fn another_version_may_know_more_or_less() {
        for text in ["{}", r#"{"balancer":{"origins":[],"pins":[]},"new":[1]}"#] {
            let (old, new) = UnixStream::pair().unwrap();
            (&old).write_all(text.as_bytes()).unwrap();
            drop(old);
            assert!(Handover::receive(&new, SOON).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_successor_that_ends_or_is_slow_is_an_error() {
        let (old, new) = UnixStream::pair().unwrap();
        let slow = await_ready(&old, Duration::from_millis(20)).unwrap_err();
        assert!(slow.to_string().contains("did not serve within"), "{slow}");
        drop(new);
        let ended = await_ready(&old, SOON).unwrap_err();
        assert!(ended.to_string().contains("ended before"), "{ended}");
    }
}
