//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a load balancer that relays TCP tells whose
//! connection this is, in a header before the first request.

use ppp::{HeaderResult, PartialResult, v1, v2};
use std::net::{IpAddr, SocketAddr};

/// The longest header that is read, in bytes. Version 1 ends after 107; version 2 may have fields of any kind behind the
/// addresses, such as those of a TLS connection.
pub const MAX_HEADER: usize = 4096;
/// The longest header of version 1, in bytes.
const MAX_LINE: usize = 107;

/// What the bytes at the beginning of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, as far as it goes.
    Partial,
    /// A header of so many bytes. The address is the client's; `None` where the load balancer speaks for itself (a
    /// health check) or does not know.
    Header(usize, Option<SocketAddr>),
    /// No header, or a malformed one.
    Malformed,
}

/// Reads the header at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let prefixes: [&[u8]; 2] = [v1::PROTOCOL_PREFIX.as_bytes(), v2::PROTOCOL_PREFIX];
    let begins = |prefix: &&[u8]| prefix.iter().zip(bytes).all(|(one, other)| one == other);
    if !prefixes.iter().any(begins) {
        return Parsed::Malformed;
    }
    // The parser takes some beginnings of a version 1 header for malformed ones: it gets whole lines.
    if bytes.starts_with(v1::PROTOCOL_PREFIX.as_bytes())
        || (bytes.len() < v1::PROTOCOL_PREFIX.len() && !bytes.starts_with(b"\r"))
    {
        let line = &bytes[..bytes.len().min(MAX_LINE)];
        if !line.windows(2).any(|two| two == b"\r\n") {
            return match bytes.len() < MAX_LINE {
                true => Parsed::Partial,
                false => Parsed::Malformed,
            };
        }
    }
    let parsed = HeaderResult::parse(bytes);
    if parsed.is_incomplete() {
        return match bytes.len() < MAX_HEADER {
            true => Parsed::Partial,
            false => Parsed::Malformed,
        };
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(it) => Some((IpAddr::V4(it.source_address), it.source_port)),
                v1::Addresses::Tcp6(it) => Some((IpAddr::V6(it.source_address), it.source_port)),
                v1::Addresses::Unknown => None,
            };
            Parsed::Header(header.header.len(), client.map(address))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match header.addresses {
                v2::Addresses::IPv4(it) => Some((IpAddr::V4(it.source_address), it.source_port)),
                v2::Addresses::IPv6(it) => Some((IpAddr::V6(it.source_address), it.source_port)),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            let own = header.command == v2::Command::Local;
            Parsed::Header(header.len(), client.filter(|_| !own).map(address))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Parsed::Malformed,
    }
}

fn address((ip, port): (IpAddr, u16)) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[0x20 | command, family], &length, rest].concat()
    }

    #[test]
    fn headers_of_both_versions() {
        let client: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let client6: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        v6.extend([0; 16]);
        v6.extend([0x12, 0x67, 0, 80]);
        let with_tlv = [&v4[..], &[0x04, 0, 1, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(),
                Some(client),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(),
                Some(client6),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(1, 0x11, &v4), Some(client)),
            (v2(1, 0x11, &with_tlv), Some(client)),
            (v2(1, 0x21, &v6), Some(client6)),
            (v2(0, 0x11, &v4), None),
            (v2(0, 0, &[]), None),
        ] {
            let text = String::from_utf8_lossy(&header).into_owned();
            let expected = Parsed::Header(header.len(), expected);
            assert_eq!(
                parse(&[&header, &b"GET / HTTP/1.1"[..]].concat()),
                expected,
                "{text}"
            );
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Parsed::Partial, "{text} at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            b"PROXY TCP4 nobody 10.0.0.1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n",
            b"PROXX",
            b"\r\n\r\nGET",
        ] {
            assert_eq!(
                parse(bad),
                Parsed::Malformed,
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        let endless = [b"PROXY TCP4 ", &[b'1'; MAX_HEADER][..]].concat();
        assert_eq!(parse(&endless), Parsed::Malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[V2, &bytes].concat());
            let _ = parse(&[b"PROXY ", &bytes[..]].concat());
        }
    }
}
