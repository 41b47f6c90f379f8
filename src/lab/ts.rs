//! MPEG transport stream (ISO/IEC 13818-1) with H.264 and AAC, for HTTP-TS and HLS segments.

use super::clip::Clip;
use super::muxer::Muxer;
use super::timeline::{Frame, Track};
use crate::media::adts;
use crate::media::ts::packet;
use crate::media::ts::section::{self, PROGRAM};

/// The PIDs that SRS uses.
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1001;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// `stream_type` (table 2-34): H.264, and AAC in ADTS.
const H264: u8 = 0x1B;
const ADTS: u8 = 0x0F;
/// `stream_id` of the first video and the first audio stream.
const VIDEO_ID: u8 = 0xE0;
const AUDIO_ID: u8 = 0xC0;

/// PTS and the base of PCR have 33 bits: they wrap after 26.5 hours.
const CLOCK_MASK: u64 = (1 << 33) - 1;
/// The clock of a receiver (PCR) runs 100 ms behind the frames sent, which is the time it has to buffer.
const PCR_BEHIND: u64 = 9000;

/// How many packets there were on each PID. The last 4 bits are the continuity counter of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub(super) tables: u64,
    pub(super) video: u64,
    pub(super) audio: u64,
}

/// Writes a transport stream: PAT and PMT at the start and before each key frame, a PES packet for each
/// frame, PCR with each picture. Timestamps are the 33 low bits of the time since 1970, so they are the
/// same from all lab origins.
#[derive(Clone, Debug)]
pub struct TsMuxer<'c> {
    clip: &'c Clip<'c>,
    counters: Counters,
    begun: bool,
    /// The PES packet in work, kept for its memory.
    pes: Vec<u8>,
}

impl<'c> TsMuxer<'c> {
    pub fn new(clip: &'c Clip<'c>) -> Self {
        Self::continued(clip, Counters::default())
    }

    /// A muxer that goes on where another one was.
    pub fn continued(clip: &'c Clip<'c>, counters: Counters) -> Self {
        Self {
            clip,
            counters,
            begun: false,
            pes: Vec::new(),
        }
    }

    /// Where another muxer could go on.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn tables(&mut self, out: &mut Vec<u8>) {
        let [pmt_high, pmt_low] = (0xE000 | PMT_PID).to_be_bytes();
        let pat = [0, PROGRAM, pmt_high, pmt_low];
        let [video_high, video_low] = (0xE000 | VIDEO_PID).to_be_bytes();
        let [audio_high, audio_low] = (0xE000 | AUDIO_PID).to_be_bytes();
        let pmt = [
            // The PID of the PCR; no descriptors, here and for the streams.
            &[video_high, video_low, 0xF0, 0][..],
            &[H264, video_high, video_low, 0xF0, 0],
            &[ADTS, audio_high, audio_low, 0xF0, 0],
        ]
        .concat();
        for (pid, table_id, body) in [(PAT_PID, 0, &pat[..]), (PMT_PID, 2, &pmt[..])] {
            let section = section::payload(table_id, body);
            let mut counter = self.counters.tables;
            packet::write(out, pid, &mut counter, &section, &[]);
        }
        self.counters.tables = self.counters.tables.wrapping_add(1);
    }

    /// A PES packet's header (2.4.3.6) with a PTS; a DTS that is the same is left out.
    fn pes(&mut self, stream_id: u8, pts: u64, payload: usize) {
        const FLAGS: [u8; 3] = [0x84, 0x80, 5]; // the payload begins with a frame; PTS; 5 bytes of it
        // With its length given, a player need not wait for the next packet to know the end. Zero: too long.
        let length = u16::try_from(FLAGS.len() + 5 + payload).unwrap_or(0);
        self.pes.clear();
        self.pes.extend([0, 0, 1, stream_id]);
        self.pes.extend(length.to_be_bytes());
        self.pes.extend(FLAGS);
        self.pes.extend([
            0x21 | (pts >> 29) as u8 & 0x0E,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ]);
    }

    fn video(&mut self, frame: &Frame<'_>, pts: u64, out: &mut Vec<u8>) {
        const START: [u8; 4] = [0, 0, 0, 1];
        const DELIMITER: &[u8] = &[9, 0xF0]; // an access unit of any kind of slices
        let clip = self.clip;
        let sets = clip
            .avc
            .sps
            .iter()
            .chain(&clip.avc.pps)
            .copied()
            .filter(|_| frame.key);
        let slices = clip.avc.nals(frame.data);
        let nals = std::iter::once(DELIMITER).chain(sets).chain(slices);
        self.pes(
            VIDEO_ID,
            pts,
            nals.clone().map(|nal| START.len() + nal.len()).sum(),
        );
        for nal in nals {
            self.pes.extend(START);
            self.pes.extend(nal);
        }
        let pcr = pts.wrapping_sub(PCR_BEHIND) & CLOCK_MASK;
        // random_access_indicator and PCR_flag; the extension of PCR, in 27 MHz, is zero.
        let field = [
            if frame.key { 0x50 } else { 0x10 },
            (pcr >> 25) as u8,
            (pcr >> 17) as u8,
            (pcr >> 9) as u8,
            (pcr >> 1) as u8,
            (pcr << 7) as u8 | 0x7E,
            0,
        ];
        packet::write(out, VIDEO_PID, &mut self.counters.video, &self.pes, &field);
    }

    fn audio(&mut self, frame: &Frame<'_>, pts: u64, out: &mut Vec<u8>) {
        let header = adts::header(&self.clip.aac, frame.data.len());
        self.pes(AUDIO_ID, pts, header.len() + frame.data.len());
        self.pes.extend(header);
        self.pes.extend(frame.data);
        packet::write(out, AUDIO_PID, &mut self.counters.audio, &self.pes, &[]);
    }
}

