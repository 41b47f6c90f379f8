//! Every setting of the proxy: its name, default, unit, check and help text, once.
//!
//! A setting has one name in two spellings: `--http-server` on the command line is `PROXY_HTTP_SERVER`
//! in the environment and in `.env`. [`parse`] takes the first of flag, environment, `.env` in the
//! working directory and default; an empty value in the environment or in `.env` counts as not set.
//! Nothing else in this crate reads settings from the environment.

mod dotenv;
mod error;
mod hook;
mod listen;
mod names;
mod packages;
mod sources;
mod static_origin;
#[cfg(test)]
mod tests;
mod trusted;
mod values;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;

use crate::logging::LogFormat;
use log::LevelFilter;

pub use error::ConfigError;
pub use hook::{HookFail, HookList, HookUrl};
pub use listen::Listen;
pub use packages::{Package, PrintArgs, Shell};
pub use sources::{command_line, parse, parse_from};
pub use static_origin::{OriginList, StaticOrigin};
pub use trusted::TrustedProxies;
pub use values::{LoadBalancerType, MaxStreams, TryUnlisted};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// The proxy itself: no word on the command line.
    Proxy(Config),
    /// `demo`: the proxy and lab origins in one process.
    Demo(Config),
    /// `origin`: one lab origin.
    Origin(OriginArgs),
    /// `health`: whether the proxy of these settings is ready.
    Health(HealthArgs),
    /// `print`: a file for running the proxy somewhere.
    Print(PrintArgs),
}

/// The settings of the proxy, checked and ready to use.
#[derive(clap::Args)]
#[group(skip)]
pub struct Config {
    /// Listen address for players; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "18080", value_parser = Listen::parse)]
    pub http_server: Listen,

    /// Listen address for origins and operators; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "12025", value_parser = Listen::parse)]
    pub system_api: Listen,

    /// Listen address for players by HTTPS, beside the other; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", value_parser = Listen::parse)]
    pub https_server: Option<Listen>,

    /// PEM file of the certificate for HTTPS and those between it and the root; read again when it changes
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub https_cert: Option<PathBuf>,

    /// PEM file of the certificate's private key, where it is not in the file of the certificate
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub https_key: Option<PathBuf>,

    /// on: the System API speaks HTTPS only, with the same certificate; SRS sends heartbeats by HTTP only
    #[arg(id = "system_api_tls", long = "system-api-tls", value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = values::on_off)]
    pub system_api_tls: bool,

    /// Directory of web pages to serve instead of the embedded ones; must exist
    #[arg(long, value_name = "DIRECTORY", value_parser = values::directory)]
    pub static_files: Option<PathBuf>,

    /// Where origins and pins are kept: memory, or redis to share them among proxies
    #[arg(long, value_name = "TYPE", default_value = "memory", value_enum)]
    pub load_balancer_type: LoadBalancerType,

    /// The Redis that several proxies share.
    #[command(flatten)]
    pub redis: RedisSettings,

    #[command(flatten)]
    default_backend_settings: DefaultBackendSettings,

    /// What is odd about the sources, for the log: one line each.
    #[arg(skip)]
    pub warnings: Vec<String>,

    /// The origin to register at start and to keep alive, if one is wanted.
    #[arg(skip)]
    pub default_backend: Option<StaticOrigin>,

    /// Origins that send no heartbeats: http:// or https:// URLs with commas between, such as http://srs1:8080?api=1985
    #[arg(long, value_name = "LIST", value_parser = OriginList::parse)]
    pub origins: Option<OriginList>,

    /// PEM file of the root certificates by which origins on HTTPS are verified, instead of the system's
    #[arg(long, value_name = "FILE", value_parser = values::file)]
    pub origin_ca: Option<PathBuf>,

    /// on: origins on HTTPS are not verified at all; whoever is on the way can pass for them
    #[arg(id = "origin_insecure", long = "origin-insecure", value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = values::on_off)]
    pub origin_insecure: bool,

