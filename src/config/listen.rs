//! Listen addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where to listen: an address, or every interface, and a port, of which 0 is any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The interface's address; `None` is all interfaces.
    pub host: Option<IpAddr>,
    /// The TCP port; 0 has the system choose.
    pub port: u16,
}

impl Listen {
    /// Reads `18080`, `:18080`, `127.0.0.1:18080` or `[::1]:18080`.
    ///
    /// # Errors
    /// What is accepted, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_prefix(':').unwrap_or(text).parse() {
            // u16's own reader takes a plus sign.
            Ok(port)
                if text
                    .trim_start_matches(':')
                    .starts_with(|c: char| c.is_ascii_digit()) =>
            {
                Some(Self { host: None, port })
            }
            _ => text.parse().ok().and_then(|address| match address {
                // A scope is lost in an `IpAddr`: better refused than ignored.
                SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
                address => Some(Self {
                    host: Some(address.ip()),
                    port: address.port(),
                }),
            }),
        };
        parsed.ok_or_else(|| {
            "a port up to 65535, alone or after an IP address: 18080, :18080, 127.0.0.1:18080, [::1]:18080"
                .to_owned()
        })
    }

    /// The addresses to try to bind, in this order, until one works: for all interfaces the IPv6 one,
    /// which on Linux takes IPv4 too unless it is told otherwise, then IPv4 for hosts without IPv6.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let any = [
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            Ipv4Addr::UNSPECIFIED.into(),
        ];
        match self.host {
            Some(ip) => vec![SocketAddr::new(ip, self.port)],
            None => any.map(|ip| SocketAddr::new(ip, self.port)).to_vec(),
        }
    }
}

/// As it is written: `:18080`, `127.0.0.1:18080`, `[::1]:18080`.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for (text, host, port, shown) in [
            ("18080", None, 18080, ":18080"),
            (":18080", None, 18080, ":18080"),
            ("0", None, 0, ":0"),
            (
                "127.0.0.1:18080",
                Some("127.0.0.1"),
                18080,
                "127.0.0.1:18080",
            ),
            ("0.0.0.0:80", Some("0.0.0.0"), 80, "0.0.0.0:80"),
            ("[::1]:18080", Some("::1"), 18080, "[::1]:18080"),
            ("[::]:0", Some("::"), 0, "[::]:0"),
        ] {
            let listen = Listen::parse(text).unwrap();
            let host = host.map(|host| host.parse::<IpAddr>().unwrap());
            assert_eq!(listen, Listen { host, port }, "{text}");
            assert_eq!(listen.to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            "abc",
            "65536",
            "-1",
            "+80",
            ":+80",
            "::80",
            " 80",
            "80 ",
            "80:",
            "1.2.3:80",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:70000",
            "localhost:80",
            "::1:80",
            "[::1]",
            "[fe80::1%2]:80",
            "*:80",
            "tcp://:80",
        ] {
            assert!(Listen::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn all_interfaces_are_tried_over_ipv6_first() {
        let addresses = |text| Listen::parse(text).unwrap().addresses();
        assert_eq!(
            addresses("80"),
            ["[::]:80", "0.0.0.0:80"].map(|a| a.parse().unwrap())
        );
        assert_eq!(addresses("127.0.0.1:80"), ["127.0.0.1:80".parse().unwrap()]);
    }
}
