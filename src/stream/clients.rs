//! The live viewers one by one: who watches which stream since when, and ending one of them.

use crate::stream::url::StreamUrl;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Who a live viewer is, and how its connection is ended.
pub struct ClientTag {
    /// The request's id, as in the log.
    pub id: String,
    /// The viewer's address, also behind a proxy that is believed.
    pub address: IpAddr,
    /// Ends the viewer's connection. Does not block.
    pub end: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ClientTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.address)
    }
}

/// A live viewer as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    pub id: String,
    pub address: IpAddr,
    pub stream: StreamUrl,
    pub since: SystemTime,
    /// Bytes of body sent to it.
    pub bytes: u64,
    /// Bits per second over the last 5 s.
    pub bits_per_second: u64,
}

#[derive(Debug)]
struct Client {
    tag: ClientTag,
    stream: StreamUrl,
    since: SystemTime,
    bytes: Arc<AtomicU64>,
    last_bytes: u64,
    rate: u64,
}

/// The table of live viewers. It is as large as there are live streams, which have a bound of their own. Its lock is taken
/// when a viewer comes or goes and when somebody looks.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<u64, Client>>);

/// A viewer's place in the table, until dropped.
#[derive(Debug)]
pub struct Listed {
    clients: Arc<Clients>,
    key: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.clients.0.lock().remove(&self.key);
    }
}

impl Clients {
    /// Enters a viewer. Gives its place, and the counter of the bytes that are sent to it.
    pub fn enter(self: &Arc<Self>, stream: &StreamUrl, tag: ClientTag) -> (Listed, Arc<AtomicU64>) {
        let bytes = Arc::new(AtomicU64::new(0));
        let client = Client {
            tag,
            stream: stream.clone(),
            since: SystemTime::now(),
            bytes: bytes.clone(),
            last_bytes: 0,
            rate: 0,
        };
        let mut clients = self.0.lock();
        let mut key = fastrand::u64(..);
        while clients.contains_key(&key) {
            key = fastrand::u64(..);
        }
        clients.insert(key, client);
        let clients = self.clone();
        (Listed { clients, key }, bytes)
    }

    /// Takes the rates; the last time was `seconds` ago.
    pub fn sample(&self, seconds: f64) {
        for client in self.0.lock().values_mut() {
            let bytes = client.bytes.load(Ordering::Relaxed);
            client.rate = (bytes.saturating_sub(client.last_bytes) as f64 * 8.0 / seconds) as u64;
            client.last_bytes = bytes;
        }
    }

    /// The viewers of a stream, or of all, those who came first at the beginning.
    pub fn of(&self, stream: Option<&StreamUrl>) -> Vec<ClientView> {
        let clients = self.0.lock();
        let wanted = clients
            .values()
            .filter(|it| stream.is_none_or(|wanted| it.stream == *wanted));
        let view = |client: &Client| ClientView {
            id: client.tag.id.clone(),
            address: client.tag.address,
            stream: client.stream.clone(),
            since: client.since,
            bytes: client.bytes.load(Ordering::Relaxed),
            bits_per_second: client.rate,
        };
        let mut views: Vec<ClientView> = wanted.map(view).collect();
        drop(clients);
        views.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.id.cmp(&b.id)));
        views
    }

    /// Ends the connection of the viewer whose id is the one. Gives its address; `None` when there is no such viewer.
    pub fn end(&self, is_the_one: impl Fn(&str) -> bool) -> Option<IpAddr> {
        let (end, address) = {
            let clients = self.0.lock();
            let mut all = clients.values();
            let client = all.find(|client| is_the_one(&client.tag.id))?;
            (client.tag.end.clone(), client.tag.address)
        };
        // Without the lock: a viewer that ends may leave the table on this very thread.
        end();
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_viewer_is_listed_until_it_leaves_and_can_be_ended() {
        let clients = Arc::new(Clients::default());
        let stream = |url| StreamUrl::parse(url).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let tag = |id: &str| {
            let ended = ended.clone();
            ClientTag {
                id: id.to_owned(),
                address: [192, 0, 2, 1].into(),
                end: Arc::new(move || ended.store(true, Ordering::Relaxed)),
            }
        };
        let (first, bytes) = clients.enter(&stream("v/live/a"), tag("1"));
        let (_second, _) = clients.enter(&stream("v/live/b"), tag("2"));
        bytes.fetch_add(1000, Ordering::Relaxed);
        clients.sample(2.0);
        let of_a = clients.of(Some(&stream("v/live/a")));
        assert_eq!((of_a.len(), of_a[0].bits_per_second), (1, 4000));
        assert_eq!(clients.of(None).len(), 2);
        assert_eq!(clients.end(|id| id == "3"), None);
        assert!(!ended.load(Ordering::Relaxed));
        assert_eq!(clients.end(|id| id == "1"), Some([192, 0, 2, 1].into()));
        assert!(ended.load(Ordering::Relaxed));
        drop(first);
        assert_eq!(clients.end(|id| id == "1"), None);
        assert_eq!(clients.of(None).len(), 1);
    }
}
