//! The table of channels.

use crate::channel::budget::Budget;
use crate::channel::hands::{CatchUp, ChannelHands, catch_up};
use crate::channel::live_channel::{Channel, ChannelView, Source};
use crate::channel::puller::{First, Pullers, pullers};
use crate::channel::settings::{
    ChannelKey, ChannelSettings, ChannelTotals, Common, OriginConnection,
};
use crate::channel::viewer::Viewer;
use crate::http::Headers;
use crate::runtime::cancel::CancelToken;
use crate::runtime::pool::Pool;
use crate::runtime::threads;
use crate::stream::origin_id::OriginId;
use log::warn;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// All channels of the process. Each is needed by a request, so there are never more than live requests.
pub struct Channels {
    settings: ChannelSettings,
    budget: Arc<Budget>,
    common: Arc<Common>,
    table: Mutex<HashMap<ChannelKey, Entered>>,
    pullers: Pullers,
    catch_up: CatchUp,
    movers: Arc<Pool<Arc<Channel>>>,
}

/// Streams that are asked for elsewhere at the same time, at most.
const MAX_MOVES: usize = 16;
/// Stack of a thread that asks for them, in bytes.
const MOVER_STACK: usize = 256 * 1024;

/// A channel in the table.
#[derive(Clone)]
struct Entered {
    channel: Arc<Channel>,
    hands: Arc<ChannelHands>,
}

/// What a request is for a channel.
pub enum Entry {
    /// It is the first: it has to fetch, with the channel's cancel token.
    First(First),
    /// Another one opens it, or has done so.
    Other(Arc<Viewer>),
}

impl Channels {
    /// No channels yet.
    pub fn new(settings: ChannelSettings) -> Arc<Self> {
        let most = settings.max_streams;
        Arc::new(Self {
            settings,
            budget: Budget::new(usize::try_from(settings.buffer).unwrap_or(usize::MAX)),
            common: Arc::default(),
            table: Mutex::default(),
            pullers: pullers(most),
            catch_up: catch_up(most),
            movers: Pool::new("move", MAX_MOVES, MOVER_STACK, |channel: Arc<Channel>| {
                channel.move_elsewhere();
            }),
        })
    }

    /// Counts a connection that a viewer has for itself.
    pub fn count_connection(&self) -> OriginConnection {
        OriginConnection::new(&self.common)
    }

    /// Whether viewers share.
    pub fn is_on(&self) -> bool {
        self.settings.share
    }

    /// Joins the channel of that key, or makes it; also where it is still `slow`, one that has not opened in time. The
    /// client's leaving is watched from now on.
    pub fn enter(
        self: &Arc<Self>,
        key: &ChannelKey,
        cancel: &CancelToken,
        slow: Option<&Arc<Channel>>,
    ) -> Entry {
        let mut table = self.lock();
        if let Some(entered) = table.get(key)
            && (entered.channel.is_open()
                || slow.is_none_or(|it| !Arc::ptr_eq(it, &entered.channel)))
            && entered.channel.join()
        {
            let Entered { channel, hands } = entered.clone();
            drop(table);
            return Entry::Other(Viewer::new(channel, hands, cancel));
        }
        let table_of = Arc::downgrade(self);
        let on_close = move |channel: &Channel| {
            if let Some(channels) = table_of.upgrade() {
                channels.remove(channel);
            }
        };
        let on_close = Box::new(on_close);
        let channel = Channel::new(
            key.clone(),
            self.settings,
            &self.budget,
            &self.common,
            on_close,
        );
        let (hands, edge) = ChannelHands::new(self.catch_up.clone());
        let entered = Entered {
            channel: channel.clone(),
            hands: hands.clone(),
        };
        let before = table.insert(key.clone(), entered);
        drop(table);
        drop(before);
        Entry::First(First {
            viewer: Viewer::new(channel, hands.clone(), cancel),
            hands,
            edge: Some(edge),
            pullers: self.pullers.clone(),
        })
    }

    /// An origin has begun to send to the first viewer of a channel, with these headers. Where several requests have
    /// looked for the stream at once, and another was faster: joins the channel that it opens. Else `first`'s channel
    /// is the one for those who come.
    pub fn settle(
        &self,
        first: &First,
        headers: &Headers,
        source: &Source,
        cancel: &CancelToken,
    ) -> Option<Arc<Viewer>> {
        let own = first.viewer.channel();
        let mut table = self.lock();
        let other = table.get(own.key());
        let other = other.filter(|it| !Arc::ptr_eq(&it.channel, own) && it.channel.has_begun());
        if let Some(entered) = other.filter(|it| it.channel.join()).cloned() {
            drop(table);
            let Entered { channel, hands } = entered;
            return Some(Viewer::new(channel, hands, cancel));
        }
        let entered = Entered {
            channel: own.clone(),
            hands: first.hands.clone(),
        };
        own.begin(headers.clone(), source.clone());
        let before = own
            .is_joinable()
            .then(|| table.insert(own.key().clone(), entered));
        drop(table);
        drop(before);
        None
    }

    fn remove(&self, channel: &Channel) {
        let mut table = self.lock();
        let is_it = |it: &Entered| std::ptr::eq(Arc::as_ptr(&it.channel), channel);
        if table.get(channel.key()).is_some_and(is_it) {
            let gone = table.remove(channel.key());
            drop(table);
            drop(gone);
        }
    }

    /// The proxy is ending: streams that have broken off, or will, are not looked for any more.
    pub fn stop(&self) {
        self.common.is_ending.store(true, Ordering::Release);
        for channel in self.all() {
            channel.stop_searching();
        }
    }

    /// Time between two calls of [`Channels::leave_silent`].
    pub const LOOK: Duration = Duration::from_secs(1);

    /// Has channels whose origin has said nothing for 5 s go on from another one that has the stream. To be called
    /// every [`Channels::LOOK`]; does not wait for it.
    pub fn leave_silent(&self) {
        let mut silent = self.all();
        silent.retain(|channel| channel.is_silent());
        self.move_all(silent);
    }

    /// Has all channels that come from that origin go on from another one, where there is one that has the stream.
    /// Gives how many there are; does not wait for them.
    pub fn leave(&self, origin: &OriginId) -> usize {
        let mut leaving = self.all();
        leaving.retain(|channel| channel.source().is_some_and(|it| it.origin == *origin));
        let count = leaving.len();
        self.move_all(leaving);
        count
    }

    fn move_all(&self, channels: Vec<Arc<Channel>>) {
        if channels.is_empty() {
            return;
        }
        let movers = self.movers.clone();
        let work = move || {
            for channel in channels {
                // Where all workers are busy, this thread is one, too.
                if let Err(channel) = movers.run(channel) {
                    channel.move_elsewhere();
                }
            }
        };
        if let Err(error) = threads::spawn("moves", MOVER_STACK, work) {
            warn!("cannot make a thread that moves streams: {error}");
        }
    }

    /// The channels that are open.
    pub fn views(&self) -> Vec<ChannelView> {
        self.all().iter().filter_map(|it| it.view()).collect()
    }

    /// Figures of all channels.
    pub fn totals(&self) -> ChannelTotals {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ChannelTotals {
            opened: load(&self.common.opened),
            skips: load(&self.common.skips),
            splices: load(&self.common.splices),
            origin_connections: self.common.connections.load(Ordering::Relaxed),
            bytes: self.budget.used() as u64,
            limit: self.settings.buffer,
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        let table = self.lock();
        table.values().map(|it| it.channel.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelKey, Entered>> {
        self.table.lock()
    }
}
