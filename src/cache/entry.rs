//! One answer on its way from an origin, and its readers.
//!
//! The body is a list of blocks that never change. Readers take references to them under a short lock
//! and write to their sockets outside of it: a slow reader holds references, never copies.

use crate::cache::reader::Place;
use crate::cache::table::Room;
use crate::http::Fields;
use crate::runtime::cancel::Lifeline;
use crate::server::failure::Failure;
use log::debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Size of a block, in bytes.
pub const BLOCK: usize = 64 * 1024;
/// Blocks that a reader takes at once: what one call may hand to its socket.
const MOST_AT_ONCE: usize = 16;
/// An origin's id, which changes with its restart.
pub type OriginId = Arc<str>;

/// The head of an answer that is shared.
#[derive(Debug)]
pub struct Shared {
    pub status: u16,
    /// The lines for players.
    pub fields: Fields,
    /// Of the body, in bytes.
    pub length: u64,
    /// Who gave it; nobody in particular where it is a 404 of many.
    pub origin: Option<OriginId>,
    /// Where that is, for the log and for operators.
    pub address: String,
    /// The origin that the stream was pinned to when the answer came.
    pub pin: Option<OriginId>,
    pub came: Instant,
    /// Its age then.
    pub age: Duration,
    /// How long it is kept.
    pub keep: Keep,
}

/// How long an answer is kept.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    Until(Instant),
    AfterTheEnd(Duration),
}

/// No origin answered.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    /// The origin that the stream was pinned to then.
    pub pin: Option<OriginId>,
}

/// What came of asking.
#[derive(Debug, Clone)]
pub enum Head {
    /// An answer for all.
    Shared(Arc<Shared>),
    /// No origin's answer, for all.
    Failed(Arc<Failed>),
    /// An answer for the leader alone: the others ask for themselves.
    Alone,
}

/// An answer on its way, or as a whole.
#[derive(Debug)]
pub struct Transfer {
    /// Of all its readers: cut when the last one has gone.
    pub lifeline: Arc<Lifeline>,
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    /// The pin when the origin was asked; it is asked first.
    pin: Option<OriginId>,
    pub(super) head: Option<Head>,
    /// Whole blocks, then one that may be shorter.
    blocks: Vec<Arc<[u8]>>,
    /// What came after them, piece by piece as it came.
    tail: Vec<Arc<[u8]>>,
    pub(super) end: Option<Result<(), Arc<str>>>,
    readers: usize,
    /// The last reader has gone before the end.
    abandoned: bool,
    /// The memory that it counts for.
    room: Option<Room>,
}

/// How a request finds a transfer.
#[derive(Debug)]
pub enum Found {
    /// On its way: there is a place in it now.
    Joined(Arc<Place>),
    /// Whole.
    Ready,
    /// Nothing to be had from it.
    Useless,
}

