//! The programs that tests run, and running them with a deadline.

use super::process::Process;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

/// Where each program comes from in Debian.
const PACKAGES: [(&str, &str); 10] = [
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("redis-server", "redis-server"),
    ("promtool", "prometheus"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("prlimit", "util-linux"),
];

/// Finds a program in `PATH` or the directories of system programs.
///
/// # Panics
/// When it is not there; the message names the Debian package.
pub fn find(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/usr/bin"]);
    let mut candidates = directories.map(|directory| PathBuf::from(directory).join(program));
    candidates
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| missing(program))
}

/// Says what to install, as a panic.
pub fn missing(program: &str) -> ! {
    let package = PACKAGES
        .iter()
        .find(|(p, _)| *p == program)
        .map_or(program, |(_, package)| package);
    panic!("{program} is missing: install the Debian package {package}");
}

/// A command for one of the programs, without the proxy settings of the environment.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(find(program));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or still runs at the deadline (it is killed then).
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Output {
    Process::run(&format!("{command:?}"), command, deadline)
}

/// Runs a command and gives its standard output.
///
/// # Panics
/// As [`run`], and when it fails.
#[track_caller]
pub fn output(command: &mut Command, deadline: Duration) -> String {
    let output = run(command, deadline);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
