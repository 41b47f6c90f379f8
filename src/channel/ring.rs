//! The ring: the newest pieces of a channel, numbered without end.

use crate::channel::budget::{Budget, Holder};
use crate::channel::piece::{Piece, Rendered};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Pieces are kept for this long at least, memory permitting: who is behind by less loses nothing.
const KEEP: Duration = Duration::from_secs(2);

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The origin said that it is whole.
    Clean,
    /// It is not: responses are broken off, for this reason.
    Broken(Arc<str>),
}

/// Where a viewer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has all pieces before this number.
    Piece(u64),
    /// It waits for a piece that starts a group, of this number or a later one.
    Group(u64),
}

/// What a viewer at some place of the ring gets next.
#[derive(Debug)]
pub enum Next {
    /// The number of a piece, and the pieces from it on, up to the edge or to the limit that was asked for.
    Pieces(u64, Vec<Arc<Piece>>),
    /// The piece at its place has been dropped.
    Lost,
    /// It has all that there is.
    Edge,
    /// It has all that there will be.
    Ended(End),
}

/// The newest pieces of a channel. Its lock is held for moments and never over a system call.
#[derive(Debug)]
pub struct Ring {
    budget: Arc<Budget>,
    /// Whether a group's pieces are kept until the next group (`PROXY_GOP_CACHE`).
    keeps_groups: bool,
    bytes: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Arc<Piece>>,
    /// Number of the first piece that is there.
    first: u64,
    /// Number of the piece that starts the newest group, where it is there.
    group: Option<u64>,
    end: Option<End>,
}

impl State {
    fn head(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    /// Number of the next piece for a viewer at that place; `None` where it is yet to come.
    fn number(&self, place: Place) -> Option<u64> {
        match place {
            Place::Piece(number) => (number < self.head()).then_some(number),
            Place::Group(from) => self.group.filter(|group| *group >= from),
        }
    }

    fn drop_first(&mut self) -> usize {
        let Some(piece) = self.pieces.pop_front() else {
            return 0;
        };
        if self.group == Some(self.first) {
            self.group = None;
        }
        self.first += 1;
        piece.size()
    }
}

impl Holder for Ring {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn trim(&self, bytes: usize, keep_group: bool) {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        let mut freed = 0;
        while freed < bytes && state.pieces.len() > 1 {
            if keep_group && state.group.is_some_and(|group| state.first >= group) {
                break;
            }
            dropped.extend(state.pieces.front().cloned());
            freed += state.drop_first();
        }
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        drop(state);
    }
}

impl Ring {
    /// An empty ring that takes its memory from that budget.
    pub fn new(budget: &Arc<Budget>, keeps_groups: bool) -> Arc<Self> {
        let ring = Arc::new(Self {
            budget: budget.clone(),
            keeps_groups,
            bytes: AtomicUsize::new(0),
            state: Mutex::default(),
        });
        let holder: Weak<dyn Holder> = Arc::downgrade(&(ring.clone() as Arc<dyn Holder>));
        budget.enrol(holder);
        ring
    }

    /// Number of the oldest piece that is there, or of the next to come.
    pub fn first(&self) -> u64 {
        self.lock().first
    }

    /// Number of the next piece to come.
    #[cfg(test)]
    pub fn head(&self) -> u64 {
        self.lock().head()
    }

