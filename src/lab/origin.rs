//! A lab origin: a server that behaves like SRS over HTTP, with the clip for streams.

use super::clip::ClipError;
use super::content::LabContent;
use super::handler::LabHandler;
use super::heartbeat::Heartbeat;
use super::identity::Identity;
use super::sessions::HlsSessions;
use super::stream::LabStream;
use crate::config::{Listen, OriginArgs, TrustedProxies};
use crate::listener::{Admission, Closing, PublicSocket};
use crate::server::context::AccessLog;
use crate::server::endpoint::{EndpointSettings, HttpEndpoint, ListenError, listen};
use crate::server::profile::ServerProfile;
use crate::server::server::Bounds;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use log::{Level, info, warn};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};
use thiserror::Error;

/// A connection without a request ends after this, as with SRS.
const IDLE: Duration = Duration::from_secs(15);
/// Stack of a viewer's thread, in bytes.
const STACK: usize = 256 * 1024;
/// A viewer that takes no byte for this long is dropped.
const STALL: Duration = Duration::from_secs(10);
/// Workers for what is no live stream.
const SHORT_WORKERS: usize = 64;
/// Between two tries to have the port again after a stop.
const REOPEN: Duration = Duration::from_millis(500);

/// Why a lab origin does not start.
#[derive(Debug, Error)]
pub enum LabError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start a lab origin: {0}")]
    System(#[from] io::Error),
    /// Only a binary that was built from a broken clip gives this.
    #[error("cannot start a lab origin: {0}")]
    Clip(#[from] ClipError),
}

/// A running lab origin. It serves until [`LabOrigin::stop`]; `POST /lab/stop` takes it away for a while.
pub struct LabOrigin {
    address: SocketAddr,
    registered: Receiver<()>,
    end: Sender<()>,
    supervisor: JoinHandle<()>,
}

impl LabOrigin {
    /// Listens and serves from now on, on threads of its own, up to so many connections. Requests for media
    /// are logged at `level`.
    ///
    /// # Errors
    /// [`LabError`] when the port is taken, or the system lacks something.
    pub fn start(args: &OriginArgs, connections: usize, level: Level) -> Result<Self, LabError> {
        let content = LabContent::embedded()?;
        let listener = listen(args.listen, "--listen", "viewers")?;
        let address = listener.local_addr()?;
        let (end, ending) = bounded(1);
        let (stop, stops) = bounded(1);
        let mut args = args.clone();
        args.listen.port = address.port(); // where it comes back after a stop
        args.streams.sort_unstable();
        args.streams.dedup();
        let supervisor = Supervisor {
            args,
            content,
            connections,
            level,
            stop,
            stops,
            ending,
        };
        let instance = supervisor.open(listener)?;
        let heartbeat = instance.heartbeat.as_ref();
        let registered = heartbeat.map_or(never(), |it| it.registered().clone());
        let supervisor = thread::Builder::new()
            .name("lab origin".to_owned())
            .spawn(move || supervisor.run(instance))?;
        Ok(Self {
            address,
            registered,
            end,
            supervisor,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until its first heartbeat was taken, at most until `end`. Gives whether it was.
    pub fn await_registered(&self, end: Instant) -> bool {
        self.registered.recv_deadline(end).is_ok()
    }

    /// Ends it: cuts its viewers, as SRS's end does.
    pub fn stop(self) {
        // An error of either means that the supervisor has ended already.
        let _ = self.end.try_send(());
        let _ = self.supervisor.join();
    }
}

/// An origin that is open: nothing of it outlives a stop but its address and its streams' names.
struct OriginInstance {
    front: HttpEndpoint,
    heartbeat: Option<Heartbeat>,
}

impl OriginInstance {
    fn close(self) {
        drop(self.heartbeat);
        self.front.close(Closing::Release);
        self.front.await_empty(Instant::now());
    }
}

/// What opens an origin, again after each stop.
struct Supervisor {
    args: OriginArgs,
    content: LabContent,
    connections: usize,
    level: Level,
    stop: Sender<Duration>,
    stops: Receiver<Duration>,
    ending: Receiver<()>,
}

impl Supervisor {
    fn open(&self, listener: TcpListener) -> io::Result<OriginInstance> {
        let address = listener.local_addr()?;
        let identity = Identity::new(&self.args.device_id, address.port());
        let streams = self.args.streams.iter();
        let handler = LabHandler {
            identity: identity.clone(),
            content: self.content,
            first_segment: self.content.hls.start(SystemTime::now().into()),
            streams: streams.map(|name| LabStream::new(name)).collect(),
            sessions: HlsSessions::default(),
            stop: self.stop.clone(),
            level: self.level,
        };
        let settings = EndpointSettings {
            profile: ServerProfile::Lab,
            name: "viewers of a lab origin",
            id_prefix: identity.service.clone(),
            announced_by: None,
            connections: self.connections,
            idle_timeout: IDLE,
            stall: STALL,
            bounds: Bounds {
                short: SHORT_WORKERS,
                long: self.connections,
                stack: STACK,
            },
            admission: Admission::Everybody,
            trusted: TrustedProxies::default(),
            access_log: AccessLog::On,
            observer: Arc::new(()),
        };
        let front = HttpEndpoint::new(
            vec![PublicSocket::new(listener, None)?],
            Arc::new(handler),
            settings,
        )?;
        info!(
            "lab origin {} listens on {address} and publishes {}",
            self.args.device_id,
            Names(&self.args.streams)
        );
        front.serve()?;
        let url = self.args.register.as_deref();
        let heartbeat = url.map(|url| Heartbeat::start(&identity, address.ip(), url));
        Ok(OriginInstance {
            front,
            heartbeat: heartbeat.transpose()?,
        })
    }

    fn run(&self, mut instance: OriginInstance) {
        loop {
            let away = select! {
                recv(self.stops) -> away => away.ok(),
                recv(self.ending) -> _ => None,
            };
            instance.close();
            let Some(away) = away else {
                return;
            };
            let name = &self.args.device_id;
            info!("lab origin {name} has stopped and comes back in {away:?}");
            match self.reopen(away) {
                Some(new) => instance = new,
                None => return,
            }
        }
    }

    /// Waits, and opens again. `None` when it is to end instead.
    fn reopen(&self, away: Duration) -> Option<OriginInstance> {
        let mut wait = away;
        let mut complained = false;
        while self.ending.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            // A second stop, in the same moment as the first, has had its way.
            let _ = self.stops.try_recv();
            let again =
                || -> Result<OriginInstance, LabError> { Ok(self.open(self.listen_again()?)?) };
            match again() {
                Ok(instance) => return Some(instance),
                Err(error) if !complained => {
                    warn!(
                        "lab origin {} tries on to come back: {error}",
                        self.args.device_id
                    );
                    complained = true;
                }
                Err(_) => {}
            }
            wait = REOPEN;
        }
        None
    }

    fn listen_again(&self) -> Result<TcpListener, ListenError> {
        let address: Listen = self.args.listen;
        listen(address, "--listen", "viewers")
    }
}

/// `/live/a, /live/b`.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}/live/{name}")?;
        }
        Ok(())
    }
}
