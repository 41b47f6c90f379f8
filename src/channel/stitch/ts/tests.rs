//! Transport streams of made-up frames, each of which tells in its bytes what it is.

use crate::channel::stitch::Stitcher;
use crate::channel::stitch::unit::Unit;
use crate::media::format::{Format, NotThisFormat};
use crate::media::ts::packet::{self, NULL_PID, PACKET, Packet};
use crate::media::ts::pes::PesHeader;
use crate::media::ts::section::{self, SectionAssembler};
use crate::media::ts::tables::Streams;
use proptest::prelude::*;
use std::collections::HashMap;

static SRS: &[u8] = include_bytes!("../../../media/samples/live-head.ts");

const CLOCK: u64 = 1 << 33;
const H264: u8 = 0x1B;
const HEVC: u8 = 0x24;
const ADTS: u8 = 0x0F;

/// A connection's body.
#[derive(Clone, Debug)]
struct Body {
    /// Decoding time of the first frame, in 1/90 000 s.
    from: u64,
    /// Ticks that clock references are behind the frames.
    behind: u64,
    /// Ticks that audio is behind the video.
    distance: u64,
    frames: u64,
    /// The place of the first key frame, and then of each eighth frame.
    key: u64,
    pmt: u16,
    pcr: u16,
    /// Types and PIDs.
    streams: Vec<(u8, u16)>,
    /// Where the counters begin.
    counter: u64,
    /// Lengths of PES packets of video are not told.
    unbounded: bool,
    /// Packets of several frames are mixed.
    mixed: bool,
    /// Bytes of a frame of video.
    size: usize,
    /// Bytes that are missing at its end.
    cut: usize,
}

impl Body {
    fn plain() -> Self {
        Self {
            from: 90_000,
            behind: 9000,
            distance: 0,
            frames: 12,
            key: 0,
            pmt: 0x1001,
            pcr: 0x100,
            streams: vec![(H264, 0x100), (ADTS, 0x101)],
            counter: 0,
            unbounded: false,
            mixed: false,
            size: 500,
            cut: 0,
        }
    }

    fn tables(&self, counter: &mut u64, out: &mut Vec<u8>) {
        let pid = |pid: u16| (0xE000 | pid).to_be_bytes();
        let [high, low] = pid(self.pmt);
        let mut pmt = [&pid(self.pcr)[..], &[0xF0, 0]].concat();
        for (kind, stream) in &self.streams {
            let [high, low] = pid(*stream);
            pmt.extend([*kind, high, low, 0xF0, 0]);
        }
        for (pid, id, body) in [(0, 0, &[0, 1, high, low][..]), (self.pmt, 2, &pmt)] {
            packet::write(
                out,
                pid,
                &mut counter.clone(),
                &section::payload(id, body),
                &[],
            );
        }
        *counter += 1;
    }

