//! The thread between a client and the origin connection that is open on its behalf.
//!
//! A worker that waits for an origin cannot see that its client has left. The listener can, and cuts the
//! cancel token: the origin's socket is shut down, which wakes the worker with an error, and whoever waits
//! on the cancel token itself (for a publisher, say) is woken too.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Somebody who is to be told at once when a client leaves.
pub trait CancelListener: fmt::Debug + Send + Sync {
    /// The client has left. No lock of its cancel token is held meanwhile.
    fn cancelled(&self);
}

/// One client's cancel token. Once cut it stays cut: the client's connection is over.
#[derive(Debug, Default)]
pub struct CancelToken {
    state: Mutex<TokenState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TokenState {
    cancelled: bool,
    /// The origin's socket, and since when it is bound.
    origin: Option<(Arc<TcpStream>, Instant)>,
    listener: Option<Arc<dyn CancelListener>>,
}

impl CancelToken {
    /// A cancel token that nobody has cut.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ties an origin's socket to this client. Gives `false`, and shuts the socket down, when the
    /// client has left already.
    pub fn bind_socket(&self, origin: &Arc<TcpStream>) -> bool {
        let mut state = self.lock();
        if state.cancelled {
            shut(origin);
            return false;
        }
        state.origin = Some((origin.clone(), Instant::now()));
        true
    }

    /// How long an origin's socket has been bound; `None` where none is, because no origin is asked at this moment.
    pub fn bound_for(&self) -> Option<Duration> {
        let state = self.lock();
        state.origin.as_ref().map(|(_, since)| since.elapsed())
    }

    /// Lets go of the socket, where it is this one: the exchange on it is over, and it may serve
    /// another client next.
    pub fn unbind_socket(&self, origin: &Arc<TcpStream>) {
        let mut state = self.lock();
        if state
            .origin
            .as_ref()
            .is_some_and(|(own, _)| Arc::ptr_eq(own, origin))
        {
            state.origin = None;
        }
    }

    /// Has that watcher told when the client leaves, at once where it has left already. There is one
    /// at a time.
    pub fn on_cancel(&self, listener: Arc<dyn CancelListener>) {
        let mut state = self.lock();
        if !state.cancelled {
            state.listener = Some(listener);
            return;
        }
        drop(state);
        listener.cancelled();
    }

    /// Nobody is to be told any more.
    pub fn clear_on_cancel(&self) {
        let gone = self.lock().listener.take();
        drop(gone); // not under the lock: it may hold much
    }

    /// The client has left: shuts down the attached socket and wakes all who wait.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some((origin, _)) = state.origin.take() {
            shut(&origin);
        }
        let listener = state.listener.take();
        self.changed.notify_all();
        drop(state);
        if let Some(listener) = listener {
            listener.cancelled();
        }
    }

    /// Whether the client has left.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Waits for `time`, or until the client leaves. Gives whether it has left.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while !state.cancelled {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.changed.wait_for(&mut state, left);
        }
        state.cancelled
    }

    fn lock(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock()
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
        let line = CancelToken::new();
        let (near, _far) = pair();
        assert!(line.bind_socket(&near));
        let reader = std::thread::spawn(move || (&*near).read(&mut [0; 8]));
        line.cancel();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
        assert!(line.is_cancelled());
    }

    #[test]
    fn a_detached_socket_lives_on() {
        let line = CancelToken::new();
        let (near, mut far) = pair();
        assert_eq!(line.bound_for(), None);
        assert!(line.bind_socket(&near));
        assert!(line.bound_for().is_some());
        line.unbind_socket(&near);
        assert_eq!(line.bound_for(), None);
        line.cancel();
        std::io::Write::write_all(&mut far, b"x").unwrap();
        assert_eq!((&*near).read(&mut [0; 8]).unwrap(), 1);
        assert!(
            !line.bind_socket(&near),
            "a client that has left gets no socket"
        );
    }

    #[derive(Debug, Default)]
    struct Told(std::sync::atomic::AtomicUsize);

    impl CancelListener for Told {
        fn cancelled(&self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn a_watcher_is_told_once_and_only_while_it_watches() {
        let told = Arc::new(Told::default());
        let times = || told.0.load(std::sync::atomic::Ordering::SeqCst);
        let line = CancelToken::new();
        line.on_cancel(told.clone());
        line.clear_on_cancel();
        line.cancel();
        assert_eq!(times(), 0);
        line.on_cancel(told.clone());
        assert_eq!(times(), 1, "a client that has left is told of at once");
        let line = CancelToken::new();
        line.on_cancel(told.clone());
        line.cancel();
        line.cancel();
        assert_eq!(times(), 2);
    }

    #[test]
    fn waiting_ends_with_the_client() {
        let line = CancelToken::new();
        assert!(!line.wait(Duration::from_millis(1)));
        let waiter = {
            let line = line.clone();
            std::thread::spawn(move || line.wait(Duration::from_secs(60)))
        };
        line.cancel();
        assert!(waiter.join().unwrap());
    }
}
