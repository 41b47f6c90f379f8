//! A viewer of a channel, from its request to the end of its response.

use crate::channel::live_channel::{Channel, Joined};
use crate::channel::piece::{Framing, Piece};
use crate::channel::ring::{End, Next, Place};
use crate::runtime::cancel::{CancelListener, CancelToken};
use crate::server::body::ResponseBody;
use crate::stream::stats;
use log::info;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Bytes of pieces that a viewer who is behind is given at once.
const BATCH: usize = 256 * 1024;

/// A viewer's response, and how far it has come. One at a time has it: the list of a sender, by way of
/// [`Viewer`], or a worker.
pub struct Delivery {
    body: ResponseBody,
    framing: Framing,
    stats: stats::Viewer,
    place: Place,
    /// A piece of which the socket has taken a part only; it goes before what is at `place`.
    rest: Option<Rest>,
    /// The opening that was valid before `place` when somebody last looked.
    opening: Arc<[u8]>,
    start: Start,
    /// Some were left out at some time.
    has_skipped: bool,
}

/// What the first piece at a viewer's place is for the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// One more.
    None,
    /// The first one.
    New,
    /// The first one after some that were left out.
    Skipped,
}

struct Rest {
    piece: Arc<Piece>,
    /// Framed bytes that have been sent.
    sent: usize,
}

impl Delivery {
    /// A response whose head has been sent, and of whose body nothing.
    pub fn new(body: ResponseBody, stats: stats::Viewer) -> Box<Self> {
        let framing = if body.is_chunked() {
            Framing::Chunked
        } else {
            Framing::Bare
        };
        Box::new(Self {
            body,
            framing,
            stats,
            place: Place::Piece(0),
            rest: None,
            opening: Arc::default(),
            start: Start::None,
            has_skipped: false,
        })
    }

    /// The response, for bytes that are not of the ring.
    pub(super) fn body(&mut self) -> &mut ResponseBody {
        &mut self.body
    }

    pub(super) fn meter(&self) -> &stats::ByteCounter {
        &self.stats.meter
    }

    /// Goes on at that place, after `before`.
    pub(super) fn begin_at(&mut self, place: Place, before: Option<Arc<Piece>>) {
        self.place = place;
        self.rest = before.map(|piece| Rest { piece, sent: 0 });
    }

    /// Sends what the socket takes now of the rest and of `pieces`, the first of which is at `place`. Gives
    /// whether it took all.
    fn send_now(&mut self, pieces: &[Arc<Piece>]) -> io::Result<bool> {
        let taken = match (&self.rest, pieces) {
            (None, []) => return Ok(true),
            // Nearly every call is this one.
            (None, [piece]) => {
                let framed = piece.framed(self.framing);
                let taken = self.body.send_framed_now(&[IoSlice::new(framed)])?;
                if taken == framed.len()
                    && let Place::Piece(number) = &mut self.place
                {
                    *number += 1;
                    self.count(piece.units().len());
                    return Ok(true);
                }
                taken
            }
            _ => self.body.send_framed_now(&self.parts(pieces))?,
        };
        Ok(self.advance(pieces, taken))
    }

    /// The same, waiting for the client.
    fn send_all(&mut self, pieces: &[Arc<Piece>]) -> io::Result<()> {
        let mut taken = 0;
        let sent = self.body.send_framed(&mut self.parts(pieces), &mut taken);
        self.advance(pieces, usize::try_from(taken).unwrap_or(usize::MAX));
        sent
    }

    fn parts<'a>(&'a self, pieces: &'a [Arc<Piece>]) -> Vec<IoSlice<'a>> {
        let rest = self.rest.iter();
        let rest = rest.map(|rest| &rest.piece.framed(self.framing)[rest.sent..]);
        let pieces = pieces.iter().map(|piece| piece.framed(self.framing));
        rest.chain(pieces).map(IoSlice::new).collect()
    }