    /// Tables before each key frame, video at 25 frames/s, audio each 23 ms.
    fn bytes(&self) -> Vec<u8> {
        let (mut out, mut tables) = (Vec::new(), self.counter);
        let mut counters: HashMap<u16, u64> = HashMap::new();
        let mut audio = 0;
        if self.key > 0 {
            self.tables(&mut tables, &mut out);
        }
        for frame in 0..self.frames {
            let mut pieces: Vec<Vec<u8>> = Vec::new();
            for (kind, pid) in &self.streams {
                let counter = counters.entry(*pid).or_insert(self.counter);
                if *kind == ADTS {
                    let mut written = Vec::new();
                    while audio * 2070 <= frame * 3600 {
                        let time = self.from + audio * 2070 + self.distance;
                        let data = [&time.to_be_bytes()[..], b"audio"].concat();
                        packet::write(
                            &mut written,
                            *pid,
                            counter,
                            &pes(0xC0, time, &data, false),
                            &[],
                        );
                        audio += 1;
                    }
                    pieces.push(written);
                    continue;
                }
                let key = frame >= self.key && (frame - self.key).is_multiple_of(8);
                if key {
                    self.tables(&mut tables, &mut out);
                }
                let time = self.from + frame * 3600;
                let slice: &[u8] = match (*kind, key) {
                    (H264, true) => b"\0\0\0\x01\x09\xf0\0\0\x01\x65",
                    (H264, false) => b"\0\0\0\x01\x09\xf0\0\0\x01\x41",
                    (_, true) => b"\0\0\0\x01\x46\x01\0\0\x01\x26",
                    (_, false) => b"\0\0\0\x01\x46\x01\0\0\x01\x02",
                };
                let data = [slice, &time.to_be_bytes(), &vec![7; self.size]].concat();
                let reference = (time.wrapping_sub(self.behind) % CLOCK) << 15 | 0x7E00;
                let field = [&[0x10][..], &reference.to_be_bytes()[2..]].concat();
                let own = self.pcr == *pid;
                let mut written = Vec::new();
                if !own {
                    // A packet without payload, whose counter stands still.
                    let mut clock = vec![0x47, 0, 0, 0x20, 183];
                    clock.extend(&field);
                    clock.resize(PACKET, 0xFF);
                    packet::set_pid(&mut clock, self.pcr);
                    written.extend(clock);
                }
                let pes = pes(0xE0, time, &data, self.unbounded);
                packet::write(
                    &mut written,
                    *pid,
                    counter,
                    &pes,
                    if own { &field } else { &[] },
                );
                pieces.push(written);
            }
            if self.mixed {
                pieces.push([&[0x47, 0x1F, 0xFF, 0x10][..], &[0xFF; 184]].concat());
                let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
                for at in (0..longest).step_by(PACKET) {
                    for piece in &pieces {
                        out.extend(piece.get(at..at + PACKET).unwrap_or_default());
                    }
                }
            } else {
                out.extend(pieces.concat());
            }
        }
        out.truncate(out.len().saturating_sub(self.cut));
        out
    }
}

/// A PES packet with both times. The frame's own time is in its data.
fn pes(stream_id: u8, time: u64, data: &[u8], unbounded: bool) -> Vec<u8> {
    let length = if unbounded { 0 } else { 13 + data.len() as u16 };
    let mut pes = vec![0, 0, 1, stream_id];
    pes.extend(length.to_be_bytes());
    pes.extend([0x84, 0xC0, 10]);
    let time = time % CLOCK;
    for mark in [0x31, 0x11] {
        pes.extend([
            mark | (time >> 29) as u8 & 0x0E,
            (time >> 22) as u8,
            (time >> 14) as u8 | 1,
            (time >> 7) as u8,
            (time << 1) as u8 | 1,
        ]);
    }
    pes.extend(data);
    pes
}

/// A unit as it was given.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    bytes: Vec<u8>,
    starts_group: bool,
    timestamp: Option<u64>,
    opening: Vec<u8>,
}

fn push(stitcher: &mut Stitcher, body: &[u8], cuts: &[usize]) -> Result<Vec<Seen>, NotThisFormat> {
    let (mut rest, mut seen) = (body, Vec::new());
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        stitcher.push(piece, &mut |unit: Unit<'_>| {
            seen.push(Seen {
                bytes: unit.bytes.to_vec(),
                starts_group: unit.starts_group,
                timestamp: unit.timestamp,
                opening: unit.opening.map(|it| it.to_vec()).unwrap_or_default(),
            });
        })?;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    Ok(seen)
}

fn stitch(bodies: &[Vec<u8>], cuts: &[usize]) -> Vec<Vec<Seen>> {
    let mut stitcher = Stitcher::new(Format::Ts);
    let mut seen = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        if index > 0 {
            stitcher.splice();
        }
        seen.push(push(&mut stitcher, body, cuts).unwrap());
    }
    seen
}

