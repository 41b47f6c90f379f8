//! The System API: heartbeats of origins, and what operators see and do.

use crate::api::clients::Viewers;
use crate::api::guard::{Guard, REGISTER, Refused};
use crate::api::heartbeat;
use crate::api::views;
use crate::balancer::origin::OriginState;
use crate::balancer::peer::PeerStatus;
use crate::balancer::{Balancer, Unavailable};
use crate::cache::HlsCache;
use crate::channel::Channels;
use crate::files::{FileRequest, Files, accepts_gzip};
use crate::hooks::Hooks;
use crate::http::head::{Rejection, RequestHead};
use crate::http::query::query_value;
use crate::listener::{Listener, TlsAcceptor};
use crate::logging;
use crate::metrics;
use crate::metrics::{Gauges, LiveGauges, Metrics, TlsGauges};
use crate::runtime::warn_once::WarnOnce;
use crate::server::answers::{send_file, versions};
use crate::server::exchange::Exchange;
use crate::server::response::ResponseHead;
use crate::server::server::{RequestHandler, Server};
use crate::stream::origin_id::OriginId;
use crate::stream::stats::StreamStats;
use log::{error, info, warn};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// Largest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The System API's handlers and what they share.
pub struct Operators {
    pub guard: Guard,
    pub balancer: Arc<dyn Balancer>,
    pub viewers: Arc<StreamStats>,
    pub hooks: Arc<Hooks>,
    pub cache: Arc<HlsCache>,
    pub channels: Arc<Channels>,
    /// The console.
    pub files: Files,
    pub facts: PlayerStats,
    /// Refused heartbeats: SRS ignores the answer, and sends another every few seconds.
    pub warned: WarnOnce<IpAddr>,
}

/// What the API tells of the stream server.
pub struct PlayerStats {
    pub players_port: u16,
    /// Where players reach this proxy, as its operator says.
    pub public_url: Option<String>,
    /// What this proxy tells of itself.
    pub peer: Box<dyn Fn() -> PeerStatus + Send + Sync>,
    pub players: Arc<Listener>,
    pub server: Arc<Server>,
    /// Live streams that may run at once.
    pub max_streams: usize,
    pub metrics: Arc<Metrics>,
    /// Shows the certificate, where there is HTTPS.
    pub tls: Option<Arc<TlsAcceptor>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Versions,
    Register,
    Origins,
    Drain(&'a str, bool),
    /// `DELETE /api/v1/origins/ID`.
    Origin(&'a str),
    Clients,
    /// `DELETE /api/v1/clients/ID`.
    Client(&'a str),
    /// `POST /api/v1/clients/ID/kick`.
    Kick(&'a str),
    Streams,
    Metrics,
    /// `/healthz`: whether players can be served.
    Health,
    /// `/livez`: whether this process answers.
    Alive,
    Console,
    Nothing,
}

fn route(path: &str) -> Route<'_> {
    match path {
        "/api/v1/versions" => Route::Versions,
        REGISTER => Route::Register,
        "/api/v1/origins" | "/api/v1/origins/" => Route::Origins,
        "/api/v1/streams" | "/api/v1/streams/" => Route::Streams,
        "/api/v1/clients" | "/api/v1/clients/" => Route::Clients,
        "/metrics" => Route::Metrics,
        "/healthz" => Route::Health,
        "/livez" => Route::Alive,
        "/" => Route::Console,
        _ => {
            let token = path
                .strip_prefix(REGISTER)
                .and_then(|rest| rest.strip_prefix('/'));
            if token.is_some_and(|token| !token.contains('/')) {
                return Route::Register;
            }
            if let Some(id) = path.strip_prefix("/api/v1/clients/") {
                return match id.split_once('/') {
                    None => Route::Client(id),
                    Some((id, "kick")) if !id.is_empty() => Route::Kick(id),
                    Some(_) => Route::Nothing,
                };
            }
            let origin = path.strip_prefix("/api/v1/origins/");
            if let Some(id) = origin.filter(|rest| !rest.is_empty() && !rest.contains('/')) {
                return Route::Origin(id);
            }
            match origin.and_then(|rest| rest.rsplit_once('/')) {
                Some((id, "drain")) if !id.is_empty() => Route::Drain(id, true),
                Some((id, "undrain")) if !id.is_empty() => Route::Drain(id, false),
                _ => Route::Nothing,
            }
        }
    }
}

impl Route<'_> {
    fn methods(self) -> &'static str {
        match self {
            Self::Register | Self::Drain(..) | Self::Kick(_) => "POST",
            Self::Origin(_) | Self::Client(_) => "DELETE",
            _ => "GET, HEAD",
        }
    }

    /// In a word, for the metrics.
    fn kind(self) -> &'static str {
        match self {
            Self::Register => "heartbeat",
            _ => "api",
        }
    }

