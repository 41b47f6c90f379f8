//! README's shell blocks, run in order as they stand, on free ports: what is pasted works.

use crate::common::process::{Process, without_settings};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What README writes of ports.
const PORTS: [&str; 12] = [
    "18080", "12025", "18081", "12026", "18082", "18083", "12021", "12022", "8081", "8082", "8083",
    "6399",
];

/// The bodies of the blocks that begin with "```bash".
fn blocks(readme: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = readme;
    while let Some((_, after)) = rest.split_once("```bash\n") {
        let (block, after) = after.split_once("\n```").expect("the end of a block");
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// A free port for each, all different. Not of those that the system gives to whoever asks for any: other tests run
/// meanwhile, and these ports have to be free until README's commands listen on them.
fn free_ports() -> HashMap<&'static str, u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    let first: u16 = first.unwrap_or(32768);
    let listen = || TcpListener::bind(("0.0.0.0", fastrand::u16(5000..first))).ok();
    let listen = || {
        std::iter::repeat_with(listen)
            .flatten()
            .next()
            .expect("a free port")
    };
    let held: Vec<TcpListener> = PORTS.iter().map(|_| listen()).collect();
    let port = |socket: &TcpListener| socket.local_addr().expect("an address").port();
    PORTS.into_iter().zip(held.iter().map(port)).collect()
}

/// The text with other ports, where a number is one of README's.
fn with_ports(text: &str, ports: &HashMap<&str, u16>) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        match ports.get(digits.as_str()) {
            Some(port) => out += &port.to_string(),
            None => out += &digits,
        }
        digits.clear();
        out.push(c);
    }
    out
}

#[test]
fn each_shell_block_works_as_pasted() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.expect("README.md");
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 8, "{} shell blocks", blocks.len());
    let ports = free_ports();
    // A command that fails ends the test with its line; a time limit that README sets (`curl -m`) is no failure.
    let mut script = String::from(
        "trap 'c=$?; [ $c = 28 ] || { echo \"FAILED $c: $BASH_COMMAND\"; exit 1; }' ERR\n",
    );
    for (number, block) in blocks.iter().enumerate() {
        script += &format!("echo '== block {number}'\n{}\n", with_ports(block, &ports));
    }
    script += "echo '== all blocks'\n";
    let program = Path::new(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("script"), &script).expect("writing the script");
    let path = format!(
        "{}:{}:/usr/sbin",
        program.parent().expect("its directory").display(),
        std::env::var("PATH").expect("PATH")
    );
    let mut command = without_settings(Command::new("bash"));
    command
        .arg("script")
        .current_dir(directory.path())
        .env("PATH", path)
        .env("PROXY_HTTP_SERVER", ports["18080"].to_string())
        .env("PROXY_SYSTEM_API", ports["12025"].to_string())
        .process_group(0);
    let mut shell = Process::start("README's shell", &mut command);
    let _group = Group(shell.pid());
    let code = shell.wait_exit(Duration::from_secs(60));
    let out = [shell.stdout_lines(), shell.stderr_lines()]
        .concat()
        .join("\n");
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("== all blocks"), "{out}");
    for expected in [
        "\"version\":\"1.",
        "#EXTM3U",
        "spbhid=",
        "srs_proxy_",
        "__defaultVhost__/live/b",
        "PONG",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

#[test]
fn each_setting_stands_in_the_table() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.expect("README.md");
    let mut help = Command::new(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let help = Process::run("help", help.arg("--help"), Duration::from_secs(60));
    let help = String::from_utf8(help.stdout).expect("text");
    let names: Vec<&str> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split([']', '=']).next())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        // Of several with one beginning only the first is whole: `PROXY_REDIS_HOST` `_PORT`.
        let (beginning, end) = name.rsplit_once('_').expect("a name of several words");
        let beginning = format!("| `{beginning}_");
        let short = format!("`_{end}`");
        let is_there = |line: &str| {
            line.contains(&format!("`{name}`"))
                || line.starts_with(&beginning) && line.contains(&short)
        };
        let mut rows = readme.lines().filter(|line| line.starts_with("| `"));
        assert!(rows.any(is_there), "{name}");
    }
}

/// A process group, ended with the test: what the shell has started in the background outlives it.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}