/// A strict player of a transport stream: panics where something is not as it must be.
#[derive(Default)]
struct Player {
    counters: HashMap<u16, u8>,
    sections: HashMap<u16, SectionAssembler>,
    pmt_pid: Option<u16>,
    version: Option<u8>,
    /// How often the PMT's version changed.
    changes: usize,
    streams: Option<Streams>,
    /// Frames in work.
    frames: HashMap<u16, Vec<u8>>,
    times: HashMap<u16, u64>,
    reference: Option<u64>,
    /// Kind, time as sent and as it was at the origin, of each whole frame.
    played: Vec<(u8, u64, u64)>,
    /// Frames whose end is missing.
    broken: usize,
    clocks: usize,
}

impl Player {
    fn play(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len() % PACKET, 0);
        for packet in bytes.chunks(PACKET) {
            self.packet(Packet::new(packet).unwrap());
        }
    }

    fn packet(&mut self, packet: Packet<'_>) {
        let pid = packet.pid();
        if pid == NULL_PID {
            return;
        }
        let counts = u8::from(packet.has_payload());
        if let Some(last) = self.counters.insert(pid, packet.counter()) {
            assert_eq!(
                packet.counter(),
                (last + counts) & 0xF,
                "counter of {pid:#x}"
            );
        }
        if pid == 0 || Some(pid) == self.pmt_pid {
            return self.table(pid, packet);
        }
        let streams = self.streams.as_ref().expect("tables first");
        if let Some(reference) = packet.reference() {
            assert_eq!(pid, streams.pcr_pid);
            let before = self.reference.replace(reference).unwrap_or(reference);
            assert!(
                reference.wrapping_sub(before) % CLOCK < CLOCK / 2,
                "the clock goes back"
            );
            self.clocks += 1;
        }
        if !packet.has_payload() {
            return;
        }
        let stream = streams.list.iter().find(|stream| stream.pid == pid);
        assert!(stream.is_some(), "{pid:#x} is not in the PMT");
        if packet.starts() {
            self.end_frame(pid);
        }
        let begun = self.frames.contains_key(&pid);
        assert!(begun || packet.starts(), "the rest of a frame");
        let frame = self.frames.entry(pid).or_default();
        frame.extend_from_slice(packet.payload());
        // The frames of the tests end with stuffing, or with the length that they tell.
        let header = PesHeader::parse(frame).unwrap();
        if header.length == Some(frame.len()) {
            self.end_frame(pid);
        }
    }

    fn end_frame(&mut self, pid: u16) {
        let Some(frame) = self.frames.remove(&pid) else {
            return;
        };
        let header = PesHeader::parse(&frame).unwrap();
        if header.length.is_some_and(|length| length != frame.len()) {
            self.broken += 1;
            return;
        }
        let (pts, dts) = header.times.unwrap();
        assert_eq!(pts, dts);
        let data = &frame[header.payload..];
        let streams = self.streams.as_ref().unwrap();
        let Some(kind) = streams
            .list
            .iter()
            .find(|it| it.pid == pid)
            .map(|it| it.stream_type)
        else {
            return;
        };
        let at = if kind == ADTS { 0 } else { 10 };
        let origin = u64::from_be_bytes(data[at..at + 8].try_into().unwrap());
        match (kind, &data[..at]) {
            (ADTS, _) => assert!(data.ends_with(b"audio")),
            (H264, start) => assert_eq!(start[4], 9),
            (_, start) => assert_eq!(start[4], 0x46),
        }
        if let Some(before) = self.times.insert(pid, dts) {
            let step = dts.wrapping_sub(before) % CLOCK;
            assert!(
                step > 0 && step < CLOCK / 2,
                "time goes back: {before} to {dts}"
            );
        }
        self.played.push((kind, dts, origin));
    }

    fn table(&mut self, pid: u16, packet: Packet<'_>) {
        let mut found = Vec::new();
        let assembler = self.sections.entry(pid).or_default();
        let pushed = assembler.push(packet.payload(), packet.starts(), |section| {
            found.push(section.to_vec());
            Ok::<(), ()>(())
        });
        assert_eq!((pushed, found.len()), (Ok(()), 1));
        if pid == 0 {
            self.pmt_pid = Some(u16::from_be_bytes([found[0][10] & 0x1F, found[0][11]]));
            return;
        }
        let version = section::version(&found[0]);
        let streams = Streams::parse(&found[0]);
        if self.version == Some(version) {
            assert_eq!(streams, self.streams, "the same version with other streams");
        } else if self.version.replace(version).is_some() {
            self.changes += 1;
            let pids: Vec<u16> = self.frames.keys().copied().collect();
            pids.into_iter().for_each(|pid| self.end_frame(pid));
            self.times.clear();
        }
        self.streams = streams;
    }
}

