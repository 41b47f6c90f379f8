//! The thread between a client and the origin connection that is open on its behalf.
//!
//! A worker that waits for an origin cannot see that its client has left. The door can, and cuts the
//! lifeline: the origin's socket is shut down, which wakes the worker with an error, and whoever waits
//! on the lifeline itself (for a publisher, say) is woken too.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Somebody who is to be told at once when a client leaves.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// The client has left. No lock of its lifeline is held meanwhile.
    fn client_left(&self);
}

/// One client's lifeline. Once cut it stays cut: the client's connection is over.
#[derive(Debug, Default)]
pub struct Lifeline {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    origin: Option<Arc<TcpStream>>,
    watcher: Option<Arc<dyn Watcher>>,
}

impl Lifeline {
    /// A lifeline that nobody has cut.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ties an origin's socket to this client. Gives `false`, and shuts the socket down, when the
    /// client has left already.
    pub fn attach(&self, origin: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        if state.cut {
            shut(origin);
            return false;
        }
        state.origin = Some(origin.clone());
        true
    }

    /// Lets go of the socket, where it is this one: the exchange on it is over, and it may serve
    /// another client next.
    pub fn detach(&self, origin: &Arc<TcpStream>) {
        let mut state = self.lock();
        if state
            .origin
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, origin))
        {
            state.origin = None;
        }
    }

    /// Has that watcher told when the client leaves, at once where it has left already. There is one
    /// at a time.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        let mut state = self.lock();
        if !state.cut {
            state.watcher = Some(watcher);
            return;
        }
        drop(state);
        watcher.client_left();
    }

    /// Nobody is to be told any more.
    pub fn unwatch(&self) {
        let gone = self.lock().watcher.take();
        drop(gone); // not under the lock: it may hold much
    }

    /// The client has left: shuts down the attached socket and wakes all who wait.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        if let Some(origin) = state.origin.take() {
            shut(&origin);
        }
        let watcher = state.watcher.take();
        self.changed.notify_all();
        drop(state);
        if let Some(watcher) = watcher {
            watcher.client_left();
        }
    }

    /// Whether the client has left.
    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Waits for `time`, or until the client leaves. Gives whether it has left.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while !state.cut {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.cut
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic while it is held; a poisoned state would still be a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shut(socket: &TcpStream) {
    // An error means that it is closed already, which is what we want.
    let _ = socket.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(near), listener.accept().unwrap().0)
    }

    #[test]
    fn cutting_wakes_a_blocked_read() {
        let line = Lifeline::new();
        let (near, _far) = pair();
        assert!(line.attach(&near));
        let reader = std::thread::spawn(move || (&*near).read(&mut [0; 8]));
        line.cut();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
        assert!(line.is_cut());
    }

    #[test]
    fn a_detached_socket_lives_on() {
        let line = Lifeline::new();
        let (near, mut far) = pair();
        assert!(line.attach(&near));
        line.detach(&near);
        line.cut();
        std::io::Write::write_all(&mut far, b"x").unwrap();
        assert_eq!((&*near).read(&mut [0; 8]).unwrap(), 1);
        assert!(!line.attach(&near), "a client that has left gets no socket");
    }

    #[derive(Debug, Default)]
    struct Told(std::sync::atomic::AtomicUsize);

    impl Watcher for Told {
        fn client_left(&self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn a_watcher_is_told_once_and_only_while_it_watches() {
        let told = Arc::new(Told::default());
        let times = || told.0.load(std::sync::atomic::Ordering::SeqCst);
        let line = Lifeline::new();
        line.watch(told.clone());
        line.unwatch();
        line.cut();
        assert_eq!(times(), 0);
        line.watch(told.clone());
        assert_eq!(times(), 1, "a client that has left is told of at once");
        let line = Lifeline::new();
        line.watch(told.clone());
        line.cut();
        line.cut();
        assert_eq!(times(), 2);
    }

    #[test]
    fn waiting_ends_with_the_client() {
        let line = Lifeline::new();
        assert!(!line.wait(Duration::from_millis(1)));
        let waiter = {
            let line = line.clone();
            std::thread::spawn(move || line.wait(Duration::from_secs(60)))
        };
        line.cut();
        assert!(waiter.join().unwrap());
    }
}