    /// The socket has taken that many framed bytes of the rest and of `pieces`. Gives whether that was all.
    fn advance(&mut self, pieces: &[Arc<Piece>], taken: usize) -> bool {
        let mut left = taken;
        let mut body = 0;
        let before = self.rest.take();
        let before = before.map(|rest| (rest.piece, rest.sent));
        let new = pieces.iter().map(|piece| (piece.clone(), 0));
        let mut is_new = before.is_none();
        for (piece, sent) in before.into_iter().chain(new) {
            if is_new && left == 0 {
                break;
            }
            let some = left.min(piece.framed(self.framing).len() - sent);
            let whole = sent + some == piece.framed(self.framing).len();
            body +=
                piece.body_bytes(self.framing, sent + some) - piece.body_bytes(self.framing, sent);
            left -= some;
            if is_new && let Place::Piece(number) = &mut self.place {
                *number += 1;
            }
            if !whole {
                let sent = sent + some;
                self.rest = Some(Rest { piece, sent });
                break;
            }
            is_new = true;
        }
        self.count(body);
        let framed: usize = pieces
            .iter()
            .map(|piece| piece.framed(self.framing).len())
            .sum();
        self.rest.is_none() && taken >= framed
    }

    fn count(&mut self, body: usize) {
        self.body.count(body as u64);
        self.stats.meter.add(body as u64);
    }

    /// Ends the response as the stream ended.
    pub(super) fn end(mut self: Box<Self>, end: &End, channel: &Channel) {
        self.note_origin(channel);
        self.body.cancel().clear_on_cancel();
        match end {
            // An error is the client's leaving at the very end; the record has its bytes.
            End::Clean => drop(self.body.finish()),
            End::Broken(why) => self.body.break_off(why),
        }
    }

    /// Breaks the response off because of its client.
    fn drop_client(mut self: Box<Self>, why: &str, channel: &Channel) {
        self.note_origin(channel);
        let cancel = self.body.cancel().clone();
        cancel.clear_on_cancel();
        self.body.break_off(if cancel.is_cancelled() {
            "the client left"
        } else {
            why
        });
    }

    fn note_origin(&mut self, channel: &Channel) {
        if let Some(source) = channel.source() {
            self.body.record().origin = Some(source.address.into());
        }
    }
}

/// What became of a viewer at the live edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It has all.
    All,
    /// Its socket takes no more: a worker has it now.
    Behind,
    /// It is no viewer any more.
    Gone,
}

/// Who takes viewers over.
pub(super) trait Hands: Send + Sync {
    /// Sends to a viewer at the live edge from now on.
    fn at_edge(&self, viewer: Arc<Viewer>);

    /// Sends to a viewer who is behind what is missing. Gives the delivery back where there is no worker.
    fn behind(&self, viewer: Arc<Viewer>, delivery: Box<Delivery>) -> Option<Box<Delivery>>;

    /// Ends a response that is whole but for its last chunk.
    fn finish(&self, body: Box<ResponseBody>);
}

/// A viewer of a channel; also a request that waits for the channel to open. It counts as one of those who need
/// the channel until it is dropped or its client leaves.
pub struct Viewer {
    channel: Arc<Channel>,
    hands: Arc<dyn Hands>,
    state: Mutex<ViewerState>,
}

struct ViewerState {
    delivery: Option<Box<Delivery>>,
    /// Whether it counts.
    needs_channel: bool,
    has_left: bool,
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer").finish_non_exhaustive()
    }
}

impl CancelListener for Viewer {
    fn cancelled(&self) {
        let mut state = self.lock();
        state.has_left = true;
        let delivery = state.delivery.take();
        drop(state);
        if let Some(delivery) = delivery {
            delivery.drop_client("the client left", &self.channel);
        }
        self.release();
        self.channel.wake_waiting();
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.release();
    }
}

