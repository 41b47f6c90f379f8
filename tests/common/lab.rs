//! Lab origins: the real binary's `origin`, each a process of its own, and its `demo`, which has two.

use super::SOON;
use super::proxy::Proxy;
use super::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A running lab origin. Dropped, it is killed; when the test failed, its log is printed.
pub struct LabOrigin {
    child: Child,
    /// Where it serves media and API.
    pub addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl LabOrigin {
    /// Starts one on a free port of `127.0.0.1`, with more arguments.
    ///
    /// # Panics
    /// When it ends, or does not say where it listens.
    #[track_caller]
    pub fn start(args: &[&str]) -> LabOrigin {
        let mut child = Command::new(env!("CARGO_BIN_EXE_srs-stream-proxy"))
            .args(["origin", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting a lab origin");
        let stderr = child.stderr.take().expect("its stderr");
        let log = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                collected.lock().expect("log").push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut origin = LabOrigin {
            child,
            addr: nowhere,
            log,
        };
        let line = origin.wait_for_log("listens on ");
        origin.addr = listens_on(&line);
        origin
    }

    /// All log lines so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a log line with these words.
    #[track_caller]
    pub fn wait_for_log(&self, words: &str) -> String {
        let find = || self.log_lines().into_iter().find(|it| it.contains(words));
        wait_for(&format!("the log of an origin said {words:?}"), SOON, find)
    }

    /// Kills it, so that it can say nothing more to anybody.
    pub fn kill(&mut self) {
        self.child.kill().expect("killing a lab origin");
        self.child.wait().expect("its end");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalling a lab origin");
    }

    /// Waits until it has ended, and gives its exit code.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> Option<i32> {
        let look = || self.child.try_wait().expect("waiting for a lab origin");
        wait_for("a lab origin ended", deadline, look).code()
    }
}

impl Drop for LabOrigin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log_lines().join("\n");
            eprintln!("---- log of the origin at {} ----\n{log}\n----", self.addr);
        }
    }
}

/// The address in a log line such as `lab origin x listens on 127.0.0.1:8080 and publishes /live/demo`.
#[track_caller]
pub fn listens_on(line: &str) -> SocketAddr {
    let after = line.split_once("listens on ").expect("an address").1;
    let address = after.split_whitespace().next().expect("an address");
    address.parse().expect("an address")
}

/// The demo on free ports, with its lab origins' addresses.
#[track_caller]
pub fn demo(settings: &[(&str, &str)]) -> (Proxy, [SocketAddr; 2]) {
    let builder = settings
        .iter()
        .fold(Proxy::builder(), |builder, (name, value)| {
            builder.env(name, value)
        });
    let proxy = builder.arg("demo").start();
    let labs = ["lab-a", "lab-b"].map(|name| {
        proxy.wait_for_log(|line| line.contains(&format!("{name} is registered")), SOON);
        let words = format!("lab origin {name} listens on ");
        listens_on(&proxy.wait_for_log(|line| line.contains(&words), SOON))
    });
    (proxy, labs)
}
