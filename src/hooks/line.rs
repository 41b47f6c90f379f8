//! The line before the hooks: so many calls at a time, the others wait in the order in which they came.

use crate::runtime::cancel::{CancelListener, CancelToken};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

/// A counted number of turns, given in order.
#[derive(Debug)]
pub struct Line {
    state: Mutex<LineState>,
}

#[derive(Debug)]
struct LineState {
    free: usize,
    waiting: VecDeque<Arc<Waiter>>,
}

/// The right to make a call, until dropped.
#[derive(Debug)]
pub struct Turn(Arc<Line>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Waits,
    /// The turn is this one's.
    Called,
    Left,
}

#[derive(Debug)]
struct Waiter {
    state: Mutex<Waiting>,
    changed: Condvar,
}

impl Waiter {
    /// Ends the wait. Returns false where it has ended already.
    fn end(&self, how: Waiting) -> bool {
        let mut state = self.state.lock();
        let waits = *state == Waiting::Waits;
        if waits {
            *state = how;
            self.changed.notify_one();
        }
        waits
    }

    fn wait(&self) -> Waiting {
        let mut state = self.state.lock();
        while *state == Waiting::Waits {
            self.changed.wait(&mut state);
        }
        *state
    }
}

impl CancelListener for Waiter {
    fn cancelled(&self) {
        self.end(Waiting::Left);
    }
}

impl Line {
    /// A line of `turns` turns at a time.
    pub fn new(turns: usize) -> Arc<Self> {
        let waiting = VecDeque::new();
        Arc::new(Self {
            state: Mutex::new(LineState {
                free: turns,
                waiting,
            }),
        })
    }

    /// Waits for a turn. `None` when the client has left meanwhile. The token must have no other listener.
    pub fn turn(self: &Arc<Self>, cancel: &CancelToken) -> Option<Turn> {
        let waiter = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(Turn(self.clone()));
            }
            let waiter = Arc::new(Waiter {
                state: Mutex::new(Waiting::Waits),
                changed: Condvar::new(),
            });
            state.waiting.push_back(waiter.clone());
            waiter
        };
        cancel.on_cancel(waiter.clone());
        let how = waiter.wait();
        cancel.clear_on_cancel();
        if how == Waiting::Called {
            return Some(Turn(self.clone()));
        }
        let mut state = self.state.lock();
        state.waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        while let Some(next) = state.waiting.pop_front() {
            if next.end(Waiting::Called) {
                return; // the turn is the next one's now
            }
        }
        state.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use std::thread;
    use std::time::Duration;

    fn waiting(line: &Line, many: usize) {
        while line.state.lock().waiting.len() != many {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn turns_come_in_order_and_pass_over_who_has_left() {
        let line = Line::new(1);
        let first = line.turn(&CancelToken::new()).unwrap();
        let (come, came) = unbounded();
        let tokens: Vec<_> = (0..4).map(|_| CancelToken::new()).collect();
        let threads: Vec<_> = tokens
            .iter()
            .enumerate()
            .map(|(n, token)| {
                let (line, token, come) = (line.clone(), token.clone(), come.clone());
                let waits = line.clone();
                let thread = thread::spawn(move || {
                    let turn = line.turn(&token);
                    come.send((n, turn.is_some())).unwrap();
                });
                waiting(&waits, n + 1);
                thread
            })
            .collect();
        tokens[1].cancel();
        assert_eq!(came.recv().unwrap(), (1, false));
        waiting(&line, 3);
        drop(first);
        let order: Vec<_> = came.iter().take(3).collect();
        assert_eq!(order, [(0, true), (2, true), (3, true)]);
        threads.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(line.state.lock().free, 1);
        let gone = CancelToken::new();
        gone.cancel();
        let held = line.turn(&gone);
        assert!(held.is_some(), "a free turn needs no waiting");
        assert!(line.turn(&gone).is_none(), "who has left does not wait");
        assert_eq!(line.state.lock().waiting.len(), 0);
    }
}
