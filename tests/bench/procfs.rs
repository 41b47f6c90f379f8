//! What the kernel knows about a process and its descendants (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The fields of `/proc/PID/stat` that matter here.
struct Stat {
    parent: u32,
    /// Ticks of the process itself, threads that have ended included.
    ticks: u64,
    /// Ticks of children that have ended and were waited for.
    ended_children_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        ended_children_ticks: number(13)? + number(14)?,
    })
}

/// `root` and all its descendants, parents first.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children.get(&pid).into_iter().flatten());
        next += 1;
    }
    found
}

/// The time on a processor that `root` and its descendants, ended ones included, have had so far (to 10 ms or so).
pub fn cpu_time(root: u32) -> Duration {
    let ticks: u64 = tree(root)
        .into_iter()
        .filter_map(stat)
        .map(|stat| stat.ticks + stat.ended_children_ticks)
        .sum();
    Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// The most memory that `root` and its descendants had in RAM, in bytes: the sum of their peaks (`VmHWM`). Pages that
/// several processes share, such as nginx's program, count in each.
pub fn peak_memory(root: u32) -> u64 {
    tree(root).into_iter().filter_map(peak_of).sum()
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
