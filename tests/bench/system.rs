//! What the benchmark wants of the machine: descriptors, programs, free ports, and patience.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::Result;

/// Raises the limit of open files to its hard limit, for this process and all that it starts.
pub fn raise_descriptor_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("raising the limit of open files: {error}"))
}

/// How many files this process may open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// Processors of this machine.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The path of an installed program. Debian keeps servers in `/usr/sbin`, which is not in everybody's `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is not installed; on Debian: apt install {name}"))
}

/// A loopback port that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|error| format!("looking for a free port: {error}"))?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|error| format!("looking for a free port: {error}"))
}

/// A listener on a free loopback port that holds a crowd which comes all at once; std's holds 128.
pub fn listen() -> io::Result<TcpListener> {
    listen_at(loopback(0))
}

/// The same on a given address.
pub fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// `port` on loopback.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Writes a file, with an error that names it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, content).map_err(|error| format!("writing {}: {error}", path.display()))
}

/// Makes a directory and those above it.
pub fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| format!("making {}: {error}", path.display()))
}

/// Waits until `address` takes a connection, at most 10 s. `alive` fails when there is nothing to wait for any more.
pub fn wait_until_listening(
    address: SocketAddr,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        alive()?;
        if Instant::now() > deadline {
            return Err(format!("nothing listens on {address} after 10 s"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    alive()
}
