//! What a single value may be. Each reader gives the value, or says what is accepted.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

/// Where origins and pins are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadBalancerType {
    /// In this process.
    Memory,
    /// In a Redis that several proxies share.
    Redis,
}

/// Most live streams at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStreams {
    /// As many as descriptors, threads and memory allow.
    Auto,
    Number(usize),
}

/// When origins are asked for streams that their APIs do not list: edges pull such streams, and some serve files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TryUnlisted {
    /// At once, before the player is held for a publisher.
    First,
    /// When the player has been held in vain.
    Last,
    /// Not at all.
    Never,
}

/// A user and a password with a colon between. The user has none (RFC 7617 section 2).
pub(super) fn credentials(text: &str) -> Result<String, String> {
    let good = text.is_empty()
        || (text.contains(':') && text.len() <= 1000 && !text.chars().any(char::is_control));
    good.then(|| text.to_owned())
        .ok_or_else(|| "user:password, without control characters".to_owned())
}

/// Nothing of a stream proxy takes longer than a day, and no timeout is too large for a system call.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration that something waits at most: never nothing, which system calls take for "for ever".
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(1)).ok_or_else(|| {
        "a duration from 1ms to 24h with its unit, such as 300ms, 20s, 5m".to_owned()
    })
}

/// A duration that may be nothing.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO).ok_or_else(|| {
        "a duration up to 24h with its unit, such as 300ms, 20s, 5m, or 0s".to_owned()
    })
}

fn duration(text: &str, least: Duration) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| (least..=LONGEST).contains(duration))
}

/// Bytes: `67108864`, `512KiB`, `64MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: Option<u64> = match &text[digits.len()..] {
        "" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number(digits)
        .zip(unit)
        .and_then(|(number, unit): (u64, _)| number.checked_mul(unit))
        .ok_or_else(|| "bytes, or a size such as 512KiB, 64MiB, 1GiB; 0 turns it off".to_owned())
}

pub(super) fn streams(text: &str) -> Result<MaxStreams, String> {
    if text == "auto" {
        return Ok(MaxStreams::Auto);
    }
    number(text)
        .filter(|streams| (1..=1_000_000).contains(streams))
        .map(MaxStreams::Number)
        .ok_or_else(|| "a number from 1 to 1000000, or auto".to_owned())
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    number(text)
        .filter(|port| *port > 0)
        .ok_or_else(|| "a port from 1 to 65535".to_owned())
}

pub(super) fn database(text: &str) -> Result<i64, String> {
    number(text).ok_or_else(|| "the number of a database, 0 or more".to_owned())
}

/// Digits only: the standard reader takes signs.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let name = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if name || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("a host name or an IP address, without a port".to_owned())
    }
}

pub(super) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "off, error, warn, info, debug or trace".to_owned())
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    // Listing it tells both: that it is a directory and that it may be read.
    match std::fs::read_dir(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(format!("an existing directory that can be read ({error})")),
    }
}

/// A file that is read later, perhaps by a process that may read more than this one. Empty is none.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        _ if text.is_empty() => Ok(path),
        Ok(found) if !found.is_dir() => Ok(path),
        Ok(_) => Err("a file (this is a directory)".to_owned()),
        Err(error) => Err(format!("an existing file ({error})")),
    }
}

/// SRS drops the query of its heartbeat URL, so the token must also fit into a path as it is.
pub(super) fn token(text: &str) -> Result<String, String> {
    if text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"/?#%&".contains(&b))
        && text.len() <= 512
    {
        Ok(text.to_owned())
    } else {
        Err(
            "up to 512 visible ASCII characters, none of them a space or one of / ? # % &"
                .to_owned(),
        )
    }
}

pub(super) fn password(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        Err("text without control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A URL as the `redis` library reads it: `redis://user:password@host:port/database`, `rediss://` for TLS,
/// `redis+unix:///path?db=0&pass=…`.
pub(super) fn redis_url(text: &str) -> Result<String, String> {
    if text.is_empty()
        || redis::parse_redis_url(text).is_some_and(|url| redis::Client::open(url).is_ok())
    {
        Ok(text.to_owned())
    } else {
        Err("a URL such as redis://user:password@127.0.0.1:6379/0, rediss:// for TLS, or redis+unix:///run/redis.sock".to_owned())
    }
}

/// A name that stands in a URL or in JSON as it is.
pub(super) fn plain_name(text: &str) -> Result<String, String> {
    let fits = (1..=100).contains(&text.len()) && !text.starts_with(['.', '-']);
    if fits
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        Ok(text.to_owned())
    } else {
        Err("up to 100 letters, digits, hyphens, underscores and dots, not beginning with a dot or a hyphen".to_owned())
    }
}

/// Without a user name: SRS and the lab origin send none.
pub(super) fn register_url(text: &str) -> Result<String, String> {
    let good = text.parse::<ureq::http::Uri>().is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port_fits = match authority.strip_prefix(host) {
            Some("") => true,
            Some(rest) => rest
                .strip_prefix(':')
                .is_some_and(|text| port(text).is_ok()),
            None => false,
        };
        uri.scheme_str() == Some("http") && !host.is_empty() && port_fits
    });
    if good {
        Ok(text.to_owned())
    } else {
        Err("an http:// URL, such as http://127.0.0.1:12025/api/v1/srs/register".to_owned())
    }
}

