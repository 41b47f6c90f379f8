//! ffmpeg encodes what origins send, and judges what viewers get: before, over and after a splice.

use crate::common::answer::Framing;
use crate::common::body::BodyEnd;
use crate::common::client::{Client, Piece};
use crate::common::live::LiveRoute;
use crate::common::origin::Origin;
use crate::common::proxy::Proxy;
use crate::common::{SOON, tools};
use std::collections::HashMap;
use std::time::Duration;

/// What one ffmpeg may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A format with its codecs (HEVC in FLV came with ffmpeg 6.1): name, extension of its URL, arguments for the encoder.
const FORMATS: [(&str, &str, &str); 7] = [
    (
        "H.264 and AAC in FLV",
        "flv",
        "-c:v libx264 -preset ultrafast -g 25 -bf 2 -c:a aac -f flv",
    ),
    (
        "H.264 and MP3 in FLV",
        "flv",
        "-c:v libx264 -preset ultrafast -g 25 -c:a libmp3lame -f flv",
    ),
    ("AAC alone in FLV", "flv", "-vn -c:a aac -f flv"),
    (
        "H.264 and AAC in TS",
        "ts",
        "-c:v libx264 -preset ultrafast -g 25 -bf 2 -c:a aac -f mpegts",
    ),
    (
        "HEVC and MP3 in TS",
        "ts",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25 -c:a libmp3lame -f mpegts",
    ),
    ("AAC", "aac", "-vn -c:a aac -f adts"),
    (
        "MP3",
        "mp3",
        "-vn -c:a libmp3lame -id3v2_version 0 -write_xing 0 -f mp3",
    ),
];

/// Three seconds of a picture and a tone; `offset` is the first timestamp, in seconds.
fn encode(arguments: &str, offset: &str) -> Vec<u8> {
    let mut command = tools::command("ffmpeg");
    command.args(["-v", "error", "-nostdin"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]);
    command.args([
        "-t",
        "3",
        "-pix_fmt",
        "yuv420p",
        "-flvflags",
        "no_duration_filesize",
    ]);
    command.args(["-output_ts_offset", offset]);
    command.args(arguments.split(' ')).arg("-");
    let output = tools::run(&mut command, PATIENCE);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    output.stdout
}

/// ffmpeg decodes it without a word, and no stream's timestamps go back. Gives the packets of all streams.
#[track_caller]
fn judge(what: &str, recording: &[u8]) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("recording");
    std::fs::write(&file, recording).expect("writing the recording");
    let mut decoder = tools::command("ffmpeg");
    decoder.args(["-v", "error", "-nostdin", "-i"]).arg(&file);
    // Frames as they are: to round their times to a frame rate is the decoder's choice.
    decoder.args("-map 0:v? -map 0:a? -fps_mode passthrough".split(' '));
    decoder.args(["-enc_time_base", "1:90000", "-f", "null", "-"]);
    let output = tools::run(&mut decoder, PATIENCE);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{what}: {errors}"
    );

    let mut packets = tools::command("ffprobe");
    packets.args([
        "-v",
        "error",
        "-show_entries",
        "packet=stream_index,dts",
        "-of",
        "csv=p=0",
    ]);
    let output = tools::run(packets.arg(&file), PATIENCE);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut count = 0;
    for line in text.lines() {
        let Some((stream, dts)) = line.split_once(',') else {
            continue;
        };
        let Ok(dts) = dts.trim_end_matches(',').parse::<i64>() else {
            continue; // a frame without a time of its own
        };
        let before = last.insert(stream, dts);
        assert!(
            before.is_none_or(|before| before < dts),
            "{what}: {dts} after {before:?} in stream {stream}"
        );
        count += 1;
    }
    count
}

/// Takes what has come of a body.
fn take(client: &mut Client, body: &mut Vec<u8>) {
    while let Piece::Bytes(bytes) = client.read_piece(Duration::from_millis(20)) {
        body.extend(bytes);
    }
}

#[test]
fn ffmpeg_finds_no_seam_in_any_format() {
    for (name, extension, arguments) in FORMATS {
        let origin = Origin::start();
        let path = format!("/live/a.{extension}");
        let route = origin.live(&path, LiveRoute::new(Framing::Chunked, "video/x"));
        let proxy = Proxy::before(&origin, &[]);
        let ask = || {
            let mut client = Client::connect(proxy.http);
            client.request("GET", &path, &[]);
            client
        };
        let (one, two) = (encode(arguments, "0"), encode(arguments, "5000"));
        let mut viewers = vec![(ask(), Vec::new())];
        let mut live = route.next();
        // It breaks off in the middle of something, and pieces end anywhere.
        let cut = one.len() * 7 / 10;
        let mut random = fastrand::Rng::with_seed(3);
        let mut sent = 0;
        while sent < cut {
            let piece = &one[sent..cut.min(sent + random.usize(1..6000))];
            live.send(piece);
            sent += piece.len();
            if viewers.len() == 1 && sent > cut / 2 {
                viewers.push((ask(), Vec::new()));
                assert_eq!(viewers[1].0.read_head(SOON).status, 200, "{name}");
                assert_eq!(viewers[0].0.read_head(SOON).status, 200, "{name}");
            }
        }
        viewers
            .iter_mut()
            .for_each(|(client, body)| take(client, body));
        live.close();
        let mut live = route.next();
        let (begin, rest) = two.split_at(two.len() / 2);
        begin.chunks(3000).for_each(|piece| live.send(piece));
        proxy.wait_for_log(|line| line.contains("goes on from"), SOON);
        viewers.push((ask(), Vec::new()));
        assert_eq!(viewers[2].0.read_head(SOON).status, 200, "{name}");
        rest.chunks(3000).for_each(|piece| live.send(piece));
        live.finish();
        let whole = judge(name, &two);
        for (n, (mut client, mut body)) in viewers.into_iter().enumerate() {
            let (rest, end) = client.read_rest(SOON);
            assert_eq!(end, BodyEnd::Complete, "{name}");
            body.extend(rest);
            let got = judge(&format!("{name}, viewer {n}"), &body);
            let least = match n {
                0 => whole * 3 / 2,
                1 => whole,
                _ => whole / 3,
            };
            assert!(
                got >= least,
                "{name}, viewer {n}: {got} packets, the second connection had {whole}"
            );
        }
        assert_eq!(origin.requests().len(), 2, "{name}");
        proxy.assert_no_panic();
    }
}
