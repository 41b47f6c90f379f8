//! Starting, asking and killing the live origin, which is a process of its own so that its CPU can be told apart.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::children::Server;
use crate::proxies::{Origin, client};
use crate::{Result, encoder, system};

/// An origin that runs until it is dropped or killed.
pub struct EncoderOrigin {
    pub address: SocketAddr,
    /// What its frames name it.
    pub run: u32,
    server: Server,
}

/// What an origin tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct OriginCounts {
    /// Connections with a stream now.
    pub viewers: u64,
    /// The most of them at once.
    pub peak: u64,
    /// Frames made so far, of all streams.
    pub frames: u64,
}

impl EncoderOrigin {
    /// Starts an origin. `run` is told in its frames; frame 0 has `first_timestamp` (ms).
    pub fn start(run: u32, first_timestamp: u32, directory: &Path) -> Result<EncoderOrigin> {
        let this = std::env::current_exe()
            .map_err(|error| format!("looking for this program's file: {error}"))?;
        let port = system::free_port()?;
        let mut command = Command::new(this);
        command.arg(encoder::ARGUMENT).args([
            port.to_string(),
            run.to_string(),
            first_timestamp.to_string(),
        ]);
        let name = format!("{}{run}", encoder::ARGUMENT);
        let mut server = Server::start(&name, &mut command, directory)?;
        let address = system::loopback(port);
        system::wait_until_listening(address, || server.check_alive())?;
        Ok(EncoderOrigin {
            address,
            run,
            server,
        })
    }

    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The origin as it registers itself, with its API.
    pub fn with_api(&self) -> Origin {
        Origin {
            http: self.address.port(),
            api: Some(self.address.port()),
        }
    }

    /// Asks the origin for its counts.
    pub fn counts(&self) -> Result<OriginCounts> {
        let url = format!("http://{}/counts", self.address);
        let text = client()
            .get(&url)
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(|error| format!("asking {url}: {error}"))?;
        let numbers: Vec<u64> = text
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [viewers, peak, frames] => Ok(OriginCounts {
                viewers,
                peak,
                frames,
            }),
            _ => Err(format!("{url} is answered with {text:?}")),
        }
    }

    /// Ends the origin with SIGKILL, as `kill -9` does, and waits until it is gone.
    pub fn kill(self) {
        self.server.kill();
    }
}
