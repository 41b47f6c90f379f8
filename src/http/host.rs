//! Who a peer is by its address, and whether a `Host` can be a name that somebody else made to point here.

use crate::http::head::host_name;
use std::net::IpAddr;

/// Last parts of names that no public name server answers for: mDNS (RFC 6762), the machine itself (RFC 6761), private
/// networks (ICANN 2024), and Kubernetes.
const PRIVATE: [&str; 5] = [
    ".localhost",
    ".local",
    ".internal",
    ".svc",
    ".svc.cluster.local",
];

/// Whether no public web page can have made this host point here (DNS rebinding): an IP address, a name without a dot, as
/// compose gives to services, or one below a private name.
pub fn is_private_host(host: &str) -> bool {
    let name = host_name(host).trim_end_matches('.').to_ascii_lowercase();
    let private = |end: &str| name.len() > end.len() && name.ends_with(end);
    name.parse::<IpAddr>().is_ok() || !name.contains('.') || PRIVATE.iter().any(|end| private(end))
}

/// Loopback, private and link-local networks (RFC 1918, RFC 4193, RFC 3927, RFC 4291).
pub fn is_near(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_can_be_made_to_point_anywhere() {
        for host in [
            "127.0.0.1",
            "[::1]:12025",
            "8.8.8.8:80",
            "localhost:12025",
            "proxy:12025",
            "tv.localhost",
            "Studio.Local:1",
            "proxy.internal",
            "proxy.video.svc",
            "proxy.video.svc.cluster.local.",
        ] {
            assert!(is_private_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:12025",
            "internal.evil.example",
            "xlocal.example",
            "a.notlocal",
            "evil.example.",
            "svc.cluster.local.evil.example",
        ] {
            assert!(!is_private_host(host), "{host}");
        }
    }

    #[test]
    fn near_and_far() {
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "0.0.0.0",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
