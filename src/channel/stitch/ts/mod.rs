//! MPEG transport streams: counters and clocks that go on, PIDs that stay.
//!
//! A unit is a frame: the TS packets of a PES packet, and those of other PIDs between them. A frame is held until its
//! last packet, so that none goes out in half; muxers tell the end by the PES packet's length, by stuffing, or by
//! going on to another stream. Where they mix the packets of several streams, a unit ends with a video frame's end
//! at the latest, and another stream's frame may be cut in two.

mod counters;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use super::presence::Presence;
use super::timeline::{Timeline, Times};
use crate::channel::stitch::unit::Unit;
use crate::media::format::NotThisFormat;
use crate::media::splitter::{MAX_UNIT, Splitter};
use crate::media::ts::framing::TsFraming;
use crate::media::ts::packet::{self, CLOCK_BITS, NULL_PID, PACKET, Packet};
use crate::media::ts::pes::{self, PesHeader};
use crate::media::ts::random_access::RandomAccess;
use crate::media::ts::tables::Content;
use counters::Counters;
use incoming::{Completed, Incoming};
use outgoing::{Outgoing, Pair};
use std::sync::Arc;

/// Bytes in which PAT and PMT must have come. Muxers repeat them at least each 0.5 s.
const MAX_WITHOUT_TABLES: usize = 2 * 1024 * 1024;
/// Memory that is kept for the unit in work; what a larger one needed is given back.
const KEPT: usize = 64 * 1024;
/// A stream that is missing for this long after a splice, in 1/90 000 s, is taken out of the viewers' PMT.
const MISSING: i64 = 3 * 90_000;
/// Audio that is this far behind, in 1/90 000 s, was not in step with the video before either, and is let through.
const OUT_OF_STEP: i64 = 10 * 90_000;

/// Stitches TS packets.
#[derive(Default)]
pub struct TsStitcher {
    splitter: Splitter<TsFraming>,
    stream: Stream,
}

/// A PES packet that is arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// So many bytes are missing.
    Bytes(usize),
    /// Its length is not told.
    Unbounded,
}

/// A PID of this connection.
#[derive(Clone, Copy, Debug)]
struct Route {
    pair: Pair,
    content: Content,
    /// A PES packet or section began on it since the splice. What comes before is the rest of one.
    started: bool,
    open: Option<Open>,
    /// A PES packet began on it in the unit that is held.
    begun: bool,
    /// Since the splice, no frame on it was later than those before.
    is_behind: bool,
    /// The rest of the frame is dropped.
    dropping: bool,
}

/// What is known of the outgoing stream.
struct Stream {
    incoming: Incoming,
    /// `None`: no PMT came yet.
    outgoing: Option<Outgoing>,
    routes: Vec<Route>,
    counters: Counters,
    timeline: Timeline,
    presence: Presence,
    has_video: Option<bool>,
    /// The unit in work: whole packets, with the viewers' PIDs.
    held: Vec<u8>,
    /// The stream of the last packet, by its place in `routes`.
    last: Option<usize>,
    /// The muxer mixes the packets of several streams.
    mixes: bool,
    /// Bytes that came before the tables.
    without_tables: usize,
    waiting: bool,
    /// There was a splice: the connection's tables are replaced, times and PIDs rewritten.
    spliced: bool,
    /// Viewers need the tables with the next key frame.
    tables_are_due: bool,
    /// When this connection's first key frame was sent. `None`: it has all streams that viewers know.
    missing_since: Option<i64>,
    /// The last clock reference of the connection while a key frame is waited for.
    reference: Option<u64>,
    opening: Arc<[u8]>,
    /// The counters of the opening's PAT and PMT.
    opening_counters: [Option<u8>; 2],
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            incoming: Incoming::default(),
            outgoing: None,
            routes: Vec::new(),
            counters: Counters::default(),
            timeline: Timeline::new(CLOCK_BITS, 90_000),
            presence: Presence::default(),
            has_video: None,
            held: Vec::new(),
            last: None,
            mixes: false,
            without_tables: 0,
            waiting: false,
            spliced: false,
            tables_are_due: false,
            missing_since: None,
            reference: None,
            opening: Arc::default(),
            opening_counters: [None; 2],
        }
    }
}

