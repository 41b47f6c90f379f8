//! Children of the tests: started, read, signalled and ended in one way, whatever they are.

use super::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the last output of a child that has ended may take. A grandchild may hold the pipe for longer.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// A command for the binary that is tested, without settings of whoever runs the tests.
pub fn own_binary() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_srs-stream-proxy")))
}

/// The command without the environment's `PROXY_` settings.
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PROXY_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running child; all that it writes is collected. Dropped, it is killed; when the test failed, its output is
/// printed.
pub struct Process {
    name: String,
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command without input. `name` is for messages.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command) -> Process {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("starting {name}, {command:?}: {e}"));
        Process {
            name: name.to_owned(),
            stdout: Pipe::read(child.stdout.take()),
            stderr: Pipe::read(child.stderr.take()),
            child,
            ended: None,
        }
    }

    /// Starts a command and waits for its end; gives its status and all its output.
    ///
    /// # Panics
    /// When it cannot be started, or still runs at the deadline.
    #[track_caller]
    pub fn run(name: &str, command: &mut Command, deadline: Duration) -> Output {
        let mut process = Process::start(name, command);
        process.wait_exit(deadline);
        Output {
            status: process.ended.expect("it has ended"),
            stdout: process.stdout.bytes(),
            stderr: process.stderr.bytes(),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The whole lines that it has written to its standard output so far.
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// The whole lines that it has written to its standard error so far: a log.
    pub fn stderr_lines(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Waits for something in the lines that `read` gives.
    ///
    /// # Panics
    /// When it is not there in time, or the child has ended without it.
    #[track_caller]
    pub fn wait_for_line<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        read: impl Fn(&Process) -> Vec<String>,
        find: impl Fn(&str) -> Option<T>,
    ) -> T {
        let what = format!("{} said {what}", self.name);
        wait_for(&what, deadline, || {
            // Asked first: what an ended child has said is all there.
            let ended = self.try_exit();
            let lines = read(self);
            let found = lines.iter().find_map(|line| find(line));
            if let (None, Some(code)) = (&found, ended) {
                panic!("{} ended with Some({code}): {lines:#?}", self.name);
            }
            found
        })
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let sent = kill_process(self.pid(), signal);
        sent.unwrap_or_else(|e| panic!("signalling {}: {e}", self.name));
    }

    /// Its exit code, when it has ended; of a signal's death, 128 and the signal, as a shell has it.
    pub fn try_exit(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("waiting for a child");
            if self.ended.is_some() {
                let end = Instant::now() + LAST_OUTPUT;
                while !(self.stdout.is_over() && self.stderr.is_over()) && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        let status = self.ended?;
        status.code().or_else(|| status.signal().map(|s| 128 + s))
    }

    /// Waits until it has ended, and gives its exit code.
    ///
    /// # Panics
    /// When it still runs at the deadline.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> i32 {
        let what = format!("{} ended", self.name);
        wait_for(&what, deadline, || self.try_exit())
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = [self.stdout_lines(), self.stderr_lines()].concat();
            let (name, said) = (&self.name, said.join("\n"));
            eprintln!("---- what {name} said ----\n{said}\n----");
        }
    }
}

/// What comes out of a child's pipe, collected by a thread.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Pipe {
    fn read(pipe: Option<impl Read + Send + 'static>) -> Pipe {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            let mut pipe = pipe.expect("a piped output");
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let mut bytes = collected.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend_from_slice(&buffer[..length]);
            }
        });
        Pipe { bytes, thread }
    }

    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    fn bytes(&self) -> Vec<u8> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.clone()
    }

    fn lines(&self) -> Vec<String> {
        let mut bytes = self.bytes();
        if !self.is_over() {
            // The rest of the last line is still to come.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n');
            bytes.truncate(whole.map_or(0, |at| at + 1));
        }
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }
}