    /// Whether programs ask for it every few seconds: origins, monitors, Prometheus and the console.
    fn is_polled(self) -> bool {
        matches!(
            self,
            Self::Register
                | Self::Health
                | Self::Alive
                | Self::Metrics
                | Self::Origins
                | Self::Streams
                | Self::Clients
        )
    }

    fn takes(self, method: &str) -> bool {
        self.methods().split(", ").any(|one| one == method)
    }
}

impl RequestHandler for Operators {
    fn is_long(&self, _: &RequestHead) -> bool {
        false
    }

    fn methods(&self, target: &str) -> &'static str {
        route(target.split('?').next().unwrap_or_default()).methods()
    }

    fn admit_body(&self, head: &RequestHead) -> Result<(), Rejection> {
        let route = route(head.path());
        if route == Route::Nothing || route.takes(head.method.as_str()) {
            if head.body <= MAX_BODY as u64 {
                return Ok(());
            }
            return Err(Rejection {
                status: 413,
                message: "The body is larger than 64 KiB.",
            });
        }
        Err(Rejection {
            status: 405,
            message: "This path takes another method.",
        })
    }

    fn max_chunked(&self, head: &RequestHead) -> Option<usize> {
        let route = route(head.path());
        (route == Route::Register && route.takes(head.method.as_str())).then_some(MAX_BODY)
    }

    fn handle(&self, mut exchange: Exchange) {
        let path = exchange.head.path().to_owned();
        let route = route(&path);
        exchange.record.kind = route.kind();
        exchange.record.routine = route.is_polled();
        if let Err(refused) = self.guard.check(&exchange) {
            if route == Route::Register {
                self.warn(exchange.record.labels.viewer, refused.message);
            }
            return refuse(exchange, refused);
        }
        if !route.takes(exchange.head.method.as_str()) && route != Route::Nothing {
            let head = ResponseHead::new(405).with("Allow", route.methods());
            return exchange.problem_with(head, &format!("Use {} here.", route.methods()));
        }
        match route {
            Route::Versions => versions(exchange),
            Route::Register => self.register(exchange),
            Route::Origins => {
                let origins = self.balancer.origins();
                data(exchange, views::origins(&origins, &self.proxies()));
            }
            Route::Streams => {
                let origins = self.balancer.origins().len();
                let mut view = views::streams(&self.proxies(), origins);
                views::add_channels(&mut view, &self.channels.views(), self.channels.totals());
                view["players_port"] = self.facts.players_port.into();
                view["public_url"] = self.facts.public_url.clone().into();
                data(exchange, view);
            }
            Route::Origin(id) => self.remove(exchange, id),
            Route::Clients => {
                let query = exchange.head.query().unwrap_or_default();
                match self.clients().list(query) {
                    Ok(list) => ok(exchange, &list),
                    Err(wrong) => exchange.problem(400, wrong),
                }
            }
            Route::Client(id) | Route::Kick(id) => self.end_client(exchange, id),
            Route::Drain(id, draining) => self.drain(exchange, id, draining),
            Route::Metrics => self.metrics(exchange),
            Route::Health => self.health(exchange),
            Route::Alive => ok(exchange, &json!({"code": 0})),
            Route::Console => {
                let request = FileRequest {
                    method_is_head: exchange.is_head(),
                    accepts_gzip: exchange
                        .head
                        .headers
                        .text("accept-encoding")
                        .is_some_and(accepts_gzip),
                    ..FileRequest::default()
                };
                let page = self.files.answer("/console.html", &request);
                send_file(exchange, page);
            }
            Route::Nothing => {
                exchange.record.detail = Some("no such path".to_owned());
                exchange.problem(404, "There is no such path in this API.");
            }
        }
    }
}

fn refuse(exchange: Exchange, refused: Refused) {
    let mut head = ResponseHead::new(refused.status);
    if refused.status == 401 {
        head = head.with("WWW-Authenticate", "Bearer");
    }
    exchange.problem_with(head, refused.message);
}

