//! Viewers of one live HLS stream, each with a session and a connection of its own: a thread and an epoll for each
//! processor, as for live FLV.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::clock::{self, nanos};
use crate::hls_origin::SEGMENT_TIME;
use crate::hls_viewer::{Failure, HlsViewer, Place};
use crate::viewer::Window;
use crate::{Result, system};

/// Between two polls of a viewer: as long as a segment lasts, so that each poll finds one that is new.
const PERIOD: Duration = SEGMENT_TIME;
/// Between the last viewer's first poll and the measuring.
const SETTLE: Duration = Duration::from_secs(2);

/// Who comes, and when they are measured.
pub struct Plan {
    pub address: SocketAddr,
    pub viewers: usize,
    /// When the first viewer polls first. The others' phases are spread evenly over the period.
    begin: u64,
    pub window: Window,
}

impl Plan {
    pub fn new(address: SocketAddr, viewers: usize, window: Duration) -> Plan {
        let begin = clock::now();
        let open = begin + nanos(PERIOD + SETTLE);
        let close = open + nanos(window);
        Plan {
            address,
            viewers,
            begin,
            window: Window { open, close },
        }
    }
}

/// What all have seen. Durations are in microseconds, of requests of the measured time.
#[derive(Default)]
pub struct Seen {
    pub playlists: Vec<u32>,
    pub segments: Vec<u32>,
    /// Requests in vain, and segments that a viewer missed.
    pub errors: u64,
    /// The last segment that the viewer has who is furthest behind; `None` when one has none.
    pub slowest: Option<u64>,
}

/// Lets the viewers watch to the end of the measured time, and have what they asked for then; `meanwhile` runs beside them.
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
        let mut all = Seen {
            slowest: Some(u64::MAX),
            ..Seen::default()
        };
        for thread in threads {
            let mut seen = thread
                .join()
                .map_err(|_| "a thread of viewers panicked".to_owned())??;
            all.playlists.append(&mut seen.playlists);
            all.segments.append(&mut seen.segments);
            all.errors += seen.errors;
            all.slowest = all.slowest.min(seen.slowest);
        }
        Ok((all, result))
    })
}

/// Viewers of one thread: each `step`th from `first` on.
struct Row<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    first: usize,
    step: usize,
    viewers: Vec<HlsViewer>,
    /// Polls so far: viewers poll in turn.
    polls: usize,
    seen: Seen,
    told: usize,
}

impl Row<'_> {
    fn new(plan: &Plan, first: usize, step: usize) -> Result<Row<'_>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| format!("making an epoll: {error}"))?;
        let numbers = (first..plan.viewers).step_by(step);
        Ok(Row {
            plan,
            epoll,
            first,
            step,
            viewers: numbers
                .map(|number| HlsViewer::new(format!("c{number}")))
                .collect(),
            polls: 0,
            seen: Seen::default(),
            told: 0,
        })
    }

    /// When somebody polls next; `None` when nobody does any more.
    fn next_poll(&self) -> Option<u64> {
        let round = self.polls.checked_div(self.viewers.len())? as u64;
        let number = self.first + self.polls % self.viewers.len() * self.step;
        let phase = nanos(PERIOD) * number as u64 / self.plan.viewers as u64;
        let moment = self.plan.begin + round * nanos(PERIOD) + phase;
        (moment < self.plan.window.close).then_some(moment)
    }

    /// Runs until the viewers stop watching.
    fn watch(mut self) -> Result<Seen> {
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        let end = self.plan.window.end();
        loop {
            let now = clock::now();
            if now >= end {
                break;
            }
            while self.next_poll().is_some_and(|moment| moment <= now) {
                self.poll(self.polls % self.viewers.len());
                self.polls += 1;
            }
            let until = self.next_poll().unwrap_or(end).saturating_sub(now);
            let wait = Timespec::try_from(Duration::from_nanos(until));
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(format!("waiting for answers: {error}")),
            }
            for event in events.drain(..) {
                self.go_on(event.data.u64() as usize, &mut buffer);
            }
        }
        let waiting = self.viewers.iter().filter(|viewer| viewer.is_busy());
        let missed = self.viewers.iter().map(|viewer| viewer.edge.missed);
        self.seen.errors += waiting.count() as u64 + missed.sum::<u64>();
        let last = self.viewers.iter().map(|viewer| viewer.edge.last);
        self.seen.slowest = last.min().unwrap_or(Some(u64::MAX));
        Ok(self.seen)
    }

    fn poll(&mut self, seat: usize) {
        let place = Place {
            epoll: &self.epoll,
            seat: seat as u64,
            address: self.plan.address,
        };
        if let Err(failure) = self.viewers[seat].poll(place) {
            self.fail(seat, failure);
        }
    }

    fn go_on(&mut self, seat: usize, buffer: &mut [u8]) {
        let place = Place {
            epoll: &self.epoll,
            seat: seat as u64,
            address: self.plan.address,
        };
        match self.viewers[seat].go_on(place, buffer) {
            Ok(Some(answered)) if self.plan.window.has(answered.asked) => {
                let durations = if answered.segment {
                    &mut self.seen.segments
                } else {
                    &mut self.seen.playlists
                };
                durations.push(answered.micros);
            }
            Ok(_) => {}
            Err(failure) => self.fail(seat, failure),
        }
    }

    fn fail(&mut self, seat: usize, Failure(words): Failure) {
        self.viewers[seat].give_up();
        self.seen.errors += 1;
        if self.told < 2 {
            self.told += 1;
            eprintln!("  viewer {}: {words}", self.first + seat * self.step);
        }
    }
}
