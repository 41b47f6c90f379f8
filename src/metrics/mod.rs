//! What is counted, for Prometheus. The one room that knows its types: others tell it of events by
//! the traits of their own rooms, a few atomics each, at the end of a request or of a call to an
//! origin. What can be looked at when it is asked for is not counted here but in [`Gauges`].

mod code;
mod gauges;

use crate::server::record::{AccessRecord, RequestObserver};
use crate::upstream::{OriginError, UpstreamObserver};
use parking_lot::Mutex;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gauges::MAX_ORIGINS;

pub use gauges::{Gauges, LiveGauges, TlsGauges};

/// The type of what [`Metrics::render`] gives (Prometheus' text format, version 0.0.4).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of all times, in seconds: from an answer out of memory to the longest
/// that an origin may take unless set otherwise.
const TIMES: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Every way in which a search for an origin can end: these are there from the start, at 0.
const PICKS: [&str; 9] = [
    "pinned",
    "api",
    "tried",
    "waited",
    "refused",
    "not_found",
    "exhausted",
    "no_origin",
    "left",
];

/// The counters of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    heads: HistogramVec,
    picks: IntCounterVec,
    connects: HistogramVec,
    answers: HistogramVec,
    failures: IntCounterVec,
    by_origin: Arc<ByOrigin>,
}

/// Requests to each origin, and those that no response came to.
#[derive(Debug)]
struct ByOrigin {
    requests: IntCounterVec,
    errors: IntCounterVec,
    /// Addresses that have series of their own; further ones are one, called other.
    known: Mutex<HashSet<SocketAddr>>,
}

impl ByOrigin {
    fn label(&self, origin: SocketAddr) -> String {
        let mut known = self.known.lock();
        if known.contains(&origin) || known.len() < MAX_ORIGINS && known.insert(origin) {
            return origin.to_string();
        }
        "other".to_owned()
    }

    fn count(&self, counters: &IntCounterVec, endpoint: &str, origin: SocketAddr) {
        let label = self.label(origin);
        counters.with_label_values(&[endpoint, &label]).inc();
    }
}

impl Metrics {
    /// All at 0.
    ///
    /// # Errors
    /// When a name or a label is none that Prometheus takes.
    pub fn new() -> io::Result<Self> {
        Self::build().map_err(io::Error::other)
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let times = |name: &str, help: &str, label: &str| {
            let options = HistogramOpts::new(name, help).buckets(TIMES.to_vec());
            let times = HistogramVec::new(options, &[label])?;
            registry.register(Box::new(times.clone()))?;
            prometheus::Result::Ok(times)
        };
        let requests = counters(
            "srs_proxy_requests_total",
            "Requests that have ended, by what was asked for and the status that was sent \
             (499: the client left before).",
            &["kind", "code"],
        )?;
        let heads = times(
            "srs_proxy_response_head_seconds",
            "Time from a request's head to the head of its response.",
            "kind",
        )?;
        let picks = counters(
            "srs_proxy_picks_total",
            "Searches for an origin, by how the last origin was found, or why there was none.",
            &["outcome"],
        )?;
        let connects = times(
            "srs_proxy_origin_connect_seconds",
            "Time that connections to origins took to come about.",
            "endpoint",
        )?;
        let answers = times(
            "srs_proxy_origin_response_head_seconds",
            "Time from a request to an origin to the head of its response, without connecting.",
            "endpoint",
        )?;
        let failures = counters(
            "srs_proxy_origin_failures_total",
            "Requests to origins that no response came to, by why.",
            &["endpoint", "reason"],
        )?;
        let labels = ["endpoint", "address"];
        let by_origin = Arc::new(ByOrigin {
            requests: counters(
                "srs_proxy_origin_requests_total",
                "Requests to an origin that a response came to.",
                &labels,
            )?,
            errors: counters(
                "srs_proxy_origin_errors_total",
                "Requests to an origin that no response came to.",
                &labels,
            )?,
            known: Mutex::default(),
        });
        registry.register(Box::new(ProcessCollector::for_self()))?;
        for pick in PICKS {
            picks.with_label_values(&[pick]);
        }
        Ok(Self {
            registry,
            requests,
            heads,
            picks,
            connects,
            answers,
            failures,
            by_origin,
        })
    }

    /// A watch over calls to one kind of endpoint of the origins: `http` or `api`.
    pub fn watch(&self, endpoint: &'static str) -> Arc<dyn UpstreamObserver> {
        let failures = |reason| self.failures.with_label_values(&[endpoint, reason]);
        Arc::new(Calls {
            endpoint,
            by_origin: self.by_origin.clone(),
            connects: self.connects.with_label_values(&[endpoint]),
            answers: self.answers.with_label_values(&[endpoint]),
            connect: failures("connect"),
            here: failures("here"),
            closed: failures("closed"),
            protocol: failures("protocol"),
            timeout: failures("timeout"),
        })
    }

    /// All figures in Prometheus' text format.
    ///
    /// # Errors
    /// What the library says of figures that do not fit together.
    pub fn render(&self, now: &Gauges<'_>) -> io::Result<String> {
        let mut families = self.registry.gather();
        families.extend(now.gather().map_err(io::Error::other)?);
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(io::Error::other)
    }
}

