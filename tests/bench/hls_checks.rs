//! Whether viewers of HLS find answers that are not what was asked for, and segments that are missing.

use crate::hls_answer::{Answer, Body};
use crate::live_edge::LiveEdge;
use crate::numbered_segment::{SEGMENT_BYTES, SegmentCheck, segment};

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Reads an answer about segment 7 in such pieces. Returns whether it is whole.
fn read(bytes: &[u8], piece: usize) -> Result<bool, String> {
    let mut answer = Answer::new(Body::Segment(SegmentCheck::new(7)));
    let mut whole = false;
    for piece in bytes.chunks(piece) {
        whole = answer.take(piece)?;
    }
    Ok(whole)
}

#[test]
fn a_segment_is_read_in_any_pieces() {
    let bytes = answer("200 OK", &segment(7));
    for piece in [1, 7, 45, 1000, 65_536, SEGMENT_BYTES * 2] {
        assert_eq!(read(&bytes, piece), Ok(true), "{piece}");
    }
    assert_eq!(read(&bytes[..bytes.len() - 1], 1000), Ok(false));
}

#[test]
fn an_answer_that_is_not_the_segment_is_found() {
    let good = segment(7);
    let mut lost = good.clone();
    lost[SEGMENT_BYTES - 1] ^= 1;
    for (what, bytes) in [
        ("another segment", answer("200 OK", &segment(8))),
        ("a changed byte", answer("200 OK", &lost)),
        ("a short one", answer("200 OK", &good[1..])),
        ("a refusal", answer("404 Not Found", &good)),
        ("no length", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("more than one", [answer("200 OK", &good), vec![0]].concat()),
    ] {
        for piece in [11, 1000, SEGMENT_BYTES * 2] {
            assert!(read(&bytes, piece).is_err(), "{what} by {piece}");
        }
    }
}

#[test]
fn a_playlist_is_read() {
    let mut playlist = Answer::new(Body::Playlist(Vec::new()));
    assert_eq!(playlist.take(b"HTTP/1.1 200 OK\r\nContent-Le"), Ok(false));
    assert_eq!(playlist.take(b"ngth: 4\r\n\r\n#E"), Ok(false));
    assert_eq!(playlist.take(b"XT"), Ok(true));
    let Body::Playlist(text) = playlist.body else {
        panic!("no playlist");
    };
    assert_eq!(text, b"#EXT");
}

fn playlist(numbers: std::ops::Range<u64>) -> String {
    let lines = numbers.map(|number| format!("#EXTINF:2.000,\na-{number}.ts?hls_ctx=1\n"));
    format!("#EXTM3U\n{}", lines.collect::<String>())
}

/// The numbers of what is new in a playlist.
fn new(edge: &mut LiveEdge, text: &str) -> Result<Vec<u64>, String> {
    let new = edge.new_segments(text)?;
    Ok(new.into_iter().map(|listed| listed.number).collect())
}

#[test]
fn a_viewer_wants_each_segment_once_from_the_newest_on() {
    let mut edge = LiveEdge::default();
    assert_eq!(new(&mut edge, &playlist(5..8)), Ok(vec![7]));
    // Not fetched: it is wanted again.
    assert_eq!(new(&mut edge, &playlist(5..8)), Ok(vec![7]));
    edge.last = Some(7);
    assert_eq!(new(&mut edge, &playlist(5..8)), Ok(vec![]));
    assert_eq!(new(&mut edge, &playlist(7..10)), Ok(vec![8, 9]));
    assert_eq!(edge.missed, 0);
}

#[test]
fn missing_segments_are_counted_once() {
    let mut edge = LiveEdge {
        last: Some(7),
        missed: 0,
    };
    assert_eq!(new(&mut edge, &playlist(10..13)), Ok(vec![10, 11, 12]));
    assert_eq!(new(&mut edge, &playlist(10..13)), Ok(vec![10, 11, 12]));
    assert_eq!(edge.missed, 2);
}

#[test]
fn a_playlist_that_goes_back_or_is_none_is_found() {
    let mut edge = LiveEdge {
        last: Some(7),
        missed: 0,
    };
    assert!(new(&mut edge, &playlist(4..7)).is_err());
    assert!(new(&mut edge, "#EXTM3U\n").is_err());
    assert!(new(&mut edge, "#EXTM3U\nb.ts\n").is_err());
    assert!(new(&mut edge, "Bad Gateway").is_err());
}
