//! How a server speaks: the headers that each of its responses carries, and the form of its errors.

use crate::http::head::Version;
use std::borrow::Cow;

/// The `Server` header of every response.
pub const SERVER: &str = concat!("srs-stream-proxy/", env!("CARGO_PKG_VERSION"));

/// The servers of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerProfile {
    /// Players: every web page may read the answers; errors are a line of text.
    Players,
    /// Origins and operators: no web page may; errors are JSON.
    Operators,
    /// Viewers of a lab origin, which speaks as SRS does.
    Lab,
}

/// The headers that let any web page play a stream (Fetch standard, CORS protocol).
const CORS: &str = "Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Headers: *\r\n\
    Access-Control-Allow-Methods: *\r\n\
    Access-Control-Expose-Headers: *\r\n";

impl ServerProfile {
    /// Whole header lines that go with every response.
    pub fn headers(self) -> &'static str {
        match self {
            Self::Players => CORS,
            Self::Operators => "X-Content-Type-Options: nosniff\r\n",
            Self::Lab => "",
        }
    }

    /// The `Connection` line of a response, whole; empty where HTTP's default is meant. SRS always says
    /// `Close`, and yet keeps the connection of a client that wants it kept.
    pub fn connection(self, keep_alive: bool, version: Version) -> &'static str {
        match (self, keep_alive, version) {
            (Self::Lab, _, _) => "Connection: Close\r\n",
            (_, true, Version::Http11) => "",
            (_, true, Version::Http10) => "Connection: keep-alive\r\n",
            (_, false, _) => "Connection: close\r\n",
        }
    }

    /// The body of an error and its type. `message` is one line that says what to do.
    pub fn error(self, status: u16, message: &str) -> (&'static str, String) {
        match self {
            Self::Players | Self::Lab => ("text/plain; charset=utf-8", format!("{message}\n")),
            Self::Operators => (
                "application/json",
                format!(
                    "{}\n",
                    serde_json::json!({"code": status, "message": message})
                ),
            ),
        }
    }

    /// A path as the log may have it: a heartbeat's last segment can be the token, also where its URL
    /// has a wrong prefix or port.
    pub fn log_path(self, path: &str) -> Cow<'_, str> {
        const REGISTER: &str = "/srs/register/";
        match path.find(REGISTER) {
            Some(at) => format!("{}…", &path[..at + REGISTER.len()]).into(),
            None => path.into(),
        }
    }
}

/// The reason phrase of a status (RFC 9110 section 15); empty for an unknown one.
pub fn reason(status: u16) -> &'static str {
    match status {
        416 => "Range Not Satisfiable",
        508 => "Loop Detected",
        _ => tiny_http::StatusCode(status).default_reason_phrase(),
    }
}
