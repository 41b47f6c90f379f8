//! How much this process takes on at once, from the settings and from what the system allows.

use crate::config::{Config, MaxStreams};
use crate::runtime::limits::Limits;
use log::{info, warn};

/// Connections of the System API at most: origins, operators, a monitor.
const OPERATOR_CONNECTIONS: usize = 256;
/// Of the connections that fit, this part is not for players: the System API's are seldom all in use, so it may have twice
/// as many.
const OPERATOR_SHARE: usize = 4;
/// Workers for requests that end soon, where the connections are not fewer: each costs memory only
/// while it is busy.
const SHORT_WORKERS: usize = 4096;
/// Connections that each of the two servers may have, however scarce things are.
const FEWEST_CONNECTIONS: usize = 8;

/// What the two servers may take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections of players.
    pub connections: usize,
    /// Workers for players' requests that end soon.
    pub workers: usize,
    /// Live streams to players (`PROXY_MAX_STREAMS`).
    pub streams: usize,
    /// Connections of origins and operators.
    pub operators: usize,
}

impl Capacity {
    /// What fits into the limits. A number of streams that is set is taken as it is.
    pub fn new(config: &Config, limits: &Limits) -> Self {
        let fit = limits.connections();
        let reserved = (fit / OPERATOR_SHARE).min(OPERATOR_CONNECTIONS / 2);
        let connections = (fit - reserved).max(FEWEST_CONNECTIONS);
        let buffers = config.hls_cache.saturating_add(config.live_buffer);
        Self {
            connections,
            workers: SHORT_WORKERS.min(connections),
            streams: match config.max_streams {
                MaxStreams::Number(streams) => streams,
                MaxStreams::Auto => limits.viewers(connections, buffers),
            },
            operators: (2 * reserved).max(FEWEST_CONNECTIONS),
        }
    }

    /// Logs what fits and why, and a warning where more streams are set than connections fit.
    pub fn log(&self, limits: &Limits) {
        info!(
            "up to {} connections and {} streams at once, from limits of {} descriptors and {} threads, and {} MiB of memory",
            self.connections,
            self.streams,
            limits.descriptors,
            limits.threads,
            limits.memory >> 20
        );
        if self.streams > self.connections {
            warn!(
                "PROXY_MAX_STREAMS is {}, but only {} connections fit: raise the limits of open files and processes (ulimit -n, \
                 LimitNOFILE=, TasksMax=), or lower PROXY_MAX_STREAMS",
                self.streams, self.connections
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, parse_from};

    fn with(arguments: &str, descriptors: u64) -> Capacity {
        let arguments = ["proxy"].into_iter().chain(arguments.split_whitespace());
        let arguments = arguments.map(Into::into);
        let Ok(Command::Proxy(config)) = parse_from(arguments, [], || Ok(None)) else {
            panic!("no settings")
        };
        let limits = Limits {
            descriptors,
            threads: 1 << 20,
            mapped_threads: 1 << 20,
            memory: 8 << 30,
        };
        Capacity::new(&config, &limits)
    }

    #[test]
    fn players_get_most_of_what_fits_and_streams_most_of_that() {
        let roomy = with("", 20_000);
        let expected = Capacity {
            connections: 8601,
            workers: 4096,
            streams: 7526,
            operators: 256,
        };
        assert_eq!(roomy, expected);
        let tight = with("", 300);
        let expected = Capacity {
            connections: 83,
            workers: 83,
            streams: 73,
            operators: 54,
        };
        assert_eq!(tight, expected);
    }

    #[test]
    fn a_number_that_is_set_is_taken_as_it_is() {
        assert_eq!(with("--max-streams 4000", 300).streams, 4000);
        assert_eq!(with("--max-streams 5", 20_000).streams, 5);
    }
}
