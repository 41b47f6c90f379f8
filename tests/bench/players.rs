//! Live viewers: one thread and one epoll for all of them, so that they cost the machine little.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::Result;
use crate::clock;
use crate::figures::{Figure, Figures};
use crate::frames::{FRAME_RATE, FrameReader};
use crate::{procfs, transport};

/// Viewers that come in one second while the load is built up.
const RAMP_PER_SECOND: u32 = 1000;
/// Time between the last viewer's coming and the measuring, for queues to drain.
const SETTLE: Duration = Duration::from_millis(1500);

enum State {
    Connecting,
    Head(Vec<u8>),
    Body(FrameReader),
}

struct Player {
    socket: TcpStream,
    state: State,
    frames: u64,
}

/// Lets `viewers` watch `http://ADDRESS/live/sN.flv`, each a stream of its own, and measures for `window`. `pid` is the
/// proxy, if there is one. The latency is from the origin's write to the player's read.
pub fn run(
    address: SocketAddr,
    viewers: usize,
    window: Duration,
    pid: Option<u32>,
) -> Result<Figures> {
    let ramp =
        Duration::from_secs(1) * u32::try_from(viewers).unwrap_or(u32::MAX) / RAMP_PER_SECOND;
    let begin = Instant::now();
    let open = begin + ramp + SETTLE;
    let close = open + window;
    let cpu = pid.map(|pid| thread::spawn(move || cpu_between(pid, open, close)));

    let mut crowd = Crowd::new(address, viewers, window)?;
    let mut events = Vec::with_capacity(1024);
    let mut come = 0;
    loop {
        let now = Instant::now();
        if now >= close {
            break;
        }
        while come < viewers && now >= begin + ramp * come as u32 / viewers as u32 {
            crowd.come(come);
            come += 1;
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: if come < viewers {
                1_000_000
            } else {
                20_000_000
            },
        };
        epoll::wait(&crowd.epoll, spare_capacity(&mut events), Some(&timeout))
            .or_else(|error| {
                if error == rustix::io::Errno::INTR {
                    Ok(0)
                } else {
                    Err(error)
                }
            })
            .map_err(|error| format!("waiting for frames: {error}"))?;
        let measuring = Instant::now() >= open;
        for event in events.drain(..) {
            crowd.ready(event.data.u64() as usize, measuring);
        }
    }
    let peak = pid.map(procfs::peak_memory);
    let cpu = cpu.and_then(|thread| thread.join().ok());
    Ok(crowd.figures(window, cpu, peak))
}

/// The CPU time that a proxy takes between two moments. A thread of its own: reading /proc takes a millisecond or two.
fn cpu_between(pid: u32, open: Instant, close: Instant) -> Duration {
    thread::sleep(open.saturating_duration_since(Instant::now()));
    let before = procfs::cpu_time(pid);
    thread::sleep(close.saturating_duration_since(Instant::now()));
    procfs::cpu_time(pid).saturating_sub(before)
}

struct Crowd {
    address: SocketAddr,
    epoll: OwnedFd,
    players: Vec<Option<Player>>,
    buffer: Vec<u8>,
    /// Microseconds, of each frame that came while measuring.
    latencies: Vec<u32>,
    errors: Vec<String>,
}

impl Crowd {
    fn new(address: SocketAddr, viewers: usize, window: Duration) -> Result<Crowd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| format!("making an epoll: {error}"))?;
        let expected = viewers as f64 * FRAME_RATE * window.as_secs_f64();
        Ok(Crowd {
            address,
            epoll,
            players: Vec::with_capacity(viewers),
            buffer: vec![0; 64 * 1024],
            latencies: Vec::with_capacity((expected * 1.2) as usize),
            errors: Vec::new(),
        })
    }

    fn come(&mut self, index: usize) {
        let player = transport::connect(self.address).and_then(|socket| {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT)?;
            Ok(Player {
                socket,
                state: State::Connecting,
                frames: 0,
            })
        });
        match player {
            Ok(player) => self.players.push(Some(player)),
            Err(error) => {
                self.errors
                    .push(format!("viewer {index}: connecting: {error}"));
                self.players.push(None);
            }
        }
    }

    fn ready(&mut self, index: usize, measuring: bool) {
        let Some(player) = self.players.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let result = match player.state {
            State::Connecting => player.ask(self.address, index).and_then(|()| {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::modify(&self.epoll, &player.socket, data, epoll::EventFlags::IN)
                    .map_err(|error| error.to_string())
            }),
            _ => player.watch(&mut self.buffer, |sent| {
                if measuring {
                    self.latencies
                        .push(clock::micros_between(sent, clock::now()));
                }
            }),
        };
        if let Err(error) = result {
            self.errors.push(format!("viewer {index}: {error}"));
            self.players[index] = None;
        }
    }

    fn figures(mut self, window: Duration, cpu: Option<Duration>, peak: Option<u64>) -> Figures {
        let waiting = self
            .players
            .iter()
            .flatten()
            .filter(|player| player.frames == 0)
            .count();
        if waiting > 0 {
            self.errors
                .extend((0..waiting).map(|_| "a viewer never got a frame".to_owned()));
        }
        for error in self.errors.iter().take(3) {
            eprintln!("  {error}");
        }
        let frames = self.latencies.len() as f64;
        let mut figures = Figures::default();
        figures.set(Figure::PerSecond, frames / window.as_secs_f64());
        figures.set_quantiles(&mut self.latencies);
        figures.set_known(Figure::Cpu, cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / frames));
        figures.set_known(Figure::PeakMemory, peak.map(|bytes| bytes as f64 / 1e6));
        figures.set(Figure::Errors, self.errors.len() as f64);
        figures
    }
}

impl Player {
    fn ask(&mut self, address: SocketAddr, index: usize) -> Result<()> {
        if let Ok(Some(error)) | Err(error) = self.socket.take_error() {
            return Err(format!("connecting: {error}"));
        }
        let request = format!(
            "GET /live/s{index}.flv HTTP/1.1\r\nHost: {address}\r\nUser-Agent: peers-bench\r\nAccept: */*\r\n\r\n"
        );
        self.socket
            .write_all(request.as_bytes())
            .map_err(|error| format!("asking: {error}"))?;
        self.state = State::Head(Vec::new());
        Ok(())
    }

    /// Reads once and calls `whole` with the send time of each frame that is whole.
    fn watch(&mut self, buffer: &mut [u8], mut whole: impl FnMut(u64)) -> Result<()> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err("the stream ended".to_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("reading: {error}")),
        };
        let mut count_frame = |sent| {
            self.frames += 1;
            whole(sent);
        };
        match &mut self.state {
            State::Connecting => Ok(()),
            State::Body(reader) => reader
                .feed(&buffer[..count], &mut count_frame)
                .map_err(str::to_owned),
            State::Head(head) => {
                head.extend_from_slice(&buffer[..count]);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return Ok(());
                };
                let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                if text.split_ascii_whitespace().nth(1) != Some("200") {
                    return Err(format!(
                        "answered with: {}",
                        text.lines().next().unwrap_or_default()
                    ));
                }
                let mut reader = FrameReader::new(text.contains("transfer-encoding: chunked"));
                reader.feed(&head[end + 4..], &mut count_frame)?;
                self.state = State::Body(reader);
                Ok(())
            }
        }
    }
}
