//! A stream's units as they go out: where viewers can begin, and what they get first.

use super::frame;
use super::outgoing::Pair;
use super::rewriter::PER_SECOND;
use super::stream::{Out, Stream};
use crate::channel::stitch::timeline::Times;
use crate::channel::stitch::unit::Unit;
use crate::media::format::NotThisFormat;
use crate::media::ts::packet::{self, NULL_PID, PACKET, Packet};
use crate::media::ts::tables::Content;

/// Memory that is kept for the unit in work; what a larger one needed is given back.
const KEPT: usize = 64 * 1024;
/// A stream that is missing for this long after a splice, in 1/90 000 s, is taken out of the viewers' PMT.
const MISSING: i64 = 3 * PER_SECOND;

impl Stream {
    /// Gives the unit in work.
    pub fn end_unit(&mut self, out: Out<'_>) -> Result<(), NotThisFormat> {
        for route in &mut self.routes {
            route.begun = false;
            route.close();
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
        let pmt_pid = self.pmt_pid();
        let time = self.rewriter.rewrite(unit, &mut self.routes, pmt_pid)?;
        if !unit.is_empty() {
            out(Unit {
                bytes: unit,
                starts_group,
                timestamp: time.map(|time| self.rewriter.timeline.millis(time)),
                opening: starts_group.then_some(&self.opening),
            });
        }
        Ok(())
    }

    /// Whether viewers can begin before `unit`: it begins with a frame of the leading stream, and where that is
    /// video, with a key frame. Without video any frame will do, once it is certain that there is none.
    fn starts_group(&self, unit: &[u8]) -> bool {
        let leading = self.leading().and_then(|index| self.routes.get(index));
        leading.is_some_and(|leading| match leading.content {
            Content::Video(Some(codec)) => frame::is_key(unit, leading.pair.to, codec),
            Content::Video(None) => false,
            _ => frame::begins(unit, leading.pair.to) && self.presence.known() == Some(false),
        })
    }

    /// The first frame of a new connection fixes how its times are shifted.
    fn begin(&mut self, unit: &[u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let Some((pts, dts)) = frame::times(unit) else {
            return Err(NotThisFormat("a key frame without its time"));
        };
        let dts = self.rewriter.timeline.outgoing(dts);
        let pts = self.rewriter.timeline.near(pts);
        let mut packets = unit.chunks_exact(PACKET).filter_map(Packet::new);
        let reference = packets.find_map(Packet::reference).or(self.reference);
        let reference = reference.map(|it| self.rewriter.timeline.near(it));
        let video = self.has_video != Some(false);
        self.rewriter
            .timeline
            .begin(video, Times { dts, pts }, reference);
        self.waiting = false;
        if self.missing_since.is_some() {
            self.missing_since = Some(dts + self.rewriter.timeline.shift());
        }
        for route in &mut self.routes {
            route.is_behind = true;
        }
        self.give_due_tables(out)
    }

    /// Viewers are told that a stream does not come any more.
    fn take_missing_out(&mut self, unit: &mut [u8], out: Out<'_>) -> Result<(), NotThisFormat> {
        let now = frame::times(unit).map(|(_, dts)| self.rewriter.timeline.near(dts));
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

    pub fn give_due_tables(&mut self, out: Out<'_>) -> Result<(), NotThisFormat> {
        if !std::mem::take(&mut self.tables_are_due) {
            return Ok(());
        }
        let mut tables = Vec::new();
        if let Some(outgoing) = &self.outgoing {
            outgoing.write_pat(true, &mut tables);
            outgoing.write_pmt(true, &mut tables);
        }
        for packet in tables.chunks_exact_mut(PACKET) {
            self.rewriter.counters.number(packet)?;
        }
        out(Unit {
            bytes: &tables,
            starts_group: false,
            timestamp: None,
            opening: None,
        });
        Ok(())
    }

    /// A new opening, where tables were sent since the last one: their counters go on for who joins.
    fn renew_opening(&mut self) {
        if self.table_counters() != self.opening_counters {
            self.render_opening();
        }
    }

    fn pmt_pid(&self) -> Option<u16> {
        self.outgoing.as_ref().map(|outgoing| outgoing.pmt_pid)
    }

    fn table_counters(&self) -> [Option<u8>; 2] {
        [Some(0), self.pmt_pid()].map(|pid| pid.map(|pid| self.rewriter.counters.before_next(pid)))
    }

    pub fn render_opening(&mut self) {
        if let Some(outgoing) = &self.outgoing {
            self.opening = outgoing.opening(&self.rewriter.counters).into();
            self.opening_counters = self.table_counters();
        }
    }
}
