//! Asking an origin: one request, blocking, by ureq.

use crate::balancer::origin::CertificateName;
use crate::http::Headers;
use crate::runtime::cancel::CancelToken;
use crate::runtime::semaphore::Semaphore;
use crate::upstream::connection::{
    CallContext, LiteralResolver, Unconnected, UpstreamConnection, UpstreamConnector,
};
use crate::upstream::response::{OriginBody, OriginResponse};
use crate::upstream::tls::OriginTls;
use log::debug;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use ureq::config::AutoHeaderValue;
use ureq::{Agent, Timeout};

/// Input buffer of a live stream's connection, in bytes. A response's head must fit in it.
const LIVE_INPUT: usize = 16 * 1024;
/// The same for segments and playlists: fewer system calls for a megabyte.
const SHORT_INPUT: usize = 64 * 1024;
/// Idle connections that are kept for each origin.
const IDLE_CONNECTIONS: usize = 64;
/// How long an idle connection is kept. nginx closes at 75 s, SRS at 15 s.
const IDLE_AGE: Duration = Duration::from_secs(12);
/// Origins that idle connections are kept for; beyond it the table starts afresh.
const MAX_ORIGINS: usize = 1024;

/// The timeouts of the origin side, each from its setting.
#[derive(Debug, Clone, Copy)]
pub struct OriginTimes {
    /// Connecting.
    pub connect: Duration,
    /// From the request's last byte to the end of the response's head.
    pub response: Duration,
    /// Between two reads of a body.
    pub stall: Duration,
}

/// A request for an origin.
#[derive(Debug, Clone, Copy)]
pub struct OriginRequest<'a> {
    pub address: SocketAddr,
    /// Whom the origin's certificate has to be for; `None`: it is asked by plain HTTP.
    pub secured_by: Option<CertificateName<'a>>,
    /// `HEAD`, else it is a GET.
    pub head_only: bool,
    /// Path and query.
    pub target: &'a str,
    pub headers: &'a Headers,
    /// A live stream: a connection of its own, closed afterwards, with small buffers.
    pub live: bool,
    /// Time for connecting and for the response's head, where it is less than the settings'.
    pub timeout: Option<Duration>,
    /// How long the origin may rightly hold its answer back, where that is more than the response timeout: a blocking
    /// playlist reload (RFC 8216bis section 6.2.5.2).
    pub blocks: Option<Duration>,
}

/// Why there is no response.
#[derive(Debug, Error)]
pub enum OriginError {
    /// Nothing was sent: another origin may be asked, and this one is suspect.
    #[error("connecting to {0}: {1}")]
    Connect(SocketAddr, String),
    /// Nothing was sent, and it is not the origin's fault: this host lacks descriptors, memory or
    /// ports, or the request cannot be put into words.
    #[error("cannot ask {0}: {1}")]
    Here(SocketAddr, String),
    /// The request was taken and the connection closed: SRS's way of refusing a player.
    #[error("{0} closed the connection without an answer")]
    Closed(SocketAddr),
    /// What came is not HTTP, or says two things.
    #[error("{0} broke the protocol: {1}")]
    Protocol(SocketAddr, String),
    /// The head did not come in time.
    #[error("{0} sent no response head in time")]
    Timeout(SocketAddr),
    /// The client left meanwhile: nobody wants the answer any more.
    #[error("the client left")]
    Left,
}

/// Is told how origins connect and answer.
pub trait UpstreamObserver: Send + Sync {
    /// A connection came about, after so long.
    fn connected(&self, time: Duration);
    /// A response's head came, so long after its request went out.
    fn answered(&self, origin: SocketAddr, time: Duration);
    /// No response came. Also told when the client left, which is no fault of the origin's.
    fn failed(&self, origin: SocketAddr, error: &OriginError);
}

/// What asks origins. One for the process; it keeps idle connections.
pub struct OriginClient {
    times: OriginTimes,
    /// ureq walks all idle connections for each request: each origin has its own.
    short: Mutex<HashMap<AgentKey, Short>>,
    fresh: Agent,
    idle_budget: Arc<Semaphore>,
    tls: Arc<OriginTls>,
    watch: Arc<dyn UpstreamObserver>,
}

/// An origin's address, and by TLS the name that its certificate was checked for; empty: the address.
type AgentKey = (SocketAddr, Option<Box<str>>);

struct Short {
    agent: Agent,
    used: Instant,
}

/// Time for one request, where it is less than the settings'.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    /// For connecting and for the response's head.
    head: Option<Duration>,
    /// For all of it, the body too.
    whole: Option<Duration>,
}

