//! The proxy itself: the real binary, in an empty directory of its own, on free ports.

use super::fetch;
use super::origin::Origin;
use super::process::{Process, own_binary, without_settings};
use super::response::Response;
use super::tls::{TestRoot, Tunnel};
use super::{SOON, wait::wait_for};
use rustix::process::{Pid, Signal};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How the proxy is to be started.
pub struct ProxyBuilder {
    program: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
    root: Option<TestRoot>,
}

impl ProxyBuilder {
    /// Has players come by TLS: [`Proxy::http`] is a tunnel that leads there. The same tests then hold for both transports.
    pub fn over_tls(self) -> ProxyBuilder {
        let root = TestRoot::new();
        let mut builder = self.https(&root);
        builder.root = Some(root);
        builder
    }

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
        self.start_with(|_| {})
    }

    /// Starts it as [`ProxyBuilder::start`] does, with a last change to the command.
    #[track_caller]
    pub fn start_with(self, change: impl FnOnce(&mut Command)) -> Proxy {
        let mut command = without_settings(Command::new(&self.program));
        command
            .args(&self.args)
            .envs(self.environment)
            .current_dir(self.directory.path());
        change(&mut command);
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut proxy = Proxy {
            process: Process::start("the proxy", &mut command),
            http: nowhere,
            plain: nowhere,
            api: nowhere,
            directory: self.directory,
            tunnel: None,
        };
        proxy.http = proxy.listens("listening for players on ");
        proxy.plain = proxy.http;
        proxy.api = proxy.listens("listening for origins and operators on ");
        if let Some(root) = &self.root {
            let tunnel = Tunnel::start(proxy.https(), root);
            proxy.http = tunnel.addr;
            proxy.tunnel = Some(tunnel);
        }
        proxy
    }
}

/// A running proxy. Dropped, it is killed; when the test failed, its log is printed.
pub struct Proxy {
    process: Process,
    /// Where players connect; a tunnel where they come over TLS.
    pub http: SocketAddr,
    /// Where players connect without TLS.
    pub plain: SocketAddr,
    /// Where origins and operators connect.
    pub api: SocketAddr,
    directory: TempDir,
    /// Ends with the proxy.
    tunnel: Option<Tunnel>,
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

    /// Two proxies before `origin`: players come to the one as they are, to the other over TLS.
    #[track_caller]
    pub fn both(origin: &Origin) -> [Proxy; 2] {
        let both = [Proxy::builder(), Proxy::builder().over_tls()];
        both.map(|builder| {
            let proxy = builder.start();
            proxy.register(origin);
            proxy
        })
    }

    /// A proxy that is not started yet, on free ports of `127.0.0.1`.
    pub fn builder() -> ProxyBuilder {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = own_binary().get_program().to_string_lossy().into_owned();
        ProxyBuilder {
            program,
            args: Vec::new(),
            environment: Vec::new(),
            directory,
            root: None,
        }
        .env("PROXY_HTTP_SERVER", "127.0.0.1:0")
        .env("PROXY_SYSTEM_API", "127.0.0.1:0")
    }

    /// Its working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
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
        self.process.stderr_lines()
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
        self.process.signal(signal);
    }

    /// Its exit code, when it has ended; of a signal's death, 128 and the signal, as a shell has it.
    pub fn try_exit(&mut self) -> Option<i32> {
        self.process.try_exit()
    }

    /// Waits until it has ended, and gives its exit code.
    ///
    /// # Panics
    /// When it still runs at the deadline.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> i32 {
        self.process.wait_exit(deadline)
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
        let directory = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        std::fs::read_dir(directory)
            .expect("its descriptors")
            .count()
    }

    fn status(&self, field: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()));
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
        let after = self.process.wait_for_line(
            &format!("{words:?}"),
            SOON,
            Process::stderr_lines,
            |line| Some(line.split_once(words)?.1.to_owned()),
        );
        let addr = after
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_end_matches([',', '.', ';']);
        addr.parse().unwrap_or_else(|e| panic!("{e}: {after:?}"))
    }
}
