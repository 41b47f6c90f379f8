//! Whether the benchmark's players find what they look for: a check that finds nothing would praise everybody.

// The benchmark's own modules, of which only the players' half is used here.
#![allow(dead_code)]

mod certificate;
mod chunks;
mod clock;
mod flv;
mod flv_reader;
mod hls_answer;
mod hls_checks;
mod live_edge;
mod numbered_segment;
mod system;
mod tls_checks;
mod transport;
mod viewer;

use chunks::ChunkDecoder;
use flv::Frame;
use flv_reader::FlvReader;
use viewer::{End, Watching, Window};

type Result<T, E = String> = std::result::Result<T, E>;

fn frame(number: u64) -> Frame {
    Frame {
        timestamp: number as u32 * 40,
        key: number.is_multiple_of(flv::GOP),
        sent: 1_000_000 * number,
        number,
        run: 1,
    }
}

fn body(frames: &[Frame]) -> Vec<u8> {
    let tags = frames.iter().flat_map(flv::frame);
    flv::beginning().into_iter().chain(tags).collect()
}

fn read(body: &[u8], piece: usize) -> Result<Vec<Frame>, &'static str> {
    let mut reader = FlvReader::new();
    let mut frames = Vec::new();
    for piece in body.chunks(piece) {
        reader.feed(piece, &mut |frame| frames.push(frame))?;
    }
    Ok(frames)
}

#[test]
fn a_stream_is_read_in_any_pieces() {
    let sent: Vec<Frame> = (0..60).map(frame).collect();
    for piece in [1, 2, 11, 45, 1000, 5015, 65_536] {
        assert_eq!(read(&body(&sent), piece).as_ref(), Ok(&sent), "{piece}");
    }
}

#[test]
fn chunks_are_taken_apart_in_any_pieces() {
    let sent: Vec<Frame> = (0..3).map(frame).collect();
    let mut coded = Vec::new();
    for part in body(&sent).chunks(777) {
        coded.extend(format!("{:X};a=b\r\n", part.len()).into_bytes());
        coded.extend(part);
        coded.extend(b"\r\n");
    }
    for piece in [1, 3, 1000] {
        let (mut chunks, mut reader) = (ChunkDecoder::new(true), FlvReader::new());
        let mut frames = Vec::new();
        for piece in coded.chunks(piece) {
            let mut whole = |frame| frames.push(frame);
            let fed = chunks.feed(piece, |data| reader.feed(data, &mut whole));
            assert_eq!(fed, Ok(()));
        }
        assert_eq!(frames, sent);
    }
    let mut chunks = ChunkDecoder::new(true);
    assert!(chunks.feed(b"0\r\n\r\n", |_| Ok(())).is_err());
}

#[test]
fn a_lost_byte_is_found_wherever_it_was() {
    let whole = body(&[frame(0), frame(1), frame(2)]);
    let of_two = body(&[frame(0), frame(1)]).len();
    for lost in (0..of_two).step_by(3) {
        let mut torn = whole.clone();
        torn.remove(lost);
        assert!(read(&torn, 1000).is_err(), "byte {lost}");
    }
}

#[test]
fn a_tag_that_goes_on_as_another_is_found() {
    let (first, second) = (flv::frame(&frame(1)), flv::frame(&frame(2)));
    let mut mixed = body(&[frame(0)]);
    mixed.extend(&first[..3000]);
    mixed.extend(&second[3000..]);
    assert!(read(&mixed, 1000).is_err());
}

#[test]
fn a_frame_before_its_configuration_is_found() {
    let mut body = flv::beginning()[..13].to_vec();
    body.extend(flv::frame(&frame(0)));
    assert!(read(&body, 1000).is_err());
}

const WINDOW: Window = Window {
    open: 0,
    close: u64::MAX / 2,
};

fn watch(frames: &[Frame]) -> Watching {
    let mut watching = Watching::new();
    for frame in frames {
        assert!(watching.note(frame, &WINDOW).is_some());
    }
    watching
}

#[test]
fn missing_and_repeated_frames_are_counted() {
    let seen = watch(&[frame(0), frame(1), frame(5), frame(5), frame(4), frame(5)]).seen;
    assert_eq!((seen.missing, seen.repeated, seen.back), (3, 2, 1));
    assert_eq!((seen.keyless, seen.switched), (0, None));
}

#[test]
fn a_splice_is_seen_and_must_begin_with_a_key_frame() {
    let other = |number: u64, timestamp: u32| Frame {
        run: 2,
        timestamp,
        ..frame(number)
    };
    let good = watch(&[frame(100), other(50, 4040), other(51, 4080)]).seen;
    assert!(good.switched.is_some());
    assert_eq!(
        (good.first_run, good.missing, good.repeated),
        (Some(1), 0, 0)
    );
    assert_eq!((good.keyless, good.back), (0, 0));
    let bad = watch(&[frame(100), other(51, 2040)]).seen;
    assert_eq!((bad.keyless, bad.back), (1, 1));
}

#[test]
fn a_new_response_begins_anew() {
    let mut watching = watch(&[frame(100), frame(101)]);
    watching.note_end(&End::Gone("the stream ended".into()));
    watching.note(&frame(50), &WINDOW);
    watching.note_end(&End::Torn("a torn tag".into()));
    watching.note_end(&End::Gone("answered with: 503".into()));
    let seen = watching.seen;
    assert_eq!((seen.ended, seen.torn, seen.refused), (1, 1, 1));
    assert_eq!((seen.back, seen.repeated, seen.keyless), (0, 0, 0));
}

#[test]
fn a_viewer_without_a_frame_is_refused_and_a_silence_is_a_pause() {
    let window = Window {
        open: clock::now(),
        close: clock::now() + 3_000_000_000,
    };
    assert_eq!(Watching::new().finish(&window).refused, 1);
    let mut watching = Watching::new();
    watching.note(&frame(0), &window);
    let seen = watching.finish(&window);
    assert_eq!(seen.refused, 0);
    assert!(seen.pause_us > 2_000_000, "{}", seen.pause_us);
}