    /// Adds pieces that came at `now`, and drops what nobody needs any more.
    ///
    /// Takes the pieces out of `rendered` and puts them, for their sender, in place of what `added` has; gives the
    /// first one's number. Both lists are used again and again: with one viewer a stream, their allocations would be
    /// felt.
    pub fn push(
        &self,
        rendered: &mut Vec<Rendered>,
        opening: &Arc<[u8]>,
        now: Instant,
        added: &mut Vec<Arc<Piece>>,
    ) -> u64 {
        added.clear();
        added.extend(rendered.drain(..).map(|rendered| {
            let reserved = self.budget.reserve(rendered.size());
            Arc::new(rendered.into_piece(opening, now, reserved))
        }));
        let mut dropped = Vec::new(); // freed without the lock
        let mut state = self.lock();
        let first = state.head();
        for piece in added.iter() {
            if piece.starts_group {
                state.group = Some(state.head());
            }
            self.bytes.fetch_add(piece.size(), Ordering::Relaxed);
            state.pieces.push_back(piece.clone());
        }
        let needed = match state.group {
            Some(group) if self.keeps_groups => group,
            _ => state.head(),
        };
        while state.first < needed
            && let Some(oldest) = state.pieces.front()
            && now.saturating_duration_since(oldest.came) >= KEEP
        {
            dropped.push(oldest.clone());
            let size = state.drop_first();
            self.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        drop(state);
        drop(dropped);
        self.budget.relieve();
        first
    }

    /// Where a new viewer begins: at the newest group, or at the next one where there is none, or where groups
    /// are not kept.
    pub fn entry(&self) -> Place {
        let state = self.lock();
        match state.group {
            Some(group) if self.keeps_groups => Place::Piece(group),
            _ => Place::Group(state.head()),
        }
    }

    /// What comes at that place; at most `max` bytes, but one piece at least.
    pub fn next(&self, place: Place, max: usize) -> Next {
        let state = self.lock();
        let Some(number) = state.number(place) else {
            return state.end.clone().map_or(Next::Edge, Next::Ended);
        };
        if number < state.first {
            return Next::Lost;
        }
        let index = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut pieces = Vec::new();
        for piece in state.pieces.iter().skip(index) {
            bytes += piece.size();
            if bytes > max && !pieces.is_empty() {
                break;
            }
            pieces.push(piece.clone());
        }
        Next::Pieces(number, pieces)
    }

    /// Runs `work` under the lock where a viewer at that place has all that there is of a stream that goes on;
    /// gives whether it was so. Until `work` is done no piece is added: who is handed over in it misses none.
    pub fn at_edge(&self, place: Place, work: impl FnOnce()) -> bool {
        let state = self.lock();
        let is_edge = state.end.is_none() && state.number(place).is_none();
        if is_edge {
            work();
        }
        is_edge
    }

    /// Whether there is nothing for a viewer at that place.
    pub fn is_all(&self, place: Place) -> bool {
        self.lock().number(place).is_none()
    }

    /// No further pieces come.
    pub fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, but what `at_edge` runs: it sends a message.
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: usize = 1 << 30;

    fn opening() -> Arc<[u8]> {
        Arc::from(&b"opening"[..])
    }

    /// A piece of so many bytes in all.
    fn of_size(size: usize, starts_group: bool) -> Rendered {
        let units = vec![1; size - 2 - format!("{size:x}\r\n").len()];
        Rendered::of(&units, starts_group.then(opening).as_ref()).unwrap()
    }

    fn push(ring: &Ring, size: usize, starts_group: bool, now: Instant) {
        let mut pieces = vec![of_size(size, starts_group)];
        ring.push(&mut pieces, &opening(), now, &mut Vec::new());
    }

    fn count(next: Next) -> usize {
        match next {
            Next::Pieces(_, pieces) => pieces.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_viewer_follows_to_the_edge_and_to_the_end() {
        let ring = Ring::new(&Budget::new(MUCH), true);
        let now = Instant::now();
        assert!(matches!(ring.next(Place::Piece(0), MUCH), Next::Edge));
        push(&ring, 100, true, now);
        push(&ring, 100, false, now);
        assert_eq!(count(ring.next(Place::Piece(0), MUCH)), 2);
        assert_eq!(
            count(ring.next(Place::Piece(0), 150)),
            1,
            "no more than asked for"
        );
        assert_eq!(count(ring.next(Place::Piece(1), 1)), 1, "but one at least");
        assert!(!ring.at_edge(Place::Piece(1), || unreachable!()));
        let mut handed = false;
        assert!(ring.at_edge(Place::Piece(2), || handed = true));
        assert!(handed);
        ring.end(End::Clean);
        ring.end(End::Broken("late".into()));
        assert_eq!(count(ring.next(Place::Piece(1), MUCH)), 1);
        assert!(matches!(
            ring.next(Place::Piece(2), MUCH),
            Next::Ended(End::Clean)
        ));
        assert!(!ring.at_edge(Place::Piece(2), || unreachable!()));
    }

    #[test]
    fn who_waits_for_a_group_gets_it_from_its_start() {
        let ring = Ring::new(&Budget::new(MUCH), false);
        let now = Instant::now();
        push(&ring, 100, true, now);
        let place = ring.entry();
        assert_eq!(place, Place::Group(1), "without a GOP cache the next one");
        push(&ring, 100, false, now);
        assert!(matches!(ring.next(place, MUCH), Next::Edge));
        assert!(ring.at_edge(place, || {}));
        push(&ring, 100, true, now);
        push(&ring, 100, false, now);
        assert!(!ring.at_edge(place, || unreachable!()));
        let Next::Pieces(2, pieces) = ring.next(place, MUCH) else {
            panic!("no group");
        };
        assert_eq!(pieces.len(), 2);
    }

    #[test]
    fn groups_are_kept_and_what_is_before_them_for_two_seconds() {
        let begin = Instant::now();
        for keeps_groups in [true, false] {
            let ring = Ring::new(&Budget::new(MUCH), keeps_groups);
            // A key frame every 4 s, a piece every 400 ms.
            for n in 0..36 {
                push(&ring, 100, n % 10 == 0, begin + KEEP * n / 5);
            }
            let first = if keeps_groups { 30 } else { 31 };
            assert!(matches!(
                ring.next(Place::Piece(first - 1), MUCH),
                Next::Lost
            ));
            assert_eq!(
                count(ring.next(Place::Piece(first), MUCH)) as u64,
                36 - first
            );
            let entry = if keeps_groups {
                Place::Piece(30)
            } else {
                Place::Group(36)
            };
            assert_eq!(ring.entry(), entry);
        }
    }

    #[test]
    fn memory_is_bounded_the_oldest_go_first_and_then_groups() {
        let budget = Budget::new(20_000);
        let now = Instant::now();
        let (one, two) = (Ring::new(&budget, true), Ring::new(&budget, true));
        for n in 0..10 {
            push(&one, 1000, n == 5, now);
        }
        for _ in 0..8 {
            push(&two, 1000, false, now);
        }
        assert!(budget.used() <= 20_000);
        assert_eq!(
            one.entry(),
            Place::Piece(5),
            "what is before a group went first"
        );
        assert!(matches!(one.next(Place::Piece(0), MUCH), Next::Lost));
        // A group that never ends takes no more than what the others leave, and not their last pieces.
        for _ in 0..40 {
            push(&two, 1000, false, now);
        }
        assert!(budget.used() <= 20_000, "{}", budget.used());
        assert_eq!(count(two.next(Place::Piece(two.head() - 1), MUCH)), 1);
        assert_eq!(
            one.entry(),
            Place::Piece(5),
            "below its share nothing is taken from it"
        );
        for _ in 0..40 {
            push(&one, 1000, false, now);
        }
        assert_eq!(one.entry(), Place::Group(50), "its group is too large");
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_piece_larger_than_the_budget_is_sent_all_the_same() {
        let budget = Budget::new(100);
        let ring = Ring::new(&budget, true);
        for _ in 0..3 {
            push(&ring, 5000, true, Instant::now());
        }
        assert_eq!(count(ring.next(Place::Piece(2), MUCH)), 1);
        assert!(matches!(ring.next(Place::Piece(1), MUCH), Next::Lost));
    }

    #[test]
    fn what_a_viewer_still_holds_counts() {
        let budget = Budget::new(100_000);
        let ring = Ring::new(&budget, true);
        push(&ring, 5000, true, Instant::now());
        let held = ring.next(Place::Piece(0), MUCH);
        drop(ring);
        assert!(budget.used() > 5000);
        drop(held);
        assert_eq!(budget.used(), 0);
    }
}
