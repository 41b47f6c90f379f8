//! How many connections and live viewers this process can hold: the least of what descriptors, threads and memory allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// Descriptors that are not for clients: listeners, private sockets, logs, API look-ups, Redis.
const OWN_DESCRIPTORS: u64 = 48;
/// Threads that are not for clients: accept loops, tiny_http, signals, rounds of look-ups.
const OWN_THREADS: u64 = 48;
/// Memory mappings of a thread: its stack, its signal stack, and a guard page before each.
const MAPPINGS: u64 = 4;
/// Idle connections to all origins together, at most.
const MAX_IDLE: u64 = 4096;
/// Memory of one live viewer, in bytes. Measured: 13 KB where the stream is shared, 47 KB with an origin connection of
/// its own; the rest is for the kernel's socket buffers.
const VIEWER_BYTES: u64 = 64 << 10;
/// One connection of so many is kept for playlists, segments and pages.
const SHORT_SHARE: usize = 8;
/// Below this there is no sense in dividing: a host that small gets a few connections all the same.
const FEWEST: u64 = 8;

/// What the process may use, as read at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files (`RLIMIT_NOFILE`, after raising it to its hard limit).
    pub descriptors: u64,
    /// Threads: the least of `RLIMIT_NPROC` (not for root), `threads-max`, the cgroup's `pids.max` and
    /// [`Limits::mapped_threads`].
    pub threads: u64,
    /// Threads that `max_map_count` has room for, beside what else is mapped.
    pub mapped_threads: u64,
    /// Bytes of memory: the least of what is available now (`MemAvailable`) and the limits of the cgroup.
    pub memory: u64,
}

impl Limits {
    /// Raises the descriptor limit to its hard limit and reads all limits. Never fails: what cannot
    /// be read does not limit.
    pub fn raise_and_read() -> Self {
        let files = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        };
        let descriptors = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => files.maximum,
            Err(_) => files.current,
        };
        let per_user = if rustix::process::geteuid().is_root() {
            None // root is not held to RLIMIT_NPROC (setrlimit(2))
        } else {
            getrlimit(Resource::Nproc).current
        };
        let mappings = number_in("/proc/sys/vm/max_map_count").unwrap_or(u64::MAX);
        let mapped_threads = (mappings - mappings / 16) / MAPPINGS;
        let threads = [
            per_user,
            number_in("/proc/sys/kernel/threads-max"),
            Some(mapped_threads),
            least_of_cgroup("pids", "pids.max", "pids.max"),
        ];
        let memory = [
            available_memory(),
            least_of_cgroup("memory", "memory.max", "memory.limit_in_bytes"),
        ];
        Self {
            descriptors: descriptors.unwrap_or(u64::MAX),
            threads: threads.into_iter().flatten().min().unwrap_or(u64::MAX),
            mapped_threads,
            memory: memory.into_iter().flatten().min().unwrap_or(u64::MAX),
        }
    }

    /// Client connections that fit. Each needs a descriptor and one more for its origin, a thread
    /// while it is idle and a second one while it is served.
    pub fn connections(&self) -> usize {
        let idle = self.idle_origin_connections() as u64;
        let by_descriptors = self.descriptors.saturating_sub(OWN_DESCRIPTORS + idle) / 2;
        let by_threads = self.threads.saturating_sub(OWN_THREADS) / 2;
        let fit = by_descriptors.min(by_threads).max(FEWEST);
        usize::try_from(fit).unwrap_or(usize::MAX)
    }

    /// Live viewers that fit into so many `connections`, beside `buffers` bytes for shared answers and streams. Each
    /// needs a connection and memory; an eighth of the connections stays free for what is no live stream. Buffers leave
    /// viewers at least a fourth of the memory: they are bounds, and seldom full.
    pub fn viewers(&self, connections: usize, buffers: u64) -> usize {
        let by_connections = connections - connections / SHORT_SHARE;
        let memory = self.memory.saturating_sub(buffers).max(self.memory / 4);
        let by_memory = usize::try_from(memory / VIEWER_BYTES).unwrap_or(usize::MAX);
        let fewest = (FEWEST as usize).min(connections).max(1);
        by_connections.min(by_memory).max(fewest)
    }

    /// Connections to origins that may be kept although nobody uses them now.
    pub fn idle_origin_connections(&self) -> usize {
        let spare = self.descriptors.saturating_sub(OWN_DESCRIPTORS) / 8;
        usize::try_from(spare.min(MAX_IDLE)).unwrap_or(usize::MAX)
    }
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Memory that programs may still take, in bytes.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The least of a limit of the cgroup that this process is in, and of its parents: from `file` of cgroup v2, and from
/// `file_v1` of v1's `controller`. `max` means no limit.
fn least_of_cgroup(controller: &str, file: &str, file_v1: &str) -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup".to_owned(), file),
            one if one == controller => (format!("/sys/fs/cgroup/{controller}"), file_v1),
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            least = [least, number_in(&format!("{root}{path}/{file}"))]
                .into_iter()
                .flatten()
                .min();
            match path.rfind('/') {
                Some(slash) => path = &path[..slash],
                None => break,
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Limits = Limits {
        descriptors: 1 << 20,
        threads: 1 << 20,
        mapped_threads: 1 << 20,
        memory: 1 << 40,
    };

    #[test]
    fn connections_are_bound_by_the_scarcer() {
        let few_files = Limits {
            descriptors: 80,
            ..PLENTY
        };
        assert_eq!(few_files.connections(), 14);
        assert_eq!(few_files.idle_origin_connections(), 4);
        let few_threads = Limits {
            threads: 248,
            ..PLENTY
        };
        assert_eq!(few_threads.connections(), 100);
        let none = Limits {
            descriptors: 10,
            threads: 10,
            ..PLENTY
        };
        assert_eq!(none.connections(), FEWEST as usize);
    }

    #[test]
    fn viewers_are_bound_by_connections_and_by_memory() {
        const MIB: u64 = 1 << 20;
        let with_memory = |memory: u64| Limits { memory, ..PLENTY };
        for (connections, memory, buffers, viewers) in [
            // Memory for more than there are connections: an eighth of them stays free.
            (8000, 8192 * MIB, 320 * MIB, 7000),
            (172, 8192 * MIB, 320 * MIB, 151),
            // 512 MiB less 320 MiB of buffers are 3072 times 64 KiB.
            (8000, 512 * MIB, 320 * MIB, 3072),
            // A small board: a fourth of its memory, though buffers could take all.
            (8000, 128 * MIB, 320 * MIB, 512),
            // Never none, and never more than there are connections.
            (8000, 0, 320 * MIB, 8),
            (4, 0, 0, 4),
        ] {
            let limits = with_memory(memory);
            let fit = limits.viewers(connections, buffers);
            assert_eq!(fit, viewers, "{connections}, {memory}, {buffers}");
        }
    }

    #[test]
    fn this_host_has_limits() {
        let limits = Limits::raise_and_read();
        assert!(limits.connections() >= FEWEST as usize);
        assert!((1 << 20..1 << 50).contains(&limits.memory), "{limits:?}");
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            limits.descriptors
        );
    }
}