fn data(exchange: Exchange, data: Value) {
    ok(
        exchange,
        &json!({"code": 0, "pid": std::process::id().to_string(), "data": data}),
    );
}

fn ok(exchange: Exchange, body: &Value) {
    let head = ResponseHead::new(200)
        .with("Content-Type", "application/json")
        .with("Cache-Control", "no-store");
    exchange.answer(head, format!("{body}\n").as_bytes());
}

/// Answers what an operator did to an origin: `done` tells whether one has that id, `what` is for the log.
fn answer_for_origin(
    mut exchange: Exchange,
    id: &str,
    done: Result<bool, Unavailable>,
    what: &str,
) {
    match done {
        Ok(true) => {
            info!("origin {id} is {what}");
            exchange.record.origin = Some(id.to_owned().into());
            let pid = std::process::id().to_string();
            ok(exchange, &json!({"code": 0, "pid": pid}));
        }
        Ok(false) => exchange.problem(404, "No origin has this id; see /api/v1/origins."),
        Err(unavailable) => {
            let head = ResponseHead::new(503).with("Retry-After", "5");
            exchange.problem_with(head, &unavailable.to_string());
        }
    }
}

impl Operators {
    /// All proxies that share one picture, this one first.
    fn proxies(&self) -> Vec<PeerStatus> {
        let own = (self.facts.peer)();
        let mut others = self.balancer.other_proxies();
        others.retain(|other| other.proxy != own.proxy);
        others.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        others.insert(0, own);
        others
    }

    fn register(&self, exchange: Exchange) {
        let peer = exchange.record.labels.viewer;
        let origin = match heartbeat::parse(&exchange.body) {
            Ok(origin) => origin,
            Err(bad) => {
                self.warn(
                    peer,
                    &format!("{bad}; is `ports on` set in SRS's heartbeat section?"),
                );
                return exchange.problem(400, &bad.to_string());
            }
        };
        // Somebody else's loopback address is this machine, whose services are not for players.
        if origin.ip.is_loopback() && !peer.is_loopback() {
            let message = "An origin of another machine has no loopback address: set its own in SRS's heartbeat or stats section.";
            self.warn(peer, message);
            return exchange.problem(400, message);
        }
        match self.balancer.register(origin) {
            Ok(()) => ok(
                exchange,
                &json!({"code": 0, "pid": std::process::id().to_string()}),
            ),
            Err(unavailable) => {
                self.warn(peer, &unavailable.to_string());
                let head = ResponseHead::new(503).with("Retry-After", "5");
                exchange.problem_with(head, &unavailable.to_string());
            }
        }
    }

    /// Forgets an origin that was wrong, or is gone for good. One that lives comes back with its next heartbeat.
    fn remove(&self, exchange: Exchange, id: &str) {
        let id = percent_decode_str(id).decode_utf8_lossy();
        let removed = self.balancer.remove(&id);
        answer_for_origin(exchange, &id, removed, "removed by an operator");
    }