impl Viewer {
    /// A request for the channel, which has counted it already. Its client's leaving is watched from now on.
    pub(super) fn new(
        channel: Arc<Channel>,
        hands: Arc<dyn Hands>,
        cancel: &CancelToken,
    ) -> Arc<Self> {
        let viewer = Arc::new(Self {
            channel,
            hands,
            state: Mutex::new(ViewerState {
                delivery: None,
                needs_channel: true,
                has_left: false,
            }),
        });
        cancel.on_cancel(viewer.clone());
        viewer
    }

    /// Its channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Whether its client has left.
    pub fn has_left(&self) -> bool {
        self.lock().has_left
    }

    /// It needs the channel no more.
    pub fn release(&self) {
        let counted = std::mem::take(&mut self.lock().needs_channel);
        if counted {
            self.channel.release();
        }
    }

    /// Sends `pieces`, the first of which has the number `first`, and ends the response where the stream has
    /// ended. The lock is held over one system call, which does not wait.
    pub(super) fn send_now(self: &Arc<Self>, first: u64, pieces: &[Arc<Piece>]) -> Sent {
        let mut state = self.lock();
        let Some(delivery) = &mut state.delivery else {
            return Sent::Gone;
        };
        let sent = match delivery.place {
            Place::Piece(number) if number >= first => {
                let index = usize::try_from(number - first).unwrap_or(usize::MAX);
                delivery.send_now(pieces.get(index..).unwrap_or_default())
            }
            Place::Group(from) => {
                let numbered = (first..).zip(pieces);
                let mut starts = numbered.filter(|(n, piece)| *n >= from && piece.starts_group);
                match starts.next() {
                    Some((number, piece)) => {
                        delivery.place = Place::Piece(number);
                        delivery.open(&self.channel, piece);
                        let index = usize::try_from(number - first).unwrap_or(usize::MAX);
                        delivery.send_now(pieces.get(index..).unwrap_or_default())
                    }
                    None => delivery.send_now(&[]),
                }
            }
            Place::Piece(_) => Ok(false), // it stayed for want of a worker
        };
        match sent {
            Ok(true) => Sent::All,
            Ok(false) => {
                let behind = state.delivery.take();
                drop(state);
                let Some(back) = behind.and_then(|behind| self.hands.behind(self.clone(), behind))
                else {
                    return Sent::Behind;
                };
                // No worker is to be had: the sender tries again with the next piece.
                if self.put(back) {
                    Sent::All
                } else {
                    Sent::Gone
                }
            }
            Err(error) => {
                let gone = state.delivery.take();
                drop(state);
                if let Some(gone) = gone {
                    gone.drop_client(&format!("the client went: {error}"), &self.channel);
                }
                self.release();
                Sent::Gone
            }
        }
    }

    /// The stream has ended, and all pieces were sent where there is a delivery.
    pub(super) fn end_now(self: &Arc<Self>, end: &End) {
        let Some(mut delivery) = self.lock().delivery.take() else {
            return;
        };
        if delivery.rest.is_some() || !self.channel.ring.is_all(delivery.place) {
            let lost = self.hands.behind(self.clone(), delivery);
            if let Some(delivery) = lost {
                delivery.drop_client("no thread is left to send it the rest", &self.channel);
                self.release();
            }
            return;
        }
        if *end == End::Clean && delivery.framing == Framing::Chunked {
            // Its last chunk may have to wait for the client: not on a sender's time.
            delivery.note_origin(&self.channel);
            delivery.body.cancel().clear_on_cancel();
            if let Err(body) = delivery.body.finish_now() {
                self.hands.finish(body);
            }
        } else {
            delivery.end(end, &self.channel);
        }
        self.release();
    }

    /// Holds a delivery; `false`, and ends it, where the client has left.
    pub(super) fn put(&self, delivery: Box<Delivery>) -> bool {
        let mut state = self.lock();
        if state.has_left {
            drop(state);
            delivery.drop_client("the client left", &self.channel);
            return false;
        }
        state.delivery = Some(delivery);
        true
    }

