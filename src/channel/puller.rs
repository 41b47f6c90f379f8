//! The puller: reads a channel's stream from its origin, cuts it into pieces, and looks for it again where it
//! breaks off.

use crate::channel::hands::ChannelHands;
use crate::channel::live_channel::{Channel, Opened, Reopen};
use crate::channel::piece::{Piece, PieceBuilder, Rendered};
use crate::channel::ring::{End, Place};
use crate::channel::senders::{Edge, Round};
use crate::channel::settings::OriginConnection;
use crate::channel::stitch::Stitcher;
use crate::channel::viewer::{Delivery, Viewer};
use crate::runtime::pool::Pool;
use crate::upstream::OriginBody;
use log::info;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pause between two searches for a stream that broke off.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Stack of a thread that reads from an origin and looks for it again, in bytes. As much as a worker has that looks for an origin; only what is touched counts.
const STACK: usize = 256 * 1024;

/// How the log calls an origin's failing in mid-stream.
const BROKE_OFF: &str = "the origin broke off";

/// What is known of the body.
enum Body {
    /// Nothing: its first viewer gets each byte as it comes.
    Unproven,
    /// It is of the format: viewers get whole units.
    Shared,
    /// It is not, and is the first viewer's alone.
    Private,
}

/// Reads one channel's stream.
pub struct Puller {
    channel: Arc<Channel>,
    hands: Arc<ChannelHands>,
    body: Option<OriginBody>,
    reopen: Arc<dyn Reopen>,
    edge: Edge,
    stitcher: Stitcher,
    builder: PieceBuilder,
    /// Pieces on their way into the ring, and those that have just been added; empty between two reads.
    rendered: Vec<Rendered>,
    added: Vec<Arc<Piece>>,
    kind: Body,
    /// The first viewer, until it is one of many.
    first: Option<FirstViewer>,
    last_unit: Instant,
    /// The stream is about to go on: where it came from before, and why it does not any more.
    splicing: Option<(String, String)>,
    began: Instant,
}

struct FirstViewer {
    viewer: Arc<Viewer>,
    delivery: Box<Delivery>,
    /// The begin of the next unit, which it has got already.
    ahead: Vec<u8>,
}

/// Why copying stopped.
enum Stop {
    /// The origin has sent its last byte.
    Finished,
    /// The origin failed.
    Origin(String),
    /// The first viewer failed, whose alone the stream is.
    Client(String),
}

/// Threads that read from origins, one a channel.
pub(super) type Pullers = Arc<Pool<Box<Puller>>>;

/// At most `most` threads.
pub(super) fn pullers(most: usize) -> Pullers {
    Pool::new("channel", most, STACK, |puller: Box<Puller>| puller.run())
}

/// The first viewer's duty: to open the channel, or to tell the others that it will not open. Dropped without
/// either, the others are told.
pub struct First {
    pub viewer: Arc<Viewer>,
    pub(super) hands: Arc<ChannelHands>,
    pub(super) edge: Option<Edge>,
    pub(super) pullers: Pullers,
}

impl Drop for First {
    fn drop(&mut self) {
        if self.edge.is_some() {
            self.viewer.channel().keep_private();
        }
    }
}

impl First {
    /// The origin has begun to send what may be shared. `delivery` is the first viewer's response, `None` where its
    /// client has left and others wait. Reads on a thread of its own; blocks where none is to be had.
    pub fn open(
        mut self,
        body: OriginBody,
        delivery: Option<Box<Delivery>>,
        reopen: Arc<dyn Reopen>,
    ) {
        let Some(edge) = self.edge.take() else {
            return;
        };
        let channel = self.viewer.channel().clone();
        let now = Instant::now();
        let first = delivery.map(|delivery| FirstViewer {
            viewer: self.viewer.clone(),
            delivery,
            ahead: Vec::new(),
        });
        if first.is_none() {
            self.viewer.release();
        }
        let puller = Box::new(Puller {
            stitcher: Stitcher::new(channel.format()),
            body: Some(body),
            reopen,
            edge,
            builder: PieceBuilder::default(),
            rendered: Vec::new(),
            added: Vec::new(),
            kind: Body::Unproven,
            first,
            last_unit: now,
            splicing: None,
            began: now,
            hands: self.hands.clone(),
            channel,
        });
        if let Err(puller) = self.pullers.run(puller) {
            puller.run();
        }
    }
}