    /// An origin without a heartbeat for this long is not picked while another is alive
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = values::timeout)]
    pub origin_server_ttl: Duration,

    /// Longest time for connecting to an origin
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = values::timeout)]
    pub connect_timeout: Duration,

    /// Longest wait for an origin's response head
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::timeout)]
    pub response_timeout: Duration,

    /// A stream ends when its origin gives, or its player takes, no byte for this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::timeout)]
    pub stall_timeout: Duration,

    /// A client connection without a request is closed after this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::timeout)]
    pub idle_timeout: Duration,

    /// Most live streams at once; further players get 503 with Retry-After; auto: what descriptors, threads and memory allow
    #[arg(long, value_name = "NUMBER", default_value = "auto", value_parser = values::streams)]
    pub max_streams: MaxStreams,

    /// How long a player is held for a publisher before its 404; 0s is not at all
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::wait)]
    pub stream_wait: Duration,

    /// Origins whose API misses a stream are asked for it all the same: first, last (after the wait) or never
    #[arg(long, value_name = "WHEN", default_value = "last", value_enum)]
    pub try_unlisted: TryUnlisted,

    /// user:password for the origins' HTTP APIs; ps shows flags, so rather set it in the environment
    #[arg(long, value_name = "USER:PASSWORD", value_parser = values::credentials)]
    pub origin_api_auth: Option<String>,

    /// File that has user:password for the origins' HTTP APIs
    #[arg(long, value_name = "FILE")]
    pub origin_api_auth_file: Option<PathBuf>,

    /// Peers whose X-Forwarded-* headers are believed: addresses and CIDRs with commas between, or none
    #[arg(long, value_name = "LIST", default_value = "127.0.0.0/8,::1/128", value_parser = TrustedProxies::parse)]
    pub trusted_proxies: TrustedProxies,

    /// on: players come through a load balancer that sends the PROXY protocol (1 or 2); only trusted peers may
    #[arg(id = "protocol", long = "protocol", value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = values::on_off)]
    pub proxy_protocol: bool,

    /// After SIGTERM or SIGINT what runs may end for this long; the rest is cut and the exit code is 0
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = values::timeout)]
    pub grace_quit_timeout: Duration,

    /// After a signal the process ends after this long whatever happens, with exit code 1
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::timeout)]
    pub force_quit_timeout: Duration,

    /// After SIGUSR2 has started a new process of this program, what runs in the old one may go on for this long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::timeout)]
    pub upgrade_grace: Duration,

    /// When set, System API calls need it; ps shows flags, so rather set it in the environment
    #[arg(long, value_name = "TOKEN", value_parser = values::token)]
    pub system_api_token: Option<String>,

    /// File that has the token, with a line end or without
    #[arg(long, value_name = "FILE")]
    pub system_api_token_file: Option<PathBuf>,

    /// What is logged to stderr: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = values::log_level)]
    pub log_level: LevelFilter,

    /// off: /api/v1/live lists no live streams to the visitors of the player page
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = values::on_off)]
    pub live_list: bool,

    /// Where players reach this proxy, for links: http(s)://HOST, with a port and a path where there are any
    #[arg(long, value_name = "URL", value_parser = values::public_url)]
    pub public_url: Option<String>,

    /// How log lines look: text, or json, one object a line
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// Whether each request has a log line; on or off
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = values::on_off)]
    pub access_log: bool,

    /// Memory for shared HLS segments and playlists, in bytes or as 512KiB, 64MiB, 1GiB; 0 turns it off
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = values::size)]
    pub hls_cache: u64,

    /// on: all viewers of a live stream share one connection to its origin; off: each has its own
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = values::on_off)]
    pub live_share: bool,

    /// on: a new viewer of a shared stream begins at the last key frame; off: at the next one
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = values::on_off)]
    pub gop_cache: bool,

    /// Memory for all shared live streams, in bytes or as 512KiB, 64MiB, 1GiB
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = values::size)]
    pub live_buffer: u64,

    /// A shared stream whose origin breaks off is looked for this long, and goes on in the same responses; 0s is not at all
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::wait)]
    pub live_resume: Duration,

    /// http:// URLs, with commas between, that are asked by SRS's on_play before somebody may watch
    #[arg(long, value_name = "LIST", value_parser = HookList::parse)]
    pub on_play: Option<HookList>,

    /// http:// URLs, with commas between, that are told by SRS's on_stop that somebody has stopped watching
    #[arg(long, value_name = "LIST", value_parser = HookList::parse)]
    pub on_stop: Option<HookList>,

    /// Longest wait for the answer of a hook
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = values::timeout)]
    pub hook_timeout: Duration,

    /// What a viewer gets while a hook does not answer: refuse is a 403, allow the stream
    #[arg(long, value_name = "WHAT", default_value = "refuse", value_enum)]
    pub hook_fail: HookFail,
}