impl Muxer for TsMuxer<'_> {
    fn mux(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        if frame.key || !self.begun {
            self.tables(out);
            self.begun = true;
        }
        let pts = frame.at.ticks() & CLOCK_MASK;
        match frame.track {
            Track::Video => self.video(frame, pts, out),
            Track::Audio => self.audio(frame, pts, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::position::Position;
    use crate::lab::timeline::Timeline;
    use crate::media::ts::packet::PACKET;

    /// PCR's base and PTS of the picture at `ticks`.
    fn clocks(ticks: u64) -> (u64, u64) {
        let clip = Clip::embedded().unwrap();
        let (mut muxer, mut out) = (TsMuxer::new(&clip), Vec::new());
        let frame = Timeline::new(&clip)
            .join(Position::default())
            .next()
            .unwrap();
        muxer.mux(
            &Frame {
                at: Position::from_ticks(ticks),
                ..frame
            },
            &mut out,
        );
        let packet = &out[2 * PACKET..3 * PACKET];
        assert_eq!(packet[..6], [0x47, 0x41, 0x00, 0x30, 7, 0x50]);
        let pcr = packet[6..11]
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
            >> 7;
        let pes = &packet[12..];
        assert_eq!(pes[..4], [0, 0, 1, VIDEO_ID]);
        assert_eq!(pes[6..9], [0x84, 0x80, 5]);
        let pts = &pes[9..14];
        assert!(
            pts[0] & 0xF1 == 0x21 && pts[2] & 1 == 1 && pts[4] & 1 == 1,
            "marker bits: {pts:?}"
        );
        let [high, middle, low] = [pts[0], pts[2], pts[4]].map(|byte| u64::from(byte >> 1));
        (
            pcr,
            (high & 7) << 30
                | u64::from(pts[1]) << 22
                | middle << 15
                | u64::from(pts[3]) << 7
                | low,
        )
    }

    #[test]
    fn clocks_wrap_at_33_bits() {
        for (ticks, pcr, pts) in [
            (9000, 0, 9000),
            (0, CLOCK_MASK - 8999, 0),
            (CLOCK_MASK, CLOCK_MASK - 9000, CLOCK_MASK),
            (CLOCK_MASK + 1, CLOCK_MASK - 8999, 0),
            (CLOCK_MASK + 9001, 0, 9000),
            (0x1_5555_5555, 0x1_5555_5555 - 9000, 0x1_5555_5555),
        ] {
            assert_eq!(clocks(ticks), (pcr, pts), "{ticks:#x}");
        }
    }

    #[test]
    fn a_key_frame_has_tables_delimiter_and_parameter_sets() {
        let clip = Clip::embedded().unwrap();
        let (mut muxer, mut out) = (TsMuxer::new(&clip), Vec::new());
        for frame in Timeline::new(&clip)
            .join(Position::from_ticks(1 << 40))
            .take(300)
        {
            let from = out.len();
            muxer.mux(&frame, &mut out);
            let pids: Vec<_> = out[from..]
                .chunks(PACKET)
                .map(|p| u16::from_be_bytes([p[1] & 0x1F, p[2]]))
                .collect();
            assert_eq!(pids.starts_with(&[PAT_PID, PMT_PID]), frame.key);
            if frame.key {
                let picture = &out[from + 2 * PACKET + 12 + 14..];
                assert_eq!(picture[..7], [0, 0, 0, 1, 9, 0xF0, 0]);
                assert_eq!(picture[10..][..clip.avc.sps[0].len()], *clip.avc.sps[0]);
            }
        }
    }
}
