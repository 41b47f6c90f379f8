//! The link to Redis: one connection on a thread of its own. Requests hand it their commands, and all
//! that wait at the same time go out as one pipeline: one round trip, whoever asks, and no lock over it.

use crate::balancer::redis::address::{BadRedis, RedisAddress};
use crate::balancer::redis::pipeline::{one_line, send};
use crate::balancer::redis::sync::OriginSync;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use log::{debug, info, warn};
use redis::{Cmd, Connection, RedisError, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Jobs that wait at most; beyond it a request goes on with what this proxy knows itself.
const MAX_WAITING: usize = 4096;
/// Jobs that go out at once at most.
const BATCH: usize = 256;
/// How long a request waits for its answer: the connection's own timeout, and the batch before.
const PATIENCE: Duration = Duration::from_millis(700);
/// The shared origins are read this often: a new one is to be picked by all within a second.
const POLL: Duration = Duration::from_millis(300);
/// Between two tries to connect, from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Redis cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisUnavailable;

/// What requests hold of the link.
pub struct RedisClient {
    jobs: Sender<Job>,
    up: Arc<AtomicBool>,
    failures: AtomicU64,
}

struct Job {
    commands: Vec<Cmd>,
    answer: Option<Sender<Vec<Value>>>,
}

impl RedisClient {
    /// Connects, reads the picture for the first time, and keeps both up from now on.
    ///
    /// # Errors
    /// [`BadRedis`] when there is no Redis, or it does not let us in; the system's error when there is
    /// no thread.
    pub fn start(address: RedisAddress, sync: OriginSync) -> Result<Self, RedisClientError> {
        let (jobs, inbox) = bounded(MAX_WAITING);
        let up = Arc::new(AtomicBool::new(false));
        let mut keeper = RedisWorker {
            address,
            sync,
            inbox,
            up: up.clone(),
        };
        let connection = keeper.connect().map_err(RedisClientError::Redis)?;
        thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || keeper.run(connection))
            .map_err(RedisClientError::Thread)?;
        Ok(Self {
            jobs,
            up,
            failures: AtomicU64::new(0),
        })
    }

    /// Whether Redis answered last time.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Asks, in one round trip; waits 0.7 s at most, and not at all while Redis is known to be away.
    /// Gives a value for each command; one that Redis refused is a [`Value::ServerError`].
    ///
    /// # Errors
    /// [`RedisUnavailable`]; then nothing is known of what became of the commands.
    pub fn ask(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisUnavailable> {
        let (answer, answers) = bounded(1);
        self.failed(self.send(Job {
            commands,
            answer: Some(answer),
        }))?;
        let answer = answers.recv_timeout(PATIENCE).map_err(|_| {
            // One timeout means away, for all: a Redis that trickles its answers must not cost each request this wait.
            // Whoever finds that it keeps up again, the worker, takes it back.
            if self.up.swap(false, Ordering::AcqRel) {
                warn!("Redis does not answer within {PATIENCE:?}: nobody waits for it until it keeps up");
            }
            RedisUnavailable
        });
        self.failed(answer)
    }

    /// Hands over commands whose answers nobody waits for. Gives whether they will be sent.
    pub fn announce(&self, commands: Vec<Cmd>) -> bool {
        let job = Job {
            commands,
            answer: None,
        };
        self.failed(self.send(job)).is_ok()
    }

    /// How often a request, or this proxy itself, wanted something of Redis in vain.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn failed<T>(&self, result: Result<T, RedisUnavailable>) -> Result<T, RedisUnavailable> {
        result.inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn send(&self, job: Job) -> Result<(), RedisUnavailable> {
        if !self.is_up() {
            return Err(RedisUnavailable);
        }
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(RedisUnavailable),
        }
    }
}

/// Why there is no link.
#[derive(Debug)]
pub enum RedisClientError {
    Redis(BadRedis),
    Thread(io::Error),
}

