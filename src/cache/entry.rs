//! One answer on its way from an origin, and its readers.
//!
//! The body is a list of blocks that never change. Readers take references to them under a short lock
//! and write to their sockets outside of it: a slow reader holds references, never copies.

use crate::cache::reader::ReaderSlot;
use crate::cache::table::MemoryReservation;
use crate::http::Headers;
use crate::runtime::cancel::CancelToken;
use crate::server::failure::Failure;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size of a block, in bytes.
pub const BLOCK: usize = 64 * 1024;
/// Blocks that a reader takes at once: what one call may hand to its socket.
const MAX_AT_ONCE: usize = 16;
/// An origin's id, which changes with its restart.
pub use crate::stream::origin_id::OriginId;

/// The head of an answer that is shared.
#[derive(Debug)]
pub struct SharedHead {
    pub status: u16,
    /// The lines for players.
    pub headers: Headers,
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
    pub keep: Retention,
}

/// How long an answer is kept.
#[derive(Debug, Clone, Copy)]
pub enum Retention {
    Until(Instant),
    AfterTheEnd(Duration),
}

/// No origin answered.
#[derive(Debug)]
pub struct FailedFetch {
    pub failure: Failure,
    /// The origin that the stream was pinned to then.
    pub pin: Option<OriginId>,
}

/// What came of asking.
#[derive(Debug, Clone)]
pub enum EntryHead {
    /// An answer for all.
    Shared(Arc<SharedHead>),
    /// No origin's answer, for all.
    Failed(Arc<FailedFetch>),
    /// An answer for the filler alone: the others ask for themselves.
    Alone,
}

/// An answer on its way, or as a whole.
#[derive(Debug)]
pub struct CacheEntry {
    /// Of all its readers: cut when the last one has gone.
    pub cancel: Arc<CancelToken>,
    state: Mutex<EntryState>,
    pub(super) changed: Condvar,
}

#[derive(Debug)]
pub(super) struct EntryState {
    /// The pin when the origin was asked; it is asked first.
    pin: Option<OriginId>,
    pub(super) head: Option<EntryHead>,
    /// Whole blocks, then one that may be shorter.
    blocks: Vec<Arc<[u8]>>,
    /// What came after them, piece by piece as it came.
    tail: Vec<Arc<[u8]>>,
    pub(super) end: Option<Result<(), Arc<str>>>,
    readers: usize,
    /// The last reader has gone before the end.
    abandoned: bool,
    /// The memory that it counts for.
    reservation: Option<MemoryReservation>,
}

/// How a request finds a transfer.
#[derive(Debug)]
pub enum EntryMatch {
    /// On its way: there is a place in it now.
    Joined(Arc<ReaderSlot>),
    /// Whole.
    Ready,
    /// Nothing to be had from it.
    Useless,
}

