//! Where Redis is, and getting in.

use crate::balancer::redis::pipeline::one_line;
use crate::config::RedisSettings;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult,
};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Connecting, and each read and write: Redis answers in less than a millisecond, or something is
/// wrong.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The Redis of the settings.
#[derive(Clone)]
pub struct RedisAddress {
    settings: RedisSettings,
}

/// Why Redis cannot be used; one line that names host and port, and never the password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Redis at {address}: {why}")]
pub struct BadRedis {
    address: String,
    why: String,
    /// Whether it may be a Redis that has just been started: nobody listens yet, or it reads its data.
    pub may_pass: bool,
}

/// `host:port`.
impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisSettings {
            host, port, url, ..
        } = &self.settings;
        if let Some(url) = url {
            // What the URL leads to, without user and password.
            let info = url.as_str().into_connection_info();
            return info.map_err(|_| fmt::Error)?.addr().fmt(f);
        }
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

impl RedisAddress {
    /// That Redis.
    pub fn new(settings: &RedisSettings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    /// Connects, within half a second for each step, and sees that Redis talks to us.
    ///
    /// # Errors
    /// [`BadRedis`].
    pub fn connect(&self) -> Result<Connection, BadRedis> {
        self.try_connect().map_err(|error| self.explain(&error))
    }

    fn try_connect(&self) -> RedisResult<Connection> {
        let mut connection = Client::open(self.info()?)?.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        redis::cmd("PING").query::<()>(&mut connection)?;
        Ok(connection)
    }

    /// Where to connect and how to get in: what the URL says, else host, port, password and database.
    fn info(&self) -> RedisResult<ConnectionInfo> {
        let settings = &self.settings;
        let info = match &settings.url {
            Some(url) => url.as_str().into_connection_info()?,
            None => {
                let mut redis = RedisConnectionInfo::default().set_db(settings.db);
                if let Some(password) = &settings.password {
                    redis = redis.set_password(password);
                }
                ConnectionAddr::Tcp(settings.host.clone(), settings.port)
                    .into_connection_info()?
                    .set_redis_settings(redis)
            }
        };
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(redis))
    }

    /// What an error means for whoever wrote the settings.
    pub fn explain(&self, error: &RedisError) -> BadRedis {
        let text = one_line(error);
        let db = self.settings.db;
        let why = if error.code() == Some("NOAUTH") || text.contains("Authentication required") {
            "it wants a password (PROXY_REDIS_PASSWORD)".to_owned()
        } else if error.kind() == ErrorKind::AuthenticationFailed
            || error.code() == Some("WRONGPASS")
        {
            format!("the password is refused (PROXY_REDIS_PASSWORD): {text}")
        } else if text.contains("DB index") || text.contains("SELECT") || text.contains("database")
        {
            format!("there is no database {db} (PROXY_REDIS_DB): {text}")
        } else if error.is_timeout() {
            "no answer within 0.5 s (PROXY_REDIS_HOST, PROXY_REDIS_PORT)".to_owned()
        } else if error.is_io_error() {
            format!("{text} (PROXY_REDIS_HOST, PROXY_REDIS_PORT)")
        } else {
            text
        };
        BadRedis {
            address: self.to_string(),
            why,
            may_pass: error.is_io_error() || error.is_timeout() || error.code() == Some("LOADING"),
        }
    }
}