impl Transfer {
    /// Nothing is known yet; the stream is pinned to `pin`.
    pub fn new(pin: Option<OriginId>) -> Arc<Self> {
        Arc::new(Self {
            lifeline: Lifeline::new(),
            state: Mutex::new(State {
                pin,
                head: None,
                blocks: Vec::new(),
                tail: Vec::new(),
                end: None,
                readers: 0,
                abandoned: false,
                room: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// A request comes, whose stream is pinned to `pin` now. `kept`: what is known is for later ones, too.
    pub fn find(self: &Arc<Self>, pin: Option<&OriginId>, kept: bool) -> Found {
        let mut state = self.lock();
        let join = match (&state.head, &state.end) {
            // Of a stream without a pin anybody's answer will do; its reader looks where it is from.
            (None, _) => state.pin.is_none() || state.pin.as_ref() == pin,
            (Some(Head::Shared(_)), None) => true,
            (Some(Head::Shared(_)), Some(Ok(()))) => return Found::Ready,
            (Some(Head::Failed(_)), _) if kept => return Found::Ready,
            _ => false,
        };
        if !join || state.abandoned {
            return Found::Useless;
        }
        state.readers += 1;
        drop(state);
        Found::Joined(Place::at(self))
    }

    /// The leader's place, in a transfer that nobody else knows yet.
    pub fn first(self: &Arc<Self>) -> Arc<Place> {
        self.lock().readers += 1;
        Place::at(self)
    }

    /// Says what came of asking; only the first time counts.
    pub fn tell(&self, head: Head) {
        let mut state = self.lock();
        state.head.get_or_insert(head);
        drop(state);
        self.changed.notify_all();
    }

    /// Counts for that memory from now on.
    pub fn occupy(&self, room: Room) {
        self.lock().room = Some(room);
    }

    /// Takes a whole body, and the memory that it counts for.
    pub fn fill(&self, body: &[u8], room: Option<Room>) {
        let blocks: Vec<Arc<[u8]>> = body.chunks(BLOCK).map(Arc::from).collect();
        let mut state = self.lock();
        state.blocks = blocks;
        state.room = room;
    }

    /// Adds what came.
    pub fn append(&self, bytes: &[u8]) {
        let piece = Arc::from(bytes);
        let mut state = self.lock();
        state.tail.push(piece);
        drop(state);
        self.changed.notify_all();
    }

    /// The pieces that came last are this block: one for many keeps memory and calls few.
    pub fn settle(&self, block: &[u8]) {
        let pieces = self.lock().tail.len();
        let merged = (pieces > 1).then(|| Arc::from(block)); // copied outside of the lock
        let mut state = self.lock();
        let block = merged.or_else(|| state.tail.pop());
        state.blocks.extend(block);
        let pieces = std::mem::take(&mut state.tail);
        drop(state);
        drop(pieces);
    }

    /// There will be no more; only the first time counts.
    pub fn end(&self, how: Result<(), Arc<str>>) {
        let mut state = self.lock();
        state.end.get_or_insert(how);
        drop(state);
        self.changed.notify_all();
    }

    /// Whether its end is known.
    pub fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Who gave it, where that is known.
    pub fn origin(&self) -> Option<OriginId> {
        match &self.lock().head {
            Some(Head::Shared(shared)) => shared.origin.clone(),
            _ => None,
        }
    }

    /// A reader has gone; with the last one the fetch ends.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.readers -= 1;
        if state.end.is_some() {
            return;
        }
        if state.readers > 0 {
            let left = state.readers;
            drop(state);
            debug!("a shared fetch goes on for {left} who wait");
            return;
        }
        state.abandoned = true;
        drop(state);
        self.lifeline.cut();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it that would leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts the blocks from byte `at` on into `batch`; gives how much of the first is behind.
    pub(super) fn take(&self, at: u64, batch: &mut Vec<Arc<[u8]>>) -> Option<usize> {
        let at = usize::try_from(at).ok()?;
        let settled: usize = match self.blocks.last() {
            Some(last) => (self.blocks.len() - 1) * BLOCK + last.len(),
            None => 0,
        };
        let mut behind = at.saturating_sub(settled);
        if at < settled {
            let blocks = &self.blocks[at / BLOCK..];
            batch.extend(blocks.iter().take(MOST_AT_ONCE).cloned());
            return Some(at % BLOCK);
        }
        for (index, piece) in self.tail.iter().enumerate() {
            if behind < piece.len() {
                batch.extend(self.tail[index..].iter().take(MOST_AT_ONCE).cloned());
                return Some(behind);
            }
            behind -= piece.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::reader::{Next, Seat};
    use proptest::prelude::*;
    use std::thread;

    fn shared(length: usize) -> Head {
        Head::Shared(Arc::new(Shared {
            status: 200,
            fields: Fields::default(),
            length: length as u64,
            origin: None,
            address: String::new(),
            pin: None,
            came: Instant::now(),
            age: Duration::ZERO,
            keep: Keep::AfterTheEnd(Duration::ZERO),
        }))
    }

    /// Reads to the end, as a player's worker does; leaves after `most` bytes.
    fn read(seat: &Seat, most: usize) -> (Vec<u8>, Next) {
        let (mut body, mut batch) = (Vec::new(), Vec::new());
        loop {
            match seat.next(body.len() as u64, &mut batch) {
                Next::Bytes(behind) => {
                    let got = batch.concat();
                    body.extend_from_slice(&got[behind..]);
                }
                end => return (body, end),
            }
            if body.len() >= most {
                return (body, Next::Left);
            }
        }
    }

    /// Brings a body in as the pump does, in pieces of those sizes.
    fn bring(transfer: &Transfer, body: &[u8], sizes: &[usize]) {
        let mut block = Vec::new();
        let mut rest = body;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size).min(BLOCK - block.len()));
            transfer.append(piece);
            block.extend_from_slice(piece);
            rest = after;
            if block.len() == BLOCK {
                transfer.settle(&block);
                block.clear();
            }
        }
        if !block.is_empty() {
            transfer.settle(&block);
        }
        transfer.end(Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_reader_gets_every_byte(
            length in 0..5 * BLOCK,
            sizes in prop::collection::vec(1..2 * BLOCK, 1..20),
            quits in prop::collection::vec(0..3 * BLOCK, 0..3),
        ) {
            let body: Vec<u8> = (0..length).map(|at| (at * 7 / 5) as u8).collect();
            let transfer = Transfer::new(None);
            let first = Seat::at(transfer.first(), &Lifeline::new());
            transfer.tell(shared(length));
            let join = || match transfer.find(None, false) {
                Found::Joined(place) => Seat::at(place, &Lifeline::new()),
                other => panic!("{other:?}"),
            };
            let readers: Vec<_> = quits.iter().chain(&[usize::MAX; 2]).map(|most| (join(), *most)).collect();
            thread::scope(|scope| {
                for (seat, most) in readers {
                    let body = &body;
                    scope.spawn(move || {
                        let (got, end) = read(&seat, most);
                        assert!(got == body[..got.len()]);
                        assert!(end == Next::Left || got.len() == body.len());
                    });
                }
                bring(&transfer, &body, &sizes);
            });
            prop_assert!(!transfer.lifeline.is_cut(), "the first still reads");
            prop_assert!(read(&first, usize::MAX) == (body.clone(), Next::End));
            let late = Seat::before(transfer.clone());
            prop_assert!(read(&late, usize::MAX) == (body, Next::End));
            drop((first, late));
            prop_assert!(!transfer.lifeline.is_cut(), "it was over");
        }
    }

    #[test]
    fn the_last_to_leave_ends_it_and_nobody_joins_then() {
        let transfer = Transfer::new(None);
        let clients = [Lifeline::new(), Lifeline::new()];
        let first = Seat::at(transfer.first(), &clients[0]);
        let Found::Joined(place) = transfer.find(None, false) else {
            panic!("it is on its way");
        };
        let second = Seat::at(place, &clients[1]);
        clients[0].cut();
        assert!(first.head().is_none(), "its client has left");
        assert!(!transfer.lifeline.is_cut());
        drop(first); // counted once
        assert!(!transfer.lifeline.is_cut());
        drop(second);
        assert!(transfer.lifeline.is_cut());
        assert!(matches!(transfer.find(None, false), Found::Useless));
    }

    #[test]
    fn a_break_is_told_after_the_bytes_before_it() {
        let transfer = Transfer::new(None);
        let seat = Seat::at(transfer.first(), &Lifeline::new());
        transfer.tell(shared(10));
        transfer.append(b"abc");
        transfer.end(Err("why".into()));
        transfer.end(Ok(()));
        let (got, end) = read(&seat, usize::MAX);
        assert_eq!(
            (got.as_slice(), end),
            (&b"abc"[..], Next::Broken("why".into()))
        );
        assert!(matches!(transfer.find(None, false), Found::Useless));
    }

    #[test]
    fn who_may_join() {
        let (a, b): (OriginId, OriginId) = ("a".into(), "b".into());
        let rows = [
            (None, None, true),
            (None, Some(&a), true),
            (Some(&a), Some(&a), true),
            (Some(&a), Some(&b), false),
            (Some(&a), None, false),
        ];
        for (asked, now, joins) in rows {
            let transfer = Transfer::new(asked.cloned());
            let _first = transfer.first();
            let joined = matches!(transfer.find(now, false), Found::Joined(_));
            assert_eq!(joined, joins, "{asked:?} {now:?}");
        }
        let transfer = Transfer::new(None);
        let _first = transfer.first();
        transfer.tell(Head::Alone);
        assert!(matches!(transfer.find(None, false), Found::Useless));
    }
}