impl RequestObserver for Metrics {
    fn ended(&self, record: &AccessRecord) {
        let code = code::label(record.status);
        self.requests.with_label_values(&[record.kind, code]).inc();
        if let Some(time) = record.until_head() {
            self.heads
                .with_label_values(&[record.kind])
                .observe(time.as_secs_f64());
        }
        if let Some(pick) = record.pick {
            self.picks.with_label_values(&[pick]).inc();
        }
    }
}

/// Calls to one kind of endpoint. Its series are looked up once, at the start.
struct Calls {
    endpoint: &'static str,
    by_origin: Arc<ByOrigin>,
    connects: Histogram,
    answers: Histogram,
    connect: IntCounter,
    here: IntCounter,
    closed: IntCounter,
    protocol: IntCounter,
    timeout: IntCounter,
}

impl UpstreamObserver for Calls {
    fn connected(&self, time: Duration) {
        self.connects.observe(time.as_secs_f64());
    }

    fn answered(&self, origin: SocketAddr, time: Duration) {
        let requests = &self.by_origin.requests;
        self.by_origin.count(requests, self.endpoint, origin);
        self.answers.observe(time.as_secs_f64());
    }

    fn failed(&self, origin: SocketAddr, error: &OriginError) {
        if !matches!(error, OriginError::Left | OriginError::Here(..)) {
            let errors = &self.by_origin.errors;
            self.by_origin.count(errors, self.endpoint, origin);
        }
        match error {
            OriginError::Connect(..) => self.connect.inc(),
            OriginError::Here(..) => self.here.inc(),
            OriginError::Closed(_) => self.closed.inc(),
            OriginError::Protocol(..) => self.protocol.inc(),
            OriginError::Timeout(_) => self.timeout.inc(),
            OriginError::Left => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn render(metrics: &Metrics) -> String {
        metrics.render(&Gauges::default()).unwrap()
    }

    #[track_caller]
    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|it| it == *line), "no {line}\n{text}");
        }
    }

    #[test]
    fn a_request_counts_once_when_it_ends() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let record = || {
            let peer = ([127, 0, 0, 1], 1).into();
            AccessRecord::unknown(peer, Instant::now(), metrics.clone())
        };
        let mut answered = record();
        answered.kind = "live";
        answered.pick = Some("waited");
        answered.respond(200);
        let never = "srs_proxy_requests_total{";
        assert!(!render(&metrics).contains(never), "it has not ended");
        drop(answered);
        let mut refused = record();
        refused.status = 400; // at the listener: nothing is known of the time it took
        drop(refused);
        assert_lines(
            &render(&metrics),
            &[
                "srs_proxy_requests_total{code=\"200\",kind=\"live\"} 1",
                "srs_proxy_requests_total{code=\"400\",kind=\"refused\"} 1",
                "srs_proxy_response_head_seconds_count{kind=\"live\"} 1",
                "srs_proxy_picks_total{outcome=\"waited\"} 1",
                "srs_proxy_picks_total{outcome=\"pinned\"} 0",
            ],
        );
        assert!(!render(&metrics).contains("head_seconds_count{kind=\"refused\"}"));
    }

    #[test]
    fn the_series_of_origins_are_bounded() {
        let metrics = Metrics::new().unwrap();
        let http = metrics.watch("http");
        for port in 1..=MAX_ORIGINS as u16 + 5 {
            http.answered(([127, 0, 0, 1], port).into(), Duration::ZERO);
        }
        let text = render(&metrics);
        let series = |line: &&str| line.starts_with("srs_proxy_origin_requests_total{");
        assert_eq!(text.lines().filter(series).count(), MAX_ORIGINS + 1);
        let rest = "srs_proxy_origin_requests_total{address=\"other\",endpoint=\"http\"} 5";
        assert_lines(&text, &[rest]);
    }

    #[test]
    fn calls_to_origins_are_told_apart() {
        let metrics = Metrics::new().unwrap();
        let (http, api) = (metrics.watch("http"), metrics.watch("api"));
        let at: SocketAddr = ([127, 0, 0, 1], 1).into();
        http.connected(Duration::from_millis(3));
        http.answered(at, Duration::from_secs(60));
        http.failed(at, &OriginError::Connect(at, "refused".to_owned()));
        api.failed(at, &OriginError::Timeout(at));
        api.failed(at, &OriginError::Left);
        assert_lines(
            &render(&metrics),
            &[
                "srs_proxy_origin_connect_seconds_bucket{endpoint=\"http\",le=\"0.0025\"} 0",
                "srs_proxy_origin_connect_seconds_bucket{endpoint=\"http\",le=\"0.005\"} 1",
                "srs_proxy_origin_response_head_seconds_bucket{endpoint=\"http\",le=\"10\"} 0",
                "srs_proxy_origin_response_head_seconds_count{endpoint=\"http\"} 1",
                "srs_proxy_origin_failures_total{endpoint=\"http\",reason=\"connect\"} 1",
                "srs_proxy_origin_failures_total{endpoint=\"http\",reason=\"timeout\"} 0",
                "srs_proxy_origin_failures_total{endpoint=\"api\",reason=\"timeout\"} 1",
                "srs_proxy_origin_connect_seconds_count{endpoint=\"api\"} 0",
                "srs_proxy_origin_requests_total{address=\"127.0.0.1:1\",endpoint=\"http\"} 1",
                "srs_proxy_origin_errors_total{address=\"127.0.0.1:1\",endpoint=\"http\"} 1",
                "srs_proxy_origin_errors_total{address=\"127.0.0.1:1\",endpoint=\"api\"} 1",
            ],
        );
    }
}