impl Puller {
    /// Reads until the stream is over.
    pub(super) fn run(mut self: Box<Self>) {
        // However it ends, viewers are not left hanging.
        let end = catch_unwind(AssertUnwindSafe(|| self.read()));
        self.end(&end.unwrap_or_else(|_| End::Broken("a fault of the proxy".into())));
    }

    fn read(&mut self) -> End {
        loop {
            let Some(body) = self.body.take() else {
                return End::Broken("there is no origin".into());
            };
            let stop = self.copy(body);
            if matches!(stop, Stop::Origin(_))
                && self.channel.is_needed()
                && let Some(source) = self.channel.source()
            {
                self.reopen.ended(&source);
            }
            match stop {
                Stop::Finished => return End::Clean,
                Stop::Client(why) => return End::Broken(why.into()),
                Stop::Origin(why) => match self.resume(&why) {
                    Some(opened) => self.body = Some(opened.body),
                    None => return End::Broken(why.into()),
                },
            }
        }
    }

    fn copy(&mut self, mut body: OriginBody) -> Stop {
        let _connection = OriginConnection::new(&self.channel.common);
        let mut source = Failing {
            inner: &mut body,
            error: None,
        };
        // What one read gives is passed on before the next; the 8 KiB of `io::copy` hold a frame.
        match (io::copy(&mut &mut source, self), source.error) {
            (Ok(_), _) => Stop::Finished,
            (Err(_), Some(why)) if why.starts_with(BROKE_OFF) => Stop::Origin(why),
            (Err(_), Some(why)) => Stop::Origin(format!("{BROKE_OFF}: {why}")),
            (Err(error), None) if error.kind() == io::ErrorKind::InvalidData => {
                Stop::Origin(format!("{BROKE_OFF}: {error}"))
            }
            (Err(error), None) => Stop::Client(format!("the client went: {error}")),
        }
    }

    /// Passes on what one read gave.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !matches!(self.kind, Body::Shared)
            && let Some(first) = &mut self.first
            && let Err(error) = first.send(bytes)
        {
            if matches!(self.kind, Body::Private) {
                return Err(error);
            }
            self.drop_first(&format!("the client went: {error}"));
        }
        if matches!(self.kind, Body::Private) {
            return Ok(());
        }
        let fits = self.cut(bytes);
        if !fits && matches!(self.kind, Body::Unproven) {
            self.kind = Body::Private;
            self.rendered.clear();
            self.channel.keep_private();
            // Without its first viewer nobody is to get it.
            return match self.first {
                Some(_) => Ok(()),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            };
        }
        if !self.rendered.is_empty() {
            let now = Instant::now();
            self.note_splice(now);
            self.last_unit = now;
            self.channel.hear(now);
            self.publish(now);
        }
        if fits {
            return Ok(());
        }
        let why = "it sends what is not of the stream's format";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Cuts bytes into pieces, which begin with each group. Gives whether the bytes are of the format.
    fn cut(&mut self, bytes: &[u8]) -> bool {
        let Self {
            stitcher,
            builder,
            rendered,
            ..
        } = self;
        // Without video one may begin anywhere, and a piece an audio frame would cost a call each.
        let is_audio = stitcher.has_video() == Some(false);
        let fits = stitcher.push(bytes, &mut |unit| {
            if unit.starts_group && !is_audio {
                rendered.extend(builder.take());
            }
            builder.add(unit.bytes, unit.opening);
        });
        rendered.extend(builder.take());
        fits.is_ok()
    }

    /// Adds what was cut to the ring, and sends it.
    fn publish(&mut self, now: Instant) {
        let channel = self.channel.clone();
        let is_first = matches!(self.kind, Body::Unproven);
        let mut added = std::mem::take(&mut self.added);
        let opening = self.stitcher.opening();
        let place = channel
            .ring
            .push(&mut self.rendered, &opening, now, &mut added);
        let count = added.len() as u64;
        if is_first {
            self.kind = Body::Shared;
            if let Some(first) = &mut self.first {
                first.ahead = self.stitcher.pending();
                if first.ahead.is_empty() {
                    self.settle_first(Place::Piece(place + count), None);
                }
            }
            let from = channel
                .source()
                .map_or(String::new(), |source| source.address);
            info!("channel {} opens from {from}", channel.key());
            channel.common.opened.fetch_add(1, Ordering::Relaxed);
            channel.open(self.reopen.clone());
        } else if let Some(first) = &self.first {
            // The rest of the unit that it got the beginning of.
            let units = added.first().map(|piece| piece.units());
            match units.and_then(|units| units.strip_prefix(&first.ahead[..])) {
                Some(rest) => {
                    let rest = channel.lone_piece(rest);
                    self.settle_first(Place::Piece(place + 1), rest);
                }
                // What had begun was no unit.
                None => self.drop_first("the stream is not what it seemed"),
            }
        }
        self.edge.send(place, &added, &channel);
        added.clear();
        self.added = added;
        self.hands.senders.spread(&mut self.edge, &channel);
        self.hands.senders.wake();
    }