impl Config {
    /// Puts together what takes more than one setting.
    fn finish(mut self) -> Self {
        let backend = &self.default_backend_settings;
        self.default_backend = backend.enabled.then(|| StaticOrigin {
            host: backend.ip.clone(),
            http: backend.http,
            is_secure: false,
            api: Some(backend.api),
            rtmp: Some(backend.rtmp),
        });
        // An empty flag is the way to say "none" over a value in the environment.
        self.system_api_token = self.system_api_token.filter(|token| !token.is_empty());
        self.public_url = self.public_url.filter(|url| !url.is_empty());
        let is_named = |path: &PathBuf| !path.as_os_str().is_empty();
        self.https_cert = self.https_cert.filter(is_named);
        self.https_key = self.https_key.filter(is_named);
        self.origin_ca = self.origin_ca.filter(is_named);
        self.origin_api_auth = self.origin_api_auth.filter(|auth| !auth.is_empty());
        self.redis.password = self.redis.password.filter(|password| !password.is_empty());
        self.redis.url = self.redis.url.filter(|url| !url.is_empty());
        self
    }
}

/// Says where the proxy listens and leaves the rest out: among it is a token.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("http_server", &self.http_server)
            .field("system_api", &self.system_api)
            .finish_non_exhaustive()
    }
}

/// The Redis that several proxies share. Used when the balancer type is `redis`.
#[derive(Clone, clap::Args)]
#[group(skip)]
pub struct RedisSettings {
    /// Name or address of the Redis server
    #[arg(id = "redis_host", long = "redis-host", value_name = "HOST", default_value = "127.0.0.1", value_parser = values::host)]
    pub host: String,

    /// Port of the Redis server
    #[arg(id = "redis_port", long = "redis-port", value_name = "PORT", default_value = "6379", value_parser = values::port)]
    pub port: u16,

    /// Password of the Redis server; ps shows flags, so rather set it in the environment
    #[arg(id = "redis_password", long = "redis-password", value_name = "PASSWORD", value_parser = values::password)]
    pub password: Option<String>,

    /// File that has the password, with a line end or without
    #[arg(
        id = "redis_password_file",
        long = "redis-password-file",
        value_name = "FILE"
    )]
    pub password_file: Option<PathBuf>,

    /// Where and how to reach Redis, in place of host, port, password and database: redis://user:password@host:6379/0, rediss:// for TLS, redis+unix:///path
    #[arg(id = "redis_url", long = "redis-url", value_name = "URL", value_parser = values::redis_url)]
    pub url: Option<String>,

    /// Number of the database in Redis
    #[arg(id = "redis_db", long = "redis-db", value_name = "NUMBER", default_value = "0", value_parser = values::database)]
    pub db: i64,
}

/// Leaves the password out.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

#[derive(clap::Args)]
#[group(skip)]
struct DefaultBackendSettings {
    /// on: register one origin at start and keep it alive without heartbeats
    #[arg(id = "default_backend_enabled", long = "default-backend-enabled", value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = values::on_off)]
    enabled: bool,

    /// Address or name of that origin; a name is looked up again and again
    #[arg(id = "default_backend_ip", long = "default-backend-ip", value_name = "HOST", default_value = "127.0.0.1", value_parser = values::host)]
    ip: String,

    /// Port of its HTTP streams
    #[arg(id = "default_backend_http", long = "default-backend-http", value_name = "PORT", default_value = "8080", value_parser = values::port)]
    http: u16,

    /// Port of its HTTP API
    #[arg(id = "default_backend_api", long = "default-backend-api", value_name = "PORT", default_value = "1985", value_parser = values::port)]
    api: u16,

    /// Port of its RTMP service
    #[arg(id = "default_backend_rtmp", long = "default-backend-rtmp", value_name = "PORT", default_value = "1935", value_parser = values::port)]
    rtmp: u16,
}

/// The arguments of `health`: the settings of the proxy that is asked, and what about.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct HealthArgs {
    #[command(flatten)]
    pub config: Config,

    /// Ask whether it is alive, and not whether it is ready: without an origin it is not ready
    #[arg(id = "live", long = "live")]
    pub live: bool,
}

/// The flags of `origin`. They have no names in the environment: it is a tool for trying things out.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct OriginArgs {
    /// Name of a stream to publish, served as /live/NAME.flv, .ts and .m3u8; may be given several times
    #[arg(id = "stream", long = "stream", value_name = "NAME", default_value = "demo", action = ArgAction::Append, value_parser = values::plain_name)]
    pub streams: Vec<String>,

    /// Listen address; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "8080", value_parser = Listen::parse)]
    pub listen: Listen,

    /// Name of this origin in its heartbeats
    #[arg(long, value_name = "ID", default_value = "lab-origin", value_parser = values::plain_name)]
    pub device_id: String,

    /// http:// URL to send heartbeats to, such as http://127.0.0.1:12025/api/v1/srs/register
    #[arg(long, value_name = "URL", value_parser = values::register_url)]
    pub register: Option<String>,
}
