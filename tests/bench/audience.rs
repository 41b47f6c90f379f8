//! Viewers of live FLV, thousands of them: a thread and an epoll for each processor, so that they cost the machine little.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConfig;

use crate::clock::{self, nanos};
use crate::transport::Transport;
use crate::viewer::{End, Viewer, ViewerSeen, Watching, Window};
use crate::{Result, system};

/// Viewers that come in one second while the load is built up.
const RAMP_PER_SECOND: u64 = 1000;
/// Time between the last viewer's coming and the measuring, for queues to drain.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long a player waits before it asks again for a stream that ended.
const AGAIN: Duration = Duration::from_millis(100);

/// Who comes, when, and what they do.
pub struct Plan {
    pub address: SocketAddr,
    /// What they ask for; `{}` stands for the viewer's number.
    pub path: &'static str,
    /// By which all of them speak TLS; `None` for plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    /// When each viewer comes, in order.
    comes: Vec<u64>,
    /// Viewers from this number on come late, in the measured time, and leave with their first frame.
    pub guests: usize,
    /// Whether a viewer whose stream ended asks for it again.
    pub returns: bool,
    pub window: Window,
}

impl Plan {
    /// Viewers who come at 1000 a second, and are measured for `window` when all are there.
    pub fn new(address: SocketAddr, path: &'static str, viewers: usize, window: Duration) -> Plan {
        let begin = clock::now();
        let comes: Vec<u64> = (0..viewers as u64)
            .map(|index| begin + index * 1_000_000_000 / RAMP_PER_SECOND)
            .collect();
        let open = comes.last().unwrap_or(&begin) + nanos(SETTLE);
        let close = open + nanos(window);
        Plan {
            address,
            path,
            tls: None,
            comes,
            guests: viewers,
            returns: false,
            window: Window { open, close },
        }
    }

    /// Adds a viewer who comes each `every`, from the measured time's beginning to half a second before its end.
    pub fn add_guests(&mut self, every: Duration) {
        let last = self.window.close.saturating_sub(500_000_000);
        let moments = (self.window.open..last).step_by(every.as_nanos().max(1) as usize);
        self.comes.extend(moments);
    }
}

/// What all have seen.
pub struct Seen {
    /// Microseconds, of each frame that was sent in the measured time and came to a staying viewer.
    pub ages: Vec<u32>,
    /// By the viewer's number.
    pub viewers: Vec<ViewerSeen>,
}

/// Lets the viewers come and watch to a second after the measured time; `meanwhile` runs beside them.
pub fn watch<T>(plan: &Plan, meanwhile: impl FnOnce() -> T) -> Result<(Seen, T)> {
    let count = system::cores();
    let mut rows = Vec::new();
    for first in 0..count {
        rows.push(Row::new(plan, first, count)?);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = rows
            .into_iter()
            .map(|row| scope.spawn(move || row.watch()))
            .collect();
        let result = meanwhile();
        let mut ages = Vec::new();
        let mut viewers = vec![ViewerSeen::default(); plan.comes.len()];
        for thread in threads {
            let mut row = thread
                .join()
                .map_err(|_| "a thread of viewers panicked".to_owned())??;
            ages.append(&mut row.ages);
            row.seen().for_each(|(number, seen)| viewers[number] = seen);
        }
        Ok((Seen { ages, viewers }, result))
    })
}

enum Seat {
    /// Not here: not yet, between two connections, or not any more.
    Empty(Option<Watching>),
    Taken(Viewer),
}

/// Viewers of one thread: each `step`th from `first` on.
struct Row<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    first: usize,
    step: usize,
    seats: Vec<Seat>,
    /// Who comes again, and when.
    returning: VecDeque<(u64, usize)>,
    ages: Vec<u32>,
    told: usize,
}