/// Plays what a viewer gets that is there from the first group on.
fn play(seen: &[Vec<Seen>]) -> Player {
    let mut player = Player::default();
    let units = seen.iter().flatten().skip_while(|unit| !unit.starts_group);
    for (index, unit) in units.enumerate() {
        if index == 0 {
            player.play(&unit.opening);
        }
        player.play(&unit.bytes);
    }
    player
}

#[test]
fn the_first_connection_goes_out_as_it_is() {
    for body in [
        SRS.to_vec(),
        Body {
            mixed: true,
            ..Body::plain()
        }
        .bytes(),
    ] {
        for cut in [100, 1 << 20] {
            let mut stitcher = Stitcher::new(Format::Ts);
            let seen = push(&mut stitcher, &body, &[cut]).unwrap();
            let mut bytes: Vec<u8> = seen.iter().flat_map(|unit| unit.bytes.clone()).collect();
            bytes.extend(stitcher.pending());
            assert!(bytes == body);
        }
    }
}

#[test]
fn frames_of_srs() {
    let mut stitcher = Stitcher::new(Format::Ts);
    assert_eq!(stitcher.has_video(), None);
    let seen = push(&mut stitcher, SRS, &[500]).unwrap();
    assert_eq!(stitcher.has_video(), Some(true));
    let starts: Vec<_> = seen.iter().filter(|unit| unit.starts_group).collect();
    assert_eq!(starts[0].timestamp, Some(10));
    // SRS begins with a PMT of video alone.
    assert_eq!(starts[0].opening.len(), 2 * PACKET);
    assert!(starts[0].opening[PACKET..].starts_with(&SRS[PACKET..PACKET + 3]));
    let last = stitcher.opening();
    let pmt = Packet::new(&last[PACKET..]).unwrap();
    assert!(SRS.windows(24).any(|it| pmt.payload().starts_with(it)));
    // A unit is a frame: it begins with one, and has no other of its stream.
    for unit in seen.iter().filter(|unit| unit.timestamp.is_some()) {
        let packets = unit.bytes.chunks(PACKET).filter_map(Packet::new);
        assert_eq!(
            packets
                .filter(|it| it.starts() && it.pid() != 0 && it.pid() != 0x1001)
                .count(),
            1
        );
    }
}

#[test]
fn a_frame_goes_out_with_its_last_packet() {
    for unbounded in [false, true] {
        let body = Body {
            unbounded,
            ..Body::plain()
        }
        .bytes();
        let mut stitcher = Stitcher::new(Format::Ts);
        let (mut given, mut late) = (0, 0);
        for (index, packet) in body.chunks(PACKET).enumerate() {
            let seen = push(&mut stitcher, packet, &[PACKET]).unwrap();
            given += seen.iter().map(|unit| unit.bytes.len()).sum::<usize>();
            let next = body.get((index + 1) * PACKET..).and_then(Packet::new);
            if next.is_none_or(|next| next.starts()) {
                late += usize::from(given < (index + 1) * PACKET);
            }
        }
        assert_eq!(late, 0);
    }
}