    fn clients(&self) -> Viewers<'_> {
        Viewers {
            live: &self.viewers.clients,
            hooks: &self.hooks,
        }
    }

    fn end_client(&self, exchange: Exchange, id: &str) {
        let id = percent_decode_str(id).decode_utf8_lossy();
        match self.clients().end(&id) {
            Some(address) => {
                info!("client {id} ({address}) is ended by an operator");
                ok(
                    exchange,
                    &json!({"code": 0, "pid": std::process::id().to_string()}),
                );
            }
            None => exchange.problem(404, "No viewer has this id; see /api/v1/clients."),
        }
    }

    fn drain(&self, mut exchange: Exchange, id: &str, draining: bool) {
        let id = percent_decode_str(id).decode_utf8_lossy();
        let moves = match exchange
            .head
            .query()
            .and_then(|query| query_value(query, "move"))
        {
            None => false,
            Some(value) if draining && matches!(&*value, "0" | "1") => value == "1",
            Some(_) => return exchange.problem(400, "move is 0 or 1, and goes with drain."),
        };
        match self.balancer.drain(&id, draining) {
            Ok(true) if moves => {
                let moving = self.channels.leave(&OriginId::from(&*id));
                info!(
                    "origin {id} is draining; {moving} live channels move to origins that have their streams"
                );
                exchange.record.origin = Some(id.into_owned().into());
                let pid = std::process::id().to_string();
                ok(exchange, &json!({"code": 0, "pid": pid, "moving": moving}));
            }
            drained => {
                let what = if draining { "draining" } else { "taken back" };
                answer_for_origin(exchange, &id, drained, what);
            }
        }
    }

    fn health(&self, exchange: Exchange) {
        let players = &self.facts.players;
        if players.is_closing() {
            return exchange.problem(503, "The proxy is ending: it takes no new players.");
        }
        // On a small host there are as many workers as connections: the workers tell more.
        if self.facts.server.is_busy() {
            let message = "All workers are busy: players who ask for HLS are turned away.";
            return exchange.problem(503, message);
        }
        if players.is_full() {
            let message = "All connections are in use: new players have to wait.";
            return exchange.problem(503, message);
        }
        if self.balancer.shared().is_some_and(|shared| !shared.up) {
            return exchange.problem(
                503,
                "Redis does not answer: this proxy knows only what it has seen itself.",
            );
        }
        let origins = self.balancer.origins();
        let alive = origins
            .iter()
            .filter(|it| it.state != OriginState::Stale)
            .count();
        if alive > 0 {
            return ok(exchange, &json!({"code": 0, "alive_origins": alive}));
        }
        let why = if origins.is_empty() {
            "No origin has registered."
        } else {
            "No origin has sent a heartbeat within its TTL."
        };
        exchange.problem(503, why);
    }

    fn metrics(&self, exchange: Exchange) {
        let channels = self.channels.views();
        let totals = self.channels.totals();
        let live = LiveGauges {
            channels: channels.len(),
            origin_connections: totals.origin_connections,
            behind: channels.iter().map(|it| it.behind).sum(),
            opened: totals.opened,
            skips: totals.skips,
            splices: totals.splices,
            buffer: totals.bytes,
            buffer_limit: totals.limit,
        };
        let now = Gauges {
            origins: &self.balancer.origins(),
            streams: &self.viewers.streams(),
            sent_bytes: self.viewers.totals().bytes,
            live_streams: self.facts.server.streams(),
            max_live_streams: self.facts.max_streams,
            connections: self.facts.players.clients().len(),
            max_connections: self.facts.players.max_connections(),
            shared_table: self.balancer.shared(),
            origin_bytes: self.viewers.origin_bytes(),
            dropped_log_lines: logging::dropped(),
            shared: self.cache.snapshot(),
            live,
            tls: self.facts.tls.as_ref().map(|tls| TlsGauges {
                seconds_left: tls.seconds_left(),
                failed_handshakes: tls.failures(),
            }),
        };
        match self.facts.metrics.render(&now) {
            Ok(text) => {
                let head = ResponseHead::new(200)
                    .with("Content-Type", metrics::CONTENT_TYPE)
                    .with("Cache-Control", "no-store");
                exchange.answer(head, text.as_bytes());
            }
            Err(error) => {
                error!("writing the metrics: {error}");
                exchange.problem(500, "The metrics cannot be written now; the log says why.");
            }
        }
    }

    fn warn(&self, peer: IpAddr, why: &str) {
        if self.warned.is_due(peer) {
            warn!("a heartbeat from {peer} is refused: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (path, expected) in [
            ("/api/v1/srs/register", Route::Register),
            ("/api/v1/srs/register/TOKEN", Route::Register),
            ("/api/v1/srs/register/a/b", Route::Nothing),
            ("/api/v1/srs/registered", Route::Nothing),
            ("/api/v1/origins", Route::Origins),
            ("/api/v1/origins/a-b-c/drain", Route::Drain("a-b-c", true)),
            ("/api/v1/origins/a/b/undrain", Route::Drain("a/b", false)),
            ("/api/v1/origins//drain", Route::Nothing),
            ("/api/v1/origins/a-b-c", Route::Origin("a-b-c")),
            ("/api/v1/clients", Route::Clients),
            ("/api/v1/clients/a-1", Route::Client("a-1")),
            ("/api/v1/clients/a/b", Route::Nothing),
            ("/api/v1/clients/a-1/kick", Route::Kick("a-1")),
            ("/api/v1/clients//kick", Route::Nothing),
            ("/api/v1/clients/a/b/kick", Route::Nothing),
            ("/api/v1/streams", Route::Streams),
            ("/metrics", Route::Metrics),
            ("/metrics/", Route::Nothing),
            ("/", Route::Console),
            ("/console.html", Route::Nothing),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