    /// Waits until the channel is open, or will not be, or the client has left.
    pub fn wait_open(&self) -> Joined {
        self.channel.wait_open(|| self.has_left())
    }

    /// Where the body of a viewer that joins its open channel now begins: at the newest key frame. It is to be asked
    /// before the response's head is sent: what comes from then on belongs to a client that has seen the head.
    pub fn entry(&self) -> Place {
        self.channel.ring.entry()
    }

    /// Serves a viewer that has joined an open channel: its body begins at `entry`, after what a player needs to know
    /// there. Blocks until the viewer is at the live edge, where senders serve it.
    pub fn begin(self: &Arc<Self>, mut delivery: Box<Delivery>, entry: Place) {
        delivery.place = entry;
        delivery.start = Start::New;
        self.catch_up(delivery);
    }

    /// Sends, waiting for the client, what is missing; hands the viewer over to a sender at the live edge, or ends
    /// its response.
    pub fn catch_up(self: &Arc<Self>, mut delivery: Box<Delivery>) {
        let channel = &self.channel;
        loop {
            let next = channel.ring.next(delivery.place, BATCH);
            let sent = match next {
                Next::Pieces(first, pieces) => {
                    delivery.place = Place::Piece(first);
                    if let (Some(first), Some(last)) = (pieces.first(), pieces.last()) {
                        delivery.open(channel, first);
                        delivery.opening = last.opening.clone();
                    }
                    delivery.send_all(&pieces)
                }
                Next::Lost if delivery.rest.is_none() => {
                    delivery.skip(channel);
                    continue;
                }
                // No unit is left in half.
                _ if delivery.rest.is_some() => delivery.send_all(&[]),
                Next::Lost => continue,
                Next::Edge => match self.hand_over(delivery) {
                    None => return,
                    Some(back) => {
                        delivery = back;
                        continue;
                    }
                },
                Next::Ended(end) => {
                    delivery.end(&end, channel);
                    return self.release();
                }
            };
            if let Err(error) = sent {
                delivery.drop_client(&format!("the client went: {error}"), channel);
                return self.release();
            }
        }
    }

    /// Gives the viewer to a sender where it is at the live edge. Gives the delivery back where it is not.
    fn hand_over(self: &Arc<Self>, delivery: Box<Delivery>) -> Option<Box<Delivery>> {
        let place = delivery.place;
        if !self.put(delivery) {
            self.release();
            return None;
        }
        let handed = self
            .channel
            .ring
            .at_edge(place, || self.hands.at_edge(self.clone()));
        if handed {
            return None;
        }
        self.lock().delivery.take()
    }

    fn lock(&self) -> MutexGuard<'_, ViewerState> {
        self.state.lock()
    }
}

impl Delivery {
    /// Puts before `first` what a player needs to know there: all of it for a new viewer; for one who has missed
    /// some pieces the configuration, where that has changed meanwhile.
    fn open(&mut self, channel: &Channel, first: &Piece) {
        let opening = &first.opening;
        let before = match std::mem::replace(&mut self.start, Start::None) {
            Start::New => &opening[..],
            Start::Skipped if self.opening != *opening => {
                opening.get(channel.header_length()..).unwrap_or_default()
            }
            _ => return,
        };
        let piece = channel.lone_piece(before);
        self.rest = piece.map(|piece| Rest { piece, sent: 0 });
    }

    /// Its place is in the ring no more: goes on at the newest key frame. A new viewer begins there.
    fn skip(&mut self, channel: &Channel) {
        self.place = Place::Group(0);
        if self.start == Start::New {
            return; // it was in the ring when its client's head was written; nothing was shown of what is lost
        }
        self.start = Start::Skipped;
        channel.count_skip();
        if !std::mem::replace(&mut self.has_skipped, true) {
            let record = self.body.record();
            info!(
                "{} {} {} is too far behind and goes on at the newest key frame",
                record.id, record.peer, record.labels.path
            );
        }
    }
}
