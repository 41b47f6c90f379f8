//! Figures that are looked at when they are asked for. They are gathered afresh each time, so that an
//! origin or a stream that has gone leaves no series behind.

use crate::balancer::origin::OriginState;
use crate::balancer::{OriginView, SharedStatus};
use crate::cache::counters::Snapshot;
use crate::stream::stats::StreamView;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};
use std::collections::HashMap;

/// Streams that have a series of their own: a stream's name is the publisher's choice.
const MAX_STREAMS: usize = 100;
/// Origins that have series of their own.
pub(super) const MAX_ORIGINS: usize = 256;
/// The streams beyond, in one series. No stream is called so: their names have two slashes.
const OTHER_STREAMS: &str = "other";

/// How things stand.
#[derive(Debug, Clone, Default)]
pub struct Gauges<'a> {
    pub origins: &'a [OriginView],
    /// Those with most viewers first.
    pub streams: &'a [StreamView],
    /// Bytes of bodies that streams have sent since the start.
    pub sent_bytes: u64,
    /// Live streams that run or are looked for.
    pub live_streams: usize,
    pub max_live_streams: usize,
    /// Open connections of players.
    pub connections: usize,
    pub max_connections: usize,
    /// The table that proxies share, where there is one.
    pub shared_table: Option<SharedStatus>,
    /// Bytes sent on from each origin, by its address.
    pub origin_bytes: HashMap<Box<str>, u64>,
    pub dropped_log_lines: u64,
    pub shared: Snapshot,
    pub live: LiveGauges,
    /// `None` where nothing is served by HTTPS.
    pub tls: Option<TlsGauges>,
}

/// How HTTPS stands.
#[derive(Debug, Clone, Copy)]
pub struct TlsGauges {
    /// Until the certificate expires; less than 0 once it has.
    pub seconds_left: i64,
    /// Handshakes that failed since the start.
    pub failed_handshakes: u64,
}

/// How live channels stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveGauges {
    /// Channels that are open.
    pub channels: usize,
    /// Connections to origins for live streams, those of viewers who do not share, too.
    pub origin_connections: usize,
    /// Viewers whose sockets took no more.
    pub behind: usize,
    /// Since the start: channels opened, viewers who went on at a key frame, streams that went on from another
    /// connection.
    pub opened: u64,
    pub skips: u64,
    pub splices: u64,
    /// Bytes of pieces, and how many there may be.
    pub buffer: u64,
    pub buffer_limit: u64,
}

