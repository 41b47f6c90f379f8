//! What operators see, as JSON: one picture of all proxies.

use crate::balancer::OriginView;
use crate::balancer::origin::OriginState;
use crate::balancer::peer::{PeerCache, PeerStatus, PeerStream};
use crate::channel::{ChannelTotals, ChannelView};
use crate::stream::stats::StreamStats;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

/// Bits per second as the kb/s that SRS's own API has.
fn kbps(bits_per_second: u64) -> u64 {
    bits_per_second / 1000
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `GET /api/v1/origins`: address, age of the heartbeat, state, streams and viewers of each, and which
/// proxies serve from it.
pub fn origins(origins: &[OriginView], proxies: &[PeerStatus]) -> Value {
    let port = |address: Option<std::net::SocketAddr>| address.map(|address| address.port());
    let view = |view: &OriginView| {
        let origin = &view.origin;
        let own = |peer: &PeerStatus| -> Vec<PeerStream> {
            let streams = peer.streams.iter();
            let own = streams.filter(|stream| *stream.origin == *view.id);
            own.cloned().collect()
        };
        let mut urls: BTreeMap<String, usize> = BTreeMap::new();
        let (mut bits, mut bytes) = (0_u64, 0_u64);
        let mut shares = Vec::new();
        for peer in proxies {
            let own = own(peer);
            if own.is_empty() {
                continue;
            }
            let viewers: usize = own.iter().map(|stream| stream.viewers).sum();
            shares.push(json!({"proxy": peer.proxy, "streams": own.len(), "viewers": viewers}));
            for stream in own {
                bits = bits.saturating_add(stream.bits_per_second);
                bytes = bytes.saturating_add(stream.bytes);
                *urls.entry(stream.url).or_default() += stream.viewers;
            }
        }
        let rtmp = origin
            .endpoints
            .rtmp
            .iter()
            .find_map(|it| crate::balancer::origin::port(it));
        json!({
            "id": &*view.id,
            "device_id": origin.device_id,
            "ip": origin.ip,
            "address": origin.http_address().map(|address| address.to_string()),
            "http": port(origin.http_address()),
            "api": port(origin.api_address()),
            "rtmp": rtmp,
            "state": view.state,
            "why": why(view),
            "kbps": kbps(bits),
            "bytes": bytes,
            "heartbeat_age_ms": u64::try_from(view.heartbeat_age.as_millis()).unwrap_or(u64::MAX),
            "streams": urls.len(),
            "viewers": urls.values().sum::<usize>(),
            "pinned": view.streams,
            "proxies": shares,
        })
    };
    json!({"origins": origins.iter().map(view).collect::<Vec<_>>()})
}

/// Why an origin stands as it does, in a sentence for the operator; `None` where all is well.
fn why(view: &OriginView) -> Option<String> {
    let age = humantime::format_duration(Duration::from_secs(view.heartbeat_age.as_secs()));
    match view.state {
        OriginState::Alive => None,
        OriginState::Draining => Some("An operator drains it: it gets no new streams.".to_owned()),
        OriginState::Late => Some(format!(
            "It has missed four heartbeats: the last one came {age} ago. It is asked last."
        )),
        OriginState::Suspect => Some(format!(
            "It failed a moment ago: {}. It is asked last for 5 s, or until its next heartbeat.",
            view.suspected.as_deref().unwrap_or("nobody knows how")
        )),
        OriginState::Stale => Some(format!(
            "Its last heartbeat came {age} ago, more than PROXY_ORIGIN_SERVER_TTL: it is not asked while another is there."
        )),
    }
}

/// `GET /api/v1/streams`: the streams that are being watched, through which proxies, and all together.
/// The first of `proxies` is the one that is asked; all figures are of all of them.
pub fn streams(proxies: &[PeerStatus], origins: usize) -> Value {
    let mut streams: BTreeMap<&str, Vec<(&PeerStatus, &PeerStream)>> = BTreeMap::new();
    for peer in proxies {
        for stream in &peer.streams {
            streams.entry(&stream.url).or_default().push((peer, stream));
        }
    }
    let viewers = |shares: &[(&PeerStatus, &PeerStream)]| {
        shares.iter().map(|(_, it)| it.viewers).sum::<usize>()
    };
    let mut streams: Vec<_> = streams.into_iter().collect();
    streams.sort_by_key(|(_, shares)| Reverse(viewers(shares)));
    let view = |(url, shares): &(&str, Vec<(&PeerStatus, &PeerStream)>)| {
        // Proxies may differ on the origin for a moment: most viewers tell.
        let main = shares.iter().max_by_key(|(_, it)| it.viewers);
        let sum = |of: fn(&PeerStream) -> u64| shares.iter().map(|(_, it)| of(it)).sum::<u64>();
        let share = |(peer, it): &(&PeerStatus, &PeerStream)| {
            json!({
                "proxy": peer.proxy,
                "origin": it.origin,
                "viewers": it.viewers,
                "bytes": it.bytes,
                "kbps": kbps(it.bits_per_second),
            })
        };
        json!({
            "url": url,
            "origin": main.map(|(_, it)| &it.origin),
            "origin_address": main.map(|(_, it)| &it.origin_address),
            "viewers": viewers(shares),
            "bytes": sum(|it| it.bytes),
            "kbps": kbps(sum(|it| it.bits_per_second)),
            "since": shares.iter().map(|(_, it)| it.since()).min().map(time),
            "proxies": shares.iter().map(share).collect::<Vec<_>>(),
        })
    };
    let proxy = |peer: &PeerStatus| {
        json!({
            "proxy": peer.proxy,
            "players": peer.players,
            "version": peer.version,
            "started": (peer.started > 0).then(|| time(SystemTime::UNIX_EPOCH + Duration::from_secs(peer.started.min(u64::from(u32::MAX))))),
            "requests": peer.requests,
            "streams": peer.streams.len(),
            "viewers": peer.streams.iter().map(|it| it.viewers).sum::<usize>(),
            "bytes": peer.bytes,
            "kbps": kbps(peer.bits_per_second),
        })
    };
    let cache = |of: fn(&PeerCache) -> u64| proxies.iter().map(|it| of(&it.hls_cache)).sum::<u64>();
    json!({
        "proxy": proxies.first().map(|own| &own.proxy),
        "streams": streams.iter().map(view).collect::<Vec<_>>(),
        "proxies": proxies.iter().map(proxy).collect::<Vec<_>>(),
        "totals": {
            "origins": origins,
            "streams": streams.len(),
            "viewers": streams.iter().map(|(_, shares)| viewers(shares)).sum::<usize>(),
            "requests": proxies.iter().map(|peer| peer.requests).sum::<u64>(),
            "bytes": proxies.iter().map(|peer| peer.bytes).sum::<u64>(),
            "kbps": kbps(proxies.iter().map(|peer| peer.bits_per_second).sum()),
            "hls_cache": {
                "hits": cache(|it| it.hits),
                "shares": cache(|it| it.shares),
                "fetches": cache(|it| it.fetches),
                "saved": cache(|it| it.saved),
                "bytes": cache(|it| it.bytes),
            },
            "history": {
                "step_ms": u64::try_from(StreamStats::step().as_millis()).unwrap_or(u64::MAX),
                "kbps": history(proxies),
            },
        },
    })
}

/// Adds what this proxy knows of live channels: to each stream its own, to the totals all of them.
pub fn add_channels(view: &mut Value, channels: &[ChannelView], totals: ChannelTotals) {
    let of = |channel: &ChannelView| {
        let source = channel.source.as_ref();
        json!({
            "format": channel.format.extension(),
            "origin": source.map(|it| it.origin.to_string()),
            "origin_address": source.map(|it| &it.address),
            "viewers": channel.viewers,
            "behind": channel.behind,
            "skips": channel.skips,
            "splices": channel.splices,
            "buffer_bytes": channel.bytes,
            "since": time(channel.since),
        })
    };
    let mut by_stream: HashMap<&str, Vec<Value>> = HashMap::new();
    for channel in channels {
        let own = by_stream.entry(channel.stream.as_str()).or_default();
        own.push(of(channel));
    }
    for stream in view["streams"].as_array_mut().into_iter().flatten() {
        let own = stream["url"].as_str().and_then(|url| by_stream.remove(url));
        stream["channels"] = own.unwrap_or_default().into();
    }
    view["totals"]["live"] = json!({
        "channels": channels.len(),
        "origin_connections": totals.origin_connections,
        "viewers": channels.iter().map(|it| it.viewers).sum::<usize>(),
        "behind": channels.iter().map(|it| it.behind).sum::<usize>(),
        "opened": totals.opened,
        "skips": totals.skips,
        "splices": totals.splices,
        "buffer_bytes": totals.bytes,
        "buffer_limit_bytes": totals.limit,
    });
}

/// The rates of all proxies together, the newest last: they look at different moments of a step.
fn history(proxies: &[PeerStatus]) -> Vec<u64> {
    let longest = proxies.iter().map(|peer| peer.history.len()).max();
    let mut sums = vec![0_u64; longest.unwrap_or(0)];
    for peer in proxies {
        for (sum, rate) in sums.iter_mut().rev().zip(peer.history.iter().rev()) {
            *sum = sum.saturating_add(*rate);
        }
    }
    sums.into_iter().map(kbps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(proxy: &str, streams: &[(&str, &str, usize)], history: &[u64]) -> PeerStatus {
        let stream = |(url, origin, viewers): &(&str, &str, usize)| PeerStream {
            url: (*url).to_owned(),
            origin: (*origin).to_owned(),
            origin_address: format!("{origin}:80"),
            viewers: *viewers,
            bytes: 100,
            bits_per_second: 8000,
            since: 1_700_000_000 + *viewers as u64,
        };
        PeerStatus {
            proxy: proxy.to_owned(),
            players: "127.0.0.1:1".to_owned(),
            streams: streams.iter().map(stream).collect(),
            bytes: 1000,
            bits_per_second: 16_000,
            history: history.to_vec(),
            requests: 10,
            hls_cache: PeerCache {
                saved: 3,
                ..PeerCache::default()
            },
            version: String::new(),
            started: 0,
        }
    }

    #[test]
    fn one_picture_of_all_proxies() {
        let proxies = [
            peer("p1", &[("v/a", "o1", 1), ("v/b", "o2", 5)], &[1000, 2000]),
            peer("p2", &[("v/a", "o2", 3)], &[4000]),
        ];
        let view = streams(&proxies, 2);
        let a = &view["streams"][1];
        assert_eq!(a["url"], "v/a");
        assert_eq!((&a["viewers"], &a["origin"]), (&json!(4), &json!("o2")));
        assert_eq!((&a["bytes"], &a["kbps"]), (&json!(200), &json!(16)));
        assert_eq!(a["since"], "2023-11-14T22:13:21Z");
        assert_eq!(a["proxies"][0]["proxy"], "p1");
        assert_eq!(a["proxies"][1]["viewers"], 3);
        assert_eq!(view["proxies"][0]["viewers"], 6);
        assert_eq!(view["totals"]["viewers"], 9);
        assert_eq!(view["totals"]["requests"], 20);
        assert_eq!(view["totals"]["hls_cache"]["saved"], 6);
        assert_eq!(view["proxy"], "p1");
        assert_eq!(view["totals"]["bytes"], 2000);
        assert_eq!(view["totals"]["history"]["kbps"], json!([1, 6]));
    }
}