impl Row<'_> {
    fn new(plan: &Plan, first: usize, step: usize) -> Result<Row<'_>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| format!("making an epoll: {error}"))?;
        let count = plan.comes.len().saturating_sub(first).div_ceil(step);
        Ok(Row {
            plan,
            epoll,
            first,
            step,
            seats: (0..count)
                .map(|_| Seat::Empty(Some(Watching::new())))
                .collect(),
            returning: VecDeque::new(),
            ages: Vec::new(),
            told: 0,
        })
    }

    fn number(&self, seat: usize) -> usize {
        self.first + seat * self.step
    }

    /// Runs until the viewers stop watching.
    fn watch(mut self) -> Result<Self> {
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        let mut come = 0;
        loop {
            let now = clock::now();
            if now >= self.plan.window.end() {
                break;
            }
            while come < self.seats.len() && self.plan.comes[self.number(come)] <= now {
                self.come(come);
                come += 1;
            }
            while let Some(&(moment, seat)) = self.returning.front()
                && moment <= now
            {
                self.returning.pop_front();
                self.come(seat);
            }
            let next = (come < self.seats.len()).then(|| self.plan.comes[self.number(come)]);
            let returning = self.returning.front().map(|&(moment, _)| moment);
            let until = [next, returning, Some(self.plan.window.end())]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(now);
            let wait = Timespec::try_from(Duration::from_nanos(until.saturating_sub(now)));
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(format!("waiting for frames: {error}")),
            }
            for event in events.drain(..) {
                self.ready(event.data.u64() as usize, &mut buffer);
            }
        }
        Ok(self)
    }

    /// What each viewer has seen, with its number.
    fn seen(self) -> impl Iterator<Item = (usize, ViewerSeen)> {
        let (first, step, window) = (self.first, self.step, self.plan.window);
        let seats = self.seats.into_iter().enumerate();
        seats.map(move |(seat, state)| {
            let watching = match state {
                Seat::Taken(viewer) => Some(viewer.into_watching()),
                Seat::Empty(watching) => watching,
            };
            let seen = watching.map(|watching| watching.finish(&window));
            (first + seat * step, seen.unwrap_or_default())
        })
    }

    fn come(&mut self, seat: usize) {
        let Some(Seat::Empty(watching)) = self.seats.get_mut(seat) else {
            return;
        };
        let mut watching = watching.take().unwrap_or_else(Watching::new);
        watching.ask();
        let transport = Transport::connect(self.plan.address, self.plan.tls.as_ref());
        let transport = transport.and_then(|transport| {
            let data = epoll::EventData::new_u64(seat as u64);
            epoll::add(&self.epoll, &transport, data, epoll::EventFlags::OUT)?;
            Ok(transport)
        });
        match transport {
            Ok(transport) => self.seats[seat] = Seat::Taken(Viewer::new(transport, watching)),
            Err(error) => {
                let end = End::Gone(format!("connecting: {error}"));
                self.leave(seat, end, watching);
            }
        }
    }

    fn ready(&mut self, seat: usize, buffer: &mut [u8]) {
        let number = self.number(seat);
        let Some(Seat::Taken(viewer)) = self.seats.get_mut(seat) else {
            return;
        };
        let guest = number >= self.plan.guests;
        let result = if viewer.is_connecting() {
            let path = self.plan.path.replace("{}", &number.to_string());
            viewer.ask(self.plan.address, &path).and_then(|()| {
                let data = epoll::EventData::new_u64(seat as u64);
                epoll::modify(&self.epoll, &viewer.transport, data, epoll::EventFlags::IN)
                    .map_err(|error| End::Gone(format!("watching a connection: {error}")))
            })
        } else {
            viewer.read(buffer, &self.plan.window, |age| {
                if !guest {
                    self.ages.push(age);
                }
            })
        };
        let end = match result {
            Ok(()) if guest && viewer.has_a_frame() => None,
            Ok(()) => return,
            Err(end) => Some(end),
        };
        let gone = std::mem::replace(&mut self.seats[seat], Seat::Empty(None));
        if let Seat::Taken(viewer) = gone {
            let watching = viewer.into_watching();
            match end {
                Some(end) => self.leave(seat, end, watching),
                None => self.seats[seat] = Seat::Empty(Some(watching)),
            }
        }
    }

    /// A viewer's response is over before the viewer wanted that.
    fn leave(&mut self, seat: usize, end: End, mut watching: Watching) {
        watching.note_end(&end);
        self.seats[seat] = Seat::Empty(Some(watching));
        if self.plan.returns {
            self.returning
                .push_back((clock::now() + nanos(AGAIN), seat));
        } else if self.told < 2 {
            self.told += 1;
            let (End::Gone(words) | End::Torn(words)) = end;
            eprintln!("  viewer {}: {words}", self.number(seat));
        }
    }
}