    /// The first viewer is one of many from now on.
    fn settle_first(&mut self, place: Place, rest: Option<Arc<Piece>>) {
        if let Some(mut first) = self.first.take() {
            first.delivery.begin_at(place, rest);
            if first.viewer.put(first.delivery) {
                self.hands.senders.add(first.viewer);
            }
        }
    }

    fn drop_first(&mut self, why: &str) {
        if let Some(first) = self.first.take() {
            first.delivery.end(&End::Broken(why.into()), &self.channel);
            first.viewer.release();
        }
    }

    /// Looks for the stream again; `None` when it is over.
    fn resume(&mut self, why: &str) -> Option<Opened> {
        let channel = self.channel.clone();
        if !matches!(self.kind, Body::Shared) || !channel.is_needed() {
            return None;
        }
        // It has the beginning of a unit whose rest will not come.
        self.drop_first(why);
        let next = channel.take_next();
        let time = channel.settings.resume;
        if next.is_none() && time.is_zero() {
            return None;
        }
        let before = channel.source();
        let end = self.last_unit + time;
        let opened = match next {
            Some(opened) => opened,
            None => self.search(end, why)?,
        };
        self.stitcher.splice();
        let from = before.map_or(String::new(), |source| source.address);
        self.splicing = Some((from, why.to_owned()));
        channel.splice(opened.source.clone());
        Some(opened)
    }

    /// The first units of a new connection have come.
    fn note_splice(&mut self, now: Instant) {
        if self.stitcher.is_waiting_for_key() {
            return;
        }
        if let Some((before, why)) = self.splicing.take() {
            let address = self.channel.source().map_or(String::new(), |it| it.address);
            info!(
                "channel {} goes on from {address} after {:.3} s without bytes; before it came from {before}: {why}",
                self.channel.key(),
                (now - self.last_unit).as_secs_f64(),
            );
        }
    }

    fn search(&self, end: Instant, why: &str) -> Option<Opened> {
        let channel = &self.channel;
        info!("channel {}: {why}; looking for it again", channel.key());
        loop {
            let began = Instant::now();
            let cancel = channel.search()?;
            if let Some(opened) = self.reopen.reopen(&cancel) {
                return Some(opened);
            }
            let now = Instant::now();
            if now >= end {
                return None;
            }
            let pause = SEARCH_EVERY.saturating_sub(now - began);
            if cancel.wait(pause.min(end - now)) {
                return None;
            }
        }
    }

    fn end(mut self, end: &End) {
        let channel = self.channel.clone();
        channel.close();
        if matches!(self.kind, Body::Shared) {
            self.drop_first("the stream ended");
            let why = match end {
                End::Clean => "the origin ended it",
                End::Broken(_) if !channel.is_needed() => "nobody watches it",
                End::Broken(why) => why,
            };
            let seconds = self.began.elapsed().as_secs_f64();
            info!("channel {} ends after {seconds:.3} s: {why}", channel.key());
        } else {
            channel.keep_private();
            if let Some(first) = self.first.take() {
                let left = End::Broken("the client left".into());
                let end = if first.viewer.has_left() { &left } else { end };
                first.delivery.end(end, &channel);
                first.viewer.release();
            }
        }
        channel.ring.end(end.clone());
        while self.edge.round(&channel) != Round::Ended {}
        self.hands.senders.wake();
    }
}

impl Write for Puller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FirstViewer {
    /// Sends bytes as they came.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.delivery.body().write_all(bytes)?;
        self.delivery.meter().add(bytes.len() as u64);
        Ok(())
    }
}

/// Remembers whether it was the reading that failed.
struct Failing<'a> {
    inner: &'a mut OriginBody,
    error: Option<String>,
}

impl Read for &mut Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner
            .read(buffer)
            .inspect_err(|error| self.error = Some(error.to_string()))
    }
}