impl Gauges<'_> {
    pub(super) fn gather(&self) -> Result<Vec<MetricFamily>> {
        let sheet = Exposition(Registry::new());
        sheet.counter(
            "srs_proxy_send_bytes_total",
            "Bytes of bodies of live streams, playlists and segments sent to players.",
            self.sent_bytes,
        )?;
        sheet.gauge(
            "srs_proxy_connections",
            "Open connections of players, idle ones too.",
            self.connections,
        )?;
        sheet.gauge(
            "srs_proxy_connections_limit",
            "Connections of players that may be open at once.",
            self.max_connections,
        )?;
        sheet.counter(
            "srs_proxy_log_lines_dropped_total",
            "Log lines that were dropped, since the log's reader did not read.",
            self.dropped_log_lines,
        )?;
        if let Some(shared) = self.shared_table {
            let help = "Whether the Redis that proxies share answers: 1 or 0.";
            sheet.gauge("srs_proxy_redis_up", help, usize::from(shared.up))?;
            let help = "Times that Redis was wanted in vain: away, too slow, or too much at once.";
            sheet.counter("srs_proxy_redis_failures_total", help, shared.failures)?;
        }
        sheet.gauge(
            "srs_proxy_live_streams",
            "Requests for live streams that run, or whose origin is being looked for.",
            self.live_streams,
        )?;
        sheet.gauge(
            "srs_proxy_live_streams_limit",
            "Requests for live streams that may run at once.",
            self.max_live_streams,
        )?;
        sheet.gauge(
            "srs_proxy_streams",
            "Streams that are being watched, live or by HLS.",
            self.streams.len(),
        )?;
        let help = "Viewers of the streams with most viewers: live connections, and HLS players of \
                    the last 30 s. All further streams are one, called other.";
        let viewers = sheet.gauges("srs_proxy_viewers", help, &["stream"])?;
        let shown = self.streams.len().min(MAX_STREAMS);
        for stream in &self.streams[..shown] {
            let gauge = viewers.with_label_values(&[stream.url.as_str()]);
            gauge.set(signed(stream.viewers));
        }
        let rest = self.streams[shown..].iter().map(|stream| stream.viewers);
        let rest = signed(rest.sum());
        viewers.with_label_values(&[OTHER_STREAMS]).set(rest);
        self.origins(&sheet)?;
        self.shared(&sheet)?;
        self.live.add_to(&sheet)?;
        if let Some(tls) = &self.tls {
            let help = "Seconds until the certificate for HTTPS expires; negative once it has.";
            let name = "srs_proxy_certificate_expiry_seconds";
            sheet.add(IntGauge::new(name, help)?)?.set(tls.seconds_left);
            let help = "TLS handshakes that failed, plain HTTP requests to the port of HTTPS too.";
            let name = "srs_proxy_tls_handshake_failures_total";
            sheet.counter(name, help, tls.failed_handshakes)?;
        }
        let help = "The version that runs; the value is always 1.";
        let build = sheet.gauges("srs_proxy_build_info", help, &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(sheet.0.gather())
    }

    fn shared(&self, sheet: &Exposition) -> Result<()> {
        let shared = &self.shared;
        sheet.counter(
            "srs_proxy_hls_cache_hits_total",
            "HLS requests that were answered from memory.",
            shared.hits,
        )?;
        sheet.counter(
            "srs_proxy_hls_cache_shares_total",
            "HLS requests that joined a fetch under way.",
            shared.shares,
        )?;
        sheet.counter(
            "srs_proxy_hls_cache_fetches_total",
            "HLS requests that went to an origin.",
            shared.fetches,
        )?;
        sheet.counter(
            "srs_proxy_hls_cache_saved_total",
            "HLS requests that needed none of an origin's.",
            shared.saved,
        )?;
        let bytes = usize::try_from(shared.bytes).unwrap_or(usize::MAX);
        let help = "Bytes of segments and playlists that are kept in memory.";
        sheet.gauge("srs_proxy_hls_cache_bytes", help, bytes)
    }

    fn origins(&self, sheet: &Exposition) -> Result<()> {
        let help = "Origins by state.";
        let counts = sheet.gauges("srs_proxy_origins", help, &["state"])?;
        for state in STATES {
            counts.with_label_values(&[word(state)]).set(0);
        }
        let help = "Each origin with its state; the value is always 1.";
        let labels = ["origin", "device", "address", "state"];
        let states = sheet.gauges("srs_proxy_origin_state", help, &labels)?;
        let help = "Viewers of the streams that come from an origin.";
        let viewers = sheet.gauges("srs_proxy_origin_viewers", help, &["address"])?;
        let help = "Seconds since an origin's last heartbeat.";
        let ages = Opts::new("srs_proxy_origin_heartbeat_age_seconds", help);
        let ages = sheet.add(GaugeVec::new(ages, &["address"])?)?;
        let help = "Bytes of bodies that came from an origin and were sent to players.";
        let bytes = Opts::new("srs_proxy_origin_send_bytes_total", help);
        let bytes = sheet.add(IntCounterVec::new(bytes, &["address"])?)?;
        for (address, count) in &self.origin_bytes {
            bytes.with_label_values(&[&**address]).inc_by(*count);
        }
        for (n, view) in self.origins.iter().enumerate() {
            let address = view.origin.http_address();
            let address = address.map_or(String::new(), |address| address.to_string());
            if n < MAX_ORIGINS && !address.is_empty() {
                let own = self
                    .streams
                    .iter()
                    .filter(|stream| stream.address == address);
                let own = own.map(|stream| stream.viewers).sum();
                viewers.with_label_values(&[&address]).set(signed(own));
                let age = view.heartbeat_age.as_secs_f64();
                ages.with_label_values(&[&address]).set(age);
            }
            let state = word(view.state);
            counts.with_label_values(&[state]).inc();
            states
                .with_label_values(&[&*view.id, &view.origin.device_id, &address, state])
                .set(1);
        }
        Ok(())
    }
}

