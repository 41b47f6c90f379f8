//! A channel: one live stream in one format, from its first viewer to its end.

use crate::channel::budget::{Budget, Holder};
use crate::channel::piece::{Piece, Rendered};
use crate::channel::ring::Ring;
use crate::channel::settings::{ChannelKey, ChannelSettings, Common};
use crate::http::Headers;
use crate::media::format::Format;
use crate::runtime::cancel::CancelToken;
use crate::stream::origin_id::OriginId;
use crate::stream::url::StreamUrl;
use crate::upstream::OriginBody;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A request that joins a channel whose origin has sent a head, but nothing that tells what its body is, waits for
/// this long at most before it asks for itself.
const PROOF_TIME: Duration = Duration::from_secs(2);

/// A request waits for this long for another one to open the channel; then it tries for itself. An origin may hold
/// the first one for ever (SRS does so while nobody publishes), and what the APIs say is news after a second.
const OPENING_TIME: Duration = Duration::from_secs(1);

/// An origin that says nothing for this long is left where another one has the stream: no encoder pauses so long, and
/// the stall timeout is for where there is no other.
const SILENCE: Duration = Duration::from_secs(5);

/// Where a channel's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The origin's id.
    pub origin: OriginId,
    pub address: String,
}

/// An origin that has begun to send the stream.
pub struct Opened {
    pub source: Source,
    /// The response's headers for players.
    pub headers: Headers,
    pub body: OriginBody,
}

/// Who can look for a channel's stream again, as its first viewer's request did.
pub trait Reopen: Send + Sync {
    /// Looks for an origin that has the stream. Blocks until there is one, until nobody publishes the stream, or until
    /// it is cancelled.
    fn reopen(&self, cancel: &Arc<CancelToken>) -> Option<Opened>;

    /// Tells that the stream has broken off at that origin. Returns at once.
    fn ended(&self, source: &Source);

    /// Asks another origin than that one, where its API lists the stream. Blocks for 4 s at most.
    fn elsewhere(&self, but_not: &Source, cancel: &Arc<CancelToken>) -> Option<Opened>;
}

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its first viewer's request looks for an origin, since then.
    Opening(Instant),
    /// There is a head, since then; whether the body is of the format is not known.
    Unproven(Instant),
    /// Viewers may join.
    Open,
    /// What came is its first viewer's alone.
    Private,
}

/// One live stream in one format.
pub struct Channel {
    pub(super) common: Arc<Common>,
    pub(super) settings: ChannelSettings,
    key: ChannelKey,
    budget: Arc<Budget>,
    pub(super) ring: Arc<Ring>,
    /// Is told when nobody may join any more.
    on_close: OnClose,
    state: Mutex<ChannelState>,
    changed: Condvar,
    behind: AtomicUsize,
    skips: AtomicU64,
    splices: AtomicU64,
    since: SystemTime,
}

/// Who is told that a channel has closed.
pub(super) type OnClose = Box<dyn Fn(&Channel) + Send + Sync>;

struct ChannelState {
    phase: Phase,
    /// Viewers, and requests that wait.
    needed_by: usize,
    /// Nobody needs it any more, or it has ended: nobody may join.
    is_closed: bool,
    /// Of the connection to the origin that is open or looked for.
    cancel: Arc<CancelToken>,
    /// It has broken off, and is looked for.
    is_searching: bool,
    headers: Option<Arc<Headers>>,
    source: Option<Source>,
    reopen: Option<Arc<dyn Reopen>>,
    /// Another origin is being asked.
    is_moving: bool,
    /// An origin that has begun to send, for the stream to go on from.
    next: Option<(Opened, Arc<CancelToken>)>,
    /// When bytes came last, or another origin was asked for them.
    heard: Instant,
}

/// What a request that joined a channel found in the end.
#[derive(Debug, Clone)]
pub enum Joined {
    /// The stream runs; these are its response's headers, and where it comes from.
    Open(Arc<Headers>, Source),
    /// The first viewer was refused, or has got what cannot be shared.
    Private,
    /// The first viewer's request takes long: this one may be luckier.
    Slow,
    /// There is no telling whether it can be shared.
    Unproven,
    /// The request's client has left.
    Left,
}

/// A channel as operators see it.
#[derive(Debug, Clone)]
pub struct ChannelView {
    pub stream: StreamUrl,
    pub format: Format,
    pub source: Option<Source>,
    pub viewers: usize,
    /// Viewers whose sockets took no more.
    pub behind: usize,
    /// How often viewers fell out of what is kept, and went on at a key frame.
    pub skips: u64,
    /// How often the stream went on from another connection.
    pub splices: u64,
    /// Bytes that are kept.
    pub bytes: usize,
    pub since: SystemTime,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.key).finish()
    }
}

