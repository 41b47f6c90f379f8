//! How many connections this process can hold: the smaller of what descriptors and threads allow.

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
            cgroup_pids(),
        ];
        Self {
            descriptors: descriptors.unwrap_or(u64::MAX),
            threads: threads.into_iter().flatten().min().unwrap_or(u64::MAX),
            mapped_threads,
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

    /// Connections to origins that may be kept although nobody uses them now.
    pub fn idle_origin_connections(&self) -> usize {
        let spare = self.descriptors.saturating_sub(OWN_DESCRIPTORS) / 8;
        usize::try_from(spare.min(MAX_IDLE)).unwrap_or(usize::MAX)
    }
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `pids.max` of the cgroup that this process is in, or of a parent (cgroup v2, and v1's pids
/// controller); `max` means no limit.
fn cgroup_pids() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            "pids" => "/sys/fs/cgroup/pids",
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            least = [least, number_in(&format!("{root}{path}/pids.max"))]
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

    #[test]
    fn connections_are_bound_by_the_scarcer() {
        let few_files = Limits {
            descriptors: 80,
            threads: 10_000,
            mapped_threads: 10_000,
        };
        assert_eq!(few_files.connections(), 14);
        assert_eq!(few_files.idle_origin_connections(), 4);
        let few_threads = Limits {
            descriptors: 20_000,
            threads: 248,
            mapped_threads: 10_000,
        };
        assert_eq!(few_threads.connections(), 100);
        let none = Limits {
            descriptors: 10,
            threads: 10,
            mapped_threads: 10_000,
        };
        assert_eq!(none.connections(), FEWEST as usize);
    }

    #[test]
    fn this_host_has_limits() {
        let limits = Limits::raise_and_read();
        assert!(limits.connections() >= FEWEST as usize);
        assert_eq!(
            getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            limits.descriptors
        );
    }
}
