//! The programs that tests run, and running them with a deadline.

use super::wait::wait_for;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where each program comes from in Debian.
const PACKAGES: [(&str, &str); 8] = [
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("redis-server", "redis-server"),
    ("promtool", "prometheus"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, deadline);
    let output = |thread: JoinHandle<Vec<u8>>| thread.join().expect("collecting output");
    let (stdout, stderr) = (output(stdout), output(stderr));
    let status = status.unwrap_or_else(|| {
        panic!(
            "{command:?} still ran after {deadline:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
    });
    Output {
        status,
        stdout,
        stderr,
    }
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

fn wait(child: &mut Child, deadline: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + deadline;
    wait_for(
        "a command ended or its time was over",
        deadline + super::SOON,
        || match child.try_wait().expect("waiting for a command") {
            Some(status) => Some(Some(status)),
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                Some(None)
            }
            None => None,
        },
    )
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
