//! Lab origins: the real binary's `origin`, each a process of its own, and its `demo`, which has two.

use super::SOON;
use super::process::{Process, own_binary};
use super::proxy::Proxy;
use super::wait::wait_for;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::Duration;

/// A running lab origin. Dropped, it is killed; when the test failed, its log is printed.
pub struct LabOrigin {
    process: Process,
    /// Where it serves media and API.
    pub addr: SocketAddr,
}

impl LabOrigin {
    /// Starts one on a free port of `127.0.0.1`, with more arguments.
    ///
    /// # Panics
    /// When it ends, or does not say where it listens.
    #[track_caller]
    pub fn start(args: &[&str]) -> LabOrigin {
        let mut command = own_binary();
        command
            .args(["origin", "--listen", "127.0.0.1:0"])
            .args(args);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut origin = LabOrigin {
            process: Process::start("a lab origin", &mut command),
            addr: nowhere,
        };
        let line = origin.wait_for_log("listens on ");
        origin.addr = listens_on(&line);
        origin
    }

    /// All log lines so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.process.stderr_lines()
    }

    /// Waits for a log line with these words.
    #[track_caller]
    pub fn wait_for_log(&self, words: &str) -> String {
        let find = || self.log_lines().into_iter().find(|it| it.contains(words));
        wait_for(&format!("the log of an origin said {words:?}"), SOON, find)
    }

    /// Kills it, so that it can say nothing more to anybody.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has ended, and gives its exit code.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> Option<i32> {
        Some(self.process.wait_exit(deadline))
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