impl CacheEntry {
    /// Nothing is known yet; the stream is pinned to `pin`.
    pub fn new(pin: Option<OriginId>) -> Arc<Self> {
        Arc::new(Self {
            cancel: CancelToken::new(),
            state: Mutex::new(EntryState {
                pin,
                head: None,
                blocks: Vec::new(),
                tail: Vec::new(),
                end: None,
                readers: 0,
                abandoned: false,
                reservation: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// A request comes, whose stream is pinned to `pin` now. `kept`: what is known is for later ones, too.
    pub fn find(self: &Arc<Self>, pin: Option<&OriginId>, kept: bool) -> EntryMatch {
        let mut state = self.lock();
        let join = match (&state.head, &state.end) {
            // Of a stream without a pin anybody's answer will do; its reader looks where it is from.
            (None, _) => state.pin.is_none() || state.pin.as_ref() == pin,
            (Some(EntryHead::Shared(_)), None) => true,
            (Some(EntryHead::Shared(_)), Some(Ok(()))) => return EntryMatch::Ready,
            (Some(EntryHead::Failed(_)), _) if kept => return EntryMatch::Ready,
            _ => false,
        };
        if !join || state.abandoned {
            return EntryMatch::Useless;
        }
        state.readers += 1;
        drop(state);
        EntryMatch::Joined(ReaderSlot::at(self))
    }

    /// The filler's place, in a transfer that nobody else knows yet.
    pub fn first(self: &Arc<Self>) -> Arc<ReaderSlot> {
        self.lock().readers += 1;
        ReaderSlot::at(self)
    }

    /// Says what came of asking; only the first time counts.
    pub fn tell(&self, head: EntryHead) {
        let mut state = self.lock();
        state.head.get_or_insert(head);
        drop(state);
        self.changed.notify_all();
    }

    /// Counts for that memory from now on.
    pub fn occupy(&self, reservation: MemoryReservation) {
        self.lock().reservation = Some(reservation);
    }

    /// Takes a whole body, and the memory that it counts for.
    pub fn fill(&self, body: &[u8], reservation: Option<MemoryReservation>) {
        let blocks: Vec<Arc<[u8]>> = body.chunks(BLOCK).map(Arc::from).collect();
        let mut state = self.lock();
        state.blocks = blocks;
        state.reservation = reservation;
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
            Some(EntryHead::Shared(shared)) => shared.origin.clone(),
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
        self.cancel.cancel();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, EntryState> {
        // Nothing panics under it that would leave it half changed.
        self.state.lock()
    }
}

impl EntryState {
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
            batch.extend(blocks.iter().take(MAX_AT_ONCE).cloned());
            return Some(at % BLOCK);
        }
        for (index, piece) in self.tail.iter().enumerate() {
            if behind < piece.len() {
                batch.extend(self.tail[index..].iter().take(MAX_AT_ONCE).cloned());
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
    use crate::cache::reader::{EntryReader, Next};
    use proptest::prelude::*;
    use std::thread;

    fn shared(length: usize) -> EntryHead {
        EntryHead::Shared(Arc::new(SharedHead {
            status: 200,
            headers: Headers::default(),
            length: length as u64,
            origin: None,
            address: String::new(),
            pin: None,
            came: Instant::now(),
            age: Duration::ZERO,
            keep: Retention::AfterTheEnd(Duration::ZERO),
        }))
    }

    /// Reads to the end, as a player's worker does; leaves after `most` bytes.
    fn read(reader: &EntryReader, most: usize) -> (Vec<u8>, Next) {
        let (mut body, mut batch) = (Vec::new(), Vec::new());
        loop {
            match reader.next(body.len() as u64, &mut batch) {
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
    fn bring(entry: &CacheEntry, body: &[u8], sizes: &[usize]) {
        let mut block = Vec::new();
        let mut rest = body;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size).min(BLOCK - block.len()));
            entry.append(piece);
            block.extend_from_slice(piece);
            rest = after;
            if block.len() == BLOCK {
                entry.settle(&block);
                block.clear();
            }
        }
        if !block.is_empty() {
            entry.settle(&block);
        }
        entry.end(Ok(()));
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
            let entry = CacheEntry::new(None);
            let first = EntryReader::at(entry.first(), &CancelToken::new());
            entry.tell(shared(length));
            let join = || match entry.find(None, false) {
                EntryMatch::Joined(slot) => EntryReader::at(slot, &CancelToken::new()),
                other => panic!("{other:?}"),
            };
            let readers: Vec<_> = quits.iter().chain(&[usize::MAX; 2]).map(|most| (join(), *most)).collect();
            thread::scope(|scope| {
                for (reader, most) in readers {
                    let body = &body;
                    scope.spawn(move || {
                        let (got, end) = read(&reader, most);
                        assert!(got == body[..got.len()]);
                        assert!(end == Next::Left || got.len() == body.len());
                    });
                }
                bring(&entry, &body, &sizes);
            });
            prop_assert!(!entry.cancel.is_cancelled(), "the first still reads");
            prop_assert!(read(&first, usize::MAX) == (body.clone(), Next::End));
            let late = EntryReader::before(entry.clone());
            prop_assert!(read(&late, usize::MAX) == (body, Next::End));
            drop((first, late));
            prop_assert!(!entry.cancel.is_cancelled(), "it was over");
        }
    }

    #[test]
    fn the_last_to_leave_ends_it_and_nobody_joins_then() {
        let entry = CacheEntry::new(None);
        let clients = [CancelToken::new(), CancelToken::new()];
        let first = EntryReader::at(entry.first(), &clients[0]);
        let EntryMatch::Joined(slot) = entry.find(None, false) else {
            panic!("it is on its way");
        };
        let second = EntryReader::at(slot, &clients[1]);
        clients[0].cancel();
        assert!(first.head().is_none(), "its client has left");
        assert!(!entry.cancel.is_cancelled());
        drop(first); // counted once
        assert!(!entry.cancel.is_cancelled());
        drop(second);
        assert!(entry.cancel.is_cancelled());
        assert!(matches!(entry.find(None, false), EntryMatch::Useless));
    }

    #[test]
    fn a_break_is_told_after_the_bytes_before_it() {
        let entry = CacheEntry::new(None);
        let reader = EntryReader::at(entry.first(), &CancelToken::new());
        entry.tell(shared(10));
        entry.append(b"abc");
        entry.end(Err("why".into()));
        entry.end(Ok(()));
        let (got, end) = read(&reader, usize::MAX);
        assert_eq!(
            (got.as_slice(), end),
            (&b"abc"[..], Next::Broken("why".into()))
        );
        assert!(matches!(entry.find(None, false), EntryMatch::Useless));
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
            let entry = CacheEntry::new(asked.cloned());
            let _first = entry.first();
            let joined = matches!(entry.find(now, false), EntryMatch::Joined(_));
            assert_eq!(joined, joins, "{asked:?} {now:?}");
        }
        let entry = CacheEntry::new(None);
        let _first = entry.first();
        entry.tell(EntryHead::Alone);
        assert!(matches!(entry.find(None, false), EntryMatch::Useless));
    }
}
