//! Streams of made-up tags, each of which tells in its body what it is.

use crate::channel::stitch::Stitcher;
use crate::channel::stitch::unit::Unit;
use crate::media::flv::metadata;
use crate::media::flv::tag::{self, Tag};
use crate::media::format::{Format, NotThisFormat};
use proptest::prelude::*;

const HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

/// A connection's body.
#[derive(Clone, Debug)]
struct Body {
    /// Timestamp of the first frame.
    from: u32,
    /// Ms that audio is before (negative) or behind the video.
    distance: i32,
    frames: u32,
    /// The place of the first key frame, and then of each eighth frame.
    key: u32,
    metadata: u8,
    avc: u8,
    aac: u8,
    /// Bytes that are missing at its end.
    cut: usize,
}

impl Body {
    fn plain() -> Self {
        Self {
            from: 0,
            distance: 0,
            frames: 16,
            key: 0,
            metadata: 1,
            avc: 1,
            aac: 1,
            cut: 0,
        }
    }

    /// Video at 25 frames/s and audio at 1024 samples of 44.1 kHz, in the order of their times.
    fn bytes(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        let script = metadata::body(&[("width", f64::from(self.metadata))]);
        tag::write(&mut out, tag::SCRIPT, 0, &script, &[]);
        tag::write(&mut out, tag::VIDEO, 0, &[0x17, 0, 0, 0, 0], &[self.avc]);
        tag::write(&mut out, tag::AUDIO, 0, &[0xAF, 0], &[self.aac]);
        let mut audio = 0;
        for frame in 0..self.frames {
            while audio * 23 <= frame * 40 {
                let time = self
                    .from
                    .wrapping_add(audio * 23)
                    .wrapping_add_signed(self.distance);
                tag::write(
                    &mut out,
                    tag::AUDIO,
                    time,
                    &[0xAF, 1, self.aac],
                    &time.to_be_bytes(),
                );
                audio += 1;
            }
            let key = frame >= self.key && (frame - self.key).is_multiple_of(8);
            let time = self.from.wrapping_add(frame * 40);
            let first = if key { 0x17 } else { 0x27 };
            tag::write(
                &mut out,
                tag::VIDEO,
                time,
                &[first, 1, 0, 0, 0, self.avc],
                &time.to_be_bytes(),
            );
        }
        out.truncate(out.len().saturating_sub(self.cut).max(HEADER.len()));
        out
    }
}

/// A unit as it was given.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    bytes: Vec<u8>,
    starts_group: bool,
    timestamp: Option<u64>,
    opening: Vec<u8>,
}

impl Seen {
    fn tag(&self) -> Tag<'_> {
        Tag::read(&mut &self.bytes[..]).unwrap()
    }
}

/// What a stitcher gives of the bodies, each of which arrives in pieces of the given lengths; by connection.
fn stitch(bodies: &[Vec<u8>], cuts: &[usize]) -> Vec<Vec<Seen>> {
    let mut stitcher = Stitcher::new(Format::Flv);
    let mut seen = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        if index > 0 {
            stitcher.splice();
        }
        seen.push(push(&mut stitcher, body, cuts).unwrap());
    }
    seen
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