impl OriginClient {
    /// A client with those timeouts, which keeps at most `idle` connections that nobody
    /// uses, and whose calls `watch` is told of. `tls` is for origins that are asked by HTTPS.
    pub fn new(
        times: OriginTimes,
        idle: usize,
        tls: Arc<OriginTls>,
        watch: Arc<dyn UpstreamObserver>,
    ) -> Self {
        let idle_budget = Semaphore::new(idle);
        Self {
            times,
            short: Mutex::default(),
            fresh: agent(times, LIVE_INPUT, 0, &idle_budget, &tls),
            idle_budget,
            tls,
            watch,
        }
    }

    /// Closes the connections to origins that nobody has asked for a while. To be called every few
    /// seconds: ureq looks at the age of idle connections only when one is wanted.
    pub fn close_idle(&self) {
        let used = |short: &mut Short| short.used.elapsed() < IDLE_AGE;
        let mut agents = self.agents();
        let gone: Vec<Short> = agents
            .extract_if(|_, short| !used(short))
            .map(|(_, it)| it)
            .collect();
        drop(agents);
        drop(gone); // their sockets are closed outside the lock
    }

    /// Closes all idle connections: somebody needs their descriptors.
    fn close_all_idle(&self) {
        let gone = std::mem::take(&mut *self.agents());
        drop(gone);
    }

    /// Sends a request and reads the response's head; its body is read through what is returned.
    ///
    /// A kept connection that turns out closed is no answer: the request goes out once more, on a new
    /// one. Redirects, statuses and compression are the player's business.
    ///
    /// # Errors
    /// An [`OriginError`] that says how far it came.
    pub fn send(
        &self,
        request: OriginRequest<'_>,
        cancel: &Arc<CancelToken>,
    ) -> Result<OriginResponse, OriginError> {
        let timeout = Patience {
            head: request.timeout,
            whole: None,
        };
        self.send_patiently(request, timeout, cancel)
    }

    /// GETs what must come within `time` in all, its body too: what an API says, which may trickle.
    ///
    /// # Errors
    /// As [`OriginClient::send`]; the body's reader fails when the time is over.
    pub fn look_up(
        &self,
        address: SocketAddr,
        secured_by: Option<CertificateName<'_>>,
        target: &str,
        headers: &Headers,
        time: Duration,
    ) -> Result<OriginResponse, OriginError> {
        let request = OriginRequest {
            address,
            secured_by,
            head_only: false,
            target,
            headers,
            live: false,
            timeout: None,
            blocks: None,
        };
        let timeout = Patience {
            head: Some(time),
            whole: Some(time),
        };
        self.send_patiently(request, timeout, &CancelToken::new())
    }

    fn send_patiently(
        &self,
        request: OriginRequest<'_>,
        timeout: Patience,
        cancel: &Arc<CancelToken>,
    ) -> Result<OriginResponse, OriginError> {
        let origin = request.address;
        let result = self.send_once_or_again(request, timeout, cancel);
        if let Err(error) = &result {
            self.watch.failed(origin, error);
        }
        result
    }

    fn send_once_or_again(
        &self,
        request: OriginRequest<'_>,
        timeout: Patience,
        cancel: &Arc<CancelToken>,
    ) -> Result<OriginResponse, OriginError> {
        // HEAD has a connection of its own, too: SRS sends a body after it.
        let own = request.live || request.head_only;
        if !own {
            let agent = self.agent_for(&request);
            match self.send_by(&agent, request, timeout, cancel) {
                (Err(OriginError::Closed(_)), call) if call.reused.get() => {
                    debug!(
                        "{}: a kept connection was closed, once more",
                        request.address
                    );
                }
                (Err(OriginError::Here(..)), _) => self.close_all_idle(),
                (result, _) => return result,
            }
        }
        let (result, _) = self.send_by(&self.fresh, request, timeout, cancel);
        if !(own && matches!(result, Err(OriginError::Here(..)))) {
            return result;
        }
        self.close_all_idle();
        self.send_by(&self.fresh, request, timeout, cancel).0
    }

    fn send_by(
        &self,
        agent: &Agent,
        request: OriginRequest<'_>,
        timeout: Patience,
        cancel: &Arc<CancelToken>,
    ) -> (Result<OriginResponse, OriginError>, Rc<CallContext>) {
        let address = request.address;
        let method = if asks_for_head(&request) {
            "HEAD"
        } else {
            "GET"
        };
        let path = request.target.split('?').next().unwrap_or_default();
        debug!("{method} {}://{address}{path}", scheme(&request));
        let head = head_size(&request);
        let name = match request.secured_by {
            Some(CertificateName::Host(name)) => Some(name),
            _ => None,
        };
        let (result, call) =
            CallContext::run(cancel, head, name, || self.run(agent, request, timeout));
        let result = match result {
            Ok(response) => OriginResponse::of(response, self.times.stall)
                .map_err(|why| OriginError::Protocol(address, why)),
            Err(_) if cancel.is_cancelled() => Err(OriginError::Left),
            Err(error) => Err(explain(address, &error, &call)),
        };
        let connecting = call.connecting.get();
        if let Some(time) = connecting {
            self.watch.connected(time);
        }
        if result.is_ok() {
            let connecting = connecting.unwrap_or_default();
            let time = call.began.elapsed();
            self.watch
                .answered(address, time.saturating_sub(connecting));
        }
        (result, call)
    }