#[test]
fn a_splice_goes_on_one_frame_later() {
    let first = Body {
        frames: 3,
        ..Body::plain()
    };
    let second = Body {
        from: 5_000_000,
        counter: 9,
        key: 2,
        frames: 6,
        behind: 100,
        ..Body::plain()
    };
    let seen = stitch(&[first.bytes(), second.bytes()], &[1000]);
    let player = play(&seen);
    let video: Vec<_> = player
        .played
        .iter()
        .filter(|it| it.0 == H264)
        .map(|it| it.1)
        .collect();
    assert_eq!(
        video,
        [90_000, 93_600, 97_200, 100_800, 104_400, 108_000, 111_600]
    );
    assert_eq!((player.changes, player.broken), (0, 0));
    assert!(player.clocks == 7 && seen[1][0].starts_group);
}

#[test]
fn pids_stay_where_the_streams_are_the_same() {
    let first = Body {
        frames: 3,
        ..Body::plain()
    };
    for (second, changes) in [
        (
            Body {
                streams: vec![(H264, 0x31), (ADTS, 0x30)],
                pcr: 0x31,
                pmt: 0x20,
                ..first.clone()
            },
            0,
        ),
        // In another order, and on PIDs that are the viewers' for others.
        (
            Body {
                streams: vec![(ADTS, 0x1001), (H264, 0x101)],
                pcr: 0x101,
                pmt: 0x100,
                ..first.clone()
            },
            0,
        ),
        (
            Body {
                streams: vec![(HEVC, 0x100), (ADTS, 0x101)],
                ..first.clone()
            },
            1,
        ),
        // A stream on the PID of the viewers' PMT.
        (
            Body {
                streams: vec![(HEVC, 0x1001), (ADTS, 0x101)],
                pcr: 0x1001,
                pmt: 0x33,
                ..first.clone()
            },
            1,
        ),
        // The clock on a PID of its own, which viewers do not know.
        (
            Body {
                pcr: 0x150,
                ..first.clone()
            },
            1,
        ),
        (
            Body {
                streams: vec![(H264, 0x100), (ADTS, 0x101), (ADTS, 0x102)],
                ..first.clone()
            },
            1,
        ),
    ] {
        let player = play(&stitch(
            &[first.bytes(), second.bytes(), second.bytes()],
            &[1000],
        ));
        assert_eq!((player.changes, player.broken), (changes, 0), "{second:?}");
        let audio = player.played.iter().filter(|it| it.0 == ADTS).count();
        assert!(
            player.played.len() - audio == 9 && audio >= 8,
            "{second:?} {audio}"
        );
    }
}

#[test]
fn changed_tables_are_marked() {
    let first = Body {
        frames: 3,
        ..Body::plain()
    };
    let second = Body {
        streams: vec![(HEVC, 0x100)],
        ..first.clone()
    };
    let seen = stitch(&[first.bytes(), second.bytes()], &[1000]);
    let tables = &seen[1][0].bytes;
    assert_eq!(tables.len(), 2 * PACKET);
    for packet in tables.chunks(PACKET) {
        assert_eq!(
            packet[3..6],
            [0x30 | packet[3] & 0xF, 1, 0x80],
            "the discontinuity indicator"
        );
    }
    assert!(seen[1][1].starts_group);
}

#[test]
fn a_stream_that_does_not_come_back_is_taken_out_of_the_tables() {
    let first = Body {
        frames: 3,
        ..Body::plain()
    };
    let second = Body {
        streams: vec![(H264, 0x222)],
        pcr: 0x222,
        frames: 100,
        ..first.clone()
    };
    let seen = stitch(&[first.bytes(), second.bytes()], &[1000]);
    let player = play(&seen);
    assert_eq!(player.changes, 1);
    let streams = player.streams.unwrap().list;
    assert_eq!(
        streams
            .iter()
            .map(|it| (it.stream_type, it.pid))
            .collect::<Vec<_>>(),
        [(H264, 0x222)]
    );
    assert_eq!(player.played.iter().filter(|it| it.0 == H264).count(), 103);
    // SRS's first PMT has video alone, the next has audio too: nothing changes for viewers.
    let seen = stitch(&[SRS.to_vec(), SRS.to_vec()], &[700]);
    let pmts = |seen: &[Seen]| {
        let units = seen.iter().flat_map(|unit| unit.bytes.chunks(PACKET));
        let pmts = units
            .filter_map(Packet::new)
            .filter(|it| it.pid() == 0x1001);
        pmts.map(|it| it.payload()[..60].to_vec())
            .collect::<Vec<_>>()
    };
    let [before, after] = [pmts(&seen[0]), pmts(&seen[1])];
    assert!(!after.is_empty() && after.iter().all(|pmt| Some(pmt) == before.last()));
}