impl TsStitcher {
    pub fn push(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(Unit<'_>),
    ) -> Result<(), NotThisFormat> {
        let Self { splitter, stream } = self;
        splitter.push(bytes, |unit| match Packet::new(unit) {
            Some(packet) => stream.take(packet, unit, out),
            None => Ok(()),
        })?;
        // Tables, and what else is no frame, do not wait for one.
        match stream.is_open() {
            true => Ok(()),
            false => stream.end_unit(out),
        }
    }

    pub fn splice(&mut self) {
        self.splitter = Splitter::default();
        let stream = &mut self.stream;
        stream.incoming = Incoming::default();
        stream.routes.clear();
        stream.counters.splice();
        stream.timeline.splice();
        stream.presence = Presence::default();
        stream.held.clear();
        (stream.last, stream.mixes) = (None, false);
        stream.without_tables = 0;
        (stream.waiting, stream.spliced) = (true, true);
        stream.missing_since = None;
        stream.reference = None;
    }

    pub fn is_waiting_for_key(&self) -> bool {
        self.stream.waiting
    }

    pub fn pending(&self) -> Vec<u8> {
        [&self.stream.held[..], self.splitter.pending()].concat()
    }

    pub fn opening(&self) -> Arc<[u8]> {
        self.stream.opening.clone()
    }

    pub fn has_video(&self) -> Option<bool> {
        self.stream.has_video
    }
}

type Out<'o> = &'o mut dyn FnMut(Unit<'_>);

impl Stream {
    fn take(
        &mut self,
        packet: Packet<'_>,
        bytes: &[u8],
        out: Out<'_>,
    ) -> Result<(), NotThisFormat> {
        let pid = packet.pid();
        if packet.is_damaged() {
            return Ok(());
        }
        if pid == NULL_PID {
            return self.hold(bytes, pid);
        }
        if packet.is_scrambled() {
            return Err(NotThisFormat("an encrypted transport stream"));
        }
        if self.incoming.tables().is_none() {
            self.without_tables += PACKET;
            if self.without_tables > MAX_WITHOUT_TABLES {
                return Err(NotThisFormat("a transport stream without PAT and PMT"));
            }
        }
        if self.incoming.has_tables(pid) {
            return self.table(packet, bytes, out);
        }
        match self.routes.iter().position(|route| route.pair.from == pid) {
            Some(index) => self.elementary(index, packet, bytes, out),
            // Names and guides, as the first connection has them; another one's would not fit viewers' PIDs.
            None if self.spliced => Ok(()),
            None => self.hold(bytes, pid),
        }
    }

    /// A packet of a table. The first connection's go out as they are, later ones' are replaced by the viewers'.
    fn table(
        &mut self,
        packet: Packet<'_>,
        bytes: &[u8],
        out: Out<'_>,
    ) -> Result<(), NotThisFormat> {
        let completed = self.incoming.take(packet)?;
        if !self.spliced {
            self.hold(bytes, packet.pid())?;
        }
        if completed == Some(Completed::NewPmt) {
            self.adopt(false, out)?;
        }
        if let Some(outgoing) = self
            .outgoing
            .as_ref()
            .filter(|_| self.spliced && !self.waiting)
        {
            match completed {
                Some(Completed::Pat) => outgoing.write_pat(false, &mut self.held),
                Some(_) if !self.tables_are_due => outgoing.write_pmt(false, &mut self.held),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes over the connection's streams: as those that viewers know, or, where that is not possible or
    /// `anew`, with new tables.
    fn adopt(&mut self, anew: bool, out: Out<'_>) -> Result<(), NotThisFormat> {
        // What was held has the old PIDs.
        self.end_unit(out)?;
        let Some(tables) = self.incoming.tables() else {
            return Ok(());
        };
        let contents = tables.streams.list.iter().map(|stream| stream.content);
        if contents
            .clone()
            .any(|content| content == Content::Video(None))
        {
            return Err(NotThisFormat("video whose key frames cannot be told"));
        }
        let video = contents
            .clone()
            .any(|content| matches!(content, Content::Video(_)));
        let known = match &self.outgoing {
            Some(outgoing) if self.spliced && !anew => outgoing.pairs(tables.streams),
            _ => None,
        };
        // Of a connection that came to no key frame, viewers have not got the tables either.
        self.tables_are_due = self.spliced && (known.is_none() || self.tables_are_due);
        self.missing_since = None;
        let pairs = match (known, &mut self.outgoing) {
            (Some(pairs), Some(outgoing)) => {
                if outgoing.has_more_than(tables.streams) {
                    // While a key frame is waited for, it is not known yet.
                    self.missing_since = self
                        .timeline
                        .last()
                        .filter(|_| !self.waiting)
                        .or(Some(i64::MAX));
                }
                pairs
            }
            (_, Some(outgoing)) if self.spliced => {
                outgoing.replace(&tables);
                outgoing.own_pairs()
            }
            (_, outgoing) => outgoing.insert(Outgoing::of(&tables)).own_pairs(),
        };
        let contents: Vec<Content> = contents.collect();
        let old = std::mem::take(&mut self.routes);
        // Pairs are in the order of the connection's own list.
        let routes = pairs.into_iter().enumerate().map(|(index, pair)| {
            let same = old.iter().find(|route| route.pair == pair);
            same.copied().unwrap_or(Route {
                pair,
                content: contents.get(index).copied().unwrap_or(Content::Sections),
                started: !self.spliced,
                open: None,
                begun: false,
                is_behind: self.spliced,
                dropping: false,
            })
        });
        self.routes = routes.collect();
        self.last = None;
        self.presence.declared(video);
        if self.presence.known().is_none() {
            self.has_video = Some(video);
        }
        if !self.waiting {
            self.give_due_tables(out)?;
            self.render_opening();
        }
        Ok(())
    }

    /// A packet of an elementary stream, or with nothing but a clock reference.
    fn elementary(
        &mut self,
        index: usize,
        packet: Packet<'_>,
        bytes: &[u8],
        out: Out<'_>,
    ) -> Result<(), NotThisFormat> {
        let route = self.routes[index];
        if self.waiting {
            self.reference = packet.reference().or(self.reference);
            if route.content == Content::Sections || !packet.has_payload() {
                return Ok(());
            }
        }
        if route.content == Content::Sections || !packet.has_payload() {
            if packet.has_payload() && !route.started {
                if !packet.starts() {
                    return Ok(());
                }
                self.routes[index].started = true;
            }
            return self.hold(bytes, route.pair.to);
        }
        let header = match packet.starts() {
            true => PesHeader::parse(packet.payload()),
            false => None,
        };
        if let Some(header) = header {
            self.note_presence(route.content, header);
        }
        self.follow_muxer(index, packet, out)?;
        if packet.starts() {
            // Viewers begin before a frame of the leading stream, and a stream has one frame in a unit.
            if self.leading() == Some(index) || route.begun {
                self.end_unit(out)?;
            }
            let route = &mut self.routes[index];
            (route.started, route.begun) = (true, true);
            route.open = header.map(|header| match header.length {
                Some(length) => Open::Bytes(length),
                None => Open::Unbounded,
            });
        } else if !self.routes[index].started {
            return Ok(());
        }
        self.hold(bytes, route.pair.to)?;
        let route = &mut self.routes[index];
        route.open = match route.open {
            Some(Open::Bytes(missing)) => {
                let missing = missing.saturating_sub(packet.payload().len());
                (missing > 0).then_some(Open::Bytes(missing))
            }
            Some(Open::Unbounded) if packet.is_stuffed() => None,
            open => open,
        };
        match self.is_open() {
            true => Ok(()),
            false => self.end_unit(out),
        }
    }

    /// Notes whether the muxer mixes streams; where it does not, a packet of one stream ends the frames of others.
    fn follow_muxer(
        &mut self,
        index: usize,
        packet: Packet<'_>,
        out: Out<'_>,
    ) -> Result<(), NotThisFormat> {
        if self.last.replace(index).is_none_or(|last| last == index) {
            return Ok(());
        }
        if !packet.starts() {
            self.mixes = true;
        }
        if self.mixes || !self.is_open() {
            return Ok(());
        }
        for route in &mut self.routes {
            route.open = None;
        }
        self.end_unit(out)
    }

    fn note_presence(&mut self, content: Content, header: PesHeader) {
        match content {
            Content::Video(_) => self.presence.video(),
            Content::Audio => {
                let Some((pts, _)) = header.times else {
                    return;
                };
                let time = self.timeline.near(pts);
                self.presence.audio(self.timeline.millis(time));
            }
            _ => return,
        }
        let known = self.presence.known();
        self.has_video = known.or(self.has_video);
    }

    /// The stream before whose frames viewers begin.
    fn leading(&self) -> Option<usize> {
        let first = |is: fn(Content) -> bool| {
            self.routes
                .iter()
                .position(|route| is(route.content) && route.pair.stream.is_some())
        };
        let video = || first(|content| matches!(content, Content::Video(_)));
        let audio = || first(|content| content == Content::Audio);
        match self.has_video {
            Some(false) => audio().or_else(|| first(|content| content == Content::Data)),
            _ => video(),
        }
    }

    fn is_open(&self) -> bool {
        self.routes.iter().any(|route| route.open.is_some())
    }

    /// Appends a packet to the unit in work, with the viewers' PID. While a key frame is waited for, only frames are.
    fn hold(&mut self, bytes: &[u8], pid: u16) -> Result<(), NotThisFormat> {
        if self.waiting && self.routes.iter().all(|route| !route.begun) {
            return Ok(());
        }
        if self.held.len() + PACKET > MAX_UNIT {
            return Err(NotThisFormat("a frame of more than 8 MiB"));
        }
        let start = self.held.len();
        self.held.extend_from_slice(bytes);
        if self.spliced {
            packet::set_pid(&mut self.held[start..], pid);
        }
        Ok(())
    }

    /// Gives the unit in work.
    fn end_unit(&mut self, out: Out<'_>) -> Result<(), NotThisFormat> {
        for route in &mut self.routes {
            (route.begun, route.open) = (false, None);
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let mut unit = std::mem::take(&mut self.held);
        let given = self.give(&mut unit, out);
        unit.clear();
        unit.shrink_to(KEPT);
        self.held = unit;
        given
    }

    fn give(&mut self, unit: &mut Vec<u8>, out: Out<'_>) -> Result<(), NotThisFormat> {
        let starts_group = self.starts_group(unit);
        if self.waiting {
            if !starts_group {
                for route in &mut self.routes {
                    route.started = false;
                }
                return Ok(());
            }
            self.begin(unit, out)?;
        } else if starts_group {
            self.take_missing_out(unit, out)?;
        }
        if starts_group {
            self.renew_opening();
        }
        let time = self.rewrite(unit)?;
        if !unit.is_empty() {
            out(Unit {
                bytes: unit,
                starts_group,
                timestamp: time.map(|time| self.timeline.millis(time)),
                opening: starts_group.then_some(&self.opening),
            });
        }
        Ok(())
    }

    /// Whether viewers can begin before `unit`: it begins with a frame of the leading stream, and where that is
    /// video, with a key frame.
    fn starts_group(&self, unit: &[u8]) -> bool {
        let Some(first) = Packet::new(unit).filter(|packet| packet.starts()) else {
            return false;
        };
        let leading = self.leading().and_then(|index| self.routes.get(index));
        let Some(leading) = leading.filter(|route| route.pair.to == first.pid()) else {
            return false;
        };
        let Some(header) = PesHeader::parse(first.payload()) else {
            return false;
        };
        let codec = match leading.content {
            Content::Video(Some(codec)) => codec,
            Content::Video(None) => return false,
            // Without video any frame will do, once it is certain that there is none.
            _ => return self.presence.known() == Some(false),
        };
        if first.is_random_access() {
            return true;
        }
        let mut picture = RandomAccess::new(codec);
        let packets = unit.chunks_exact(PACKET).filter_map(Packet::new);
        let packets = packets.filter(|packet| packet.pid() == first.pid());
        let mut skip = header.payload;
        for packet in packets {
            let payload = packet.payload();
            let from = skip.min(payload.len());
            skip -= from;
            if let Some(found) = picture.push(&payload[from..]) {
                return found;
            }
        }
        false
    }

    /// The first frame of a new connection fixes how its times are shifted.
    fn begin(&mut self, unit: &[u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let Some((pts, dts)) = times(unit) else {
            return Err(NotThisFormat("a key frame without its time"));
        };
        let dts = self.timeline.outgoing(dts);
        let pts = self.timeline.near(pts);
        let mut packets = unit.chunks_exact(PACKET).filter_map(Packet::new);
        let reference = packets.find_map(Packet::reference).or(self.reference);
        let reference = reference.map(|it| self.timeline.near(it));
        let video = self.has_video != Some(false);
        self.timeline.begin(video, Times { dts, pts }, reference);
        self.waiting = false;
        if self.missing_since.is_some() {
            self.missing_since = Some(dts + self.timeline.shift());
        }
        for route in &mut self.routes {
            route.is_behind = true;
        }
        self.give_due_tables(out)
    }

    /// Viewers are told that a stream does not come any more.
    fn take_missing_out(&mut self, unit: &mut [u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let now = times(unit).map(|(_, dts)| self.timeline.near(dts));
        let (Some(now), Some(since)) = (now, self.missing_since) else {
            return Ok(());
        };
        if now.saturating_sub(since) < MISSING {
            return Ok(());
        }
        let before: Vec<Pair> = self.routes.iter().map(|route| route.pair).collect();
        self.adopt(true, out)?;
        // The unit has the PIDs from before.
        for bytes in unit.chunks_exact_mut(PACKET) {
            let pid = Packet::new(bytes).map_or(NULL_PID, Packet::pid);
            if let Some(pair) = before.iter().find(|pair| pair.to == pid) {
                packet::set_pid(bytes, pair.from);
            }
        }
        Ok(())
    }

    fn give_due_tables(&mut self, out: Out<'_>) -> Result<(), NotThisFormat> {
        if !std::mem::take(&mut self.tables_are_due) {
            return Ok(());
        }
        let mut tables = Vec::new();
        if let Some(outgoing) = &self.outgoing {
            outgoing.write_pat(true, &mut tables);
            outgoing.write_pmt(true, &mut tables);
        }
        for packet in tables.chunks_exact_mut(PACKET) {
            self.counters.number(packet)?;
        }
        out(Unit {
            bytes: &tables,
            starts_group: false,
            timestamp: None,
            opening: None,
        });
        Ok(())
    }

    /// Gives the packets of a unit that goes out now their counters and times. Returns the decoding time of the first
    /// frame in it.
    fn rewrite(&mut self, unit: &mut Vec<u8>) -> Result<Option<i64>, NotThisFormat> {
        let pmt_pid = self.outgoing.as_ref().map(|outgoing| outgoing.pmt_pid);
        let mut first = None;
        let mut kept = 0;
        for from in (0..unit.len()).step_by(PACKET) {
            let Some(bytes) = unit.get_mut(from..from + PACKET) else {
                break;
            };
            let pid = Packet::new(bytes).map_or(NULL_PID, Packet::pid);
            let keep = if pid == NULL_PID {
                true
            } else if self.spliced && (pid == 0 || Some(pid) == pmt_pid) {
                self.counters.number(bytes)?;
                true
            } else {
                self.rewrite_packet(pid, bytes, &mut first)?
            };
            if keep {
                if kept < from {
                    unit.copy_within(from..from + PACKET, kept);
                }
                kept += PACKET;
            }
        }
        unit.truncate(kept);
        Ok(first)
    }

    /// As [`Self::rewrite`], a packet of an elementary stream. Returns false where it is dropped.
    fn rewrite_packet(
        &mut self,
        pid: u16,
        bytes: &mut [u8],
        first: &mut Option<i64>,
    ) -> Result<bool, NotThisFormat> {
        let Some(packet) = Packet::new(bytes) else {
            return Ok(false);
        };
        if let Some(index) = self.routes.iter().position(|route| route.pair.to == pid) {
            if packet.starts() && self.routes[index].content != Content::Sections {
                self.frame(index, packet, first)?;
            }
            if self.routes[index].dropping && packet.has_payload() {
                return Ok(false);
            }
        }
        if let Some(reference) = packet.reference() {
            let reference = self.timeline.near(reference);
            self.timeline.reference_sent(reference);
        }
        if self.spliced {
            let shift = self.timeline.shift();
            let (starts, payload) = (packet.starts(), PACKET - packet.payload().len());
            packet::shift_references(bytes, shift);
            if starts {
                pes::shift_times(&mut bytes[payload..], shift);
            }
        }
        self.counters.stamp(bytes)?;
        Ok(true)
    }

    /// Notes the times of a frame that begins in `packet`, and decides whether it goes out.
    fn frame(
        &mut self,
        index: usize,
        packet: Packet<'_>,
        first: &mut Option<i64>,
    ) -> Result<(), NotThisFormat> {
        let route = &mut self.routes[index];
        route.dropping = false;
        let Some(header) = PesHeader::parse(packet.payload()) else {
            return match self.spliced && packet.payload().starts_with(&[0, 0, 1]) {
                true => Err(NotThisFormat("a PES header in two packets")),
                false => Ok(()),
            };
        };
        let Some((pts, dts)) = header.times else {
            return Ok(());
        };
        let track = route.pair.to;
        let dts = self.timeline.outgoing(dts);
        let pts = self.timeline.near(pts);
        if std::mem::take(&mut route.is_behind) {
            let last = self.timeline.last_of(track);
            let behind = last.map_or(0, |last| 1 + last - dts);
            if (1..OUT_OF_STEP).contains(&behind) {
                (route.is_behind, route.dropping) = (true, true);
                return Ok(());
            }
        }
        let video = matches!(route.content, Content::Video(_));
        self.timeline.sent(track, video, Times { dts, pts });
        first.get_or_insert(dts);
        Ok(())
    }

    /// A new opening, where tables were sent since the last one: their counters go on for who joins.
    fn renew_opening(&mut self) {
        if self.table_counters() != self.opening_counters {
            self.render_opening();
        }
    }

    fn table_counters(&self) -> [Option<u8>; 2] {
        let pmt_pid = self.outgoing.as_ref().map(|outgoing| outgoing.pmt_pid);
        [Some(0), pmt_pid].map(|pid| pid.map(|pid| self.counters.before_next(pid)))
    }

    fn render_opening(&mut self) {
        if let Some(outgoing) = &self.outgoing {
            self.opening = outgoing.opening(&self.counters).into();
            self.opening_counters = self.table_counters();
        }
    }
}

/// Presentation and decoding time of the frame that `unit` begins with.
fn times(unit: &[u8]) -> Option<(u64, u64)> {
    PesHeader::parse(Packet::new(unit)?.payload())?.times
}
