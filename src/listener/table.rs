//! All connected clients of a listener.

use crate::listener::client::ClientConnection;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// All connected clients, by id. The listener puts them in and takes them out; workers look them up.
#[derive(Debug, Default)]
pub struct ConnectionTable {
    clients: Mutex<HashMap<u64, Arc<ClientConnection>>>,
    /// Nobody is added any more.
    closed: AtomicBool,
}

impl ConnectionTable {
    /// Adds a client under an id that is free.
    pub(super) fn add(&self, socket: TcpStream, peer: SocketAddr) -> Arc<ClientConnection> {
        let mut table = self.lock();
        let id = loop {
            let id = fastrand::u64(..);
            if !table.contains_key(&id) {
                break id;
            }
        };
        let client = Arc::new(ClientConnection::new(id, socket, peer));
        table.insert(id, client.clone());
        client
    }

    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// The client of that id.
    pub fn get(&self, id: u64) -> Option<Arc<ClientConnection>> {
        self.lock().get(&id).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The listener has accepted its last client.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the last client has gone, and none will come: those in the kernel's queue have been let in before.
    pub fn is_finished(&self) -> bool {
        self.closed.load(Ordering::Acquire) && self.len() == 0
    }

    /// A copy of the table, so that nothing is done under its lock.
    pub fn all(&self) -> Vec<Arc<ClientConnection>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<ClientConnection>>> {
        self.clients.lock()
    }
}