impl LiveGauges {
    fn add_to(&self, sheet: &Exposition) -> Result<()> {
        let help = "Live streams in one format that viewers share.";
        sheet.gauge("srs_proxy_channels", help, self.channels)?;
        let help =
            "Connections to origins for live streams, shared ones and those of single viewers.";
        let name = "srs_proxy_live_origin_connections";
        sheet.gauge(name, help, self.origin_connections)?;
        let help = "Viewers of shared live streams who take less than comes.";
        sheet.gauge("srs_proxy_viewers_behind", help, self.behind)?;
        let help = "Shared live streams that were opened.";
        sheet.counter("srs_proxy_channels_opened_total", help, self.opened)?;
        let help = "Times that a viewer was too far behind and went on at the newest key frame.";
        sheet.counter("srs_proxy_viewer_skips_total", help, self.skips)?;
        let help = "Times that a shared live stream went on from another origin connection.";
        sheet.counter("srs_proxy_splices_total", help, self.splices)?;
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let help = "Bytes of shared live streams that are kept in memory.";
        sheet.gauge("srs_proxy_live_buffer_bytes", help, size(self.buffer))?;
        let help = "Bytes of shared live streams that may be kept in memory.";
        let name = "srs_proxy_live_buffer_limit_bytes";
        sheet.gauge(name, help, size(self.buffer_limit))
    }
}

const STATES: [OriginState; 5] = [
    OriginState::Alive,
    OriginState::Draining,
    OriginState::Late,
    OriginState::Suspect,
    OriginState::Stale,
];

