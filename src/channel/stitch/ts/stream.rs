//! A stream's packets as they arrive: its tables, and where its frames begin and end.

use super::incoming::{Completed, Incoming};
use super::outgoing::Outgoing;
use super::rewriter::Rewriter;
use super::route::Route;
use crate::channel::stitch::presence::Presence;
use crate::channel::stitch::unit::Unit;
use crate::media::format::NotThisFormat;
use crate::media::splitter::MAX_UNIT;
use crate::media::ts::packet::{self, NULL_PID, PACKET, Packet};
use crate::media::ts::pes::PesHeader;
use crate::media::ts::tables::Content;
use std::sync::Arc;

/// Bytes in which PAT and PMT must have come. Muxers repeat them at least each 0.5 s.
const MAX_WITHOUT_TABLES: usize = 2 * 1024 * 1024;

/// What is known of the outgoing stream.
#[derive(Default)]
pub struct Stream {
    pub(super) incoming: Incoming,
    /// `None`: no PMT came yet.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) routes: Vec<Route>,
    pub(super) rewriter: Rewriter,
    pub(super) presence: Presence,
    pub(super) has_video: Option<bool>,
    /// The unit in work: whole packets, with the viewers' PIDs.
    pub(super) held: Vec<u8>,
    /// The stream of the last packet, by its place in `routes`.
    pub(super) last: Option<usize>,
    /// The muxer mixes the packets of several streams.
    pub(super) mixes: bool,
    /// Bytes that came before the tables.
    pub(super) without_tables: usize,
    pub(super) waiting: bool,
    /// Viewers need the tables with the next key frame.
    pub(super) tables_are_due: bool,
    /// When this connection's first key frame was sent. `None`: it has all streams that viewers know.
    pub(super) missing_since: Option<i64>,
    /// The last clock reference of the connection while a key frame is waited for.
    pub(super) reference: Option<u64>,
    pub(super) opening: Arc<[u8]>,
    /// The counters of the opening's PAT and PMT.
    pub(super) opening_counters: [Option<u8>; 2],
}

/// Who takes the units.
pub type Out<'o> = &'o mut dyn FnMut(Unit<'_>);

impl Stream {
    /// The packets that follow are of another connection.
    pub fn splice(&mut self) {
        self.incoming = Incoming::default();
        self.routes.clear();
        self.rewriter.splice();
        self.presence = Presence::default();
        self.held.clear();
        (self.last, self.mixes) = (None, false);
        self.without_tables = 0;
        self.waiting = true;
        self.missing_since = None;
        self.reference = None;
    }

    /// Takes the next packet of the connection.
    pub fn take(
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
            None if self.rewriter.spliced => Ok(()),
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
        if !self.rewriter.spliced {
            self.hold(bytes, packet.pid())?;
        }
        if completed == Some(Completed::NewPmt) {
            self.adopt(false, out)?;
        }
        if let Some(outgoing) = self
            .outgoing
            .as_ref()
            .filter(|_| self.rewriter.spliced && !self.waiting)
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
    pub fn adopt(&mut self, anew: bool, out: Out<'_>) -> Result<(), NotThisFormat> {
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
            Some(outgoing) if self.rewriter.spliced && !anew => outgoing.pairs(tables.streams),
            _ => None,
        };
        // Of a connection that came to no key frame, viewers have not got the tables either.
        self.tables_are_due = self.rewriter.spliced && (known.is_none() || self.tables_are_due);
        self.missing_since = None;
        let pairs = match (known, &mut self.outgoing) {
            (Some(pairs), Some(outgoing)) => {
                if outgoing.has_more_than(tables.streams) {
                    // While a key frame is waited for, it is not known yet.
                    self.missing_since = self
                        .rewriter
                        .timeline
                        .last()
                        .filter(|_| !self.waiting)
                        .or(Some(i64::MAX));
                }
                pairs
            }
            (_, Some(outgoing)) if self.rewriter.spliced => {
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
            let content = contents.get(index).copied().unwrap_or(Content::Sections);
            let new = || Route::new(pair, content, self.rewriter.spliced);
            same.copied().unwrap_or_else(new)
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
            self.routes[index].begin(header);
        } else if !self.routes[index].started {
            return Ok(());
        }
        self.hold(bytes, route.pair.to)?;
        self.routes[index].go_on(packet);
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
            route.close();
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
                let time = self.rewriter.timeline.near(pts);
                self.presence.audio(self.rewriter.timeline.millis(time));
            }
            _ => return,
        }
        let known = self.presence.known();
        self.has_video = known.or(self.has_video);
    }

    /// The stream before whose frames viewers begin.
    pub fn leading(&self) -> Option<usize> {
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

    pub fn is_open(&self) -> bool {
        self.routes.iter().any(Route::is_open)
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
        if self.rewriter.spliced {
            packet::set_pid(&mut self.held[start..], pid);
        }
        Ok(())
    }
}
