//! The proxy itself: the real binary, in an empty directory of its own, on free ports.

use super::fetch;
use super::origin::Origin;
use super::response::Response;
use super::{SOON, wait::wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// How the proxy is to be started.
pub struct ProxyBuilder {
    program: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
}

impl ProxyBuilder {
    /// One more environment variable; an earlier one of the same name is replaced.
    pub fn env(mut self, name: &str, value: impl ToString) -> ProxyBuilder {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl ToString) -> ProxyBuilder {
        self.args.push(arg.to_string());
        self
    }

    /// Another program, to try this fixture on.
    pub fn program(mut self, program: &str) -> ProxyBuilder {
        program.clone_into(&mut self.program);
        self
    }

    /// A file in its working directory; directories on the way are made.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> ProxyBuilder {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("making a directory");
        std::fs::write(path, content).expect("writing a file");
        self
    }

    /// The working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it and waits until it says where it listens.
    ///
    /// # Panics
    /// When it ends before, or says nothing.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let mut command = Command::new(&self.program);
        for (name, _) in
            std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("PROXY_"))
        {
            command.env_remove(name);
        }
        command
            .args(&self.args)
            .envs(self.environment.clone())
            .current_dir(self.directory.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("starting {}: {e}", self.program));
        let stderr = child.stderr.take().expect("its stderr");
        let log = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                collected
                    .lock()
                    .expect("log")
                    .push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let pid = Pid::from_child(&child);
        let mut proxy = Proxy {
            child,
            pid,
            http: nowhere,
            api: nowhere,
            log,
            directory: self.directory,
        };
        proxy.http = proxy.listens("listening for players on ");
        proxy.api = proxy.listens("listening for origins and operators on ");
        proxy
    }
}

/// A running proxy. Dropped, it is killed; when the test failed, its log is printed.
pub struct Proxy {
    child: Child,
    pid: Pid,
    /// Where players connect.
    pub http: SocketAddr,
    /// Where origins and operators connect.
    pub api: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    directory: TempDir,
}

impl Proxy {
    /// Starts with these settings beside free ports.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Proxy {
        let builder = Proxy::builder();
        settings
            .iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value))
            .start()
    }

    /// Starts as [`Proxy::start`] does and registers `origin`.
    #[track_caller]
    pub fn before(origin: &Origin, settings: &[(&str, &str)]) -> Proxy {
        let proxy = Proxy::start(settings);
        proxy.register(origin);
        proxy
    }

    /// A proxy that is not started yet, on free ports of `127.0.0.1`.
    pub fn builder() -> ProxyBuilder {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = env!("CARGO_BIN_EXE_srs-stream-proxy").to_owned();
        ProxyBuilder {
            program,
            args: Vec::new(),
            environment: Vec::new(),
            directory,
        }
        .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
        .env("PROXY_SYSTEM_API", "127.0.0.1:0")
    }

    /// Its working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The CPU time that it has taken so far, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_nonzero()))
            .expect("its times");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let field = |n: usize| {
            after_name
                .split_whitespace()
                .nth(n)
                .and_then(|word| word.parse::<u64>().ok())
                .expect("ticks")
        };
        field(11) + field(12)
    }

    /// Sends a heartbeat of `origin`, as SRS does.
    ///
    /// # Panics
    /// When it is not accepted.
    #[track_caller]
    pub fn register(&self, origin: &Origin) {
        let api: Vec<String> = origin.api_port().iter().map(u16::to_string).collect();
        self.register_server(&format!("vid-{}", origin.id()), origin.addr(), &api);
    }

    /// Sends a heartbeat of whatever serves HTTP at `addr`, without an API.
    #[track_caller]
    pub fn register_addr(&self, addr: SocketAddr) {
        self.register_server(&format!("vid-at-{}", addr.port()), addr, &[]);
    }

    #[track_caller]
    fn register_server(&self, server: &str, addr: SocketAddr, api: &[String]) {
        let heartbeat = json!({
            "device_id": server, "ip": addr.ip().to_string(), "server": server, "service": "84l9f067", "pid": "7901",
            "rtmp": ["1935"], "http": [addr.port().to_string()], "api": api,
        });
        let response = self.register_raw(heartbeat.to_string().as_bytes());
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(response.json()["code"], 0, "{}", response.text());
    }

    /// Posts a body to the register URL.
    #[track_caller]
    pub fn register_raw(&self, body: &[u8]) -> Response {
        let json = [("Content-Type", "application/json")];
        fetch::post(self.api, "/api/v1/srs/register", &json, body)
    }

    /// All log lines so far.
    pub fn log_lines(&self) -> Vec<String> {
        lines(&self.log)
    }

    /// Waits for a log line.
    ///
    /// # Panics
    /// When none matches in time.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool, deadline: Duration) -> String {
        let find = || self.log_lines().into_iter().find(|line| wanted(line));
        wait_for("the log had a line", deadline, find)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("signalling the proxy");
    }

    /// Its exit code, when it has ended; of a signal's death, 128 and the signal, as a shell has it.
    pub fn try_exit(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.try_wait().expect("waiting for the proxy")?;
        status.code().or_else(|| status.signal().map(|s| 128 + s))
    }

    /// Waits until it has ended, and gives its exit code.
    ///
    /// # Panics
    /// When it still runs at the deadline.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> i32 {
        wait_for("the proxy ended", deadline, || self.try_exit())
    }

    /// # Panics
    /// When its log tells of a panic.
    #[track_caller]
    pub fn assert_no_panic(&self) {
        let panicked: Vec<_> = self
            .log_lines()
            .into_iter()
            .filter(|l| l.contains("panicked"))
            .collect();
        assert!(panicked.is_empty(), "the proxy panicked: {panicked:#?}");
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// Its memory in use, in kB.
    pub fn rss_kb(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most memory it ever had in use, in kB.
    pub fn peak_rss_kb(&self) -> usize {
        self.status("VmHWM:")
    }

    /// How many descriptors it has open.
    pub fn fds(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.pid.as_raw_nonzero());
        std::fs::read_dir(directory)
            .expect("its descriptors")
            .count()
    }

    fn status(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()));
        let status = status.expect("its status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the field");
        line.split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    }

    /// The address in the log line that has `words` before it.
    #[track_caller]
    fn listens(&mut self, words: &str) -> SocketAddr {
        let log = Arc::clone(&self.log);
        let find = || {
            let after = lines(&log)
                .iter()
                .find_map(|line| Some(line.split_once(words)?.1.to_owned()));
            let ended = if after.is_none() {
                self.try_exit()
            } else {
                None
            };
            assert!(
                ended.is_none(),
                "the proxy ended with {ended:?}: {:#?}",
                lines(&log)
            );
            after
        };
        let after = wait_for(&format!("the log said {words:?}"), SOON, find);
        let addr = after
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_end_matches([',', '.', ';']);
        addr.parse().unwrap_or_else(|e| panic!("{e}: {after:?}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- log of the proxy ----\n{}\n----",
                self.log_lines().join("\n")
            );
        }
    }
}

/// The lines in a log, also when a test failed while it read them.
fn lines(log: &Mutex<Vec<String>>) -> Vec<String> {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
