//! Programs that the benchmark starts, and the promise that each of them ends with it: on return, on error and on
//! Ctrl-C. Only processes that were started here, and their descendants, are ever signalled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, procfs};

/// How long a program may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

struct Running {
    pids: Vec<u32>,
    workdir: Option<PathBuf>,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    pids: Vec::new(),
    workdir: None,
});

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that goes away with this value.
pub struct Workdir(PathBuf);

impl Workdir {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the directory that everything is written to, and arranges that Ctrl-C and SIGTERM leave nothing behind.
pub fn prepare() -> Result<Workdir> {
    let path = std::env::temp_dir().join(format!("srs-stream-proxy-bench-{}", process::id()));
    crate::system::make_directory(&path)?;
    running().workdir = Some(path.clone());
    // What a shell reports for a program that SIGINT ended.
    ctrlc::set_handler(|| end_all(130)).map_err(|error| format!("waiting for Ctrl-C: {error}"))?;
    Ok(Workdir(path))
}

/// Ends everything that was started, and this process with it.
pub fn end_all(code: i32) -> ! {
    // The lock is kept until the process is gone, so that nothing new is started meanwhile.
    let running = running();
    for pid in running.pids.iter().flat_map(|&pid| procfs::tree(pid)) {
        signal(pid, Signal::KILL);
    }
    if let Some(workdir) = &running.workdir {
        let _ = fs::remove_dir_all(workdir);
    }
    process::exit(code)
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn spawn(name: &str, command: &mut Command) -> Result<process::Child> {
    let mut running = running();
    let child = command
        .spawn()
        .map_err(|error| format!("starting {name}: {error}"))?;
    running.pids.push(child.id());
    Ok(child)
}

fn forget(pid: u32) {
    running().pids.retain(|&running| running != pid);
}

/// Runs a program to its end and gives what it printed.
pub fn run(name: &str, command: &mut Command) -> Result<Output> {
    let child = spawn(
        name,
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let pid = child.id();
    let output = child
        .wait_with_output()
        .map_err(|error| format!("running {name}: {error}"));
    forget(pid);
    output
}

/// A server that runs until it is dropped.
pub struct Server {
    name: String,
    process: process::Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command`; what it prints goes to `DIRECTORY/NAME.log`.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Server> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) =
            output.map_err(|error| format!("writing {}: {error}", log.display()))?;
        let process = spawn(
            name,
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr),
        )?;
        Ok(Server {
            name: name.to_owned(),
            process,
            log,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the server at once, without a chance to tidy up, and waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// An error with the server's own last words when it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let words: Vec<&str> = log.lines().rev().take(3).collect();
                Err(format!(
                    "{} ended too soon ({status}): {}",
                    self.name,
                    words.join(" / ")
                ))
            }
            Err(error) => Err(format!("watching {}: {error}", self.name)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let family = procfs::tree(self.pid());
        // A program that has ended and was waited for has given its id back: it may be somebody else's by now.
        if matches!(self.process.try_wait(), Ok(None)) {
            signal(self.pid(), Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.process.try_wait(), Ok(None)) {
            // A descendant's id is still its own here: its parent, which would have to wait for it, is alive.
            family
                .into_iter()
                .rev()
                .for_each(|pid| signal(pid, Signal::KILL));
            let _ = self.process.wait();
        }
        forget(self.pid());
    }
}
