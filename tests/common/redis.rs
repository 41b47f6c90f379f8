//! A real Redis: Debian's server, empty, on a port of its own.

use super::process::Process;
use super::proxy::Proxy;
use super::{SOON, tools, wait::wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A running Redis. Dropped, it is killed.
pub struct RedisServer {
    process: Process,
    addr: SocketAddr,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts it on a free port of `127.0.0.1`.
    ///
    /// # Panics
    /// When `redis-server` is missing or does not start.
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// Starts it with further arguments, such as `--requirepass`.
    pub fn start_with(arguments: &[&str]) -> RedisServer {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        // The port is free when it is looked for, not surely when Redis binds it: then another one.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
            let addr = port.expect("a free port");
            if let Some(process) = launch(addr, &arguments, &directory) {
                return RedisServer {
                    process,
                    addr,
                    arguments,
                    directory,
                };
            }
        }
        panic!("redis-server does not start");
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it; it keeps nothing.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on its port, empty.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.process = wait_for("Redis was started again", SOON, || {
            launch(self.addr, &self.arguments, &self.directory)
        });
    }

    /// Its process id.
    pub fn pid(&self) -> rustix::process::Pid {
        self.process.pid()
    }

    /// A connection of the test's own.
    #[track_caller]
    pub fn connection(&self) -> redis::Connection {
        connect(self.addr).expect("connecting to Redis")
    }

    /// A connection with a password, to a database.
    #[track_caller]
    pub fn connection_as(&self, password: &str, db: i64) -> redis::Connection {
        let (host, port) = (self.addr.ip(), self.addr.port());
        let url = format!("redis://:{password}@{host}:{port}/{db}");
        let client = redis::Client::open(url).expect("a URL");
        client
            .get_connection_with_timeout(SOON)
            .expect("connecting to Redis")
    }

    /// Sends one command, words with blanks between, and gives the answer.
    #[track_caller]
    pub fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query(&mut self.connection());
        answer.unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// What all clients send from now on, a line each, as Redis's MONITOR shows it.
    #[track_caller]
    pub fn monitor(&self) -> Monitor {
        let mut stream = TcpStream::connect(self.addr).expect("connecting to Redis");
        stream.write_all(b"MONITOR\r\n").expect("asking to monitor");
        let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let first = lines.next().expect("an answer").expect("a line");
        assert_eq!(first, "+OK");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                collected.lock().expect("lines").push(line);
            }
        });
        Monitor { stream, seen }
    }

    /// The text of a key.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<String> {
        self.run(&["GET", key])
    }

    /// The JSON of a key; null where there is none.
    #[track_caller]
    pub fn json(&self, key: &str) -> serde_json::Value {
        let text = self.get(key).unwrap_or("null".to_owned());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{key}: {e} in {text}"))
    }

    /// A key's remaining life in seconds; -1 for ever, -2 where there is no key.
    #[track_caller]
    pub fn ttl(&self, key: &str) -> i64 {
        self.run(&["TTL", key])
    }

    /// A proxy of ours that shares this Redis.
    #[track_caller]
    pub fn proxy(&self, settings: &[(&str, &str)]) -> Proxy {
        let builder = Proxy::builder()
            .env("PROXY_LOAD_BALANCER_TYPE", "redis")
            .env("PROXY_REDIS_PORT", self.addr.port());
        settings
            .iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value))
            .start()
    }
}

/// Watches what Redis is sent until it is dropped.
pub struct Monitor {
    stream: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Monitor {
    /// How many commands so far have all these words.
    pub fn count(&self, words: &[&str]) -> usize {
        let seen = self.seen.lock().expect("lines");
        seen.iter()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn connect(addr: SocketAddr) -> redis::RedisResult<redis::Connection> {
    redis::Client::open((addr.ip().to_string(), addr.port()))?.get_connection_with_timeout(SOON)
}

fn launch(addr: SocketAddr, arguments: &[String], directory: &TempDir) -> Option<Process> {
    let mut command = tools::command("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(addr.port().to_string())
        .arg("--dir")
        .arg(directory.path())
        .args(arguments);
    let mut process = Process::start("redis-server", &mut command);
    let up = wait_for("Redis answered or ended", SOON, || {
        if process.try_exit().is_some() {
            return Some(false);
        }
        match redis::cmd("PING").query::<String>(&mut connect(addr).ok()?) {
            Ok(_) => Some(true),
            Err(error) => (error.code() == Some("NOAUTH")).then_some(true),
        }
    });
    up.then_some(process)
}
