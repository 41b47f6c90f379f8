//! Who a lab origin is, in the words of SRS's heartbeat and API.

use std::process;

/// The ids of one lab origin from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name that its user gave it.
    pub device: String,
    /// Of the installation: the same after a restart, and another for each lab origin of a host. SRS keeps
    /// a random one in a file; here device and port tell it.
    pub server: String,
    /// Of the service: new with each start.
    pub service: String,
    /// Of the process.
    pub pid: String,
    /// Where it serves both media and API.
    pub port: u16,
}

impl Identity {
    /// The identity of an origin that starts now.
    pub fn new(device: &str, port: u16) -> Self {
        Self {
            device: device.to_owned(),
            server: format!("vid-{device}-{port}"),
            service: word(8),
            pid: process::id().to_string(),
            port,
        }
    }
}

/// A random word of so many digits and small letters, as SRS's ids are.
pub fn word(length: usize) -> String {
    (0..length).map(|_| fastrand::digit(36)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_has_the_same_server_and_another_service() {
        let [first, again, other] = [8080, 8080, 8081].map(|port| Identity::new("lab", port));
        assert_eq!(first.server, again.server);
        assert_ne!(first.service, again.service);
        assert_ne!(first.server, other.server);
    }

    #[test]
    fn words_are_digits_and_small_letters() {
        let word = word(1000);
        assert_eq!(word.len(), 1000);
        let fits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        assert!(word.bytes().all(fits), "{word}");
    }
}
