//! Peers whose forwarding headers are believed.

use crate::http::Headers;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Hops that a request has come by at most: a longer list is somebody's joke, and would grow on its way.
const MAX_HOPS: usize = 64;

/// The networks whose `X-Forwarded-*` headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and CIDRs with commas between: `10.0.0.0/8, ::1`. Empty, or `none`, is nobody.
    ///
    /// # Errors
    /// What is accepted, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if matches!(text.trim(), "" | "none") {
            return Ok(Self::default());
        }
        text.split(',')
            .map(|part| network(part.trim()))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| {
                "IP addresses and CIDRs with commas between, such as 127.0.0.0/8,::1/128, or none"
                    .to_owned()
            })
    }

    /// Whether `peer` is in one of the networks. An IPv4-mapped IPv6 address, which is how a socket for
    /// both shows IPv4 peers, counts as IPv4; `::/0` holds no IPv4 address.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// The address of the viewer whose request `peer` sends; see [`TrustedProxies::chain`].
    pub fn viewer(&self, headers: &Headers, peer: IpAddr) -> IpAddr {
        self.chain(headers, peer).first().copied().unwrap_or(peer)
    }

    /// The addresses that a request has come by, as far as they can be believed: the viewer first, `peer` last.
    ///
    /// Each proxy appends to `X-Forwarded-For` whom the request came from. So from the right, each entry is believed as
    /// long as the one behind it is trusted, and the viewer is the rightmost that is not. What stands before it the viewer wrote
    /// itself. An entry that is no address ends the chain. `X-Real-IP` counts only where there is no
    /// `X-Forwarded-For`: some proxies pass on what the player wrote there.
    pub fn chain(&self, headers: &Headers, peer: IpAddr) -> Vec<IpAddr> {
        let mut chain = vec![peer];
        if !self.contains(peer) {
            return chain;
        }
        if headers.count("x-forwarded-for") == 0 {
            chain.extend(headers.one("x-real-ip").and_then(address));
        } else {
            let entries: Vec<&[u8]> = headers.tokens("x-forwarded-for").collect();
            for entry in entries.into_iter().rev().take(MAX_HOPS) {
                let Some(before) = address(entry) else { break };
                chain.push(before);
                if !self.contains(before) {
                    break;
                }
            }
        }
        chain.reverse();
        chain
    }
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address = bare.unwrap_or(text).parse().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().ok()?,
    };
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    let mapped = network.addr().to_canonical();
    match network.prefix_len().checked_sub(96) {
        Some(bits) if mapped.is_ipv4() && network.addr().is_ipv6() => IpNet::new(mapped, bits).ok(),
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (list, inside, outside) in [
            (
                "127.0.0.0/8,::1/128",
                vec!["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
                vec!["128.0.0.1", "126.255.255.255", "::2", "::"],
            ),
            (
                "10.1.2.3",
                vec!["10.1.2.3", "::ffff:10.1.2.3"],
                vec!["10.1.2.4"],
            ),
            (
                " 10.1.2.3/8 , 192.168.0.0/16 ",
                vec!["10.0.0.0", "192.168.255.1"],
                vec!["192.169.0.1", "11.0.0.0"],
            ),
            (
                "0.0.0.0/0",
                vec!["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
                vec!["::1"],
            ),
            (
                "::/0",
                vec!["::", "ffff::1"],
                vec!["1.2.3.4", "::ffff:1.2.3.4"],
            ),
            (
                "2001:db8::/33",
                vec!["2001:db8:7fff::1"],
                vec!["2001:db8:8000::1"],
            ),
            (
                "::ffff:10.0.0.0/104",
                vec!["10.9.9.9", "::ffff:10.9.9.9"],
                vec!["11.0.0.0", "::a00:1"],
            ),
            ("", vec![], vec!["127.0.0.1", "::1"]),
            ("none", vec![], vec!["127.0.0.1", "::1"]),
        ] {
            let proxies = TrustedProxies::parse(list).unwrap();
            for peer in inside {
                assert!(
                    proxies.contains(peer.parse().unwrap()),
                    "{peer} in {list:?}"
                );
            }
            for peer in outside {
                assert!(
                    !proxies.contains(peer.parse().unwrap()),
                    "{peer} not in {list:?}"
                );
            }
        }
    }

    #[test]
    fn the_viewer_is_the_rightmost_that_is_not_trusted() {
        let proxies = TrustedProxies::parse("10.0.0.0/8,::1").unwrap();
        for (lines, peer, chain) in [
            // (header lines, peer, the chain from the viewer to the peer)
            (&[][..], "10.0.0.1", "10.0.0.1"),
            (&["x-forwarded-for: 1.1.1.1"], "192.0.2.1", "192.0.2.1"),
            (&["x-real-ip: 1.1.1.1"], "192.0.2.1", "192.0.2.1"),
            (
                &["x-forwarded-for: 1.1.1.1"],
                "10.0.0.1",
                "1.1.1.1 10.0.0.1",
            ),
            (
                &["x-forwarded-for: 9.9.9.9, 1.1.1.1"],
                "10.0.0.1",
                "1.1.1.1 10.0.0.1",
            ),
            (
                &[
                    "x-forwarded-for: 9.9.9.9, 1.1.1.1",
                    "X-Forwarded-For: 10.0.0.2",
                ],
                "10.0.0.1",
                "1.1.1.1 10.0.0.2 10.0.0.1",
            ),
            (
                &["x-forwarded-for: 10.0.0.3, 10.0.0.2"],
                "::1",
                "10.0.0.3 10.0.0.2 ::1",
            ),
            (
                &["x-forwarded-for: 1.1.1.1, unknown"],
                "10.0.0.1",
                "10.0.0.1",
            ),
            (
                &["x-forwarded-for: 1.1.1.1, _x, 10.0.0.2"],
                "10.0.0.1",
                "10.0.0.2 10.0.0.1",
            ),
            (&["x-forwarded-for: "], "10.0.0.1", "10.0.0.1"),
            (
                &["x-forwarded-for: 1.1.1.1:80"],
                "10.0.0.1",
                "1.1.1.1 10.0.0.1",
            ),
            (
                &["x-forwarded-for: [2001:db8::1]:80"],
                "10.0.0.1",
                "2001:db8::1 10.0.0.1",
            ),
            (
                &["x-forwarded-for: ::ffff:10.0.0.2"],
                "10.0.0.1",
                "10.0.0.2 10.0.0.1",
            ),
            (&["x-real-ip: 1.1.1.1"], "10.0.0.1", "1.1.1.1 10.0.0.1"),
            (&["x-real-ip: nonsense"], "10.0.0.1", "10.0.0.1"),
            (
                &["x-real-ip: 9.9.9.9", "x-forwarded-for: 1.1.1.1"],
                "10.0.0.1",
                "1.1.1.1 10.0.0.1",
            ),
        ] {
            let headers = lines.iter().filter_map(|line| line.split_once(": "));
            let headers = Headers::of(headers.map(|(name, value)| (name, value.as_bytes())));
            let peer = peer.parse().unwrap();
            let found = proxies.chain(&headers, peer);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), chain, "{lines:?} from {peer}");
            assert_eq!(proxies.viewer(&headers, peer).to_string(), found[0]);
        }
    }

    #[test]
    fn bad_lists_are_refused() {
        for list in [
            "localhost",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0/8",
            "1.2.3.4,,5.6.7.8",
            "1.2.3.4,",
            "1.2.3.4/8/8",
            "1.2.3.4:80",
            "none,::1",
        ] {
            assert!(TrustedProxies::parse(list).is_err(), "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_where_the_leading_bits_agree(network: u32, peer: u32, near: bool, bits in 0u32..=32, flip in 0u32..32) {
            // Unrelated addresses hardly ever share bits, so half of the peers differ in one bit only.
            let peer = if near { network ^ (1 << flip) } else { peer };
            let list = format!("{}/{bits}", std::net::Ipv4Addr::from(network));
            let expected = (0..bits).all(|bit| (network ^ peer) & (1 << (31 - bit)) == 0);
            let proxies = TrustedProxies::parse(&list).unwrap();
            prop_assert_eq!(proxies.contains(std::net::Ipv4Addr::from(peer).into()), expected);
        }
    }
}