impl Channel {
    /// A channel that its first viewer, who is counted, is about to open.
    pub(super) fn new(
        key: ChannelKey,
        settings: ChannelSettings,
        budget: &Arc<Budget>,
        common: &Arc<Common>,
        on_close: OnClose,
    ) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            key,
            settings,
            common: common.clone(),
            budget: budget.clone(),
            ring: Ring::new(budget, settings.gop_cache),
            on_close,
            state: Mutex::new(ChannelState {
                phase: Phase::Opening(now),
                needed_by: 1,
                is_closed: false,
                cancel: CancelToken::new(),
                is_searching: false,
                headers: None,
                source: None,
                reopen: None,
                is_moving: false,
                next: None,
                heard: now,
            }),
            changed: Condvar::new(),
            behind: AtomicUsize::new(0),
            skips: AtomicU64::new(0),
            splices: AtomicU64::new(0),
            since: SystemTime::now(),
        })
    }

    /// The stream's format.
    pub fn format(&self) -> Format {
        self.key.format
    }

    pub(super) fn key(&self) -> &ChannelKey {
        &self.key
    }

    /// What ends the search for an origin, or the connection to it, when nobody needs it any more.
    pub fn cancel(&self) -> Arc<CancelToken> {
        self.lock().cancel.clone()
    }

    /// Where its bytes come from.
    pub fn source(&self) -> Option<Source> {
        self.lock().source.clone()
    }

    /// Counts one more who needs it; `false` when it is closed.
    pub(super) fn join(&self) -> bool {
        let mut state = self.lock();
        let may = !state.is_closed;
        state.needed_by += usize::from(may);
        may
    }

    /// One who needed it does so no more. The last one ends its connection to the origin.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.needed_by = state.needed_by.saturating_sub(1);
        if state.needed_by > 0 {
            return;
        }
        state.is_closed = true;
        let cancel = state.cancel.clone();
        drop(state);
        cancel.cancel();
        (self.on_close)(self);
    }

    /// Nobody may join any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        (self.on_close)(self);
    }

    pub(super) fn is_needed(&self) -> bool {
        self.lock().needed_by > 0
    }

    /// An origin has begun to send, and it is yet to be seen whether that can be shared.
    pub(super) fn begin(&self, headers: Headers, source: Source) {
        let mut state = self.lock();
        state.phase = Phase::Unproven(Instant::now());
        state.headers = Some(Arc::new(headers));
        state.source = Some(source);
        drop(state);
        self.changed.notify_all();
    }

    /// Viewers may join from now on. The stream is looked for by `reopen` when it breaks off.
    pub(super) fn open(&self, reopen: Arc<dyn Reopen>) {
        let mut state = self.lock();
        state.phase = Phase::Open;
        state.reopen = Some(reopen);
        drop(state);
        self.changed.notify_all();
    }

    /// What came is its first viewer's alone: those who wait are to ask for themselves.
    pub fn keep_private(&self) {
        self.lock().phase = Phase::Private;
        self.close();
        self.changed.notify_all();
    }

    /// The stream goes on from there.
    pub(super) fn splice(&self, source: Source) {
        let mut state = self.lock();
        state.source = Some(source);
        state.is_searching = false;
        state.heard = Instant::now();
        drop(state);
        self.splices.fetch_add(1, Ordering::Relaxed);
        self.common.splices.fetch_add(1, Ordering::Relaxed);
    }

    /// A cancel token for the search for the next origin; `None` when nobody needs one, or the proxy is ending.
    pub(super) fn search(&self) -> Option<Arc<CancelToken>> {
        let mut state = self.lock();
        if state.needed_by == 0 || self.common.is_ending.load(Ordering::Acquire) {
            return None;
        }
        state.cancel = CancelToken::new();
        state.is_searching = true;
        Some(state.cancel.clone())
    }

    /// Ends a search.
    pub(super) fn stop_searching(&self) {
        let state = self.lock();
        let cancel = state.is_searching.then(|| state.cancel.clone());
        drop(state);
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// Whether requests may join, be it to wait.
    pub(super) fn is_joinable(&self) -> bool {
        !self.lock().is_closed
    }

    /// Whether an origin has begun to send.
    pub(super) fn has_begun(&self) -> bool {
        let state = self.lock();
        matches!(state.phase, Phase::Unproven(_) | Phase::Open) && !state.is_closed
    }

    /// Whether viewers may join at once.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Open && !state.is_closed
    }

    pub(super) fn wake_waiting(&self) {
        // Under the lock: who is about to wait has looked, or has not begun to.
        let state = self.lock();
        self.changed.notify_all();
        drop(state);
    }

    /// Waits until the channel is open, or is not to be.
    /// `has_left` tells whether the client of the one who waits has left; it may not ask this channel anything.
    pub(super) fn wait_open(&self, has_left: impl Fn() -> bool) -> Joined {
        let mut state = self.lock();
        loop {
            let left = match state.phase {
                Phase::Private => return Joined::Private,
                Phase::Open => match (&state.headers, &state.source) {
                    (Some(headers), Some(source)) => {
                        return Joined::Open(headers.clone(), source.clone());
                    }
                    _ => return Joined::Private,
                },
                Phase::Unproven(since) => PROOF_TIME.saturating_sub(since.elapsed()),
                Phase::Opening(since) => OPENING_TIME.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return match state.phase {
                    Phase::Opening(_) => Joined::Slow,
                    _ => Joined::Unproven,
                };
            }
            // Its client's leaving takes this lock after it has been noted.
            if has_left() {
                return Joined::Left;
            }
            self.changed.wait_for(&mut state, left);
        }
    }

    /// Bytes at the start of an opening that belong to a file's head, not to the stream's configuration.
    pub(super) fn header_length(&self) -> usize {
        match self.key.format {
            Format::Flv => 13,
            _ => 0,
        }
    }

    /// A piece for one viewer alone.
    pub(super) fn lone_piece(&self, units: &[u8]) -> Option<Arc<Piece>> {
        let rendered = Rendered::of(units, None).filter(|_| !units.is_empty())?;
        let reserved = self.budget.reserve(rendered.size());
        let piece = rendered.into_piece(&Arc::default(), Instant::now(), reserved);
        Some(Arc::new(piece))
    }

    pub(super) fn count_behind(&self, more: bool) {
        if more {
            self.behind.fetch_add(1, Ordering::Relaxed);
        } else {
            self.behind.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_skip(&self) {
        self.skips.fetch_add(1, Ordering::Relaxed);
        self.common.skips.fetch_add(1, Ordering::Relaxed);
    }

    /// As operators see it; `None` while it is not open.
    pub(super) fn view(&self) -> Option<ChannelView> {
        let state = self.lock();
        (state.phase == Phase::Open).then(|| ChannelView {
            stream: self.key.stream.clone(),
            format: self.key.format,
            source: state.source.clone(),
            viewers: state.needed_by,
            behind: self.behind.load(Ordering::Relaxed),
            skips: self.skips.load(Ordering::Relaxed),
            splices: self.splices.load(Ordering::Relaxed),
            bytes: self.ring.bytes(),
            since: self.since,
        })
    }

    /// Bytes came from the origin.
    pub(super) fn hear(&self, now: Instant) {
        self.lock().heard = now;
    }

    /// Has the stream go on from an origin that has begun to send, on that cancel token: the connection now is ended
    /// for it.
    fn move_to(&self, next: Opened, cancel: Arc<CancelToken>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.next = Some((next, cancel));
        let before = state.cancel.clone();
        drop(state);
        before.cancel();
    }

    pub(super) fn take_next(&self) -> Option<Opened> {
        let mut state = self.lock();
        let (next, cancel) = state.next.take()?;
        state.cancel = cancel;
        (state.needed_by > 0).then_some(next)
    }

    /// Whether nothing has come from the origin for [`SILENCE`], and no other has been asked meanwhile.
    pub(super) fn is_silent(&self) -> bool {
        let mut state = self.lock();
        let is_silent = state.phase == Phase::Open
            && !(state.is_closed || state.is_searching || state.is_moving)
            && state.heard.elapsed() >= SILENCE;
        if is_silent {
            state.heard = Instant::now();
        }
        is_silent
    }

    /// Goes on from another origin, where the API of one lists the stream. What comes now is not ended before the
    /// other one has begun to send. Blocks for 4 s at most.
    pub(super) fn move_elsewhere(&self) {
        let mut state = self.lock();
        let (Some(reopen), Some(source)) = (state.reopen.clone(), state.source.clone()) else {
            return;
        };
        if state.is_closed || state.is_searching || std::mem::replace(&mut state.is_moving, true) {
            return;
        }
        drop(state);
        let cancel = CancelToken::new();
        let opened = reopen.elsewhere(&source, &cancel);
        self.lock().is_moving = false;
        if let Some(opened) = opened {
            self.move_to(opened, cancel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock()
    }
}