/// Ends with a slash, so that paths can be joined to it. Empty is none.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    let good = text.parse::<ureq::http::Uri>().is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default();
        let plain = !text.contains(['?', '#', '@']);
        matches!(uri.scheme_str(), Some("http" | "https")) && !host.is_empty() && plain
    });
    match good {
        true => Ok(format!("{}/", text.trim_end_matches('/'))),
        false if text.is_empty() => Ok(String::new()),
        false => Err("an http:// or https:// URL without a query, such as https://tv.example.com or https://example.com/proxy/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        for (text, ms) in [
            ("300ms", 300),
            ("20s", 20_000),
            ("5m", 300_000),
            ("1m30s", 90_000),
            ("24h", 86_400_000),
            ("1ms", 1),
            ("1min", 60_000),
        ] {
            assert_eq!(timeout(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(wait(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "20",
            "s",
            "-1s",
            "5 parsecs",
            "25h",
            "99999999999999999999s",
            "1e3s",
            "inf",
        ] {
            assert!(timeout(text).is_err(), "{text:?}");
            assert!(wait(text).is_err(), "{text:?}");
        }
        for text in ["0s", "0ms", "0", "999us"] {
            assert!(timeout(text).is_err(), "{text:?}");
        }
        assert_eq!(wait("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("512KiB", 512 << 10),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("0MiB", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "+1",
            "64MB",
            "64M",
            "64mib",
            "64 MiB",
            "1.5GiB",
            "99999999999999999999",
            "18446744073709551615KiB",
            "1TiB",
            "é",
        ] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_have_bounds_and_no_sign() {
        assert_eq!(streams("1"), Ok(MaxStreams::Number(1)));
        assert_eq!(streams("1000000"), Ok(MaxStreams::Number(1_000_000)));
        assert_eq!(streams("auto"), Ok(MaxStreams::Auto));
        assert!(
            ["0", "1000001", "-1", "+1", "", "many"]
                .iter()
                .all(|text| streams(text).is_err())
        );
        assert_eq!((port("1"), port("65535")), (Ok(1), Ok(65535)));
        assert!(
            ["0", "65536", "-1", "+1", "", "http"]
                .iter()
                .all(|text| port(text).is_err())
        );
        assert_eq!((database("0"), database("15")), (Ok(0), Ok(15)));
        assert!(
            ["-1", "", "one", "9223372036854775808"]
                .iter()
                .all(|text| database(text).is_err())
        );
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert!(
            [
                "127.0.0.1",
                "::1",
                "redis",
                "redis-1.example.com",
                "my_redis"
            ]
            .iter()
            .all(|text| host(text).is_ok())
        );
        assert!(
            ["", "redis:6379", "a b", "redis://x", "[::1]", "a\n"]
                .iter()
                .all(|text| host(text).is_err())
        );
    }

    #[test]
    fn a_token_fits_into_a_path() {
        assert!(
            ["", "s3cret", "A-b_c.d~e!f$g*h+i,j;k=l:m@n", "\"'"]
                .iter()
                .all(|text| token(text).is_ok())
        );
        assert!(
            [
                "a/b", "a?b", "a#b", "a%b", "a&b", "a b", "a\tb", "é", "\u{7f}"
            ]
            .iter()
            .all(|text| token(text).is_err())
        );
        assert!(token(&"x".repeat(513)).is_err());
        assert!(password("with spaces / and é").is_ok() && password("a\nb").is_err());
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        assert_eq!((on_off("on"), on_off("off")), (Ok(true), Ok(false)));
        assert!(
            ["true", "1", "ON", ""]
                .iter()
                .all(|text| on_off(text).is_err())
        );
        for good in ["", "a:b", ":", "a:b:c d"] {
            assert_eq!(credentials(good).as_deref(), Ok(good));
        }
        for bad in ["a", "a:b\n"] {
            assert!(credentials(bad).is_err(), "{bad:?}");
        }
        assert_eq!(log_level("debug"), Ok(LevelFilter::Debug));
        assert!(log_level("verbose").is_err());
    }

    #[test]
    fn a_register_url_is_plain_http() {
        for url in [
            "http://127.0.0.1:12025/api/v1/srs/register",
            "http://[::1]:1/x",
            "http://proxy",
        ] {
            assert!(register_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:12025",
            "https://a/",
            "http://",
            "http:///x",
            "/x",
            "http://u:p@a/",
            "http://a b/",
            "http://a:99999/",
        ] {
            assert!(register_url(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_public_url_is_a_directory() {
        for (text, url) in [
            ("https://tv.example.com", "https://tv.example.com/"),
            ("http://10.0.0.1:8080/proxy", "http://10.0.0.1:8080/proxy/"),
            ("https://[2001:db8::1]/a/b//", "https://[2001:db8::1]/a/b/"),
            ("", ""),
        ] {
            assert_eq!(public_url(text).as_deref(), Ok(url));
        }
        for text in [
            "tv.example.com",
            "ftp://a/",
            "https://",
            "/proxy/",
            "http://a/?x",
            "http://u@a/",
            "http://a b/",
        ] {
            assert!(public_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_one_plain_word() {
        assert!(
            ["demo", "a", "cam-1_x.hd"]
                .iter()
                .all(|text| plain_name(text).is_ok())
        );
        assert!(
            ["", ".a", "..", "-a", "a/b", "a b", "é", "a?b"]
                .iter()
                .all(|text| plain_name(text).is_err())
        );
    }

    #[test]
    fn a_file_is_there_and_empty_is_none() {
        assert!(file("Cargo.toml").is_ok() && file("").is_ok());
        assert!(file("nowhere.pem").unwrap_err().contains("No such file"));
        assert!(file("src").unwrap_err().contains("directory"));
    }

    #[test]
    fn a_directory_is_there() {
        assert!(directory(".").is_ok());
        assert!(directory("").is_err());
        assert!(
            directory("/nowhere/at/all")
                .unwrap_err()
                .contains("No such file")
        );
        assert!(directory("Cargo.toml").is_err());
    }
}
