//! What real players make of the streams: ffmpeg and ffprobe read them across the loop's seams.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Clip, FlvMuxer, Hls, Muxer, Position, Timeline, TsMuxer};

/// A moment 1 s into a GOP, 7 s into a loop; 25 s from there have three seams, and the continuity counters
/// of HLS begin a new round.
const NOW: u64 = 1_764_000_037;
const SECONDS: u64 = 25;

/// Seconds after which the clock of a transport stream wraps: 33 bits of 90 kHz.
const WRAP: f64 = (1u64 << 33) as f64 / 90_000.0;

/// What the clock of a transport stream shows at `seconds`.
fn clock(seconds: u64) -> f64 {
    seconds as f64 % WRAP
}

fn at(seconds: u64) -> Position {
    Position::from_unix(Duration::from_secs(seconds))
}

/// What a viewer gets who comes at `from` and stays until `to`.
fn live(clip: &Clip<'_>, muxer: &mut dyn Muxer, from: Position, to: Position) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in Timeline::new(clip)
        .join(from)
        .take_while(|frame| frame.at < to)
    {
        muxer.mux(&frame, &mut out);
    }
    out
}

/// Runs a tool on `media` and gives its stdout and stderr. It must be content.
fn execute(tool: &str, level: &str, arguments: &[&str], media: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new(tool)
        .args(["-hide_banner", "-v", level])
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
        scope.spawn(move || drop(stdin.write_all(media)));
        scope.spawn(|| stderr.read_to_string(&mut complaints).unwrap());
        stdout.read_to_end(&mut output).unwrap();
    });
    assert!(
        child.wait().unwrap().success(),
        "{tool} {arguments:?}: {complaints}"
    );
    (output, complaints)
}

/// Runs a tool on `media` and gives its stdout. It must not even warn.
fn run(tool: &str, arguments: &[&str], media: &[u8]) -> Vec<u8> {
    let (output, complaints) = execute(tool, "warning", arguments, media);
    assert!(complaints.is_empty(), "{tool} {arguments:?}: {complaints}");
    output
}

fn lines(tool: &str, arguments: &[&str], media: &[u8]) -> String {
    String::from_utf8(run(tool, arguments, media)).unwrap()
}

/// The times of a track's packets in seconds.
fn times(media: &[u8], track: &str) -> Vec<f64> {
    let show = [
        "-select_streams",
        track,
        "-show_entries",
        "packet=pts_time,dts_time",
        "-of",
        "csv=p=0",
        "pipe:0",
    ];
    let lines = lines("ffprobe", &show, media);
    let time = |line: &str| {
        let (pts, dts) = line
            .trim_end_matches(',')
            .split_once(',')
            .unwrap_or_else(|| panic!("{line}"));
        assert_eq!(pts, dts);
        pts.parse().unwrap()
    };
    lines
        .lines()
        .filter(|line| !line.is_empty())
        .map(time)
        .collect()
}

/// Asserts that all tools are content with `media`, which begins with the key frame at `from` and lasts `seconds`.
fn plays(media: &[u8], from: f64, seconds: u64) {
    let streams = lines(
        "ffprobe",
        &[
            "-show_entries",
            "stream=codec_name,width,height,sample_rate",
            "-of",
            "csv=p=0",
            "pipe:0",
        ],
        media,
    );
    let mut streams: Vec<_> = streams.lines().filter(|line| !line.is_empty()).collect();
    streams.sort_unstable();
    streams.dedup(); // of a TS, ffprobe lists those of the program too
    assert_eq!(streams, ["aac,48000", "h264,640,360"]);

    let pictures = seconds * 25;
    for (track, step, count) in [
        ("v", 0.04, pictures),
        ("a", 1024.0 / 48_000.0, seconds * 48_000 / 1024),
    ] {
        let times = times(media, track);
        assert!(
            times.len().abs_diff(count as usize) <= 1,
            "{track}: {} frames, not {count}",
            times.len()
        );
        // Shortly before the clock of a TS wraps, ffprobe counts from below zero.
        let begin = if times[0] < 0.0 {
            times[0] + WRAP
        } else {
            times[0]
        };
        assert!(
            (begin - from).abs() < step,
            "{track} begins at {begin}, not {from}"
        );
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            // FLV's milliseconds cut off up to one.
            assert!(
                gap > 0.0 && (gap - step).abs() < 0.0011,
                "{track}: {pair:?}"
            );
        }
    }
    // Decoding, every frame: no complaint, no lost one, none twice.
    let frames = lines(
        "ffmpeg",
        &[
            "-xerror",
            "-i",
            "pipe:0",
            "-map",
            "0:v",
            "-map",
            "0:a",
            "-fps_mode",
            "passthrough",
            "-f",
            "framecrc",
            "-",
        ],
        media,
    );
    let decoded = |index: &str| {
        frames
            .lines()
            .filter(|line| line.starts_with(index))
            .count()
    };
    assert_eq!(decoded("0,"), pictures as usize);
    assert!(
        decoded("1,").abs_diff((seconds * 48_000 / 1024) as usize) <= 1,
        "{} audio frames",
        decoded("1,")
    );
}