#[test]
fn the_clock_wraps() {
    let first = Body {
        from: CLOCK - 5000,
        frames: 3,
        ..Body::plain()
    };
    let seen = stitch(&[first.bytes(), first.bytes()], &[1000]);
    let player = play(&seen);
    assert_eq!(player.played.iter().filter(|it| it.0 == H264).count(), 6);
    let times: Vec<_> = seen
        .iter()
        .flatten()
        .filter_map(|it| it.timestamp)
        .collect();
    assert_eq!(times[0], (CLOCK - 5000) / 90);
    assert_eq!(times.iter().max(), Some(&((CLOCK - 5000 + 5 * 3600) / 90)));
}

#[test]
fn audio_alone() {
    let body = Body {
        streams: vec![(ADTS, 0x100)],
        frames: 60,
        pcr: 0x100,
        ..Body::plain()
    };
    let mut stitcher = Stitcher::new(Format::Ts);
    let mut bytes = Vec::new();
    body.tables(&mut 0, &mut bytes);
    bytes.extend(body.bytes());
    let seen = push(&mut stitcher, &bytes, &[1000]).unwrap();
    assert_eq!(stitcher.has_video(), Some(false));
    let frames: Vec<_> = seen.iter().filter(|it| it.timestamp.is_some()).collect();
    assert!(frames.len() > 100 && frames.iter().all(|it| it.starts_group));
    stitcher.splice();
    let again = push(&mut stitcher, &bytes, &[1000]).unwrap();
    assert!(!stitcher.is_waiting_for_key());
    play(&[seen, again]);
}

#[test]
fn video_that_is_promised_and_does_not_come() {
    let body = Body {
        streams: vec![(ADTS, 0x101)],
        frames: 60,
        pcr: 0x100,
        ..Body::plain()
    };
    let mut bytes = Vec::new();
    Body::plain().tables(&mut 0, &mut bytes);
    bytes.extend(body.bytes());
    let mut stitcher = Stitcher::new(Format::Ts);
    let seen = push(&mut stitcher, &bytes, &[1000]).unwrap();
    assert_eq!(stitcher.has_video(), Some(false));
    let first = seen.iter().find(|it| it.starts_group).unwrap();
    assert!(
        (1900..2100).contains(&first.timestamp.unwrap()),
        "{:?}",
        first.timestamp
    );
}

#[test]
fn mixed_packets() {
    let body = Body {
        mixed: true,
        unbounded: true,
        size: 3000,
        frames: 20,
        ..Body::plain()
    };
    let seen = stitch(&[body.bytes(), body.bytes()], &[1000]);
    let player = play(&seen);
    assert_eq!(
        player.played.iter().filter(|it| it.0 == H264).count(),
        39,
        "all but the last"
    );
}

