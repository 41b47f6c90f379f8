//! Judges from outside: ffmpeg decodes what viewers get across a splice, and must have nothing to say.

use super::Stitcher;
use crate::media::format::Format;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Runs a tool on `input`, which must not even warn. Gives its output.
fn run(tool: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(tool)
        .args(["-hide_banner", "-v", "warning"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{tool} does not start ({error}): apt-get install ffmpeg"));
    let (mut stdin, mut stdout, mut stderr) = (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        child.stderr.take().unwrap(),
    );
    let (mut output, mut complaints) = (Vec::new(), String::new());
    std::thread::scope(|scope| {
        // A tool that has seen enough closes its end.
        scope.spawn(move || drop(stdin.write_all(input)));
        scope.spawn(|| stderr.read_to_string(&mut complaints).unwrap());
        stdout.read_to_end(&mut output).unwrap();
    });
    let status = child.wait().unwrap();
    assert!(status.success(), "{tool} {arguments:?}: {complaints}");
    // Metadata that changes is sent at its time, of which ffmpeg says this.
    let is_complaint = |line: &&str| !line.contains("New subtitle stream");
    let complaints: Vec<_> = complaints.lines().filter(is_complaint).collect();
    assert!(
        complaints.is_empty(),
        "{tool} {arguments:?}: {complaints:?}"
    );
    output
}

/// A clip of 4 s with a key frame each second, made by ffmpeg.
fn clip(size: &str, codecs: &str, output: &str) -> Vec<u8> {
    let picture = format!("testsrc=size={size}:rate=25:duration=4");
    let mut arguments = vec!["-f", "lavfi", "-i", &picture];
    if codecs.contains("-c:a") {
        arguments.extend([
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=44100:duration=4",
        ]);
    }
    arguments.extend(["-g", "25", "-pix_fmt", "yuv420p", "-preset", "ultrafast"]);
    arguments.extend(codecs.split(' '));
    arguments.extend(output.split(' '));
    arguments.push("pipe:1");
    run("ffmpeg", &arguments, b"")
}

/// What somebody gets who watches from the first key frame on, while one connection after another breaks off at
/// the given share of its body.
fn watch(format: Format, bodies: &[(&[u8], f64)], read: usize) -> Vec<u8> {
    let mut stitcher = Stitcher::new(format);
    let mut seen = Vec::new();
    for (index, (body, share)) in bodies.iter().enumerate() {
        if index > 0 {
            stitcher.splice();
        }
        let body = &body[..(body.len() as f64 * share) as usize];
        for piece in body.chunks(read) {
            let mut out = |unit: super::Unit<'_>| {
                if let Some(opening) = unit.opening.filter(|_| seen.is_empty()) {
                    seen.extend_from_slice(opening);
                }
                if !seen.is_empty() {
                    seen.extend_from_slice(unit.bytes);
                }
            };
            stitcher.push(piece, &mut out).unwrap();
        }
        assert!(!stitcher.is_waiting_for_key());
    }
    seen
}

/// Decodes all of `media`, and gives the number of frames of video and of audio.
fn decode(media: &[u8]) -> [usize; 2] {
    let arguments = "-xerror -i pipe:0 -map 0:v -map 0:a? -fps_mode passthrough -f framecrc -";
    let output = run("ffmpeg", &arguments.split(' ').collect::<Vec<_>>(), media);
    let lines = String::from_utf8(output).unwrap();
    ["0,", "1,"].map(|index| lines.lines().filter(|line| line.starts_with(index)).count())
}

/// Presentation or decoding times of a track's packets, in seconds.
fn times(media: &[u8], track: &str, what: &str) -> Vec<f64> {
    let show = format!("packet={what}");
    let arguments = [
        "-select_streams",
        track,
        "-show_entries",
        &show,
        "-of",
        "csv=p=0",
        "pipe:0",
    ];
    let lines = String::from_utf8(run("ffprobe", &arguments, media)).unwrap();
    let values = lines.lines().map(|line| line.trim_end_matches(','));
    values.filter_map(|line| line.parse().ok()).collect()
}

/// Asserts that `media` has so many frames, all of which decode, at times that grow by at most `gap` seconds.
fn plays(media: &[u8], frames: [std::ops::RangeInclusive<usize>; 2], gap: f64) {
    let decoded = decode(media);
    assert!(
        frames[0].contains(&decoded[0]) && frames[1].contains(&decoded[1]),
        "{decoded:?} frames"
    );
    for track in ["v:0", "a:0"] {
        let times = times(media, track, "dts_time");
        // Muxers of TS put several frames of audio into a PES packet.
        for pair in times.windows(2) {
            let step = pair[1] - pair[0];
            assert!(step > 0.0 && step < 0.7, "{track}: {pair:?}");
        }
    }
    // In the order in which they are shown, no two pictures have the same time and none is long.
    let mut shown = times(media, "v:0", "pts_time");
    shown.sort_by(f64::total_cmp);
    for pair in shown.windows(2) {
        let step = pair[1] - pair[0];
        assert!(step > 0.001 && step < gap, "shown: {pair:?}");
    }
}

const H264: &str = "-c:v libx264 -bf 0 -c:a aac";
const H264_B: &str = "-c:v libx264 -bf 2 -c:a aac";
const HEVC: &str = "-c:v libx265 -x265-params log-level=none -c:a aac";

#[test]
fn flv() {
    for codecs in [H264, H264_B] {
        let first = clip("160x120", codecs, "-f flv -flvflags no_duration_filesize");
        let second = clip(
            "160x120",
            codecs,
            "-f flv -flvflags no_duration_filesize -output_ts_offset 5000",
        );
        let larger = clip(
            "320x240",
            codecs,
            "-f flv -flvflags no_duration_filesize -output_ts_offset 77",
        );
        for read in [700, 65536] {
            // 3 s of the first, where a tag breaks off, 2 s of the second, all of the third.
            let seen = watch(
                Format::Flv,
                &[(&first, 0.7), (&second, 0.6), (&second, 1.0)],
                read,
            );
            plays(&seen, [190..=240, 320..=420], 0.2);
            let seen = watch(Format::Flv, &[(&first, 0.7), (&larger, 1.0)], read);
            plays(&seen, [160..=180, 280..=310], 0.2);
        }
    }
}

#[test]
fn ts() {
    for codecs in [H264, H264_B, HEVC] {
        let first = clip("160x120", codecs, "-f mpegts");
        let second = clip("160x120", codecs, "-f mpegts -output_ts_offset 95440");
        let third = clip(
            "160x120",
            codecs,
            "-f mpegts -mpegts_start_pid 0x200 -mpegts_pmt_start_pid 0x300 -mpegts_service_id 7",
        );
        for read in [700, 65536] {
            let seen = watch(
                Format::Ts,
                &[(&first, 0.7), (&second, 0.6), (&third, 1.0)],
                read,
            );
            plays(&seen, [190..=240, 300..=420], 0.2);
        }
    }
}
