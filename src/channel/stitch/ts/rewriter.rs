//! Counters and times of the packets that go out.

use super::counters::Counters;
use super::route::Route;
use crate::channel::stitch::timeline::{Timeline, Times};
use crate::media::format::NotThisFormat;
use crate::media::ts::packet::{self, CLOCK_BITS, NULL_PID, PACKET, Packet};
use crate::media::ts::pes::{self, PesHeader};
use crate::media::ts::tables::Content;

/// Ticks of all clocks but the extensions of clock references.
pub const PER_SECOND: i64 = 90_000;
/// Audio that is this far behind was not in step with the video before either, and is let through.
const OUT_OF_STEP: i64 = 10 * PER_SECOND;

/// Makes counters and times of one connection after another go on.
#[derive(Debug)]
pub struct Rewriter {
    pub counters: Counters,
    pub timeline: Timeline,
    /// There was a splice. Before it packets go out as they are.
    pub spliced: bool,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            timeline: Timeline::new(CLOCK_BITS, PER_SECOND),
            spliced: false,
        }
    }
}

impl Rewriter {
    /// The packets that follow are of another connection.
    pub fn splice(&mut self) {
        self.counters.splice();
        self.timeline.splice();
        self.spliced = true;
    }

    /// Gives the packets of a unit that goes out now their counters and times, and drops those of frames that would
    /// go back. Returns the decoding time of the first frame in it.
    ///
    /// # Errors
    /// [`NotThisFormat`] where that is not possible.
    pub fn rewrite(
        &mut self,
        unit: &mut Vec<u8>,
        routes: &mut [Route],
        pmt_pid: Option<u16>,
    ) -> Result<Option<i64>, NotThisFormat> {
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
                let route = routes.iter_mut().find(|route| route.pair.to == pid);
                self.packet(route, bytes, &mut first)?
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

    /// As [`Self::rewrite`], a packet that is of no table. Returns false where it is dropped.
    fn packet(
        &mut self,
        route: Option<&mut Route>,
        bytes: &mut [u8],
        first: &mut Option<i64>,
    ) -> Result<bool, NotThisFormat> {
        let Some(packet) = Packet::new(bytes) else {
            return Ok(false);
        };
        let mut begins_frame = false;
        if let Some(route) = route {
            begins_frame = packet.starts() && route.content != Content::Sections;
            if begins_frame {
                self.frame(route, packet, first)?;
            }
            if route.dropping && packet.has_payload() {
                return Ok(false);
            }
        }
        if let Some(reference) = packet.reference() {
            let reference = self.timeline.near(reference);
            self.timeline.reference_sent(reference);
        }
        if self.spliced {
            let shift = self.timeline.shift();
            let payload = PACKET - packet.payload().len();
            packet::shift_references(bytes, shift);
            if begins_frame {
                pes::shift_times(&mut bytes[payload..], shift);
            }
        }
        self.counters.stamp(bytes)?;
        Ok(true)
    }

    /// Notes the times of a frame that begins in `packet`, and decides whether it goes out.
    fn frame(
        &mut self,
        route: &mut Route,
        packet: Packet<'_>,
        first: &mut Option<i64>,
    ) -> Result<(), NotThisFormat> {
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
        self.timeline
            .sent(track, route.is_video(), Times { dts, pts });
        first.get_or_insert(dts);
        Ok(())
    }
}