#[test]
fn what_cannot_be_shared() {
    let several = section::payload(0, &[0, 1, 0xE1, 0, 0, 2, 0xE2, 0]);
    let mut pat = Vec::new();
    packet::write(&mut pat, 0, &mut 0, &several, &[]);
    let mut scrambled = Body::plain().bytes();
    scrambled[2 * PACKET + 3] |= 0x80;
    let other = Body {
        streams: vec![(0x33, 0x100)],
        ..Body::plain()
    }
    .bytes();
    let mut endless = Body {
        unbounded: true,
        frames: 1,
        size: 9 << 20,
        ..Body::plain()
    }
    .bytes();
    endless.truncate(45_000 * PACKET);
    let no_tables = Body::plain().bytes()[2 * PACKET..3 * PACKET].repeat(12_000);
    for (body, reason) in [
        (pat, "a transport stream of several programs"),
        (scrambled, "an encrypted transport stream"),
        (other, "video whose key frames cannot be told"),
        (endless, "a frame of more than 8 MiB"),
        (no_tables, "a transport stream without PAT and PMT"),
    ] {
        let mut stitcher = Stitcher::new(Format::Ts);
        assert_eq!(
            push(&mut stitcher, &body, &[10_000]),
            Err(NotThisFormat(reason))
        );
    }
}

fn body() -> impl Strategy<Value = Body> {
    let streams = prop_oneof![
        4 => Just((vec![(H264, 0x100), (ADTS, 0x101)], 0x100)),
        2 => Just((vec![(ADTS, 0x100), (H264, 0x101)], 0x101)),
        1 => Just((vec![(HEVC, 0x100), (ADTS, 0x101)], 0x100)),
        1 => Just((vec![(H264, 0x200), (ADTS, 0x30)], 0x1FF)),
        1 => Just((vec![(H264, 0x1001)], 0x1001)),
    ];
    let pmt = prop_oneof![Just(0x1000u16), Just(0x20)];
    let times = (0..CLOCK, 0..60_000u64, 0..9000u64);
    (
        times,
        0..20u64,
        0..8u64,
        pmt,
        streams,
        (0..16u64, any::<bool>(), 0..900usize),
        0..1500usize,
    )
        .prop_map(
            |(
                (from, behind, distance),
                frames,
                key,
                pmt,
                (streams, pcr),
                (counter, unbounded, size),
                cut,
            )| Body {
                from,
                behind,
                distance,
                frames,
                key,
                pmt,
                pcr,
                streams,
                counter,
                unbounded,
                mixed: false,
                size,
                cut,
            },
        )
}

proptest! {
    #[test]
    fn any_splices_make_one_stream(bodies in prop::collection::vec(body(), 1..6), cuts in prop::collection::vec(1..1000usize, 1..6)) {
        let bytes: Vec<_> = bodies.iter().map(Body::bytes).collect();
        let seen = stitch(&bytes, &cuts);
        for (index, connection) in seen.iter().enumerate() {
            let first = connection.iter().find(|unit| unit.timestamp.is_some());
            prop_assert!(index == 0 || first.is_none_or(|unit| unit.starts_group), "a key frame first");
        }
        let player = play(&seen);
        prop_assert_eq!(player.broken, 0, "frames in half");
        // Whoever joins at any group sees a stream without a fault.
        for connection in 0..seen.len() {
            for group in seen[connection].iter().enumerate().filter(|it| it.1.starts_group).map(|it| it.0) {
                let mut late = seen[connection..].to_vec();
                late[0].drain(..group);
                play(&late);
            }
        }
        // Cuts decide where packets that are no frames go, not what goes out.
        let all = |seen: &[Vec<Seen>]| seen.iter().flatten().flat_map(|it| it.bytes.clone()).collect::<Vec<_>>();
        prop_assert!(all(&seen) == all(&stitch(&bytes, &[1 << 20])));
    }

    #[test]
    fn garbage_neither_panics_nor_grows(body in body(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), spliced: bool) {
        let mut bytes = body.bytes();
        for (place, value) in damage {
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = value;
            }
        }
        let mut stitcher = Stitcher::new(Format::Ts);
        if spliced {
            let _ = push(&mut stitcher, &Body::plain().bytes(), &[1000]);
            stitcher.splice();
        }
        let _ = push(&mut stitcher, &bytes, &[777]);
        prop_assert!(stitcher.pending().len() <= bytes.len());
    }
}