#[test]
fn flv() {
    let clip = Clip::embedded().unwrap();
    let media = live(
        &clip,
        &mut FlvMuxer::new(&clip),
        at(NOW),
        at(NOW - 1 + SECONDS),
    );
    plays(&media, ((NOW - 1) % 86_400) as f64, SECONDS);
}

#[test]
fn ts() {
    let clip = Clip::embedded().unwrap();
    let media = live(
        &clip,
        &mut TsMuxer::new(&clip),
        at(NOW),
        at(NOW - 1 + SECONDS),
    );
    plays(&media, clock(NOW - 1), SECONDS);
}

#[test]
fn segments_in_a_row() {
    let clip = Clip::embedded().unwrap();
    let hls = Hls::new(&clip);
    let first = NOW / 2;
    let segments =
        (first..first + 13).map(|sequence| hls.segment(at((sequence + 1) * 2), sequence).unwrap());
    let segments: Vec<_> = segments.collect();
    for (sequence, segment) in (first..).zip(&segments).take(2) {
        plays(segment, clock(sequence * 2), 2);
    }
    let media = segments.concat();
    plays(&media, clock(NOW - 1), 26);
    // Where a counter jumps between two frames, ffmpeg only says so when it says everything.
    let (_, words) = execute("ffprobe", "debug", &["-show_packets", "pipe:0"], &media);
    assert!(words.contains("mpegts") && !words.contains("Continuity check failed"));
}

#[test]
fn a_viewer_at_the_moment_when_the_clock_of_ts_wraps() {
    let clip = Clip::embedded().unwrap();
    let wrap = ((NOW as f64 / WRAP).ceil() * WRAP) as u64;
    let from = (wrap - 5) / 2 * 2;
    let media = live(&clip, &mut TsMuxer::new(&clip), at(from), at(from + 10));
    plays(&media, clock(from), 10);
}

#[test]
fn a_beep_at_each_full_second_and_silence_else() {
    let clip = Clip::embedded().unwrap();
    let to = at(NOW - 1 + SECONDS);
    let media = live(&clip, &mut TsMuxer::new(&clip), at(NOW), to);
    let pcm = "-i pipe:0 -map 0:a -f s16le -ar 8000 -".split(' ');
    let samples = run("ffmpeg", &pcm.collect::<Vec<_>>(), &media);
    // Whether something is heard in each fiftieth of a second.
    let heard = |part: &[u8]| {
        let mut samples = part.chunks_exact(2);
        samples.any(|sample| i16::from_le_bytes([sample[0], sample[1]]).abs() > 300)
    };
    let heard: Vec<bool> = samples.chunks(320).map(heard).collect();
    let begins = |index: &usize| heard[*index] && (*index == 0 || !heard[index - 1]);
    let begins: Vec<_> = (0..heard.len()).filter(begins).collect();
    assert_eq!(begins.len() as u64, SECONDS, "{begins:?}");
    // The encoder's priming and the carried fraction make it late by up to two audio frames.
    assert!(begins.iter().all(|index| index % 50 <= 2), "{begins:?}");
    let share = heard.iter().filter(|heard| **heard).count() * 100 / heard.len();
    assert!(
        (8..16).contains(&share),
        "a beep lasts a tenth of a second, not {share} %"
    );
}
