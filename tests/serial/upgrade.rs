//! Three upgrades under load, one of them to a program that fails: no viewer, no connection and no request is lost.

use crate::common::SOON;
use crate::common::client::{Client, Piece};
use crate::common::hls::live_id;
use crate::common::lab::LabOrigin;
use crate::common::proxy::Proxy;
use crate::common::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const FLV: usize = 80;
const TS: usize = 40;
const HLS: usize = 40;
const SHORT: usize = 40;

/// What all viewers together have seen.
#[derive(Default)]
struct Crowd {
    over: AtomicBool,
    pieces: AtomicUsize,
    answers: AtomicUsize,
}

impl Crowd {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A live stream that must never end, and never pause for long.
fn watch(crowd: &Crowd, proxy: SocketAddr, target: &str) {
    let mut client = Client::connect(proxy);
    client.request("GET", target, &[]);
    let head = client.read_head(SOON);
    assert_eq!(head.status, 200, "{target}");
    while !crowd.is_over() {
        match client.read_piece(SOON) {
            Piece::Bytes(_) => crowd.pieces.fetch_add(1, Ordering::Relaxed),
            other => panic!("{target}: {other:?}"),
        };
    }
}

/// Short requests on kept-alive connections; each must be answered, and only who was told to does come anew.
fn ask(crowd: &Crowd, proxy: SocketAddr, targets: &[String], pause: Duration) {
    let mut client = Client::connect(proxy);
    for target in targets.iter().cycle() {
        if crowd.is_over() {
            return;
        }
        client.request("GET", target, &[]);
        let head = match client.try_read_head(SOON) {
            Ok(head) => head,
            Err(why) => panic!("{target}: {why:?}"),
        };
        assert_eq!(head.status, 200, "{target}");
        client.read_rest(SOON);
        crowd.answers.fetch_add(1, Ordering::Relaxed);
        if head.headers.lists("connection", "close") {
            client = Client::connect(proxy);
        }
        thread::sleep(pause);
    }
}

fn replace(program: &Path, with: &Path) {
    let new = program.with_extension("new");
    std::fs::copy(with, &new).expect("copying a program");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::rename(&new, program).expect("putting it in place");
}

/// The successors that the log tells of.
fn successors(proxy: &Proxy) -> Vec<Pid> {
    let lines = proxy.log_lines();
    let told = lines.iter().filter_map(|line| {
        let (_, rest) = line.split_once("process ")?;
        rest.strip_suffix(" serves in this one's place")
    });
    told.filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
        .collect()
}

/// Ends what is no child of the test.
struct KillSuccessors<'a>(&'a Proxy);

impl Drop for KillSuccessors<'_> {
    fn drop(&mut self) {
        for pid in successors(self.0) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn three_upgrades_under_load_lose_nobody() {
    let _alone = crate::common::alone();
    let good = Path::new(env!("CARGO_BIN_EXE_srs-stream-proxy"));
    let builder = Proxy::builder();
    let program = builder.directory().join("srs-stream-proxy");
    let bad = builder.directory().join("bad");
    std::fs::write(&bad, "#!/bin/sh\nexit 1\n").expect("a program that fails");
    std::fs::copy(good, &program).expect("copying the program");
    let path = program.to_str().expect("a path").to_owned();
    let lab = LabOrigin::start(&["--stream", "a"]);
    let proxy = builder.program(&path).start();
    proxy.register_addr(lab.addr);
    let _successors = KillSuccessors(&proxy);

    let crowd = Arc::new(Crowd::default());
    let session = live_id("a");
    let hls = [format!("/live/a.m3u8?spbhid={session}")];
    let short = ["/".to_owned(), "/api/v1/versions".to_owned()];
    let mut viewers = Vec::new();
    let mut join = |count: usize, job: Arc<dyn Fn(&Crowd) + Send + Sync>| {
        for _ in 0..count {
            let (crowd, job) = (crowd.clone(), job.clone());
            viewers.push(thread::spawn(move || job(&crowd)));
        }
    };
    let http = proxy.http;
    join(FLV, Arc::new(move |it| watch(it, http, "/live/a.flv")));
    join(TS, Arc::new(move |it| watch(it, http, "/live/a.ts")));
    let pause = Duration::from_millis(100);
    join(HLS, Arc::new(move |it| ask(it, http, &hls, pause)));
    let pause = Duration::from_millis(5);
    join(SHORT, Arc::new(move |it| ask(it, http, &short, pause)));
    let goes_on = |what: &str| {
        let (pieces, answers) = (
            crowd.pieces.load(Ordering::Relaxed),
            crowd.answers.load(Ordering::Relaxed),
        );
        wait_until(what, SOON, || {
            crowd.pieces.load(Ordering::Relaxed) >= pieces + 3 * (FLV + TS)
                && crowd.answers.load(Ordering::Relaxed) >= answers + 10 * SHORT
        });
    };
    goes_on("everybody is served at first");

    let upgrade = |from: Option<Pid>| match from {
        Some(pid) => kill_process(pid, Signal::USR2).expect("signalling"),
        None => proxy.signal(Signal::USR2),
    };
    upgrade(None);
    wait_until("the first upgrade", SOON, || successors(&proxy).len() == 1);
    goes_on("everybody is served after the first upgrade");
    let first = successors(&proxy)[0];

    replace(&program, &bad);
    upgrade(Some(first));
    proxy.wait_for_log(|line| line.contains("cannot upgrade"), SOON);
    goes_on("everybody is served after the failed upgrade");

    replace(&program, good);
    upgrade(Some(first));
    wait_until("the third upgrade", SOON, || successors(&proxy).len() == 2);
    goes_on("everybody is served after the third upgrade");

    crowd.over.store(true, Ordering::Relaxed);
    let failed = viewers
        .into_iter()
        .filter_map(|viewer| viewer.join().err())
        .count();
    assert_eq!(failed, 0, "viewers that lost something");
    proxy.assert_no_panic();
}