    fn run(
        &self,
        agent: &Agent,
        request: OriginRequest<'_>,
        timeout: Patience,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let url = format!(
            "{}://{}{}",
            scheme(&request),
            request.address,
            request.target
        );
        let mut call = if asks_for_head(&request) {
            agent.head(&url)
        } else {
            agent.get(&url)
        };
        for (name, value) in request.headers.iter() {
            call = call.header_raw(name, value);
        }
        if request.live || request.head_only {
            call = call.header_raw("Connection", b"close");
        }
        let Some(time) = timeout.head else {
            let Some(blocks) = request.blocks else {
                return call.call();
            };
            let response = Some(blocks.max(self.times.response));
            return call.config().timeout_recv_response(response).build().call();
        };
        call.config()
            .timeout_recv_response(Some(time.min(self.times.response)))
            .timeout_connect(Some(time.min(self.times.connect)))
            .timeout_global(timeout.whole)
            .build()
            .call()
    }

    fn agent_for(&self, request: &OriginRequest<'_>) -> Agent {
        let name = request.secured_by.map(|name| match name {
            CertificateName::Host(name) => name.into(),
            CertificateName::Address => Box::default(),
        });
        let key = (request.address, name);
        let mut agents = self.agents();
        if agents.len() >= MAX_ORIGINS && !agents.contains_key(&key) {
            agents.clear();
        }
        let now = Instant::now();
        let (times, budget) = (self.times, &self.idle_budget);
        let short = agents.entry(key).or_insert_with(|| Short {
            agent: agent(times, SHORT_INPUT, IDLE_CONNECTIONS, budget, &self.tls),
            used: now,
        });
        short.used = now;
        short.agent.clone()
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<AgentKey, Short>> {
        // Between the changes to the table nothing panics.
        self.short.lock()
    }
}

fn scheme(request: &OriginRequest<'_>) -> &'static str {
    match request.secured_by {
        Some(_) => "https",
        None => "http",
    }
}

fn agent(
    times: OriginTimes,
    input: usize,
    idle: usize,
    idle_budget: &Arc<Semaphore>,
    tls: &Arc<OriginTls>,
) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None) // the default obeys HTTP_PROXY
        .user_agent(AutoHeaderValue::None)
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(input)
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle)
        .max_idle_age(IDLE_AGE)
        .timeout_connect(Some(times.connect))
        .timeout_send_request(Some(times.response))
        .timeout_recv_response(Some(times.response))
        .build();
    let connector = UpstreamConnector {
        input,
        stall: times.stall,
        idle_budget: idle_budget.clone(),
        tls: tls.clone(),
    };
    Agent::with_parts(config, connector, LiteralResolver)
}

/// Whether an origin is asked by HEAD. Of a live stream it is asked by GET, and the connection is dropped at the head:
/// HEAD opens a stream at SRS as GET does, and has crashed some versions.
fn asks_for_head(request: &OriginRequest<'_>) -> bool {
    request.head_only && !request.live
}

/// Room for a request's head, in bytes: all lines, and what ureq adds to them.
fn head_size(request: &OriginRequest<'_>) -> usize {
    let lines: usize = request
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    request.target.len() + lines + 256
}

fn explain(address: SocketAddr, error: &ureq::Error, call: &CallContext) -> OriginError {
    use ureq::Error as E;
    match (call.failed.get(), error) {
        (Some(Unconnected::Here), _) => return OriginError::Here(address, error.to_string()),
        (Some(Unconnected::Origin), _) | (_, E::Timeout(Timeout::Connect)) => {
            return OriginError::Connect(address, error.to_string());
        }
        // Before anything was sent: the request itself is at fault, and no origin is to suffer for it.
        (None, _) if !call.connected.get() => {
            return OriginError::Here(address, error.to_string());
        }
        _ => {}
    }
    match error {
        E::Timeout(_) => OriginError::Timeout(address),
        E::Io(_) if !call.answered.get() => OriginError::Closed(address),
        _ => OriginError::Protocol(address, error.to_string()),
    }
}

const _: fn() = || {
    fn check<T: Send + Sync>() {}
    check::<OriginClient>();
    check::<UpstreamConnection>();
    let _ = size_of::<OriginBody>;
};

#[cfg(test)]
mod tests;
