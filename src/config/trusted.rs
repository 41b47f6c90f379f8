//! Peers whose forwarding headers are believed.

use ipnet::IpNet;
use std::net::IpAddr;

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
