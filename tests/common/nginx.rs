//! A real server as origin: nginx on a directory.

use super::process::Process;
use super::{SOON, tools, wait::wait_for};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use tempfile::TempDir;

/// A running nginx. Dropped, it is killed.
pub struct Nginx {
    process: Process,
    addr: SocketAddr,
    directory: TempDir,
}

impl Nginx {
    /// Serves the files beneath `root` on a free port.
    ///
    /// # Panics
    /// When nginx is missing or does not start.
    pub fn start(root: &Path) -> Nginx {
        Nginx::start_with(root, "")
    }

    /// The same with more lines for the server, such as locations.
    ///
    /// # Panics
    /// As [`Nginx::start`].
    pub fn start_with(root: &Path, lines: &str) -> Nginx {
        // The port is free when it is looked for, not surely when nginx binds it: then another one.
        for _ in 0..5 {
            if let Some(nginx) = Nginx::try_start(root, lines) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn try_start(root: &Path, lines: &str) -> Option<Nginx> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
        let addr = port.expect("a free port");
        let config = directory.path().join("nginx.conf");
        std::fs::write(&config, configuration(root, directory.path(), addr, lines))
            .expect("writing nginx.conf");
        let mut command = tools::command("nginx");
        command
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&config)
            .args(["-e", "error.log"]);
        let mut nginx = Nginx {
            process: Process::start("nginx", &mut command),
            addr,
            directory,
        };
        let up = wait_for("nginx answered or ended", SOON, || {
            if nginx.process.try_exit().is_some() {
                return Some(false);
            }
            TcpStream::connect(addr).ok().map(|_| true)
        });
        up.then_some(nginx)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its access log so far: method, target, status, a line each.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

/// One process, everything in its own directory, and the types of media.
fn configuration(root: &Path, own: &Path, addr: SocketAddr, lines: &str) -> String {
    let (root, own) = (root.display(), own.display());
    // Started by root, it would read the files as somebody else and be refused.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; master_process off; {user} pid {own}/nginx.pid; error_log {own}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format plain '$request_method $request_uri $status';
    access_log {own}/access.log plain;
    client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi;
    types {{
        video/x-flv flv; video/mp2t ts; application/vnd.apple.mpegurl m3u8; video/iso.segment m4s;
        video/mp4 mp4; audio/aac aac; audio/mpeg mp3; application/octet-stream key; text/html html;
    }}
    keepalive_timeout 65; sendfile on; tcp_nodelay on;
    server {{ listen {addr}; root {root}; {lines} }}
}}
"
    )
}
