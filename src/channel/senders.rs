//! Sending at the live edge: each piece to each viewer with one call that does not wait.

use crate::channel::live_channel::Channel;
use crate::channel::piece::Piece;
use crate::channel::ring::{Next, Place};
use crate::channel::viewer::{Sent, Viewer};
use crate::runtime::threads;
use crossbeam_channel::{Receiver, Sender, unbounded};
use log::error;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// Up to so many viewers the thread that reads from the origin sends, too: waking another for each piece costs as
/// much as a few of them.
const FEW: usize = 64;
/// A further sender thread is made when each has so many viewers, up to one a core.
const MANY: usize = 512;
/// Stack of a sender thread, in bytes.
const STACK: usize = 128 * 1024;

/// Viewers at the live edge, sent to by one thread. Their list is that thread's own.
pub(super) struct Edge {
    /// Those who come. There are never more than the process admits viewers.
    inbox: Receiver<Arc<Viewer>>,
    viewers: Vec<Arc<Viewer>>,
    /// Number of the next piece to send.
    next: u64,
    count: Arc<AtomicUsize>,
}

/// What a round of sending found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Sent,
    /// Nothing was to be sent.
    Edge,
    /// The stream is over, and so are its responses.
    Ended,
}

impl Edge {
    /// How many viewers it has.
    pub fn len(&self) -> usize {
        self.viewers.len()
    }

    /// Sends the newest pieces, the first of which has the number `first`, to all viewers: for the thread that has just
    /// added them.
    pub fn send(&mut self, first: u64, pieces: &[Arc<Piece>], channel: &Arc<Channel>) {
        if self.next != first {
            self.round(channel);
            return;
        }
        self.viewers.extend(self.inbox.try_iter());
        self.viewers
            .retain(|viewer| viewer.send_now(first, pieces) == Sent::All);
        self.next = first + pieces.len() as u64;
        self.count
            .store(self.viewers.len() + self.inbox.len(), Ordering::Relaxed);
    }

    /// Sends what has come since the last round to all viewers.
    pub fn round(&mut self, channel: &Arc<Channel>) -> Round {
        let next = channel.ring.next(Place::Piece(self.next), usize::MAX);
        // After the look at the ring: who is handed over at its edge misses no piece.
        self.viewers.extend(self.inbox.try_iter());
        let round = match next {
            Next::Pieces(first, pieces) => {
                self.viewers
                    .retain(|viewer| viewer.send_now(first, &pieces) == Sent::All);
                self.next = first + pieces.len() as u64;
                Round::Sent
            }
            Next::Lost => {
                self.next = channel.ring.first();
                Round::Sent
            }
            Next::Edge => Round::Edge,
            Next::Ended(end) => {
                for viewer in self.viewers.drain(..) {
                    viewer.end_now(&end);
                }
                Round::Ended
            }
        };
        let waiting = self.inbox.len();
        self.count
            .store(self.viewers.len() + waiting, Ordering::Relaxed);
        round
    }
}

/// How viewers come to the threads that send to them.
pub(super) struct Senders {
    handles: Mutex<Vec<Handle>>,
    /// Sender threads.
    threads: AtomicUsize,
}

struct Handle {
    inbox: Sender<Arc<Viewer>>,
    count: Arc<AtomicUsize>,
    /// None for the thread that reads from the origin: it sends whenever it has read.
    thread: Option<Thread>,
}

impl Senders {
    /// The senders of a channel: at first one list, for the thread that reads from the origin.
    pub fn new() -> (Self, Edge) {
        let senders = Self {
            handles: Mutex::default(),
            threads: AtomicUsize::new(0),
        };
        let (edge, inbox) = edge(0);
        let count = edge.count.clone();
        senders.lock().push(Handle {
            inbox,
            count,
            thread: None,
        });
        (senders, edge)
    }

    /// Gives a viewer to the list with the fewest.
    pub fn add(&self, viewer: Arc<Viewer>) {
        let handles = self.lock();
        // With sender threads the reading thread has no viewers any more.
        let from = usize::from(handles.len() > 1);
        let fewest = handles[from..]
            .iter()
            .min_by_key(|handle| handle.count.load(Ordering::Relaxed));
        if let Some(fewest) = fewest {
            fewest.count.fetch_add(1, Ordering::Relaxed);
            // It fails when the sender has ended; then the viewer's drop breaks its response off.
            let _ = fewest.inbox.send(viewer);
        }
    }

    /// There are new pieces, or there will be none: wakes the sender threads.
    pub fn wake(&self) {
        if self.threads.load(Ordering::Acquire) == 0 {
            return;
        }
        for handle in self.lock().iter() {
            if let Some(thread) = &handle.thread {
                thread.unpark();
            }
        }
    }

    /// To be called after a round of the reading thread's list: makes a sender thread where there are too many
    /// viewers for those who send now, and moves them there.
    pub fn spread(&self, own: &mut Edge, channel: &Arc<Channel>) {
        let threads = self.threads.load(Ordering::Acquire);
        if threads == 0 && own.len() <= FEW {
            return;
        }
        let handles = self.lock();
        let count = |handle: &Handle| handle.count.load(Ordering::Relaxed);
        let is_more_needed = match threads {
            0 => own.len() > FEW,
            _ => threads < cores() && handles[1..].iter().all(|handle| count(handle) > MANY),
        };
        drop(handles);
        if is_more_needed {
            self.add_thread(own.next, channel);
        }
        if self.lock().len() > 1 {
            for viewer in own.viewers.drain(..) {
                self.add(viewer);
            }
        }
    }

    fn add_thread(&self, next: u64, channel: &Arc<Channel>) {
        let (mut edge, inbox) = edge(next);
        let count = edge.count.clone();
        let (told, tells) = unbounded();
        let channel = channel.clone();
        let spawned = threads::spawn("sender", STACK, move || {
            let _ = told.send(thread::current());
            loop {
                match edge.round(&channel) {
                    Round::Sent => {}
                    Round::Edge => thread::park(),
                    Round::Ended => break,
                }
            }
        });
        match spawned {
            Ok(()) => {
                let thread = tells.recv().ok();
                self.lock().push(Handle {
                    inbox,
                    count,
                    thread,
                });
                self.threads.fetch_add(1, Ordering::Release);
            }
            Err(error) => error!("cannot make a thread that sends to viewers: {error}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.handles.lock()
    }
}

fn edge(next: u64) -> (Edge, Sender<Arc<Viewer>>) {
    let (sender, inbox) = unbounded();
    let edge = Edge {
        inbox,
        viewers: Vec::new(),
        next,
        count: Arc::default(),
    };
    (edge, sender)
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