/// The thread's own.
struct RedisWorker {
    address: RedisAddress,
    sync: OriginSync,
    inbox: Receiver<Job>,
    up: Arc<AtomicBool>,
}

/// Why the thread stops serving a connection.
enum End {
    /// The proxy ends.
    Over,
    Broken(RedisError),
}

impl From<RedisError> for End {
    fn from(error: RedisError) -> Self {
        Self::Broken(error)
    }
}

impl RedisWorker {
    fn run(mut self, connection: Connection) {
        let mut connection = Some(connection);
        while let Some(open) = connection.take() {
            let error = match self.serve(open) {
                End::Over => return,
                End::Broken(error) => error,
            };
            self.up.store(false, Ordering::Release);
            warn!(
                "Redis at {} is away ({}): known origins and streams go on from memory, registrations get 503",
                self.address,
                one_line(&error)
            );
            let since = Instant::now();
            connection = self.reconnect();
            if connection.is_some() {
                info!(
                    "Redis at {} is back after {:.1} s",
                    self.address,
                    since.elapsed().as_secs_f64()
                );
            }
        }
    }

    /// Connects, and brings both sides to the same picture.
    fn connect(&mut self) -> Result<Connection, BadRedis> {
        let mut connection = self.address.connect()?;
        let poll = self.sync.poll(&mut connection);
        poll.map_err(|error| self.address.explain(&error))?;
        self.up.store(true, Ordering::Release);
        Ok(connection)
    }

    /// `None` when the proxy ends meanwhile.
    fn reconnect(&mut self) -> Option<Connection> {
        let (mut pause, longest) = BACKOFF;
        loop {
            let next = Instant::now() + pause;
            loop {
                // Jobs that were handed over when the link broke: dropped, they are answered.
                match self.inbox.recv_deadline(next) {
                    Ok(job) => drop(job),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
            match self.connect() {
                Ok(connection) => return Some(connection),
                Err(bad) => debug!("{bad}"),
            }
            pause = (pause * 2).min(longest);
        }
    }

    fn serve(&mut self, mut connection: Connection) -> End {
        let mut next = Instant::now() + POLL;
        loop {
            match self.inbox.recv_deadline(next) {
                Ok(job) => {
                    if let Err(error) = self.batch(&mut connection, job) {
                        return error.into();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return End::Over,
            }
            if Instant::now() >= next {
                let began = Instant::now();
                if let Err(error) = self.sync.poll(&mut connection) {
                    return error.into();
                }
                if let Err(error) = self.keeps_up(began) {
                    return error.into();
                }
                next = Instant::now() + POLL;
            }
        }
    }

    /// A batch has been answered that was sent at `began`. The connection's timeout is for each read: an answer that
    /// comes a byte at a time is told from a good one by its whole time.
    ///
    /// # Errors
    /// It took longer than a request waits.
    fn keeps_up(&self, began: Instant) -> Result<(), RedisError> {
        let time = began.elapsed();
        if time > PATIENCE {
            let why = format!("an answer took {:.1} s", time.as_secs_f64());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why).into());
        }
        if !self.up.swap(true, Ordering::AcqRel) {
            info!("Redis at {} keeps up again", self.address);
        }
        Ok(())
    }

    fn batch(&self, connection: &mut Connection, first: Job) -> Result<(), RedisError> {
        let waiting = self.inbox.try_iter().take(BATCH - 1);
        let jobs: Vec<Job> = std::iter::once(first).chain(waiting).collect();
        let commands = jobs.iter().flat_map(|job| &job.commands);
        let began = Instant::now();
        let mut answers = send(connection, commands)?.into_iter();
        self.keeps_up(began)?;
        for job in jobs {
            let own: Vec<Value> = answers.by_ref().take(job.commands.len()).collect();
            match job.answer {
                // Whoever has waited for too long is gone.
                Some(answer) => drop(answer.try_send(own)),
                None => own.iter().for_each(|value| self.sync.note_refused(value)),
            }
        }
        Ok(())
    }
}