/// Kind and times of the tags, as `v1040` (video at 1040), `V` of a key frame, `a` of audio, `c` of a configuration,
/// `m` of metadata.
fn short(seen: &[Seen]) -> String {
    let words = seen.iter().map(|unit| {
        let tag = unit.tag();
        let kind = match (tag.kind, tag.body) {
            (tag::SCRIPT, _) => "m",
            (_, [_, 0, ..]) => "c",
            (tag::AUDIO, _) => "a",
            (_, [0x17, ..]) => "V",
            _ => "v",
        };
        format!("{kind}{}", tag.timestamp)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_connection_goes_out_as_it_is() {
    let body = Body::plain().bytes();
    let seen = stitch(std::slice::from_ref(&body), &[1000]).concat();
    let bytes: Vec<u8> = seen.iter().flat_map(|unit| unit.bytes.clone()).collect();
    assert!(bytes == body[HEADER.len()..]);
    let key = seen.iter().find(|unit| unit.starts_group).unwrap();
    assert_eq!(key.timestamp, Some(0));
    assert!(body.starts_with(&key.opening));
    assert_eq!(
        key.opening.len(),
        HEADER.len() + seen[..3].iter().map(|it| it.bytes.len()).sum::<usize>()
    );
}

#[test]
fn a_splice_begins_at_a_key_frame_one_frame_later() {
    let first = Body {
        frames: 3,
        from: 1000,
        ..Body::plain()
    };
    let second = Body {
        frames: 5,
        key: 2,
        from: 77_777,
        ..Body::plain()
    };
    let seen = stitch(&[first.bytes(), second.bytes()], &[50]);
    assert_eq!(
        short(&seen[0]),
        "m0 c0 c0 a1000 V1000 a1023 v1040 a1046 a1069 v1080"
    );
    // 1080 + 40; the audio of the second is 4 ms after its key frame.
    assert_eq!(short(&seen[1]), "V1120 a1132 a1155 v1160 a1178 v1200");
    assert!(seen[1][0].starts_group && seen[1][0].timestamp == Some(1120));
}

#[test]
fn configuration_is_sent_where_it_differs() {
    let first = Body {
        frames: 1,
        ..Body::plain()
    };
    for (second, sent) in [
        (
            Body {
                metadata: 2,
                ..first.clone()
            },
            "m40 V40",
        ),
        (
            Body {
                avc: 2,
                ..first.clone()
            },
            "c40 V40",
        ),
        (
            Body {
                aac: 2,
                avc: 2,
                metadata: 2,
                ..first.clone()
            },
            "m40 c40 c40 V40",
        ),
        (first.clone(), "V40"),
    ] {
        let mut stitcher = Stitcher::new(Format::Flv);
        push(&mut stitcher, &first.bytes(), &[99]).unwrap();
        let before = stitcher.opening();
        stitcher.splice();
        let body = second.bytes();
        let configured = HEADER.len() + before.len() - HEADER.len();
        assert_eq!(push(&mut stitcher, &body[..configured], &[99]), Ok(vec![]));
        assert!(stitcher.is_waiting_for_key());
        assert_eq!(
            stitcher.opening(),
            before,
            "who joins now begins at an earlier key frame"
        );
        let seen = push(&mut stitcher, &body[configured..], &[99]).unwrap();
        assert!(!stitcher.is_waiting_for_key());
        assert_eq!(short(&seen), sent);
        let opening = stitcher.opening();
        let mut tags = &opening[HEADER.len()..];
        let tags: Vec<_> = std::iter::from_fn(|| Tag::read(&mut tags)).collect();
        assert_eq!(tags.len(), 3);
        assert_eq!(tags[1].body.last(), Some(&second.avc));
        assert_eq!((tags[0].timestamp, tags[1].timestamp), (0, 40));
    }
}

#[test]
fn late_metadata_and_other_scripts() {
    let mut body = Body {
        frames: 2,
        from: 500,
        ..Body::plain()
    }
    .bytes();
    let late = metadata::body(&[("width", 7.0)]);
    for script in [&late[..], b"\x02\x00\x0aonTextData\x05", &late] {
        tag::write(&mut body, tag::SCRIPT, 0, script, &[]);
    }
    let seen = stitch(&[body.clone(), body], &[7]);
    assert!(short(&seen[0]).ends_with("v540 m0 m0 m0"));
    // Their time is no reason to go back. What viewers have is not sent again.
    assert_eq!(short(&seen[1]), "m580 V580 a603 v620 m620 m620");
}

#[test]
fn timestamps_wrap() {
    let first = Body {
        frames: 3,
        from: u32::MAX - 90,
        ..Body::plain()
    };
    let seen = stitch(&[first.bytes(), first.bytes()], &[1000]);
    let last = seen[0].last().unwrap();
    assert_eq!(
        (last.tag().timestamp, last.timestamp),
        (u32::MAX - 10, Some(u64::from(u32::MAX - 10)))
    );
    let key = &seen[1][0];
    assert_eq!(
        (key.tag().timestamp, key.timestamp),
        (29, Some((1 << 32) + 29))
    );
}

#[test]
fn audio_alone() {
    let audio = |header: &[u8], count: u32| {
        let mut body = header.to_vec();
        for time in 0..count {
            tag::write(
                &mut body,
                tag::AUDIO,
                time * 23,
                &[0xAF, u8::from(time > 0)],
                &[1],
            );
        }
        body
    };
    let honest = b"FLV\x01\x04\0\0\0\x09\0\0\0\0";
    for (header, begins) in [(&honest[..], 1), (HEADER, 45)] {
        let mut stitcher = Stitcher::new(Format::Flv);
        let seen = push(&mut stitcher, &audio(header, 60), &[100]).unwrap();
        assert_eq!(seen.iter().position(|unit| unit.starts_group), Some(begins));
        assert_eq!(stitcher.has_video(), Some(false));
        let opening = stitcher.opening();
        assert_eq!(
            opening[4], 4,
            "the header for those who join promises no video"
        );
        stitcher.splice();
        // Who had no video before and says the same again is believed at once.
        let seen = push(&mut stitcher, &audio(header, 60), &[100]).unwrap();
        assert_eq!((seen.len(), seen[0].tag().timestamp), (59, 60 * 23));
    }
}

#[test]
fn video_alone() {
    let mut body = HEADER.to_vec();
    tag::write(&mut body, tag::VIDEO, 0, &[0x17, 0, 0, 0, 0], &[1]);
    for frame in 0..90 {
        tag::write(&mut body, tag::VIDEO, frame * 40, &[0x17, 1, 0, 0, 0], &[1]);
    }
    let mut stitcher = Stitcher::new(Format::Flv);
    let seen = push(&mut stitcher, &body, &[100]).unwrap();
    assert_eq!((seen[1].opening[4], seen[80].opening[4]), (5, 1));
    assert_eq!(
        (stitcher.has_video(), seen[1].starts_group),
        (Some(true), true)
    );
}

#[test]
fn a_key_frame_before_its_configuration_starts_nothing() {
    let mut body = HEADER.to_vec();
    tag::write(&mut body, tag::VIDEO, 0, &[0x17, 1, 0, 0, 0], &[1]);
    tag::write(&mut body, tag::VIDEO, 0, &[0x17, 0, 0, 0, 0], &[1]);
    tag::write(&mut body, tag::VIDEO, 40, &[0x17, 1, 0, 0, 0], &[1]);
    // AV1 has its configuration in the frames too.
    tag::write(&mut body, tag::VIDEO, 80, b"\x91av01", &[1]);
    let seen = stitch(&[body], &[1]).concat();
    let starts: Vec<_> = seen.iter().map(|unit| unit.starts_group).collect();
    assert_eq!(starts, [false, false, true, true]);
}

#[test]
fn what_cannot_be_shared() {
    let mut large = HEADER.to_vec();
    tag::write(
        &mut large,
        tag::VIDEO,
        0,
        &[0x17, 0, 0, 0, 0],
        &vec![0; 300_000],
    );
    for (body, reason) in [
        (b"HTTP/1.1".to_vec(), "no FLV header"),
        (large, "an FLV configuration of more than 256 KiB"),
    ] {
        let mut stitcher = Stitcher::new(Format::Flv);
        assert_eq!(
            push(&mut stitcher, &body, &[1000]),
            Err(NotThisFormat(reason))
        );
    }
}

fn body() -> impl Strategy<Value = Body> {
    (
        any::<u32>(),
        -200..200i32,
        0..40u32,
        0..8u32,
        (1..3u8, 1..3u8, 1..3u8),
        0..300usize,
    )
        .prop_map(
            |(from, distance, frames, key, (metadata, avc, aac), cut)| Body {
                from,
                distance,
                frames,
                key,
                metadata,
                avc,
                aac,
                cut,
            },
        )
}

proptest! {
    #[test]
    fn any_splices_make_one_stream(bodies in prop::collection::vec(body(), 1..6), cuts in prop::collection::vec(1..400usize, 1..6)) {
        let bytes: Vec<_> = bodies.iter().map(Body::bytes).collect();
        let seen = stitch(&bytes, &cuts);
        prop_assert_eq!(&seen, &stitch(&bytes, &[1 << 20]));
        let (mut avc, mut aac, mut script) = (0, 0, Vec::new());
        let mut last = [None::<u32>; 3];
        for (index, (connection, body)) in seen.iter().zip(&bodies).enumerate() {
            let mut shift = None;
            let begins = connection.iter().find(|unit| unit.timestamp.is_some());
            prop_assert!(index == 0 || begins.is_none_or(|unit| unit.starts_group), "a key frame first");
            for unit in connection {
                let tag = unit.tag();
                prop_assert_eq!(unit.bytes.len(), 11 + tag.body.len() + 4, "whole");
                match (tag.kind, tag.body) {
                    (tag::SCRIPT, body) => {
                        prop_assert!(body != script, "repeated");
                        script = body.to_vec();
                    }
                    (tag::VIDEO, [_, 0, .., id]) => {
                        prop_assert!(*id != avc, "repeated");
                        avc = *id;
                    }
                    (tag::AUDIO, [_, 0, id]) => {
                        prop_assert!(*id != aac, "repeated");
                        aac = *id;
                    }
                    (kind, tag_body) => {
                        let (id, time) = tag_body.split_at(tag_body.len() - 4);
                        let known = if kind == tag::VIDEO { avc } else { aac };
                        prop_assert_eq!(id.last(), Some(&known), "a frame of another configuration");
                        // One constant a connection, so audio and video keep their distance.
                        let moved = tag.timestamp.wrapping_sub(u32::from_be_bytes(time.try_into().unwrap()));
                        prop_assert_eq!(*shift.get_or_insert(moved), moved);
                        prop_assert_eq!(unit.timestamp.unwrap() as u32, tag.timestamp);
                        if let Some(before) = last[usize::from(kind - 8)] {
                            prop_assert!((tag.timestamp.wrapping_sub(before) as i32) > 0, "time goes back");
                        }
                        last[usize::from(kind - 8)] = Some(tag.timestamp);
                        prop_assert!(index > 0 || moved == 0);
                    }
                }
                if unit.starts_group {
                    let mut tags = &unit.opening[HEADER.len()..];
                    let ids: Vec<_> = std::iter::from_fn(|| Tag::read(&mut tags)).collect();
                    prop_assert_eq!(ids.len(), 3);
                    prop_assert_eq!((ids[1].body.last(), ids[2].body.last()), (Some(&body.avc), Some(&body.aac)));
                }
            }
        }
    }

    #[test]
    fn garbage_neither_panics_nor_grows(garbage in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), 0..4u8), 1..20), splice: bool) {
        let mut stitcher = Stitcher::new(Format::Flv);
        let _ = push(&mut stitcher, &Body::plain().bytes(), &[1000]);
        if splice {
            stitcher.splice();
            let _ = push(&mut stitcher, HEADER, &[1000]);
        }
        for (body, kind) in garbage {
            let kind = [tag::AUDIO, tag::VIDEO, tag::SCRIPT, tag::SCRIPT_AMF3][usize::from(kind)];
            let mut bytes = Vec::new();
            tag::write(&mut bytes, kind, 5, &body, &[]);
            let _ = push(&mut stitcher, &bytes, &[1000]);
        }
        prop_assert!(stitcher.opening().len() < 2000);
    }
}