fn word(state: OriginState) -> &'static str {
    match state {
        OriginState::Alive => "alive",
        OriginState::Draining => "draining",
        OriginState::Late => "late",
        OriginState::Suspect => "suspect",
        OriginState::Stale => "stale",
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The figures of one look.
struct Exposition(Registry);

impl Exposition {
    fn add<C: Collector + Clone + 'static>(&self, figure: C) -> Result<C> {
        self.0.register(Box::new(figure.clone()))?;
        Ok(figure)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<()> {
        self.add(IntCounter::new(name, help)?)?.inc_by(value);
        Ok(())
    }

    fn gauge(&self, name: &str, help: &str, value: usize) -> Result<()> {
        self.add(IntGauge::new(name, help)?)?.set(signed(value));
        Ok(())
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::origin::{Endpoints, Origin};
    use crate::stream::url::StreamUrl;
    use prometheus::TextEncoder;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    fn stream(name: &str, viewers: usize) -> StreamView {
        StreamView {
            url: StreamUrl::parse(&format!("__defaultVhost__/live/{name}")).unwrap(),
            origin: "o".into(),
            address: "x:1".to_owned(),
            viewers,
            live: 0,
            bytes: 0,
            bits_per_second: 0,
            since: SystemTime::now(),
        }
    }

    fn origin(device: &str, state: OriginState) -> OriginView {
        let origin = Origin {
            server: "a".to_owned(),
            service: "b".to_owned(),
            pid: device.to_owned(),
            device_id: device.to_owned(),
            ip: [192, 0, 2, 2].into(),
            endpoints: Endpoints {
                rtmp: vec!["1".to_owned()],
                http: vec!["8080".to_owned()],
                ..Endpoints::default()
            },
        };
        OriginView {
            id: origin.id(),
            origin: Arc::new(origin),
            suspected: None,
            state,
            heartbeat_age: Duration::ZERO,
            streams: 0,
        }
    }

    fn text(now: &Gauges<'_>) -> String {
        let families = now.gather().unwrap();
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    #[test]
    fn the_series_of_streams_are_bounded_and_lose_no_viewer() {
        let streams: Vec<_> = (0..MAX_STREAMS + 3)
            .map(|n| stream(&n.to_string(), 2))
            .collect();
        let now = Gauges {
            streams: &streams,
            ..Gauges::default()
        };
        let text = text(&now);
        let series = |line: &&str| line.starts_with("srs_proxy_viewers{");
        assert_eq!(text.lines().filter(series).count(), MAX_STREAMS + 1);
        let first = "srs_proxy_viewers{stream=\"__defaultVhost__/live/0\"} 2\n";
        assert!(text.contains(first), "{text}");
        assert!(
            text.contains("srs_proxy_viewers{stream=\"other\"} 6\n"),
            "{text}"
        );
        assert!(text.contains("srs_proxy_streams 103\n"), "{text}");
    }

    #[test]
    fn each_origin_is_one_series() {
        let origins = [
            origin("1", OriginState::Alive),
            origin("2", OriginState::Stale),
            origin("3", OriginState::Alive),
        ];
        let now = Gauges {
            origins: &origins,
            ..Gauges::default()
        };
        let text = text(&now);
        for line in [
            "srs_proxy_origins{state=\"alive\"} 2",
            "srs_proxy_origins{state=\"draining\"} 0",
            "srs_proxy_origins{state=\"suspect\"} 0",
            "srs_proxy_origins{state=\"stale\"} 1",
            "srs_proxy_origin_state{address=\"192.0.2.2:8080\",device=\"1\",origin=\"a-b-1\",state=\"alive\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line}\n{text}");
        }
        let series = |line: &&str| line.starts_with("srs_proxy_origin_state{");
        assert_eq!(text.lines().filter(series).count(), 3);
    }

    #[test]
    fn origins_have_viewers_bytes_and_ages() {
        let origins = [origin("1", OriginState::Alive)];
        let mut watched = [stream("a", 2), stream("b", 3), stream("c", 4)];
        watched[1].address = "192.0.2.2:8080".to_owned();
        watched[2].address = "192.0.2.2:8080".to_owned();
        let now = Gauges {
            origins: &origins,
            streams: &watched,
            origin_bytes: HashMap::from([("192.0.2.2:8080".into(), 9)]),
            ..Gauges::default()
        };
        let text = text(&now);
        for line in [
            "srs_proxy_origin_viewers{address=\"192.0.2.2:8080\"} 7",
            "srs_proxy_origin_heartbeat_age_seconds{address=\"192.0.2.2:8080\"} 0",
            "srs_proxy_origin_send_bytes_total{address=\"192.0.2.2:8080\"} 9",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line}\n{text}");
        }
        assert!(!text.contains("srs_proxy_redis"), "none is used");
    }

    #[test]
    fn redis_the_log_and_the_limits_are_told() {
        let shared_table = Some(SharedStatus {
            up: true,
            failures: 3,
        });
        let now = Gauges {
            max_connections: 5,
            dropped_log_lines: 6,
            shared_table,
            ..Gauges::default()
        };
        let text = text(&now);
        for line in [
            "srs_proxy_redis_up 1",
            "srs_proxy_redis_failures_total 3",
            "srs_proxy_connections_limit 5",
            "srs_proxy_log_lines_dropped_total 6",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line}\n{text}");
        }
    }

    #[test]
    fn words_are_those_of_the_api() {
        for state in STATES {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(json.as_str(), Some(word(state)));
        }
    }
}
