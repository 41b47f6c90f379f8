//! Who takes a channel's viewers over: senders at the live edge, workers for those behind.

use crate::channel::senders::{Edge, Senders};
use crate::channel::viewer::{Delivery, Hands, Viewer};
use crate::runtime::pool::Pool;
use crate::server::body::ResponseBody;
use std::sync::Arc;

/// Stack of a thread that writes to a viewer who is behind, in bytes.
const STACK: usize = 128 * 1024;

/// Work that waits for a client.
pub(super) enum Behind {
    CatchUp(Arc<Viewer>, Box<Delivery>),
    Finish(Box<ResponseBody>),
}

/// Workers for viewers who are behind, of all channels: one for each while it is behind, for it is a client that a
/// worker waits for.
pub(super) type CatchUp = Arc<Pool<Behind>>;

/// At most `most` workers.
pub(super) fn catch_up(most: usize) -> CatchUp {
    Pool::new("catch-up", most, STACK, |job: Behind| match job {
        Behind::CatchUp(viewer, delivery) => {
            let channel = viewer.channel().clone();
            channel.count_behind(true);
            viewer.catch_up(delivery);
            channel.count_behind(false);
        }
        // An error is the client's leaving at the very end; the record has its bytes.
        Behind::Finish(body) => drop(body.finish()),
    })
}

/// The hands of one channel.
pub(super) struct ChannelHands {
    pub senders: Senders,
    catch_up: CatchUp,
}

impl ChannelHands {
    /// Hands without sender threads, and the list of viewers of the thread that reads from the origin.
    pub fn new(catch_up: CatchUp) -> (Arc<Self>, Edge) {
        let (senders, edge) = Senders::new();
        (Arc::new(Self { senders, catch_up }), edge)
    }
}

impl Hands for ChannelHands {
    fn at_edge(&self, viewer: Arc<Viewer>) {
        self.senders.add(viewer);
    }

    fn behind(&self, viewer: Arc<Viewer>, delivery: Box<Delivery>) -> Option<Box<Delivery>> {
        match self.catch_up.run(Behind::CatchUp(viewer, delivery)) {
            Err(Behind::CatchUp(_, delivery)) => Some(delivery),
            _ => None,
        }
    }

    fn finish(&self, body: Box<ResponseBody>) {
        // Where no worker is to be had the response is broken off.
        drop(self.catch_up.run(Behind::Finish(body)));
    }
}
