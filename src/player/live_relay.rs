//! An answer without an end, relayed from an origin to one player on a thread of its own.

use crate::cache::reader::EntryReader;
use crate::channel::OriginConnection;
use crate::locate::OriginLocator;
use crate::player::relay::{Piece, RelayEnd, relay};
use crate::runtime::pool::Pool;
use crate::server::exchange::Exchange;
use crate::stream::origin_id::OriginId;
use crate::stream::stats::{ByteCounter, Viewer};
use crate::stream::url::StreamUrl;
use crate::upstream::OriginResponse;
use std::sync::Arc;

/// Stack of a thread that relays a live stream, in bytes.
const STACK: usize = 128 * 1024;

/// An answer without an end that an origin has begun to send to one player. It runs on a thread of its own: looking for
/// the origin, asking it and parsing its head leave 30 KB of touched stack and freed scraps behind, which would be held
/// for hours.
pub struct LiveRelay {
    pub exchange: Exchange,
    pub response: OriginResponse,
    pub meter: ByteCounter,
    /// Counts the viewer until the relay ends; `None` for a player that is counted otherwise.
    pub viewer: Option<Viewer>,
    /// The reader by which the client's leaving ends an answer that was to be shared, and is not.
    pub reader: Option<EntryReader>,
    /// Counts the connection to the origin until the relay ends.
    pub connection: OriginConnection,
    /// What the locator is told of when the stream ends; `None` where the answer is no stream.
    pub news: Option<StreamNews>,
}

/// A stream at an origin, whose end the locator is told of: what that origin's API said before is void then.
pub struct StreamNews {
    pub locator: Arc<OriginLocator>,
    pub stream: StreamUrl,
    pub origin: OriginId,
}

impl StreamNews {
    fn tell(&self, end: RelayEnd) {
        match end {
            RelayEnd::Broken => self.locator.broke_off(&self.stream, &self.origin),
            RelayEnd::Silent => self.locator.hung(&self.stream, &self.origin),
            RelayEnd::Complete | RelayEnd::Client => {}
        }
    }
}

impl LiveRelay {
    /// The threads that relay live streams, at most `max` of them.
    pub fn threads(max: usize) -> Arc<Pool<Box<Self>>> {
        Pool::new("stream", max, STACK, |relay: Box<Self>| relay.run())
    }

    /// Relays on a thread of the pool, or where there is none to be had on this one: then blocks until the answer ends.
    pub fn start(mut self, threads: &Arc<Pool<Box<Self>>>) {
        self.exchange.forget_request();
        if let Err(relay) = threads.run(Box::new(self)) {
            relay.run();
        }
    }

    fn run(self: Box<Self>) {
        let end = relay(self.exchange, self.response, Piece::Live, &self.meter);
        if let Some(news) = &self.news {
            news.tell(end);
        }
        drop((self.viewer, self.reader, self.connection));
    }
}
