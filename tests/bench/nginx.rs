//! Starting nginx, as an origin and as a peer.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::children::Server;
use crate::system::{self, cores, descriptor_limit, loopback, program};

/// Starts nginx with this content of its `http` block. Its `server` listens on `port`.
pub fn start(directory: &Path, port: u16, http: &str) -> Result<Server> {
    // Only root may name a user, and only as root do workers become another one, who could not read the files here.
    let user = if rustix::process::getuid().is_root() {
        "user root;"
    } else {
        ""
    };
    // `multi_accept`: a worker that is busy with thousands of live streams would otherwise take one new viewer a turn,
    // and some of 4000 would never be let in.
    let config = format!(
        "daemon off;
        {user}
        worker_processes {workers};
        worker_rlimit_nofile {descriptors};
        pid {directory}/nginx.pid;
        error_log stderr error;
        events {{ worker_connections 10000; multi_accept on; }}
        http {{
            access_log off;
            sendfile on;
            tcp_nopush on;
            tcp_nodelay on;
            keepalive_requests 100000000;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            {http}
        }}\n",
        workers = cores(),
        descriptors = descriptor_limit(),
        directory = directory.display(),
    );
    let file = directory.join("nginx.conf");
    system::write(&file, config)?;
    let mut command = Command::new(program("nginx")?);
    command
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&file)
        .args(["-e", "stderr"]);
    let mut server = Server::start("nginx", &mut command, directory)?;
    system::wait_until_listening(loopback(port), || server.check_alive())?;
    Ok(server)
}
